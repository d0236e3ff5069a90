//! The laws of the geometry, against a plain list of cells.

use super::*;
use proptest::prelude::*;
use proptest::sample::SizeRange;

/// All positions of a grid in C order.
fn positions(shape: &[u64]) -> Vec<Vec<u64>> {
    shape.iter().fold(vec![vec![]], |all, &len| {
        all.iter().flat_map(|at| (0..len).map(|i| [at.clone(), vec![i]].concat())).collect()
    })
}

/// The cells that `selection` keeps, cell by cell.
fn model(shape: &[u64], selection: &Selection) -> Vec<Vec<u64>> {
    let kept = |at: &Vec<u64>| {
        selection.dims.iter().zip(at).all(|(dim, &at)| dim.contains(at))
            && selection.masks.iter().all(|mask| {
                let flat = mask.dims().iter().fold(0, |flat, &dim| flat * shape[dim] + at[dim]);
                mask.keep()[flat as usize]
            })
    };
    positions(shape).into_iter().filter(kept).collect()
}

/// The cells of `part`, by its runs.
fn cells(part: &Part) -> Vec<Vec<u64>> {
    let inside = positions(&part.shape);
    let cell = |at: &Vec<u64>| at.iter().zip(&part.origin).map(|(at, origin)| at + origin).collect();
    part.runs()
        .flat_map(|run| {
            inside[run.start as usize..][..run.count as usize].iter().map(cell).collect::<Vec<_>>()
        })
        .collect()
}

fn keep(len: u64) -> impl Strategy<Value = Vec<bool>> {
    let len = SizeRange::from(len as usize);
    prop_oneof![
        Just(vec![true; len.end_incl()]),
        proptest::collection::vec(any::<bool>(), len.clone()),
        proptest::collection::vec(proptest::bool::weighted(0.9), len),
    ]
}

fn mask(shape: Vec<u64>) -> impl Strategy<Value = DimMask> {
    proptest::sample::subsequence((0..shape.len()).collect::<Vec<_>>(), 0..=shape.len()).prop_flat_map(
        move |dims| {
            let (shape, cells) = (shape.clone(), dims.iter().map(|&dim| shape[dim]).product());
            keep(cells).prop_map(move |keep| DimMask::try_new(&shape, dims.clone(), keep).unwrap())
        },
    )
}

pub(crate) fn grid_and_selection() -> impl Strategy<Value = (ChunkGrid, Selection)> {
    proptest::collection::vec((1u64..7, 1u64..5), 0..4).prop_flat_map(|dims| {
        let (shape, chunks): (Vec<u64>, Vec<u64>) = dims.into_iter().unzip();
        let grid = ChunkGrid::try_new(shape.clone(), chunks).unwrap();
        let kept: Vec<_> = shape.iter().map(|&len| keep(len)).collect();
        (Just(grid), kept, proptest::collection::vec(mask(shape), 0..3)).prop_map(|(grid, kept, masks)| {
            let dims = kept.iter().map(|keep| DimSelection::from_keep(keep)).collect();
            (grid, Selection { dims, masks })
        })
    })
}

