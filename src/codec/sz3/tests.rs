//! Our decoder beside the library's, and on damaged streams.

use super::*;
use crate::codec::spec::Sz3Mode;
use proptest::prelude::*;

fn ours(payload: &[u8], len: usize) -> Result<Vec<f64>> {
    let mut out = vec![0xa5; 8 * len];
    decode(payload, false, &mut ZstdContext::default(), &mut AlignedBuf::default(), &mut out)?;
    Ok(out.as_chunks().0.iter().map(|value| f64::from_ne_bytes(*value)).collect())
}

fn theirs(payload: &[u8]) -> Vec<f64> {
    let (_, data) = tensogram_sz3::decompress::<f64, _>(payload).unwrap();
    data.data().to_vec()
}

/// Smooth, noisy, rough and constant values, so that every algorithm is chosen.
fn values() -> impl Strategy<Value = Vec<f64>> {
    (1..30_000_usize, 0..6_u8, any::<u32>()).prop_map(|(len, kind, seed)| {
        let mut state = u64::from(seed) | 1;
        let mut noise = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f64 / f64::from(1 << 24)
        };
        let mut walk = 0.0;
        (0..len)
            .map(|i| match kind {
                0 => (i as f64 / 300.0).sin() * 20.0,
                1 => (i as f64 / 300.0).sin() * 20.0 + noise(),
                2 => noise() * 1e6,
                3 => 7.25,
                4 => {
                    walk += noise() - 0.5;
                    walk
                }
                _ => {
                    if i % 97 == 0 {
                        1e9 * noise()
                    } else {
                        i as f64 * 0.25
                    }
                }
            })
            .collect()
    })
}

fn bounds() -> impl Strategy<Value = (Sz3Mode, f64)> {
    prop_oneof![
        (-20.0..8.0).prop_map(|e: f64| (Sz3Mode::Abs, e.exp2())),
        (-24.0..-2.0).prop_map(|e: f64| (Sz3Mode::Rel, e.exp2())),
        (20.0..120.0).prop_map(|db| (Sz3Mode::Psnr, db)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn values_are_the_librarys(values in values(), (mode, bound) in bounds()) {
        let mut payload = Vec::new();
        encode(&values, mode, bound, &mut payload).unwrap();
        let got = ours(&payload, values.len()).unwrap();
        let bits = |values: &[f64]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&got), bits(&theirs(&payload)), "{:?}", Stream::parse(&payload).unwrap().algorithm);
        prop_assert!(ours(&payload, values.len() + 1).is_err());
    }

    #[test] // bytes of the stream, and of what is inside its zstd frame
    fn damage_is_an_error_or_other_values(
        values in values().prop_map(|values| values[..values.len().min(3000)].to_vec()),
        (mode, bound) in bounds(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        inside in any::<bool>(),
    ) {
        let mut payload = Vec::new();
        encode(&values, mode, bound, &mut payload).unwrap();
        let stream = Stream::parse(&payload).unwrap();
        if !inside || stream.algorithm == Algorithm::Lossless {
            damage.iter().for_each(|(at, byte)| *at.get_mut(&mut payload) = *byte);
            let _ = ours(&payload, values.len());
            return Ok(());
        }
        let mut raw = zstd::decode_all(&stream.body[8..]).unwrap();
        // Mostly the head, which has the lengths and the tree.
        let head = raw.len().min(400);
        damage.iter().for_each(|(at, byte)| *at.get_mut(&mut raw[..head]) = *byte);
        let _ = decode_raw(&stream, &raw, &mut vec![0; 8 * values.len()]);
    }
}

#[test]
fn every_algorithm_was_there() {
    let smooth: Vec<f64> = (0..5000).map(|i| (f64::from(i) / 300.0).sin()).collect();
    let steps: Vec<f64> =
        (0..200_000).map(|i| f64::from(i / 100 % 7) * 3.0 + f64::from(i % 3) * 0.01).collect();
    let algorithm = |values: &[f64], bound: f64| {
        let mut payload = Vec::new();
        encode(values, Sz3Mode::Abs, bound, &mut payload).unwrap();
        assert_eq!(ours(&payload, values.len()).unwrap(), theirs(&payload));
        Stream::parse(&payload).unwrap().algorithm
    };
    assert_eq!(algorithm(&smooth, 1e-3), Algorithm::Interpolation);
    assert_eq!(algorithm(&[1.0, 2.0, 4.0], 1e-12), Algorithm::Lossless);
    assert!(matches!(algorithm(&steps, 1e-3), Algorithm::Lorenzo { .. }));
}
