//! Counting kept cells without visiting each.

use super::{DimMask, DimSelection};

/// Number of cells of the product `within` (positions relative to `origin`) that every mask keeps.
///
/// Dims that no mask mentions only multiply; masks are walked together only where they share dims.
pub(crate) fn kept(origin: &[u64], within: &[DimSelection], masks: &[DimMask]) -> u64 {
    let mut free = vec![true; within.len()];
    let mut cells = 1u64;
    for (dims, together) in components(masks) {
        dims.iter().for_each(|&dim| free[dim] = false);
        let mut position = vec![0; within.len()];
        cells = cells.saturating_mul(walk(origin, within, &together, &dims, &mut position));
    }
    let others = within.iter().zip(free).filter(|(_, free)| *free);
    others.fold(cells, |cells, (dim, _)| cells.saturating_mul(dim.len()))
}

/// Masks put together where they share dims, each with all dims (ascending) of those together.
pub(super) fn components(masks: &[DimMask]) -> Vec<(Vec<usize>, Vec<&DimMask>)> {
    let mut left: Vec<&DimMask> = masks.iter().collect();
    let mut components = Vec::new();
    while let Some(first) = left.pop() {
        let mut dims = first.dims().to_vec();
        let mut together = vec![first];
        while let Some(at) = left.iter().position(|mask| mask.dims().iter().any(|dim| dims.contains(dim))) {
            let mask = left.swap_remove(at);
            dims.extend(mask.dims());
            together.push(mask);
        }
        dims.sort_unstable();
        dims.dedup();
        components.push((dims, together));
    }
    components
}

/// Cells of the cross product of `dims` that all of `masks` keep.
fn walk(
    origin: &[u64],
    within: &[DimSelection],
    masks: &[&DimMask],
    dims: &[usize],
    position: &mut [u64],
) -> u64 {
    let Some((&dim, inner)) = dims.split_first() else {
        return u64::from(masks.iter().all(|mask| mask.keeps(position)));
    };
    let mut cells = 0;
    for at in within[dim].iter() {
        position[dim] = origin[dim] + at;
        cells += walk(origin, within, masks, inner, position);
    }
    cells
}
