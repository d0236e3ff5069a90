//! The first pass over the files: coordinates are decoded, all other objects are sorted by variable.

use super::axes::Hint;
use super::coords::{self, Coords};
use super::facts::Facts;
use super::location::Files;
use super::objects::ObjectsBuilder;
use super::options::bad;
use super::said::Said;
use super::{NamePattern, OpenOptions};
use crate::source::Source;
use crate::tgm::{DType, File, Map, Message, Object, Value};
use crate::{Error, Place, Result};
use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

/// What the objects of a group have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct GroupKey {
    pub(super) name: Arc<str>,
    pub(super) dtype: DType,
    pub(super) shape: Vec<u64>,
    /// Which of the patterns named it.
    pub(super) pattern: Option<usize>,
    pub(super) hint: Arc<Hint>,
}

/// Objects of one variable, and metadata that is the same for all of them.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) key: GroupKey,
    /// Rows of [`Collected::objects`], ascending.
    pub(super) rows: Vec<u32>,
    pub(super) attributes: Map,
}

/// Everything that the files of a location hold.
#[derive(Debug)]
pub(super) struct Collected {
    /// Those of variables, in order of files, messages and objects. Rows of `facts` and `labels` are the same.
    pub(super) objects: ObjectsBuilder,
    pub(super) facts: Facts,
    /// Position of what the name of an object says in `name_labels`.
    pub(super) labels: Vec<u32>,
    pub(super) name_labels: Vec<Vec<String>>,
    /// In order of first appearance.
    pub(super) groups: Vec<Group>,
    pub(super) coords: Coords,
    /// Metadata that is the same for all messages.
    pub(super) attributes: Map,
}

/// What becomes of an object's name.
#[derive(Debug, Clone)]
struct Named {
    name: Arc<str>,
    pattern: Option<usize>,
    labels: u32,
}

/// The state of the pass.
struct Collector<'a> {
    options: &'a OpenOptions,
    out: Collected,
    /// Number of the file at hand.
    file: u32,
    names: HashMap<String, Option<Named>>,
    hints: HashMap<Hint, Arc<Hint>>,
    groups: HashMap<GroupKey, usize>,
    /// Whether there was a message before.
    begun: bool,
    keyed: bool,
}

/// Reads the framing and metadata of all files, and the coordinates.
///
/// # Errors
/// Those of the files and messages, of coordinates, and [`Error::Option`] for a `variable_key` or `variables` that
/// fit nothing.
pub(super) fn collect(files: &Files, options: &OpenOptions) -> Result<Collected> {
    let mut collector = Collector {
        options,
        out: Collected {
            objects: ObjectsBuilder::new(&options.limits),
            facts: Facts::default(),
            labels: Vec::new(),
            name_labels: Vec::new(),
            groups: Vec::new(),
            coords: Coords::default(),
            attributes: Map::new(),
        },
        file: 0,
        names: HashMap::new(),
        hints: HashMap::new(),
        groups: HashMap::new(),
        begun: false,
        keyed: false,
    };
    let sources = files.open()?;
    sources.iter().for_each(|source| File::will_open(source.as_ref()));
    for source in sources {
        collector.file = collector.out.objects.source(&source);
        collector.file(&source)?;
    }
    collector.finish()
}

