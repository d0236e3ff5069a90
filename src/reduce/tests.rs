//! Accumulators against lists of values.

use super::*;
use crate::codec::{Block, Complex, Values};
use crate::tgm::DType;
use crate::{Error, each_dtype};
use half::{bf16, f16};
use proptest::prelude::*;

/// A value of any dtype.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Num {
    Float(f64),
    Int(i128),
}

impl Num {
    fn is_nan(self) -> bool {
        matches!(self, Num::Float(x) if x.is_nan())
    }

    pub(super) fn to_f64(self) -> f64 {
        match self {
            Num::Float(x) => x,
            Num::Int(x) => x as f64,
        }
    }

    fn order(&self, other: &Self) -> std::cmp::Ordering {
        match (self, other) {
            (Num::Float(a), Num::Float(b)) => a.total_cmp(b),
            (Num::Int(a), Num::Int(b)) => a.cmp(b),
            _ => unreachable!("one dtype at a time"),
        }
    }

    /// The same value to the bit (the payload of NaN aside).
    fn same(&self, other: &Self) -> bool {
        self.order(other).is_eq()
            || (self.is_nan() && other.is_nan())
                && self.to_f64().is_sign_negative() == other.to_f64().is_sign_negative()
    }
}

/// Lossless, for the model.
trait ToNum: Copy {
    fn num(self) -> Num;
}
macro_rules! to_num {
    ($kind:ident: $($dtype:ty),*) => { $(impl ToNum for $dtype { fn num(self) -> Num { Num::$kind(self.into()) } })* };
}
to_num!(Float: f16, bf16, f32, f64);
to_num!(Int: i8, i16, i32, i64, u8, u16, u32, u64);

impl<T: Copy> ToNum for Complex<T> {
    fn num(self) -> Num {
        unreachable!("complex cells aren't reduced")
    }
}

pub(super) fn nums(values: &Values) -> Vec<Num> {
    each_dtype!(Values, values, values => values.iter().map(|value| value.num()).collect())
}

/// Values of `dtype` out of random bits: with special values among them, and NaN if `nan`.
pub(super) fn values(dtype: DType, bits: &[u64], nan: bool) -> Values {
    let float = |bits: u64| match bits % 23 {
        0..=2 if nan => f64::NAN.copysign(if bits & 32 == 0 { 1.0 } else { -1.0 }),
        3 => 0.0,
        4 => -0.0,
        _ => ((bits >> 40) as f64 / 1e4 - 500.0) * if bits & 64 == 0 { 1.0 } else { 0.01 },
    };
    let floats = || bits.iter().map(|&bits| float(bits));
    match dtype {
        DType::Float16 => Values::Float16(floats().map(f16::from_f64).collect()),
        DType::BFloat16 => Values::BFloat16(floats().map(bf16::from_f64).collect()),
        DType::Float32 => Values::Float32(floats().map(|x| x as f32).collect()),
        DType::Float64 => Values::Float64(floats().collect()),
        DType::Int8 => Values::Int8(bits.iter().map(|&bits| bits as i8).collect()),
        DType::Int16 => Values::Int16(bits.iter().map(|&bits| bits as i16).collect()),
        DType::Int32 => Values::Int32(bits.iter().map(|&bits| bits as i32).collect()),
        DType::Int64 => Values::Int64(bits.iter().map(|&bits| bits as i64).collect()),
        DType::UInt8 => Values::UInt8(bits.iter().map(|&bits| bits as u8).collect()),
        DType::UInt16 => Values::UInt16(bits.iter().map(|&bits| bits as u16).collect()),
        DType::UInt32 => Values::UInt32(bits.iter().map(|&bits| bits as u32).collect()),
        DType::UInt64 => Values::UInt64(bits.to_vec()),
        _ => Values::Bitmask(bits.iter().map(|&bits| (bits & 1) as u8).collect()),
    }
}

pub(super) const ALL: Wants = Wants::ALL;

/// Values that fell into each group, in order of arrival.
pub(super) type Model = Vec<Vec<Num>>;

fn close(got: f64, want: f64, scale: f64) -> bool {
    got == want || (got.is_nan() && want.is_nan()) || (got - want).abs() <= 1e-12 * scale
}

/// A sum with negligible error: values are added in order of size, by compensation.
pub(super) fn exact_sum(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut rest) = (0.0, 0.0);
    for value in values {
        let (near, lost) = super::state::two_sum(sum, value);
        (sum, rest) = (near, rest + lost);
    }
    super::state::total(sum, rest)
}

