//! Any bytes as a file that is opened as tables, indexed, and read: whole variables, slabs of them, statistics.

use super::limits;
use millibar::dataset::read::{ReadOptions, Reader};
use millibar::dataset::slab::Cells;
use millibar::dataset::{Dataset, IndexState, Location, OpenOptions, Variable, open};
use millibar::reduce::chunk_stats;
use millibar::tensor::{DimSelection, Selection};
use std::path::PathBuf;

/// Cells of a variable that are read; larger ones are read in part.
const MOST: u64 = 1 << 16;

/// A file of this process and thread.
pub(super) fn file(name: &str) -> PathBuf {
    let thread = format!("{:?}", std::thread::current().id()).replace(|c: char| !c.is_ascii_digit(), "");
    std::env::temp_dir().join(format!("millibar-fuzz-{}-{thread}-{name}", std::process::id()))
}

/// How a file is opened, by the bits of a byte.
pub(super) fn options(bits: u8) -> OpenOptions {
    let said = |bit: u8| if bits & bit == 0 { "false" } else { "true" };
    let pairs = [
        ("skip_broken", said(1)),
        ("missing", if bits & 2 == 0 { "error" } else { "null" }),
        ("raw_keys", said(4)),
    ];
    let options = OpenOptions::from_pairs(pairs).expect("options are sound");
    OpenOptions { limits: limits(), ..options }
}

pub fn dataset(bytes: &[u8]) {
    let Some((bits, bytes)) = bytes.split_first() else { return };
    let options = options(*bits);
    let path = file("dataset.tgm");
    std::fs::write(&path, bytes).expect("a file");
    let location = Location::parse(path.to_str().expect("a path in Unicode")).expect("a path");
    if let Ok(opened) = open(&location, &options) {
        let read = read_all(&opened);
        opened.write_index(None).expect("an index");
        let index = opened.index_path().path().expect("a path").to_path_buf();
        let indexed = open(&location, &options).expect("what was opened before");
        assert!(matches!(indexed.index, IndexState::Used(_)), "{:?}", indexed.index);
        assert_eq!(read, read_all(&indexed));
        let _ = std::fs::remove_file(index);
    }
    let _ = std::fs::remove_file(path);
}

/// Reads all tables, and says what is in them.
pub(super) fn read_all(dataset: &Dataset) -> Vec<String> {
    let mut said = Vec::new();
    for table in &dataset.tables {
        for dim in &table.dims {
            said.push(format!("{} {:?} {:?}", dim.name, dim.coord, dim.attributes));
        }
        for variable in &table.variables {
            said.push(read(variable));
        }
    }
    said
}

/// Reads a variable: a slab of it has the values that it has in the whole.
fn read(variable: &Variable) -> String {
    let shape = variable.grid.shape();
    let mut reader = Reader::new(ReadOptions { range_threshold: 0.5, ..ReadOptions::default() });
    let mut room = MOST;
    // From the innermost dim outwards, as much as there is room for.
    let mut whole: Vec<DimSelection> = Vec::new();
    for &len in shape.iter().rev() {
        let take = len.min(room.max(1));
        room /= take.max(1);
        whole.insert(0, DimSelection::Range(0..take));
    }
    let some = |(at, dim): (usize, &DimSelection)| match dim.len() {
        len if at % 2 == 0 => dim.slice(len / 3..len / 3 + 2),
        len => DimSelection::from_indices((0..len).step_by(3).collect()),
    };
    let slab: Vec<DimSelection> = whole.iter().enumerate().map(some).collect();
    let all = reader.read_slab(variable, &Selection::product(whole.clone()), None);
    let part = reader.read_slab(variable, &Selection::product(slab.clone()), None);
    let stats = (variable.grid.chunks() > 0 && whole.iter().zip(shape).all(|(dim, &len)| dim.len() == len))
        .then(|| chunk_stats(&mut reader, variable, 0).map(|stats| format!("{stats:?}")));
    let Ok(all) = all else { return format!("{} {stats:?}", variable.name) };
    let part = part.expect("what reads whole reads in part");
    let picked = positions(&slab, &whole);
    let valid = |cells: &Cells, at: usize| cells.valid.as_ref().is_none_or(|valid| valid[at]);
    // Written out: NaN is the same as NaN.
    let value = |cells: &Cells, at: usize| format!("{:?}", cells.values.as_block().slice(at, at + 1));
    for (at, &from) in picked.iter().enumerate() {
        assert_eq!(valid(&part, at), valid(&all, from));
        if valid(&part, at) {
            assert_eq!(value(&part, at), value(&all, from), "cell {from} of {}", variable.name);
        }
    }
    format!("{} {all:?} {stats:?}", variable.name)
}

/// Where in `whole` the cells of `slab` are, in C order.
fn positions(slab: &[DimSelection], whole: &[DimSelection]) -> Vec<usize> {
    let mut at = vec![0];
    for (dim, all) in slab.iter().zip(whole) {
        let len = all.len() as usize;
        at = at.iter().flat_map(|&outer| dim.iter().map(move |inner| outer * len + inner as usize)).collect();
    }
    at
}