proptest! {
    #[test]
    fn parts_tile_the_selection((grid, selection) in grid_and_selection()) {
        let parts: Vec<Part> = grid.parts(&selection).iter().collect();
        let mut seen: Vec<_> = parts.iter().flat_map(cells).collect();
        prop_assert_eq!(seen.len() as u64, selection.len());
        seen.sort();
        prop_assert_eq!(seen, model(grid.shape(), &selection));
        prop_assert!(parts.is_sorted_by(|a, b| a.chunk < b.chunk));
        for part in &parts {
            prop_assert_eq!(part.len(), cells(part).len() as u64);
            prop_assert!(!part.is_empty());
            let inside = |at: &Vec<u64>| {
                at.iter().zip(&part.origin).zip(&part.shape).all(|((at, from), len)| (*from..from + len).contains(at))
            };
            prop_assert!(cells(part).iter().all(inside));
            let runs: Vec<_> = part.runs().collect();
            prop_assert!(runs.is_sorted_by(|a, b| a.start + a.count < b.start), "not merged: {runs:?}");
        }
    }

    #[test]
    fn parts_are_counted_without_being_made((grid, selection) in grid_and_selection(), from in 0u64..40) {
        let parts = grid.parts(&selection);
        let all: Vec<Part> = parts.iter().collect();
        prop_assert_eq!(parts.len(), all.len() as u64);
        prop_assert_eq!(parts.is_empty(), all.is_empty());
        prop_assert_eq!(parts.cells(), selection.len());
        prop_assert_eq!(parts.largest(), all.iter().map(Part::len).max().unwrap_or(0));
        let numbers: Vec<Place> = parts.numbers(0..parts.places()).collect();
        prop_assert_eq!(numbers.len() as u64, parts.places());
        let some: Vec<(u64, u64)> =
            numbers.iter().filter(|place| place.kept > 0).map(|place| (place.chunk, place.kept)).collect();
        prop_assert_eq!(some, all.iter().map(|part| (part.chunk, part.len())).collect::<Vec<_>>());
        let from = from.min(parts.places());
        prop_assert_eq!(parts.numbers(from..u64::MAX).collect::<Vec<_>>(), &numbers[from as usize..]);
        prop_assert_eq!(parts.get(parts.places()), None);
        if selection.masks.is_empty() {
            let dims: Vec<usize> = (0..grid.shape().len()).collect();
            let capped: u64 = all.iter().map(|part| part.len().min(3)).sum();
            prop_assert_eq!(parts.sum_capped(&dims, 3), capped);
        }
    }

    #[test]
    fn splitting_keeps_every_cell_once((grid, selection) in grid_and_selection(), n in 1usize..9) {
        for part in grid.parts(&selection).iter() {
            let pieces = part.split(n);
            prop_assert!(pieces.len() <= n && pieces.iter().all(|piece| !piece.is_empty()));
            prop_assert_eq!(pieces.iter().flat_map(cells).collect::<Vec<_>>(), cells(&part));
        }
    }

    #[test]
    fn the_first_cells_are_among_those_taken((grid, selection) in grid_and_selection(), n in 0u64..30) {
        let all = model(grid.shape(), &selection);
        let taken = model(grid.shape(), &selection.take_first(n));
        let want = &all[..all.len().min(n as usize)];
        prop_assert!(taken.len() <= all.len() && taken.starts_with(want));
    }

    #[test]
    fn intersections_keep_what_both_keep((grid, a) in grid_and_selection(), seed in any::<u64>()) {
        let shape = grid.shape();
        let bits = |dim: usize, at: u64| seed.rotate_left((dim * 11) as u32 + at as u32) & 1 == 1;
        let dims = (0..shape.len()).map(|dim| {
            DimSelection::from_keep(&(0..shape[dim]).map(|at| bits(dim, at)).collect::<Vec<_>>())
        });
        let b = Selection::product(dims.collect());
        let both: Vec<_> = model(shape, &a).into_iter().filter(|at| model(shape, &b).contains(at)).collect();
        prop_assert_eq!(model(shape, &a.intersect(&b)), both);
    }

    #[test]
    fn dim_selections_are_lists_of_positions(keep in keep(12), from in 0u64..13, to in 0u64..13) {
        let kept: Vec<u64> = keep.iter().zip(0..).filter_map(|(&keep, at)| keep.then_some(at)).collect();
        let dim = DimSelection::from_keep(&keep);
        prop_assert_eq!(&dim, &DimSelection::from_indices(kept.iter().rev().copied().collect()));
        prop_assert_eq!(&dim.iter().collect::<Vec<_>>(), &kept);
        prop_assert_eq!(dim.len(), kept.len() as u64);
        prop_assert_eq!(dim.is_full(12), kept.len() == 12);
        prop_assert_eq!(dim.runs().into_iter().flatten().collect::<Vec<_>>(), kept.clone());
        prop_assert!((0..12).all(|at| dim.contains(at) == kept.contains(&at)));
        let to = to.max(from);
        let within: Vec<u64> = kept.iter().filter(|at| (from..to).contains(at)).map(|at| at - from).collect();
        prop_assert_eq!(dim.within(from..to).iter().collect::<Vec<_>>(), within);
        let slice = &kept[kept.len().min(from as usize)..kept.len().min(to as usize)];
        prop_assert_eq!(&dim.slice(from..to).iter().collect::<Vec<_>>()[..], slice);
    }
}

