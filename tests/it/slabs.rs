//! Slabs that several threads read, and those that are lent, are those that one reads.

use super::memory_source::MemorySource;
use datafusion::arrow::buffer::BooleanBuffer;
use millibar::codec::Pipeline;
use millibar::dataset::read::{ReadOptions, ReadStats, Reader};
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
    /// Not compressed: the values as they are.
    Plain,
    /// Not compressed, in the other byte order.
    Swapped,
}

/// A chunk for each of the first two dims' positions, in a codec that has to decode all of it: 300 KB, so that a few are
/// enough for threads. The number of a chunk is that of its object.
fn variable(what: impl Fn(u64) -> Chunked) -> Variable {
    let grid = ChunkGrid::try_new(SHAPE.to_vec(), vec![1, 1, 300, 200]).unwrap();
    let chunks = (0..grid.chunks()).map(|number| {
        let values = (0..300 * 200).map(|cell| (number * 1_000_000 + cell * 7919 % 65_537) as f64);
        let what = what(number);
        let bytes = if what == Chunked::Swapped { f64::to_be_bytes } else { f64::to_le_bytes };
        let plain: Vec<u8> = values.flat_map(bytes).collect();
        let compressed = ![Chunked::Plain, Chunked::Swapped].contains(&what);
        let mut payload = if compressed { zstd::bulk::compress(&plain, 1).unwrap() } else { plain };
        if what == Chunked::Broken {
            payload[0] ^= 0xff;
        }
        (what != Chunked::Hole).then(|| Arc::new(chunk(number, what, payload)))
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

fn chunk(number: u64, what: Chunked, payload: Vec<u8>) -> Chunk {
    let len = payload.len() as u64;
    let descriptor = Descriptor {
        dtype: DType::Float64,
        shape: vec![1, 1, 300, 200],
        byte_order: if what == Chunked::Swapped { ByteOrder::Big } else { ByteOrder::Little },
        encoding: "none".into(),
        filter: "none".into(),
        compression: if [Chunked::Plain, Chunked::Swapped].contains(&what) { "none" } else { "zstd" }.into(),
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
    let rows = Selection::product(vec![
        DimSelection::all(SHAPE[0]),
        DimSelection::all(SHAPE[1]),
        DimSelection::Range(3..9),
        DimSelection::Range(0..9),
    ]);
    for (selection, threads) in [(Selection::all(&SHAPE), 3), (Selection::all(&SHAPE), 1), (rows, 1)] {
        let asked = AtomicUsize::new(0);
        let stop = || asked.fetch_add(1, Relaxed) >= 6;
        let mut reader = Reader::new(ReadOptions::default());
        let threads = NonZero::new(threads).unwrap();
        let read = reader.share_slab(&variable, &selection, None, threads, &stop).unwrap();
        assert_eq!(read, None);
        assert!(reader.stats_mut().chunks_decoded <= 6, "of 20 chunks");
    }
}

#[test]
fn what_is_stored_as_it_is_asked_for_is_lent() {
    let options = ReadOptions::default();
    let all = |dim: usize| DimSelection::all(SHAPE[dim]);
    let range = DimSelection::Range;
    let plain = variable(|_| Chunked::Plain);
    let whole = vec![all(0), all(1), all(2), all(3)];
    for (dims, pieces) in [
        (whole.clone(), 20),
        (vec![range(1..3), all(1), all(2), all(3)], 10),
        (vec![range(1..2), range(2..4), all(2), all(3)], 2),
        (vec![range(3..4), range(0..1), range(100..260), all(3)], 1),
        (vec![all(0), all(1), range(0..100), all(3)], 20),
    ] {
        let lent = slab::lend(&plain, &dims, &options).unwrap().expect("lies there as it is");
        let read = slab::read(&plain, &dims, &options, THREADS, &|| false).unwrap().unwrap();
        assert_eq!(lent.values.len(), pieces, "{dims:?}");
        assert!(lent.values.concat() == read.cells.values.as_block().bytes(), "{dims:?}");
        let cost = |stats: &ReadStats| {
            let decode = &stats.decode;
            (stats.objects_opened, decode.bytes_read, decode.full_decodes, decode.ranges_decoded)
        };
        assert_eq!(cost(&lent.stats), cost(&read.stats), "{dims:?}");
        assert!(slab::lends(&plain, &dims));
    }
    for dims in [
        vec![range(0..1), range(0..1), all(2), range(0..150)], // more than one run of a chunk
        vec![range(0..1), range(0..1), range(5..6), all(3)],   // too little
        vec![range(0..0), all(1), all(2), all(3)],
    ] {
        assert!(slab::lend(&plain, &dims, &options).unwrap().is_none(), "{dims:?}");
    }
    for other in [Chunked::Sound, Chunked::Hole, Chunked::Swapped] {
        let mixed = variable(|number| if number == 7 { other } else { Chunked::Plain });
        assert!(!slab::lends(&mixed, &whole));
        // without chunk 7; what has to be decoded rules out the variable
        let rest = [range(3..4), all(1), all(2), all(3)];
        assert_eq!(slab::lends(&mixed, &rest), other != Chunked::Sound);
    }
}
