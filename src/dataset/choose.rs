//! Which keys make a hypercube of objects.
//!
//! Among the keys that vary there are usually some that say nothing new: an id for each message, a validity time
//! beside date and step, a short name beside a parameter. The keys chosen tell every two objects apart, and none of
//! them can be left out.

use super::keys::{Candidate, Origin};
use super::labels::Label;
use std::collections::HashMap;

/// Objects put into classes: those that some keys can't tell apart are in one class.
#[derive(Debug, Clone)]
struct Classes {
    of: Vec<u32>,
    count: usize,
}

impl Classes {
    fn one(objects: usize) -> Self {
        Self { of: vec![0; objects], count: objects.min(1) }
    }

    /// Splits the classes by another key of `card` values.
    fn split(&self, codes: &[u32], card: usize) -> Self {
        const NONE: u32 = u32::MAX;
        let mut count = 0;
        let mut number = |slot: &mut u32| {
            if *slot == NONE {
                *slot = count;
                count += 1;
            }
            *slot
        };
        let pairs = self.of.iter().zip(codes);
        let cells = self.count.saturating_mul(card);
        let of = if cells <= 8 * codes.len() + 1024 {
            let mut slots = vec![NONE; cells];
            pairs.map(|(class, code)| number(&mut slots[*class as usize * card + *code as usize])).collect()
        } else {
            let mut slots: HashMap<(u32, u32), u32> = HashMap::with_capacity(codes.len());
            pairs.map(|(class, code)| number(slots.entry((*class, *code)).or_insert(NONE))).collect()
        };
        Self { of, count: count as usize }
    }

    fn by(&self, key: &Candidate) -> Self {
        self.split(&key.codes.codes, key.codes.card())
    }
}

/// How much a key is wanted as a dim: smaller is better. Dims of patterns first, then keys of known meaning, then
/// those with few values, numbers before text; a key with another value for each object comes last.
fn preference(key: &Candidate, objects: usize) -> (Origin, bool, usize, bool, &str) {
    let card = key.codes.card();
    let text = matches!(key.codes.labels.first(), Some(Label::Text(_)));
    let name = key.names.last().map_or("", String::as_str);
    (key.origin, card == objects, card, text, name)
}

fn of_pattern(key: &Candidate) -> bool {
    matches!(key.origin, Origin::FileName(_) | Origin::VariableName(_))
}

/// Most keys that are taken into account; as dims they would make 2^64 cells.
const KEYS: usize = 64;

/// Chooses among the candidates for `objects` objects; positions in `keys`, in order of preference.
///
/// Keys that tell more objects apart are taken in order of preference, until all are told apart; then, from the last to the first, each
/// that the others make superfluous is dropped. Dims of patterns always stay, unless the other keys make them
/// superfluous and the product of all would have holes.
pub(super) fn choose(keys: &[Candidate], objects: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by(|a, b| preference(&keys[*a], objects).cmp(&preference(&keys[*b], objects)));
    let mut prefixes = vec![Classes::one(objects)];
    order.retain(|key| {
        let (key, classes) = (&keys[*key], &prefixes[prefixes.len() - 1]);
        let needed = classes.count < objects && prefixes.len() <= KEYS;
        let split = (needed || of_pattern(key)).then(|| classes.by(key));
        let taken = split.filter(|split| split.count > classes.count || of_pattern(key));
        let is_taken = taken.is_some();
        prefixes.extend(taken);
        is_taken
    });
    let mut chosen = drop_superfluous(keys, &order, &prefixes, |key| !of_pattern(key));
    let cards = chosen.iter().map(|key| keys[*key].codes.card() as u128);
    let cells = cards.fold(1u128, u128::saturating_mul);
    if cells > objects as u128 {
        // Known keys go before patterns here: a day in a file name says less than the time in the metadata.
        chosen.sort_by_key(|key| of_pattern(&keys[*key]));
        let mut prefixes = vec![Classes::one(objects)];
        for (i, key) in chosen.iter().enumerate() {
            prefixes.push(prefixes[i].by(&keys[*key]));
        }
        chosen = drop_superfluous(keys, &chosen, &prefixes, |key| of_pattern(key) && key.codes.card() > 1);
    }
    chosen
}

/// Drops keys from the back, as long as the others split the objects into as many classes. `prefixes[i]` are the
/// classes by the first `i` keys.
fn drop_superfluous(
    keys: &[Candidate],
    order: &[usize],
    prefixes: &[Classes],
    may_drop: impl Fn(&Candidate) -> bool,
) -> Vec<usize> {
    let all = prefixes[order.len()].count;
    let mut kept: Vec<usize> = Vec::new();
    for at in (0..order.len()).rev() {
        let without = || {
            let others = kept.iter().rev();
            others.fold(prefixes[at].clone(), |classes, key| classes.by(&keys[*key])).count
        };
        if !may_drop(&keys[order[at]]) || without() < all {
            kept.push(order[at]);
        }
    }
    kept.reverse();
    kept
}