/// Compares `states` with what they should be, in all but the values that rounding touches to the bit.
pub(super) fn check(
    states: &mut Accumulators,
    model: &Model,
    nan: NanPolicy,
    wants: Wants,
) -> Result<(), TestCaseError> {
    let reading = states.read();
    prop_assert_eq!(reading.sums.is_some(), wants.sum);
    prop_assert_eq!(reading.mins.is_some(), wants.min);
    prop_assert_eq!(reading.maxs.is_some(), wants.max);
    prop_assert_eq!(reading.moments.is_some(), wants.moments);
    let (mins, maxs) = (reading.mins.as_ref().map(nums), reading.maxs.as_ref().map(nums));
    for (group, all) in model.iter().enumerate() {
        let valid: Vec<Num> =
            all.iter().copied().filter(|x| nan == NanPolicy::Value || !x.is_nan()).collect();
        prop_assert_eq!(reading.counts[group], valid.len() as u64, "count of group {}", group);
        let size: f64 = valid.iter().map(|x| x.to_f64().abs()).sum();
        match &reading.sums {
            Some(Sums::Int(sums)) => {
                let want: i128 = valid.iter().map(|x| if let Num::Int(x) = x { *x } else { 0 }).sum();
                prop_assert_eq!(sums[group], want);
            }
            Some(Sums::Float(sums)) => {
                let want = exact_sum(valid.iter().map(|x| x.to_f64()));
                prop_assert!(close(sums[group], want, size), "sum {} for {want}", sums[group]);
            }
            None => {}
        }
        if valid.is_empty() {
            continue;
        }
        let (min, max) = (valid.iter().copied().min_by(Num::order), valid.iter().copied().max_by(Num::order));
        for (got, want) in [(&mins, min), (&maxs, max)] {
            if let (Some(got), Some(want)) = (got, want) {
                prop_assert!(got[group].same(&want), "extreme {:?} for {want:?}", got[group]);
            }
        }
        if let Some(Moments { means, m2 }) = &reading.moments {
            let mean = exact_sum(valid.iter().map(|x| x.to_f64())) / valid.len() as f64;
            prop_assert!(
                close(means[group], mean, size / valid.len() as f64),
                "mean {} for {mean}",
                means[group]
            );
            let squares = exact_sum(valid.iter().map(|x| (x.to_f64() - mean).powi(2)));
            // An error of the mean shows as its square times the count.
            let scale = squares + valid.len() as f64 * mean * mean * 1e-6;
            prop_assert!(close(m2[group], squares, scale), "m2 {} for {squares}", m2[group]);
        }
    }
    Ok(())
}

pub(super) const DTYPES: [DType; 13] = [
    DType::Float16,
    DType::BFloat16,
    DType::Float32,
    DType::Float64,
    DType::Int8,
    DType::Int16,
    DType::Int32,
    DType::Int64,
    DType::UInt8,
    DType::UInt16,
    DType::UInt32,
    DType::UInt64,
    DType::Bitmask,
];

pub(super) fn wants() -> impl Strategy<Value = Wants> {
    any::<(bool, bool, bool, bool)>().prop_map(|(sum, min, max, moments)| Wants { sum, min, max, moments })
}

pub(super) fn nan_policy() -> impl Strategy<Value = NanPolicy> {
    prop_oneof![Just(NanPolicy::Null), Just(NanPolicy::Value)]
}

const GROUPS: usize = 5000;

/// Adds `bits` in stretches to `states` and to `model`, by all three kernels.
fn add_some(
    states: &mut Accumulators,
    model: &mut Model,
    dtype: DType,
    calls: &[(u8, Vec<u64>, bool, bool)],
) -> Result<(), TestCaseError> {
    for (kernel, bits, nan, masked) in calls {
        let values = values(dtype, bits, *nan);
        let keep: Vec<bool> = bits.iter().map(|bits| bits & 768 != 0).collect();
        let keep = masked.then_some(&keep[..]);
        let base = bits.first().map_or(0, |&bits| bits as usize % (GROUPS - 4500));
        // Scattered, with ramps and runs of one code between.
        let codes = bits.iter().enumerate().map(|(i, bits)| match i / 50 % 3 {
            0 => (bits >> 20) as u32 % 7,
            1 => i as u32,
            _ => i as u32 / 40,
        });
        let codes: Vec<u32> = codes.collect();
        let fits = match kernel % 3 {
            0 => states.add_run(base, values.as_block(), keep),
            1 => states.add_each(base, values.as_block(), keep),
            _ => states.add_scattered(base, &codes, values.as_block(), keep),
        };
        prop_assert!(fits.is_ok());
        for (i, num) in nums(&values).into_iter().enumerate() {
            let group = base + [0, i, codes[i] as usize][usize::from(kernel % 3)];
            if keep.is_none_or(|keep| keep[i]) {
                model[group].push(num);
            }
        }
    }
    Ok(())
}

