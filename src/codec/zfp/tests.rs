//! Streams beside those of the format's library.

use super::*;
use proptest::prelude::*;
use std::ptr;
use zfp_sys_cc as ffi;

/// A stream and a field of the library over `values`, of which `work` makes a size.
fn library(mode: ZfpMode, values: &mut [f64], buffer: &mut Vec<u8>, decode: bool) -> usize {
    // SAFETY: the library is used as its manual says: the field borrows `values` and the bit stream `buffer`, which is
    // as large as the library asks for, for the time of the calls; everything that was opened is closed once.
    unsafe {
        let field =
            ffi::zfp_field_1d(values.as_mut_ptr().cast(), ffi::zfp_type_zfp_type_double, values.len());
        let zfp = ffi::zfp_stream_open(ptr::null_mut());
        match mode {
            ZfpMode::FixedRate(rate) => {
                ffi::zfp_stream_set_rate(zfp, rate, ffi::zfp_type_zfp_type_double, 1, 0);
            }
            ZfpMode::FixedPrecision(planes) => {
                ffi::zfp_stream_set_precision(zfp, planes as u32);
            }
            ZfpMode::FixedAccuracy(tolerance) => {
                ffi::zfp_stream_set_accuracy(zfp, tolerance);
            }
        }
        let room = ffi::zfp_stream_maximum_size(zfp, field);
        let (_, most) = Zfp::try_new(mode).unwrap().payload_bytes(values.len() as u64);
        assert_eq!(room as u64, most);
        buffer.resize(room + 64, 0);
        let bits = ffi::stream_open(buffer.as_mut_ptr().cast(), room + 64);
        ffi::zfp_stream_set_bit_stream(zfp, bits);
        ffi::zfp_stream_rewind(zfp);
        let size = if decode { ffi::zfp_decompress(zfp, field) } else { ffi::zfp_compress(zfp, field) };
        ffi::stream_close(bits);
        ffi::zfp_stream_close(zfp);
        ffi::zfp_field_free(field);
        size
    }
}

fn modes() -> impl Strategy<Value = ZfpMode> {
    prop_oneof![
        (0.1..70.0).prop_map(ZfpMode::FixedRate),
        (0..70_u64).prop_map(ZfpMode::FixedPrecision),
        (-40.0..20.0).prop_map(|e: f64| ZfpMode::FixedAccuracy(e.exp2())),
    ]
}

fn values() -> impl Strategy<Value = Vec<f64>> {
    let value = prop_oneof![
        4 => -300.0..300.0,
        1 => Just(0.0),
        1 => (any::<f64>(), -900_i32..900).prop_map(|(x, e)| if x.is_normal() { x.signum() * f64::from(e).exp2() } else { 1.0 }),
    ];
    let smooth = (0..200_u32, 0.01..3.0_f64)
        .prop_map(|(n, step)| (0..n).map(|i| (f64::from(i) * step).sin()).collect());
    prop_oneof![prop::collection::vec(value, 0..60), smooth]
}

proptest! {
    #[test]
    fn streams_are_the_librarys((mode, values) in (modes(), values())) {
        let zfp = Zfp::try_new(mode).unwrap();
        let mut ours = Vec::new();
        zfp.encode(&values, &mut ours);
        let (mut copy, mut theirs) = (values.clone(), Vec::new());
        if values.is_empty() {
            prop_assert!(ours.is_empty()); // the library isn't made for that
        } else {
            let size = library(mode, &mut copy, &mut theirs, false);
            prop_assert_eq!(&ours, &theirs[..size], "{:?}", mode);
            library(mode, &mut copy, &mut theirs, true);
        }
        let (least, most) = zfp.payload_bytes(values.len() as u64);
        prop_assert!((least..=most).contains(&(ours.len() as u64)));

        let mut all = vec![f64::NAN; values.len()];
        zfp.decoder(&ours, values.len() as u64).decode(0..values.len() as u64, &mut all).unwrap();
        let bits = |values: &[f64]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&all), bits(&copy));
        if let ZfpMode::FixedAccuracy(tolerance) = mode
            && values.iter().all(|x| x.abs() < 1e6)
        {
            prop_assert!(all.iter().zip(&values).all(|(a, b)| (a - b).abs() <= tolerance.max(1e-9)));
        }

        // Pieces of any size, front to back, then from the start again.
        let mut decoder = zfp.decoder(&ours, values.len() as u64);
        for step in [1, 3, 4, 7] {
            for start in (0..values.len()).step_by(step) {
                let end = values.len().min(start + step);
                let mut piece = vec![f64::NAN; end - start];
                decoder.decode(start as u64..end as u64, &mut piece).unwrap();
                prop_assert_eq!(bits(&piece), bits(&all[start..end]));
            }
        }
    }

    #[test] // any bytes are values, or end too early
    fn any_bytes(mode in modes(), payload in prop::collection::vec(any::<u8>(), 0..300), len in 0..200_usize) {
        let zfp = Zfp::try_new(mode).unwrap();
        let _ = zfp.decoder(&payload, len as u64).decode(0..len as u64, &mut vec![0.0; len]);
    }
}

#[test]
fn parameters() {
    for wrong in [0.0, -8.0, f64::NAN, f64::INFINITY, 1e9] {
        assert!(Zfp::try_new(ZfpMode::FixedRate(wrong)).is_err(), "{wrong}");
    }
    for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(Zfp::try_new(ZfpMode::FixedAccuracy(wrong)).is_err(), "{wrong}");
    }
    assert_eq!(Zfp::try_new(ZfpMode::FixedRate(0.5)).unwrap().block_bits(), Some(12));
    assert_eq!(Zfp::try_new(ZfpMode::FixedPrecision(30)).unwrap().block_bits(), None);
}

#[test]
fn a_stream_that_ends_early() {
    let values: Vec<f64> = (0..100).map(|i| f64::from(i).sqrt()).collect();
    for mode in [ZfpMode::FixedRate(16.0), ZfpMode::FixedAccuracy(1e-6)] {
        let zfp = Zfp::try_new(mode).unwrap();
        let mut payload = Vec::new();
        zfp.encode(&values, &mut payload);
        let cut = &payload[..payload.len() - 16];
        assert!(matches!(zfp.decoder(cut, 100).decode(0..100, &mut [0.0; 100]), Err(ZfpError::Truncated(_))));
        assert!(zfp.decoder(cut, 100).decode(0..50, &mut [0.0; 50]).is_ok());
    }
}