/// Two objects that the chosen keys can't tell apart, if there are any.
pub(super) fn twins(keys: &[&Candidate], objects: usize) -> Option<(usize, usize)> {
    let classes = keys.iter().fold(Classes::one(objects), |classes, key| classes.by(key));
    let mut first = vec![usize::MAX; classes.count];
    for (object, class) in classes.of.iter().enumerate() {
        match &mut first[*class as usize] {
            slot if *slot == usize::MAX => *slot = object,
            slot => return Some((*slot, object)),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::keys::rank;
    use super::super::labels::{Codes, typed};
    use super::*;

    /// A key from one text for each object.
    fn key(origin: Origin, name: &str, texts: &[&str]) -> Candidate {
        let codes = Codes::new(typed(texts.iter().map(|t| Label::Text((*t).into())).collect()));
        Candidate { origin, names: vec![name.into()], codes }
    }

    fn other(name: &str, texts: &[&str]) -> Candidate {
        key(Origin::Other, name, texts)
    }

    fn known(name: &str, texts: &[&str]) -> Candidate {
        key(Origin::Known(rank(name).unwrap()), name, texts)
    }

    fn chosen(keys: &[Candidate]) -> Vec<&str> {
        let objects = keys[0].codes.codes.len();
        choose(keys, objects).into_iter().map(|k| keys[k].names[0].as_str()).collect()
    }

    #[test]
    fn an_id_for_each_message_is_no_dim() {
        let (a, b) = (["0", "0", "6", "6"], ["x", "y", "x", "y"]);
        let uuid = other("uuid", &["p", "q", "r", "s"]);
        assert_eq!(chosen(&[uuid.clone(), other("b", &b), other("a", &a)]), ["a", "b"]);
        assert_eq!(
            chosen(&[uuid.clone(), known("step", &a), known("level", &["5", "8", "5", "8"])]),
            ["step", "level"]
        );
        assert_eq!(chosen(&[uuid]), ["uuid"], "unless nothing else tells objects apart");
    }

    #[test]
    fn an_id_does_not_hide_a_hole() {
        let keys =
            [other("a", &["0", "0", "6"]), other("b", &["x", "y", "x"]), other("uuid", &["p", "q", "r"])];
        assert_eq!(chosen(&keys), ["a", "b"]);
    }

    #[test]
    fn what_others_determine_is_no_dim() {
        let time = known("time", &["1", "1", "2", "2", "3", "3"]);
        let step = known("step", &["0", "1", "0", "1", "0", "1"]);
        let valid = other("valid", &["1", "2", "2", "3", "3", "4"]);
        let twin = other("copy", &["a", "a", "b", "b", "c", "c"]);
        assert_eq!(chosen(&[valid.clone(), twin, step.clone(), time.clone()]), ["time", "step"]);
        let run = other("run", &["1", "1", "2", "2", "3", "3"]);
        let lead = other("lead", &["0", "1", "0", "1", "0", "1"]);
        assert_eq!(chosen(&[valid, run, lead]), ["lead", "run"]);
    }

    #[test]
    fn dims_of_patterns_stay_even_if_constant() {
        let day = key(Origin::FileName(0), "day", &["1", "1"]);
        assert_eq!(chosen(&[known("step", &["0", "6"]), day]), ["day", "step"]);
        let day = key(Origin::FileName(0), "day", &["1", "2"]);
        assert_eq!(chosen(&[known("time", &["0", "6"]), day]), ["day"]);
    }

    #[test]
    fn a_pattern_that_metadata_refines_gives_way() {
        let day = key(Origin::FileName(0), "day", &["1", "1", "2", "2"]);
        let time = known("time", &["100", "112", "200", "212"]);
        assert_eq!(chosen(&[day, time]), ["time"]);
    }

    #[test]
    fn many_keys_take_no_more_than_linear_time() {
        let mark = |i: usize| {
            let texts: Vec<&str> = (0..1000).map(|object| if object == i { "1" } else { "0" }).collect();
            other(&format!("k{i}"), &texts)
        };
        let keys: Vec<Candidate> = (0..200).map(mark).collect();
        assert_eq!(chosen(&keys).len(), KEYS);
    }

    #[test]
    fn twins_are_found() {
        let a = other("a", &["0", "1", "0"]);
        assert_eq!(twins(&[&a], 3), Some((0, 2)));
        assert_eq!(twins(&[], 2), Some((0, 1)));
        assert_eq!(twins(&[], 1), None);
    }
}
