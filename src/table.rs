//! Tables in a terminal: columns as wide as they need to be, numbers to the right.

use weir_decide::text::clean;

/// A column's heading, and whether it holds numbers.
pub type Column = (&'static str, bool);

/// Lays out rows under their headings.
pub fn lay_out(columns: &[Column], rows: &[Vec<String>]) -> String {
    // Names come from clients and servers.
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| clean(cell).into_owned()).collect()).collect();
    let rows = rows.as_slice();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, (heading, _))| {
            let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| width(cell));
            cells.chain([width(heading)]).max().unwrap_or(0)
        })
        .collect();
    let headings: Vec<String> = columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&headings).chain(rows) {
        let mut line = String::new();
        for ((cell, wide), (_, number)) in row.iter().zip(&widths).zip(columns) {
            let room = " ".repeat(wide.saturating_sub(width(cell)));
            if *number {
                line += &room;
            }
            line += cell;
            if !*number {
                line += &room;
            }
            line += "  ";
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// How many columns of a terminal `text` takes.
pub fn width(text: &str) -> usize {
    text.chars().map(wide).sum()
}

/// As much of `text` as fits into `columns`.
pub fn clip(text: &str, columns: usize) -> &str {
    let mut used = 0;
    let over = text.char_indices().find(|(_, c)| {
        used += wide(*c);
        used > columns
    });
    over.and_then(|(at, _)| text.get(..at)).unwrap_or(text)
}

/// What Unicode calls wide or zero-width (UAX 11), by its blocks: enough for names in a table.
fn wide(c: char) -> usize {
    match u32::from(c) {
        0x300..=0x36f | 0x200b..=0x200f | 0x20d0..=0x20ff | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0x303e
        | 0x3041..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f680..=0x1f6ff
        | 0x1f900..=0x1f9ff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// Seconds, as a person reads them: `340us`, `1.2ms`, `3.4s`.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 0.000_999_5 => format!("{:.0}us", s * 1e6),
        s if s < 0.999_5 => format!("{:.1}ms", s * 1e3),
        s => format!("{s:.1}s"),
    }
}

/// Whole seconds that may be many, as a person reads them: `7s`, `3m20s`, `2h05m`, `4d03h`.
pub fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// Bytes, as a person reads them: `340B`, `1.2KiB`.
pub fn size(bytes: u64) -> String {
    let mut amount = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if amount < 1024.0 {
            return if unit == "B" { format!("{bytes}B") } else { format!("{amount:.1}{unit}") };
        }
        amount /= 1024.0;
    }
    format!("{amount:.1}TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["find".into(), "7".into()], vec!["aggregate".into(), "1234".into()]];
        let text = lay_out(&[("OPERATION", false), ("COUNT", true)], &rows);
        assert_eq!(text, "OPERATION  COUNT\nfind           7\naggregate   1234\n");
    }

    #[test]
    fn what_is_wide_takes_two_columns_and_nothing_moves_the_cursor() {
        let rows = vec![vec!["注文".into(), "7".into()], vec!["a\x1b[2Jb".into(), "8".into()]];
        let text = lay_out(&[("NAME", false), ("N", true)], &rows);
        assert_eq!(text, "NAME         N\n注文         7\na\\u{1b}[2Jb  8\n");
        assert_eq!(
            (width("注文e\u{301}"), clip("注文e", 3), clip("注文e", 4), clip("abc", 9)),
            (5, "注", "注文", "abc")
        );
    }

    #[test]
    fn amounts_read_well() {
        let durations =
            [(0.0, "0us"), (0.000_25, "250us"), (0.001, "1.0ms"), (0.9994, "999.4ms"), (12.34, "12.3s")];
        for (seconds, text) in durations {
            assert_eq!(duration(seconds), text);
        }
        for (seconds, text) in [(0, "0s"), (59, "59s"), (200, "3m20s"), (7500, "2h05m"), (356_400, "4d03h")] {
            assert_eq!(span(seconds), text);
        }
        for (bytes, text) in [(0, "0B"), (1023, "1023B"), (1536, "1.5KiB"), (1 << 30, "1.0GiB")] {
            assert_eq!(size(bytes), text);
        }
    }
}
