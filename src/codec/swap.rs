//! Byte order.

/// Reverses every `unit` bytes of `bytes` in place. `unit` is 1, 2, 4 or 8 and divides the length.
pub(super) fn swap_in_place(bytes: &mut [u8], unit: usize) {
    match unit {
        2 => each::<2>(bytes),
        4 => each::<4>(bytes),
        8 => each::<8>(bytes),
        _ => {}
    }
}

/// A fixed unit lets the compiler make byte shuffles of it.
fn each<const UNIT: usize>(bytes: &mut [u8]) {
    for value in bytes.as_chunks_mut::<UNIT>().0 {
        value.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::swap_in_place;

    #[test]
    fn reverses_units_and_only_units() {
        for unit in [1_usize, 2, 4, 8] {
            let mut bytes: Vec<u8> = (0..48).collect();
            let want: Vec<u8> = bytes.chunks(unit).flat_map(|c| c.iter().rev().copied()).collect();
            swap_in_place(&mut bytes, unit);
            assert_eq!(bytes, want, "unit {unit}");
        }
    }
}
