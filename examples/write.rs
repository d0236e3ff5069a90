//! Writes a file of hourly fields, each encoded on another core, and reads it back. Needs no SQL:
//! `cargo run --release --no-default-features --example write -- /tmp/fields.tgm`

use millibar::codec::{Compression, Encoding, Packing, Spec, Values};
use millibar::files::{FileWriter, Level, Tensor, ValidateOptions, validate};
use millibar::source::{LocalFile, NewFile};
use millibar::tgm::{DType, File, Limits, Map, Value, WriteOptions};
use std::sync::Arc;

const LATITUDES: u64 = 91;
const LONGITUDES: u64 = 180;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("where to? give a path")?;
    let packed = Spec {
        encoding: Encoding::SimplePacking(Packing { bits: 16, decimal: 0, scales: None }),
        compression: Compression::Szip { rsi: 128, block_size: 16, flags: 8 },
        ..Spec::new(DType::Float64)
    };
    let axis = |name: &str, len: u64, first: f64, step: f64| Tensor {
        base: said(name, &[]),
        spec: Spec::new(DType::Float64),
        shape: vec![len],
        values: Values::Float64((0..len).map(|i| first + step * i as f64).collect()),
    };
    let field = |hour: u64| Tensor {
        base: said("t2m", &[("step", hour.into())]),
        spec: packed.clone(),
        shape: vec![LATITUDES, LONGITUDES],
        values: Values::Float64(
            (0..LATITUDES * LONGITUDES)
                .map(|i| 280.0 + (i as f64 / 500.0 + hour as f64).sin() * 12.0)
                .collect(),
        ),
    };

    // The file appears under its name when it is complete, or not at all.
    let mut writer = FileWriter::new(path.as_str(), NewFile::create(&path)?, WriteOptions::default());
    let axes = [axis("latitude", LATITUDES, 90.0, -2.0), axis("longitude", LONGITUDES, 0.0, 2.0)];
    writer.message(&said("axes", &[]), axes)?;
    writer.stream(&said("forecast", &[("class", "od".into())]), (0..24).map(|hour| Ok(field(hour))))?;
    writer.finish()?.commit()?;

    let (source, limits) = (Arc::new(LocalFile::open(&path)?), Limits::default());
    let options = ValidateOptions { level: Level::Full, limits: &limits, threads: None, progress: &|_| {} };
    assert_eq!(validate(&*source, &options)?.issues, []);
    for message in File::open(source, &limits)?.messages {
        let message = message?;
        let bytes = message.span.end - message.span.start;
        println!("{}: {} objects in {bytes} bytes", message.place, message.objects.len());
    }
    Ok(())
}

/// Metadata: a name, and more.
fn said(name: &str, more: &[(&str, Value)]) -> Map {
    let more = more.iter().map(|(key, value)| (key.to_string(), value.clone()));
    [("name".to_string(), name.into())].into_iter().chain(more).collect()
}
