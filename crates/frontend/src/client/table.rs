//! Columns for people.

use std::fmt::Write as _;
use std::io::{self, Write};

/// Text without control characters, so that nothing a server says can steer the terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|letter| {
            if letter.is_control() {
                '\u{fffd}'
            } else {
                letter
            }
        })
        .collect()
}

/// Several lines, each of them printable and indented.
pub(super) fn indented(text: &str, indent: &str) -> String {
    let mut lines = String::new();
    for line in text.lines() {
        lines.extend([indent, &printable(line), "\n"]);
    }
    lines
}

/// Prints rows under a heading, columns aligned at the left; the last one is not padded.
pub(super) fn print<const N: usize>(
    out: &mut dyn Write,
    heading: [&str; N],
    rows: &[[String; N]],
) -> io::Result<()> {
    let heading = heading.map(str::to_owned);
    let rows: Vec<[String; N]> = std::iter::once(&heading)
        .chain(rows)
        .map(|row| std::array::from_fn(|column| printable(&row[column])))
        .collect();
    let widths: [usize; N] = std::array::from_fn(|column| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or_default()
    });
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_harmless() {
        let mut out = Vec::new();
        let rows = [
            ["a".to_owned(), "1\u{1b}[2J".to_owned()],
            ["longer".to_owned(), String::new()],
        ];
        print(&mut out, ["MODEL", "N"], &rows).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "MODEL   N\na       1\u{fffd}[2J\nlonger\n"
        );
    }
}
