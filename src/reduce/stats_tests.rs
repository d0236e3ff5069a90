//! Answers from statistics against the cells that they stand for.

use super::chunk_tests::{Dice, case, note};
use super::tests::{DTYPES, Model, check, nan_policy, nums, values, wants};
use super::*;
use crate::codec::Values;
use crate::dataset::stats::{ChunkStats, Number, Sum, VariableStats};
use crate::tensor::{ChunkGrid, Part, Selection};
use crate::tgm::DType;
use proptest::prelude::*;

/// Cells of a whole chunk: anything, one value, or nothing but NaN.
fn cells(dtype: DType, part: &Part, dice: &mut Dice) -> Values {
    let cells = part.shape.iter().product::<u64>();
    let (nan, same) = (dice.roll(3) == 0, dice.roll(3) == 0);
    let all_nan = dtype == DType::Float32 && dice.roll(6) == 0;
    if all_nan {
        return Values::Float32(vec![f32::NAN; cells as usize]);
    }
    let first = dice.bits();
    let bits: Vec<u64> = (0..cells).map(|_| if same { first } else { dice.bits() }).collect();
    values(dtype, &bits, nan)
}

fn stats_of(dtype: DType, cells: &Values) -> ChunkStats {
    let mut states = Accumulators::try_new(dtype, 1, Wants::ALL, NanPolicy::Null).unwrap();
    states.add_run(0, cells.as_block(), None).unwrap();
    states.summary(cells.len() as u64).unwrap()
}

