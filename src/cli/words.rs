//! Numbers and columns for people.

use std::io::{self, Write};

/// `4 x 10 x 181`; a scalar is `1`.
pub(super) fn times(shape: &[u64]) -> String {
    if shape.is_empty() {
        return "1".into();
    }
    shape.iter().map(|n| n.to_string()).collect::<Vec<_>>().join(" x ")
}

pub(super) fn count(n: u64, of: &str) -> String {
    format!("{n} {of}{}", if n == 1 { "" } else { "s" })
}

/// Bytes in the largest unit of 1024 that leaves a number from 1.
pub(super) fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = (bytes.max(1).ilog2() / 10).min(4);
    if unit == 0 {
        return format!("{bytes} B");
    }
    format!("{:.1} {}", bytes as f64 / (1u64 << (10 * unit)) as f64, units[unit as usize])
}

/// Decoded bytes for each encoded byte.
pub(super) fn ratio(encoded: u64, decoded: u64) -> Option<f64> {
    (encoded > 0).then(|| decoded as f64 / encoded as f64)
}

/// Aligned columns, two spaces apart and indented by as many.
pub(super) fn print_columns(out: &mut (impl Write + ?Sized), rows: &[Vec<String>]) -> io::Result<()> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..rows.first().map_or(0, Vec::len)).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        writeln!(out, "  {}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let sizes = [0, 1023, 1024, 1536, 5 << 30].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 GiB"]);
    }
}
