//! Constants and packed integers against the values that they stand for.

use super::chunk_tests::{Dice, case, note};
use super::tests::{DTYPES, Model, check, exact_sum, nan_policy, values, wants};
use super::*;
use crate::codec::packing::SimplePacking;
use crate::codec::{Piece, Values};
use crate::tensor::{ChunkGrid, Part, Selection};
use crate::tgm::DType;
use proptest::prelude::*;

/// Feeds the runs of `part` in pieces of random length, out of `all`, a piece as long as the chunk.
fn feed(
    part: &Part,
    map: &GroupMap,
    all: Piece<'_>,
    keep: Option<&[bool]>,
    dice: &mut Dice,
    states: &mut Accumulators,
) {
    let mut reducer = ChunkReducer::new(part, map);
    for run in part.runs() {
        let (mut at, end) = (run.start as usize, (run.start + run.count) as usize);
        while at < end {
            let stop = end.min(at + dice.roll(400) as usize + 1);
            let keep = keep.map(|keep| &keep[at..stop]);
            reducer.feed(at as u64, all.slice(at, stop), keep, states).unwrap();
            at = stop;
        }
    }
}

fn keep(part: &Part, dice: &mut Dice) -> Option<Vec<bool>> {
    let cells = part.shape.iter().product::<u64>();
    (dice.roll(3) == 0).then(|| (0..cells).map(|_| dice.roll(3) > 0).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn constants_are_as_good_as_their_values(
        seed in any::<u64>(),
        dtype in 0..DTYPES.len(),
        wants in wants(),
        nan in nan_policy(),
    ) {
        let (dtype, (grid, selection, map)) = (DTYPES[dtype], case(seed));
        let mut dice = Dice(seed ^ 0x5bd1e995);
        let mut states = Accumulators::try_new(dtype, map.groups(), wants, nan).unwrap();
        let mut model: Model = vec![Vec::new(); map.groups()];
        for part in grid.parts(&selection).iter() {
            let value = values(dtype, &[dice.bits()], true);
            let cells = part.shape.iter().product::<u64>() as usize;
            let keep = keep(&part, &mut dice);
            let piece = Piece::Constant(value.as_block(), cells);
            feed(&part, &map, piece, keep.as_deref(), &mut dice, &mut states);
            let mut all = Values::with_capacity(dtype, cells);
            prop_assert!((0..cells).all(|_| all.extend(value.as_block())));
            note(&part, &map, &all, keep.as_deref(), &mut model);
        }
        check(&mut states, &model, nan, wants)?;
    }

    #[test]
    fn packed_integers_are_as_good_as_their_values(
        seed in any::<u64>(),
        wants in wants(),
        nan in nan_policy(),
        bits in 1..=32u32,
        scales in (prop_oneof![Just(0.0), -1e3..1e3, Just(250.0), -1e90..1e90], -40..10, -3..4),
    ) {
        let (grid, selection, map) = case(seed);
        let packing = SimplePacking::try_new(bits, scales.0, scales.1, scales.2).unwrap();
        let mut dice = Dice(seed ^ 0x5bd1e995);
        let mut states = Accumulators::try_new(DType::Float64, map.groups(), wants, nan).unwrap();
        let mut model: Model = vec![Vec::new(); map.groups()];
        for part in grid.parts(&selection).iter() {
            let cells = part.shape.iter().product::<u64>();
            let few = dice.roll(32) as u32;
            let samples: Vec<u32> = (0..cells).map(|_| (dice.bits() as u32 >> (32 - bits)) >> few.min(bits - 1)).collect();
            let all = Values::Float64(samples.iter().map(|&q| packing.value(q)).collect());
            let keep = keep(&part, &mut dice);
            feed(&part, &map, Piece::Packed(&samples, packing), keep.as_deref(), &mut dice, &mut states);
            note(&part, &map, &all, keep.as_deref(), &mut model);
        }
        check(&mut states, &model, nan, wants)?;
    }

    #[test] // also where values nearly cancel, or hardly differ
    fn a_tile_of_packed_integers_is_exact(
        len in 1..2048usize,
        bits in 1..=24u32,
        scales in (prop_oneof![Just(0.0), -1e3..1e3, -1e5..1e5], -30..3, -2..3),
        narrow in 0..24u32,
        seed in any::<u64>(),
    ) {
        let packing = SimplePacking::try_new(bits, scales.0, scales.1, scales.2).unwrap();
        let mut dice = Dice(seed);
        let base = (u64::from(dice.bits() as u32) >> (33 - bits)) as u32;
        let spread = 1u64 << narrow.min(bits - 1);
        let samples: Vec<u32> = (0..len).map(|_| base + dice.roll(spread) as u32).collect();
        let decoded: Vec<f64> = samples.iter().map(|&q| packing.value(q)).collect();
        let mut states = Accumulators::try_new(DType::Float64, 1, Wants::ALL, NanPolicy::Null).unwrap();
        let whole = ChunkGrid::whole(vec![len as u64]).unwrap().parts(&Selection::all(&[len as u64]));
        let whole = whole.get(0).unwrap();
        let map = GroupMap::single(&[len as u64]);
        ChunkReducer::new(&whole, &map).feed(0, Piece::Packed(&samples, packing), None, &mut states).unwrap();
        let reading = states.read();
        prop_assert_eq!(reading.counts, [len as u64]);
        let (n, size) = (len as f64, decoded.iter().map(|x| x.abs()).sum::<f64>());
        let want = exact_sum(decoded.iter().copied());
        let Some(Sums::Float(sums)) = &reading.sums else { panic!("no sums") };
        prop_assert!((sums[0] - want).abs() <= 1e-12 * want.abs() + 1e-15 * size, "{} for {want}", sums[0]);
        let want = exact_sum(decoded.iter().map(|x| (x - want / n).powi(2)));
        let m2 = reading.moments.unwrap().m2[0];
        // What floats can tell of deviations from a mean that is itself rounded.
        let told = 1e-15 * (n * want).sqrt() * size / n + n * (1e-16 * size / n).powi(2);
        prop_assert!((m2 - want).abs() <= 1e-12 * want + told, "m2 {m2} for {want}");
    }
}