fn feed(part: &Part, map: &GroupMap, cells: &Values, states: &mut Accumulators) {
    let mut reducer = ChunkReducer::new(part, map);
    for run in part.runs() {
        let block = cells.as_block().slice(run.start as usize, (run.start + run.count) as usize);
        reducer.feed(run.start, block, None, states).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn chunks_are_answered_as_if_they_were_decoded(
        seed in any::<u64>(),
        dtype in 0..DTYPES.len(),
        wants in wants(),
        nan in nan_policy(),
    ) {
        let (dtype, (grid, selection, map)) = (DTYPES[dtype], case(seed));
        let mut dice = Dice(seed ^ 0x5bd1e995);
        let selection = if dice.roll(2) == 0 { Selection::all(grid.shape()) } else { selection };
        let known = VariableStats::new(dtype, grid.chunks());
        let mut states = Accumulators::try_new(dtype, map.groups(), wants, nan).unwrap();
        let mut model: Model = vec![Vec::new(); map.groups()];
        for part in grid.parts(&selection).iter() {
            let cells = cells(dtype, &part, &mut dice);
            note(&part, &map, &cells, None, &mut model);
            if dice.roll(4) > 0 {
                prop_assert!(known.put(part.chunk, &stats_of(dtype, &cells)));
            }
            let stats = known.get(part.chunk);
            match stats.and_then(|stats| Some((stats, Answer::find(&part, &map, &stats, wants, nan)?))) {
                Some((stats, answer)) => answer.add(&part, &map, &stats, &mut states).unwrap(),
                None => feed(&part, &map, &cells, &mut states),
            }
        }
        check(&mut states, &model, nan, wants)?;
    }

    // The extremes and the count to the bit; the sum within what two orders of adding round: none of 150,000 cases was
    // further off, and some are by more than 1e-15.
    #[test]
    fn joined_chunks_are_one(bits in prop::collection::vec(any::<u64>(), 1..600), dtype in 0..DTYPES.len(), by in 1..40u64) {
        let (dtype, len) = (DTYPES[dtype], bits.len() as u64);
        let all = values(dtype, &bits, true);
        let grid = ChunkGrid::try_new(vec![len], vec![by]).unwrap();
        let parts = grid.parts(&Selection::all(&[len]));
        let pieces = parts.iter().map(|part| {
            let (from, to) = (part.origin[0] as usize, (part.origin[0] + part.shape[0]) as usize);
            stats_of(dtype, &values(dtype, &bits[from..to], true))
        });
        let (got, want) = (joined(dtype, pieces).unwrap(), stats_of(dtype, &all));
        prop_assert_eq!((got.valid, got.nan, got.bounds), (want.valid, want.nan, want.bounds));
        match (got.sum, want.sum) {
            (Sum::Float { near: a, rest: b }, Sum::Float { near: c, rest: d }) => {
                let size: f64 = nums(&all).iter().map(|x| x.to_f64()).filter(|x| !x.is_nan()).map(f64::abs).sum();
                prop_assert!(((a + b) - (c + d)).abs() <= 2e-15 * size);
            }
            (a, b) => prop_assert_eq!(a, b),
        }
    }
}

fn whole(shape: &[u64]) -> Part {
    ChunkGrid::whole(shape.to_vec()).unwrap().parts(&Selection::all(shape)).get(0).unwrap()
}

#[test]
fn statistics_of_other_cells_are_not_believed() {
    let (part, map) = (whole(&[2, 3]), GroupMap::single(&[2, 3]));
    let stats = stats_of(DType::Int16, &Values::Int16(vec![1, 2, 3, 4, 5]));
    assert_eq!(Answer::find(&part, &map, &stats, Wants::ALL, NanPolicy::Null), None, "5 of 6 cells");
    let mut floats = Accumulators::try_new(DType::Float32, 1, Wants::ALL, NanPolicy::Null).unwrap();
    assert!(floats.fold_stats(0, &stats).is_err());
    assert!(floats.fold_stats(1, &stats_of(DType::Float32, &Values::Float32(vec![1.0]))).is_err());
    let mut bytes = Accumulators::try_new(DType::UInt64, 1, Wants::ALL, NanPolicy::Null).unwrap();
    assert!(bytes.fold_stats(0, &stats).is_err(), "signed bounds");
}

#[test]
fn where_nan_is_a_value_its_sign_is_unknown() {
    let (part, map) = (whole(&[2]), GroupMap::single(&[2]));
    let stats = stats_of(DType::Float64, &Values::Float64(vec![1.0, -f64::NAN]));
    assert_eq!((stats.valid, stats.nan), (1, 1));
    assert_eq!(Answer::find(&part, &map, &stats, Wants::ALL, NanPolicy::Value), None);
    assert_eq!(Answer::find(&part, &map, &stats, Wants::ALL, NanPolicy::Null), Some(Answer::Whole(0)));
    let mut total = Accumulators::try_new(DType::Float64, 1, Wants::ALL, NanPolicy::Value).unwrap();
    assert!(total.fold_stats(0, &stats).is_err());
    assert_eq!(total.summary(2), None);
}

#[test]
fn constants_that_are_infinite_have_no_variance() {
    let (part, map) = (whole(&[3]), GroupMap::single(&[3]));
    let cells = Values::Float32(vec![f32::INFINITY; 3]);
    let stats = stats_of(DType::Float32, &cells);
    let answer = Answer::find(&part, &map, &stats, Wants::ALL, NanPolicy::Null).unwrap();
    assert_eq!(answer, Answer::Constant(Number::Float(f64::INFINITY)));
    let mut states = Accumulators::try_new(DType::Float32, 1, Wants::ALL, NanPolicy::Null).unwrap();
    answer.add(&part, &map, &stats, &mut states).unwrap();
    let reading = states.read();
    assert_eq!(reading.sums, Some(Sums::Float(vec![f64::INFINITY].into())));
    assert!(reading.moments.unwrap().m2[0].is_nan());
}

#[test]
fn large_sums_stay_exact() {
    let (part, map) = (whole(&[3]), GroupMap::single(&[3]));
    let cells = Values::Int64(vec![i64::MAX; 3]);
    let stats = stats_of(DType::Int64, &cells);
    let mut states = Accumulators::try_new(DType::Int64, 1, Wants::ALL, NanPolicy::Null).unwrap();
    Answer::Whole(0).add(&part, &map, &stats, &mut states).unwrap();
    Answer::Constant(Number::Int(i64::MAX)).add(&part, &map, &stats, &mut states).unwrap();
    assert_eq!(states.read().sums, Some(Sums::Int(vec![i128::from(i64::MAX) * 6])));
}
