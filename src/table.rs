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
            let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
            cells.chain([heading.chars().count()]).max().unwrap_or(0)
        })
        .collect();
    let headings: Vec<String> = columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&headings).chain(rows) {
        let mut line = String::new();
        for ((cell, width), (_, number)) in row.iter().zip(&widths).zip(columns) {
            if number == &true {
                line += &format!("{cell:>width$}  ");
            } else {
                line += &format!("{cell:<width$}  ");
            }
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
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
