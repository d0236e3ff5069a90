//! When stored hashes are checked: never, on full decodes, always.

use crate::memory_source::MemorySource;
use crate::support::{field, tgm_message};
use millibar::codec::{Pipeline, Values, Verify};
use millibar::dataset::read::{ReadOptions, Reader};
use millibar::dataset::stats::VariableStats;
use millibar::dataset::{Chunk, Chunks, Variable};
use millibar::tensor::{ChunkGrid, DimSelection, Selection};
use millibar::tgm::{DType, File, Limits, Map};
use millibar::{Error, Result};
use serde_json::json;
use std::sync::Arc;

const CELLS: u64 = 1000;

/// A variable of one chunk, and the source that it reads from. One byte of the chunk can be wrong.
fn variable(damaged: bool) -> (Variable, Arc<MemorySource>) {
    let mut bytes = tgm_message(&json!({}), &[field(json!({ "name": "t" }), &[CELLS], 0.0)]);
    let last = bytes.windows(4).position(|w| w == 999f32.to_le_bytes()).unwrap();
    bytes[last] ^= u8::from(damaged);
    let source = MemorySource::new(bytes);
    let file = File::open(source.clone(), &Limits::default()).unwrap();
    let object = Arc::clone(&file.message(0).unwrap().objects[0]);
    let pipeline = Pipeline::try_new(&object, &Limits::default());
    let chunk = Chunk { source: source.clone(), object, pipeline };
    let variable = Variable {
        name: "t".into(),
        dtype: DType::Float32,
        attributes: Map::new(),
        grid: ChunkGrid::whole(vec![CELLS]).unwrap(),
        chunks: [Some(Arc::new(chunk))].into_iter().collect::<Chunks>(),
        stats: Arc::new(VariableStats::new(DType::Float32, 1)),
    };
    source.take_reads();
    (variable, source)
}

/// The cells of a variable at `positions`.
fn read(variable: &Variable, positions: DimSelection, verify: Verify) -> Result<Values> {
    let mut reader = Reader::new(ReadOptions { verify, ..ReadOptions::default() });
    let part = variable.grid.parts(&Selection::product(vec![positions])).iter().next().unwrap();
    Ok(reader.read_part(variable, &part)?.unwrap())
}

fn one() -> DimSelection {
    DimSelection::from_indices(vec![3])
}

fn all() -> DimSelection {
    DimSelection::all(CELLS)
}

#[test]
fn damage_is_found_as_soon_as_was_asked() {
    for (verify, slice_is_read, whole_is_read) in
        [(Verify::Off, true, true), (Verify::FullDecodes, true, false), (Verify::Always, false, false)]
    {
        let (variable, _) = variable(true);
        for (positions, is_read) in [(one(), slice_is_read), (all(), whole_is_read)] {
            match read(&variable, positions, verify) {
                Ok(_) => assert!(is_read, "{verify}"),
                Err(Error::HashMismatch { at, expected, actual }) => {
                    assert!(!is_read, "{verify}");
                    assert_eq!(at.to_string(), "memory.tgm, message 0, object 0");
                    assert!(expected != actual && expected.len() == 16 && actual.len() == 16);
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[test]
fn a_frame_is_hashed_once_and_by_whichever_clone() {
    let (variable, source) = variable(false);
    let bytes =
        |source: &MemorySource| source.take_reads().iter().map(|read| read.end - read.start).sum::<u64>();
    let region = variable.chunks.get(0).unwrap().object.region.clone();
    let region = region.end - region.start;
    for (positions, hashed) in [(one(), true), (one(), false), (all(), false)] {
        let again = variable.clone();
        read(&again, positions, Verify::Always).unwrap();
        // What isn't hashed is the region, lent.
        assert_eq!(bytes(&source) > region, hashed);
    }
    // On full decodes it is hashed each time.
    for _ in 0..2 {
        read(&variable, all(), Verify::FullDecodes).unwrap();
        assert!(bytes(&source) > region);
    }
}