fn calls() -> impl Strategy<Value = Vec<(u8, Vec<u64>, bool, bool)>> {
    let bits = prop_oneof![
        proptest::collection::vec(any::<u64>(), 0..100),
        proptest::collection::vec(any::<u64>(), 1000..4500)
    ];
    proptest::collection::vec((any::<u8>(), bits, any::<bool>(), any::<bool>()), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn states_are_those_of_the_values(
        dtype in proptest::sample::select(&DTYPES[..]),
        wants in wants(),
        nan in nan_policy(),
        calls in calls(),
    ) {
        let mut states = Accumulators::try_new(dtype, GROUPS, wants, nan).unwrap();
        let mut model = vec![Vec::new(); GROUPS];
        add_some(&mut states, &mut model, dtype, &calls)?;
        check(&mut states, &model, nan, wants)?;
        states.clear();
        check(&mut states, &vec![Vec::new(); GROUPS], nan, wants)?;
        prop_assert!(states.memory() >= GROUPS * 8);
    }

    #[test]
    fn merged_states_are_those_of_all_values(
        dtype in proptest::sample::select(&DTYPES[..]),
        nan in nan_policy(),
        (a, b, same) in (calls(), calls(), any::<bool>()),
    ) {
        let mut states = Accumulators::try_new(dtype, GROUPS, ALL, nan).unwrap();
        let mut other = states.clone();
        let (mut model, mut more) = (vec![Vec::new(); GROUPS], vec![Vec::new(); GROUPS]);
        add_some(&mut states, &mut model, dtype, &a)?;
        add_some(&mut other, &mut more, dtype, &b)?;
        let target = |group| if same { group } else { GROUPS - 1 - group };
        match same {
            true => states.merge_same(&mut other).unwrap(),
            false => states.merge(&mut other, target).unwrap(),
        }
        for (group, values) in more.into_iter().enumerate() {
            model[target(group)].extend(values);
        }
        check(&mut states, &model, nan, ALL)?;
    }
}

#[test]
fn sums_of_many_floats_keep_their_digits() {
    // Of very different sizes, so that no running sum in an f64 is exact; as integers, all are.
    let mut bits = 1u64;
    let mut cell = || {
        bits = bits.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (1.0 + (bits >> 41) as f32 / (1 << 23) as f32) / (1u32 << (bits >> 20 & 15)) as f32
    };
    let cells: Vec<f32> = (0..1_000_000).map(|_| cell()).collect();
    let mut states = Accumulators::try_new(DType::Float32, 2, ALL, NanPolicy::Null).unwrap();
    for block in cells.chunks(10_007) {
        states.add_run(0, Block::Float32(block), None).unwrap();
        states.add_scattered(0, &vec![1; block.len()], Block::Float32(block), None).unwrap();
    }
    let scale = f64::from(1 << 30) * f64::from(1 << 10);
    let want = cells.iter().map(|&cell| (f64::from(cell) * scale) as i128).sum::<i128>() as f64 / scale;
    let mean = want / cells.len() as f64;
    let m2 = exact_sum(cells.iter().map(|&cell| (f64::from(cell) - mean).powi(2)));
    let reading = states.read();
    let Some(Sums::Float(sums)) = reading.sums else { panic!("sums of floats") };
    let moments = reading.moments.unwrap();
    for group in [0, 1] {
        assert!((sums[group] - want).abs() <= 2.3e-16 * want, "{} for {want}", sums[group]);
        assert!((moments.means[group] - mean).abs() <= 3e-16 * mean);
        assert!((moments.m2[group] - m2).abs() <= 1e-13 * m2, "{} for {m2}", moments.m2[group]);
    }
}

#[test]
fn deviations_from_an_odd_first_cell_keep_their_digits() {
    let mut cells: Vec<f64> =
        (0..2048u32).map(|at| f64::from(at.wrapping_mul(2654435761) >> 8) / 1e7).collect();
    cells[0] = 1e6;
    let mean = exact_sum(cells.iter().copied()) / cells.len() as f64;
    let m2 = exact_sum(cells.iter().map(|cell| (cell - mean).powi(2)));
    let mut states = Accumulators::try_new(DType::Float64, 1, ALL, NanPolicy::Null).unwrap();
    states.add_run(0, Block::Float64(&cells), None).unwrap();
    let got = states.read().moments.unwrap().m2[0];
    assert!((got - m2).abs() <= 2e-15 * m2, "{got} for {m2}");
}

#[test]
fn integer_sums_go_beyond_64_bits() {
    let mut states = Accumulators::try_new(DType::UInt64, 3, ALL, NanPolicy::Null).unwrap();
    let block = [u64::MAX; 3];
    states.add_run(0, Block::UInt64(&block), None).unwrap();
    states.add_each(0, Block::UInt64(&block), None).unwrap();
    states.add_scattered(0, &[0, 0, 2], Block::UInt64(&block), None).unwrap();
    let most = i128::from(u64::MAX);
    assert_eq!(states.read().sums, Some(Sums::Int(vec![6 * most, most, 2 * most])));
    let mut states = Accumulators::try_new(DType::Int64, 1, ALL, NanPolicy::Null).unwrap();
    states.add_run(0, Block::Int64(&[i64::MIN; 5000]), None).unwrap();
    assert_eq!(states.read().sums, Some(Sums::Int(vec![5000 * i128::from(i64::MIN)])));
}

#[test]
fn infinities_are_values() {
    for policy in [NanPolicy::Null, NanPolicy::Value] {
        let mut states = Accumulators::try_new(DType::Float64, 3, ALL, policy).unwrap();
        states.add_run(0, Block::Float64(&[1.0, f64::INFINITY, 2.0]), None).unwrap();
        states.add_run(1, Block::Float64(&[f64::NEG_INFINITY, f64::INFINITY]), None).unwrap();
        states.add_each(1, Block::Float64(&[3.0, f64::NEG_INFINITY]), None).unwrap();
        states.add_scattered(0, &[2, 0], Block::Float64(&[4.0, 5.0]), None).unwrap();
        let reading = states.read();
        assert_eq!(reading.counts, [4, 3, 2]);
        let Some(Sums::Float(sums)) = reading.sums else { panic!("sums of floats") };
        assert!(sums[0] == f64::INFINITY && sums[1].is_nan() && sums[2] == f64::NEG_INFINITY, "{sums:?}");
        assert_eq!(reading.mins, Some(Values::Float64(vec![1.0, f64::NEG_INFINITY, f64::NEG_INFINITY])));
        assert_eq!(reading.maxs, Some(Values::Float64(vec![f64::INFINITY, f64::INFINITY, 4.0])));
        assert!(reading.moments.unwrap().m2.iter().all(|m2| m2.is_nan()));
    }
}

#[test]
fn misfits_are_refused() {
    let mut states = Accumulators::try_new(DType::Float32, 4, ALL, NanPolicy::Null).unwrap();
    let block = Block::Float32(&[1.0, 2.0, 3.0]);
    assert!(matches!(states.add_run(4, block, None), Err(Error::Grid { .. })));
    assert!(states.add_run(0, block, Some(&[true])).is_err());
    assert!(states.add_run(0, Block::Float64(&[1.0]), None).is_err());
    assert!(states.add_each(2, block, None).is_err());
    assert!(states.add_each(usize::MAX, block, None).is_err());
    assert!(states.add_scattered(2, &[0, 1, 2], block, None).is_err());
    assert!(states.add_scattered(0, &[0, 1], block, None).is_err());
    let mut other = Accumulators::try_new(DType::Float32, 5, ALL, NanPolicy::Null).unwrap();
    assert!(states.merge(&mut other, |group| group).is_err());
    let mut other = Accumulators::try_new(DType::Float32, 4, ALL, NanPolicy::Value).unwrap();
    assert!(states.merge(&mut other, |group| group).is_err());
    assert!(Accumulators::try_new(DType::Complex64, 1, ALL, NanPolicy::Null).is_err());
    assert!(Accumulators::try_new(DType::Int8, usize::MAX, ALL, NanPolicy::Null).is_err());
    assert_eq!(states.read().counts, [0; 4]);
}