impl Collector<'_> {
    /// Passes over something broken, if that is wanted.
    fn skip(&self, error: Error) -> Result<()> {
        if !self.options.skip_broken || matches!(error, Error::Io { .. }) {
            return Err(error);
        }
        tracing::warn!("left out: {error}");
        Ok(())
    }

    /// Takes in a file, one message after the other, so that the metadata of only one is held.
    fn file(&mut self, source: &Arc<dyn Source>) -> Result<()> {
        let (wanted, limits) = (self.options.message_index, &self.options.limits);
        let mut failed = false;
        let result = File::until(&**source, limits, |index, message| {
            if wanted.is_some_and(|wanted| wanted != index) {
                return Ok(ControlFlow::Continue(()));
            }
            let taken = match message {
                Ok(message) => self.message(source, &message),
                Err(error) => self.skip(error),
            };
            taken.inspect_err(|_| failed = true)?;
            Ok(if wanted.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        match (result, wanted) {
            (Ok(count), Some(wanted)) if wanted >= count => {
                let at = Place::file(Arc::clone(source.name())).message(wanted);
                Err(Error::NoSuch { at, what: "message", count })
            }
            (Ok(_), _) => Ok(()),
            (Err(error), _) if failed => Err(error),
            (Err(error @ Error::Framing { .. }), _) => self.skip(error), // no message at all
            (Err(error), _) => Err(error),
        }
    }

    fn message(&mut self, source: &Arc<dyn Source>, message: &Message) -> Result<()> {
        let metadata = &message.metadata;
        if !std::mem::replace(&mut self.begun, true) {
            self.out.attributes = metadata.extra.clone();
            self.out.attributes.remove("dim_names");
        } else {
            keep_common(&mut self.out.attributes, |key| metadata.extra.get(key));
        }
        let none = Map::new();
        for (index, object) in message.objects.iter().enumerate() {
            let base = metadata.base.get(index).unwrap_or(&none);
            self.object(source, object, index, base, &metadata.extra)?;
        }
        Ok(())
    }

    fn object(
        &mut self,
        source: &Arc<dyn Source>,
        object: &Arc<Object>,
        index: usize,
        base: &Map,
        extra: &Map,
    ) -> Result<()> {
        let said = Said { base, params: &object.descriptor.params, extra };
        let own = said.own_name();
        let coord = own.as_deref().and_then(coords::canonical);
        let one_axis = object.descriptor.shape.len() == 1;
        let listed = || own.as_deref().is_some_and(|own| self.is_listed(own, one_axis));
        if let Some(name) = coord.filter(|_| !listed()) {
            if !one_axis && !self.options.variables.is_empty() {
                return Ok(()); // not among the variables to keep
            }
            return self.out.coords.add(name, source, object, || said.attributes(), self.options);
        }
        let by_key = self.options.variable_key.as_ref().and_then(|key| said.first(&[key]));
        self.keyed |= by_key.is_some();
        let name = by_key.unwrap_or_else(|| said.name(index));
        let Some(named) = self.named(name) else { return Ok(()) };
        let row = self.out.objects.push(self.file, object)?;
        self.out.facts.push(base, said.params, extra);
        self.out.labels.push(named.labels);
        self.group(named, row, object, &said);
        Ok(())
    }

    /// Whether an object with the name of a coordinate is wanted as a variable: by its very name, or, where it
    /// can't be a coordinate, by any pattern.
    fn is_listed(&self, name: &str, one_axis: bool) -> bool {
        let mut patterns = self.options.variables.iter();
        patterns.any(|pattern| (!one_axis || pattern.is_plain()) && pattern.matches(name).is_some())
    }

    /// What becomes of an object called `name`; `None` if it isn't among the variables to keep.
    fn named(&mut self, name: String) -> Option<Named> {
        let slot = match self.names.entry(name) {
            Slot::Occupied(known) => return known.get().clone(),
            Slot::Vacant(slot) => slot,
        };
        let patterns = &self.options.variables;
        let named = if patterns.is_empty() {
            Some(Named { name: slot.key().as_str().into(), pattern: None, labels: 0 })
        } else {
            let mut matches = patterns.iter().enumerate();
            matches.find_map(|(i, pattern)| pattern.matches(slot.key()).map(|m| (i, m))).map(|(i, found)| {
                let labels = found.labels.into_iter().map(Into::into).collect();
                self.out.name_labels.push(labels);
                let labels = self.out.name_labels.len() as u32 - 1;
                Named { name: found.variable.into(), pattern: Some(i), labels }
            })
        };
        slot.insert(named).clone()
    }

    fn group(&mut self, named: Named, row: u32, object: &Object, said: &Said<'_>) {
        let hint = Hint::new(said.base, said.extra);
        let hint = match self.hints.entry(hint) {
            Slot::Occupied(known) => Arc::clone(known.get()),
            Slot::Vacant(new) => {
                let shared = Arc::new(new.key().clone());
                Arc::clone(new.insert(shared))
            }
        };
        let key = GroupKey {
            name: named.name,
            dtype: object.descriptor.dtype,
            shape: object.descriptor.shape.clone(),
            pattern: named.pattern,
            hint,
        };
        if let Some(at) = self.groups.get(&key) {
            let group = &mut self.out.groups[*at];
            group.rows.push(row);
            keep_common(&mut group.attributes, |key| said.get(key));
            return;
        }
        self.groups.insert(key.clone(), self.out.groups.len());
        self.out.groups.push(Group { key, rows: vec![row], attributes: said.attributes() });
    }

    fn finish(self) -> Result<Collected> {
        let Self { out, options, names, keyed, .. } = self;
        if let (Some(key), false, false) = (&options.variable_key, keyed, names.is_empty()) {
            return Err(bad("variable_key", key, "no object has this key"));
        }
        if out.labels.is_empty() && !names.is_empty() {
            let patterns: Vec<_> = options.variables.iter().map(NamePattern::text).collect();
            let names: BTreeSet<_> = names.keys().map(String::as_str).collect();
            let mut there = names.iter().take(20).copied().collect::<Vec<_>>().join(", ");
            if names.len() > 20 {
                there.push_str(", ...");
            }
            return Err(bad(
                "variables",
                &patterns.join(","),
                format!("no variable matches; there are {there}"),
            ));
        }
        Ok(out)
    }
}

/// Keeps the entries of `map` that `other` has too, with the same value; nested maps entry by entry.
pub(super) fn keep_common<'a>(map: &mut Map, other: impl Fn(&str) -> Option<&'a Value>) {
    map.retain(|key, value| other(key).is_some_and(|other| common(value, other)));
}

/// Reduces `value` to what it has in common with `other`; `false` if that is nothing.
fn common(value: &mut Value, other: &Value) -> bool {
    match (value, other) {
        (Value::Map(entries), Value::Map(others)) => {
            if entries == others {
                return true;
            }
            entries.retain_mut(|(key, value)| {
                let found = others.iter().rev().find(|(other, _)| other == key);
                found.is_some_and(|(_, other)| common(value, other))
            });
            !entries.is_empty()
        }
        (value, other) => value == other,
    }
}