#[test]
fn a_whole_chunk_is_one_run() {
    let grid = ChunkGrid::try_new(vec![4, 6, 5], vec![2, 6, 5]).unwrap();
    let parts: Vec<Part> = grid.parts(&Selection::all(grid.shape())).iter().collect();
    let runs: Vec<_> = parts[1].runs().map(|run| (run.start, run.count)).collect();
    assert_eq!((parts.len(), runs), (2, vec![(0, 60)]));
}

#[test]
fn positions_outside_the_grid_are_ignored() {
    let grid = ChunkGrid::try_new(vec![10], vec![4]).unwrap();
    let parts: Vec<Part> = grid.parts(&Selection::product(vec![DimSelection::Range(9..90)])).iter().collect();
    assert_eq!((parts.len(), parts[0].len()), (1, 1));
}

#[test]
fn a_million_chunks_are_no_burden() {
    let grid = ChunkGrid::try_new(vec![1000, 1000, 1 << 40], vec![1, 1, 1 << 40]).unwrap();
    let mut selection = Selection::all(grid.shape());
    let parts = grid.parts(&selection);
    assert_eq!((parts.len(), parts.cells()), (1_000_000, 1_000_000 << 40));
    assert_eq!(parts.get(999_999).unwrap().chunk, 999_999);
    selection.dims[0] = DimSelection::Range(3..4);
    selection.dims[1] = DimSelection::from_indices(vec![7, 900]);
    assert_eq!(grid.parts(&selection).iter().map(|part| part.chunk).collect::<Vec<_>>(), [3007, 3900]);
}

#[test]
fn a_mask_that_factors_inside_a_chunk_is_folded_away() {
    // One level a chunk: `latitude > 0 or level = 1` is everything there, and the northern half elsewhere.
    let grid = ChunkGrid::try_new(vec![3, 4], vec![1, 4]).unwrap();
    let keep: Vec<bool> = positions(&[3, 4]).iter().map(|at| at[1] < 2 || at[0] == 1).collect();
    let mut selection = Selection::all(grid.shape());
    selection.masks.push(DimMask::try_new(grid.shape(), vec![0, 1], keep).unwrap());
    let parts: Vec<Part> = grid.parts(&selection).iter().collect();
    assert!(parts.iter().all(|part| part.masks.is_empty()));
    assert_eq!(parts.iter().map(Part::len).collect::<Vec<_>>(), [2, 4, 2]);
    assert_eq!(selection.len(), 8);
}

#[test]
fn impossible_grids_and_masks_are_refused() {
    assert!(ChunkGrid::try_new(vec![4], vec![2, 2]).is_err());
    assert!(ChunkGrid::try_new(vec![4], vec![0]).is_err());
    assert!(ChunkGrid::try_new(vec![1 << 40, 1 << 40], vec![1, 1]).is_err());
    assert_eq!(ChunkGrid::try_new(vec![0, 4], vec![0, 4]).unwrap().chunks(), 0);
    assert!(DimMask::try_new(&[2, 3], vec![1, 0], vec![true; 6]).is_err());
    assert!(DimMask::try_new(&[2, 3], vec![0, 2], vec![true; 6]).is_err());
    assert!(DimMask::try_new(&[2, 3], vec![0, 1], vec![true; 5]).is_err());
}
