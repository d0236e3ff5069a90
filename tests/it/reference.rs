//! Files that we write, read by the reference package: its strictest validation finds nothing, and it decodes the bytes
//! that we decode, for every dtype, codec and mask.

use crate::codec_encode::{CODECS, MASKS, decode, encode, le_bytes, numbers, values};
use millibar::codec::{
    Compression, Encoding, Filter, MaskMethod, MaskOptions, Packing, Spec, Sz3Mode, Values, ZfpMode,
};
use millibar::tgm::{ByteOrder, DType, EncodedObject, Metadata, WriteOptions, Writer};
use std::path::PathBuf;
use std::process::Command;

/// A Python that has the reference package; `None` (said on stderr) where there is none.
fn python() -> Option<PathBuf> {
    let python = PathBuf::from(std::env::var_os("MILLIBAR_VENV")?).join("bin/python");
    let found = Command::new(&python).args(["-c", "import tensogram, numpy"]).output();
    if found.is_ok_and(|out| out.status.success()) {
        return Some(python);
    }
    eprintln!("skipped: {} has no tensogram", python.display());
    None
}

/// What an object decodes to, as the reference gives it: bitmasks packed.
fn expected(values: &Values) -> Vec<u8> {
    let bytes = le_bytes(values);
    match values {
        Values::Bitmask(_) => {
            bytes.chunks(8).map(|bits| bits.iter().zip(0..).map(|(bit, i)| bit << (7 - i)).sum()).collect()
        }
        _ => bytes,
    }
}

/// Every pipeline: lossless ones of every dtype, packing, and what loses bits.
fn pipelines() -> Vec<Spec> {
    let mut all = Vec::new();
    let masks = |method: MaskMethod| MaskOptions {
        methods: [method; 3],
        small_mask_bytes: 0,
        ..MaskOptions::allow_all()
    };
    for (at, dtype) in DType::ALL.into_iter().enumerate() {
        let plain = Spec::new(dtype);
        for (number, compression) in CODECS.into_iter().enumerate() {
            for order in [ByteOrder::Little, ByteOrder::Big] {
                for filter in [Filter::None, Filter::Shuffle(dtype.width().unwrap_or(1) as u64)] {
                    let masks = masks(MASKS[(at + number) % MASKS.len()]);
                    all.push(Spec { compression, byte_order: order, filter, masks, ..plain.clone() });
                }
            }
        }
        if dtype.is_float() || dtype.is_complex() {
            all.extend(MASKS.map(|method| Spec { masks: masks(method), ..plain.clone() }));
        }
    }
    let double = Spec::new(DType::Float64);
    for bits in 0..=64 {
        let encoding = Encoding::SimplePacking(Packing { bits, decimal: bits as i32 % 3, scales: None });
        for compression in CODECS {
            all.push(Spec { encoding, compression, ..double.clone() });
        }
    }
    let zfp = [0.5, 8.0, 13.5].map(|rate| Compression::Zfp(ZfpMode::FixedRate(rate)));
    let planes = [1, 24].map(|planes| Compression::Zfp(ZfpMode::FixedPrecision(planes)));
    let bounds = [(Sz3Mode::Abs, 0.01), (Sz3Mode::Rel, 1e-4), (Sz3Mode::Psnr, 60.0)];
    let sz3 = bounds.map(|(mode, bound)| Compression::Sz3 { mode, bound });
    for compression in [&zfp[..], &planes, &sz3].concat() {
        all.push(Spec { compression, ..double.clone() });
    }
    all
}

#[test]
fn the_reference_reads_what_we_write() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (path, wanted) = (folder.path().join("all.tgm"), folder.path().join("expected.bin"));
    let mut writer = Writer::new("all.tgm", Vec::new(), WriteOptions::default());
    let (mut bytes, mut written) = (Vec::new(), 0);
    for (at, spec) in pipelines().into_iter().enumerate() {
        let (len, packed) = (if at % 7 == 0 { 1040 } else { 208 }, spec.encoding != Encoding::None);
        let lossy = matches!(spec.compression, Compression::Sz3 { .. } | Compression::Zfp(_));
        let values = values(spec.dtype, &numbers(at as u64 + 9, len, (at % 5) as u8), !packed && !lossy);
        let Ok(encoded) = encode(&spec, &[len as u64 / 8, 8], &values) else { continue };
        let decoded = expected(&decode(&encoded, len));
        bytes.extend((decoded.len() as u64).to_le_bytes());
        bytes.extend(decoded);
        let object = EncodedObject { descriptor: &encoded.descriptor, region: &encoded.region };
        writer.message(&Metadata::default(), &[object]).unwrap();
        written += 1;
    }
    assert!(written > 800, "{written}");
    std::fs::write(&path, writer.finish().unwrap()).unwrap();
    std::fs::write(&wanted, bytes).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/check_written.py");
    let out = Command::new(python).arg(script).args([&path, &wanted]).output().unwrap();
    assert!(out.status.success(), "{} {}", out.status, String::from_utf8_lossy(&out.stderr));
    assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), written.to_string());
}
