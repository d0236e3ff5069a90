//! Slabs that several threads read are those that one reads.

use super::memory_source::MemorySource;
use datafusion::arrow::buffer::BooleanBuffer;
use millibar::codec::Pipeline;
use millibar::dataset::read::{ReadOptions, Reader};
use millibar::dataset::stats::VariableStats;
use millibar::dataset::{Chunk, Variable, slab};
use millibar::tensor::{ChunkGrid, DimSelection, Selection};
use millibar::tgm::{ByteOrder, DType, Descriptor, Limits, Map, Object};
use millibar::{Error, Place};
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const SHAPE: [u64; 4] = [4, 5, 300, 200];
const THREADS: NonZero<usize> = NonZero::new(3).unwrap();

/// What is wrong with a chunk.
#[derive(Clone, Copy, PartialEq)]
enum Chunked {
    Sound,
    Hole,
    Broken,
}

/// A chunk for each of the first two dims' positions, in a codec that has to decode all of it: 300 KB, so that a few are
/// enough for threads. The number of a chunk is that of its object.
fn variable(what: impl Fn(u64) -> Chunked) -> Variable {
    let grid = ChunkGrid::try_new(SHAPE.to_vec(), vec![1, 1, 300, 200]).unwrap();
    let chunks = (0..grid.chunks()).map(|number| {
        let values = (0..300 * 200).map(|cell| (number * 1_000_000 + cell * 7919 % 65_537) as f64);
        let plain: Vec<u8> = values.flat_map(f64::to_le_bytes).collect();
        let mut payload = zstd::bulk::compress(&plain, 1).unwrap();
        if what(number) == Chunked::Broken {
            payload[0] ^= 0xff;
        }
        (what(number) != Chunked::Hole).then(|| Arc::new(chunk(number, payload)))
    });
    Variable {
        name: "v".into(),
        dtype: DType::Float64,
        attributes: Map::new(),
        chunks: chunks.collect(),
        stats: Arc::new(VariableStats::new(DType::Float64, grid.chunks())),
        grid,
    }
}

fn chunk(number: u64, payload: Vec<u8>) -> Chunk {
    let len = payload.len() as u64;
    let descriptor = Descriptor {
        dtype: DType::Float64,
        shape: vec![1, 1, 300, 200],
        byte_order: ByteOrder::Little,
        encoding: "none".into(),
        filter: "none".into(),
        compression: "zstd".into(),
        masks: Vec::new(),
        params: Map::new(),
    };
    let place = Place::file("memory.tgm").message(0).object(number);
    let object = Object { place, frame: 0..len, region: 0..len, hash: None, descriptor: descriptor.into() };
    let pipeline = Pipeline::try_new(&object, &Limits::default());
    Chunk { source: MemorySource::new(payload), object: Arc::new(object), pipeline }
}

fn selections() -> Vec<Selection> {
    let all = |dim: usize| DimSelection::all(SHAPE[dim]);
    let some = |keep: fn(usize) -> bool, dim: usize| {
        DimSelection::from_keep(&(0..SHAPE[dim] as usize).map(keep).collect::<Vec<_>>())
    };
    vec![
        Selection::all(&SHAPE),
        Selection::product(vec![all(0), all(1), DimSelection::Range(17..18), DimSelection::Range(3..4)]),
        Selection::product(vec![some(|at| at % 2 == 1, 0), all(1), some(|at| at % 7 < 2, 2), all(3)]),
        Selection::product(vec![all(0), DimSelection::Range(1..4), all(2), some(|at| at % 50 == 9, 3)]),
    ]
}

#[test]
fn threads_put_together_what_one_reads() {
    let variable = variable(|number| if number == 7 { Chunked::Hole } else { Chunked::Sound });
    for selection in selections() {
        let cells = selection.dims.iter().map(DimSelection::len).product::<u64>() as usize;
        let masks = [
            None,
            Some(BooleanBuffer::collect_bool(cells, |cell| cell % 1009 == 5)),
            Some(BooleanBuffer::collect_bool(cells, |cell| cell % 3 < 2)),
            Some(BooleanBuffer::new_unset(cells)),
        ];
        for keep in masks {
            let mut one = Reader::new(ReadOptions::default());
            let want = one.read_slab(&variable, &selection, keep.as_ref()).unwrap();
            let mut several = Reader::new(ReadOptions::default());
            let got = several.share_slab(&variable, &selection, keep.as_ref(), THREADS, &|| false).unwrap();
            let got = got.expect("nobody stopped it");
            assert!(got == want, "{:?}, {:?} set", selection.dims, keep.map(|keep| keep.count_set_bits()));
            let chunks = |reader: &mut Reader| reader.stats_mut().chunks_decoded;
            assert_eq!(chunks(&mut several), chunks(&mut one));
        }
    }
}

#[test]
fn the_first_broken_chunk_is_named() {
    let variable =
        variable(|number| if [6, 9, 15].contains(&number) { Chunked::Broken } else { Chunked::Sound });
    for _ in 0..8 {
        let read =
            slab::read(&variable, &Selection::all(&SHAPE).dims, &ReadOptions::default(), THREADS, &|| false);
        match read.unwrap_err() {
            e @ Error::Codec { .. } => assert!(e.to_string().contains("object 6"), "{e}"),
            e => panic!("{e:?}"),
        }
    }
}

#[test]
fn a_slab_that_nobody_wants_is_given_up() {
    let variable = variable(|_| Chunked::Sound);
    let asked = AtomicUsize::new(0);
    let stop = || asked.fetch_add(1, Relaxed) >= 6;
    let mut reader = Reader::new(ReadOptions::default());
    let read = reader.share_slab(&variable, &Selection::all(&SHAPE), None, THREADS, &stop).unwrap();
    assert_eq!(read, None);
    assert!(reader.stats_mut().chunks_decoded <= 6, "of 20 chunks");
}
