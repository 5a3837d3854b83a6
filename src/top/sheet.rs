//! A table before it is text: what is left of it depends on the filter and on how wide the window is.

use crate::table::{Column, clip, lay_out, width as wide};

/// The least that a column of words is cut to.
const NARROWEST: usize = 12;

/// Rows and what stands around them.
#[derive(Debug, Clone)]
pub struct Sheet {
    /// The headings.
    pub columns: Vec<Column>,
    /// One cell for each of them.
    pub rows: Vec<Vec<String>>,
    /// The headings of words that are of no use in part, such as addresses.
    pub whole: &'static [&'static str],
    /// What is said where there is no row.
    pub nothing: &'static str,
    /// What stands below, if anything.
    pub below: String,
}

impl Sheet {
    /// The rows that hold `filter` in one of their words, in lines of at most `width` characters where that can be done by
    /// leaving out columns that say nothing, and by cutting words.
    pub fn text(&self, filter: &str, width: Option<usize>) -> String {
        let words = |row: &[String]| {
            let mut cells = row.iter().zip(&self.columns).filter(|(_, (_, number))| !number);
            cells.any(|(cell, _)| cell.contains(filter))
        };
        let mut rows: Vec<_> =
            self.rows.iter().filter(|row| filter.is_empty() || words(row)).cloned().collect();
        let mut text = if rows.is_empty() {
            format!("{}\n", self.nothing)
        } else {
            let mut columns = self.columns.clone();
            if let Some(width) = width {
                leave_out(&mut columns, &mut rows, width);
                narrow(&mut columns, &mut rows, self.whole, width);
                cut(&columns, &mut rows, self.whole, width);
            }
            lay_out(&columns, &rows)
        };
        if !self.below.is_empty() {
            text += "\n";
            text += &self.below;
        }
        text
    }
}

/// How wide each column has to be.
fn widths(columns: &[Column], rows: &[Vec<String>]) -> Vec<usize> {
    let width = |(at, (heading, _)): (usize, &Column)| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| wide(cell));
        cells.chain([wide(heading)]).max().unwrap_or(0)
    };
    columns.iter().enumerate().map(width).collect()
}

/// Two spaces between columns, none behind the last.
fn total(widths: &[usize]) -> usize {
    widths.iter().map(|width| width + 2).sum::<usize>().saturating_sub(2)
}

/// Leaves out columns that say nothing, as long as there is no room: those in which nothing stands, then those that only say
/// where, if it is the same for all.
fn leave_out(columns: &mut Vec<Column>, rows: &mut [Vec<String>], width: usize) {
    for what in ["-", "PROTOCOL", "LISTENER"] {
        for at in (0..columns.len()).rev() {
            let says_nothing = match what {
                "-" => rows.iter().all(|row| row.get(at).is_some_and(|cell| cell == "-")),
                heading => {
                    columns.get(at).is_some_and(|(name, _)| *name == heading)
                        && rows.windows(2).all(|two| matches!(two, [a, b] if a.get(at) == b.get(at)))
                }
            };
            if says_nothing && total(&widths(columns, rows)) > width {
                remove(columns, rows, at);
            }
        }
    }
}

fn remove(columns: &mut Vec<Column>, rows: &mut [Vec<String>], at: usize) {
    columns.remove(at);
    for row in rows.iter_mut().filter(|row| at < row.len()) {
        row.remove(at);
    }
}

/// Leaves out the last columns while there is no room for them even with all words cut: a line that the terminal breaks cannot be
/// read. What a row is about and its first numbers stand first.
fn narrow(columns: &mut Vec<Column>, rows: &mut [Vec<String>], whole: &[&str], width: usize) {
    let least = |columns: &[Column], rows: &[Vec<String>]| {
        let widths = widths(columns, rows).into_iter().zip(columns);
        let cut =
            widths.map(|(width, column)| if is_cut(column, whole) { width.min(NARROWEST) } else { width });
        total(&cut.collect::<Vec<_>>())
    };
    while columns.len() > 1 && least(columns, rows) > width {
        remove(columns, rows, columns.len() - 1);
    }
}

/// Whether what stands in a column may be cut.
fn is_cut((heading, number): &Column, whole: &[&str]) -> bool {
    !number && !whole.contains(heading)
}

/// Cuts words, those of the widest columns first, but none of `whole`.
fn cut(columns: &[Column], rows: &mut [Vec<String>], whole: &[&str], width: usize) {
    let mut widths = widths(columns, rows);
    while total(&widths) > width {
        let of_words = widths.iter_mut().zip(columns).filter(|(_, column)| is_cut(column, whole));
        let Some((widest, _)) =
            of_words.max_by_key(|(width, _)| **width).filter(|(width, _)| **width > NARROWEST)
        else {
            break;
        };
        *widest -= 1;
    }
    for row in rows {
        for (cell, width) in row.iter_mut().zip(&widths) {
            if wide(cell) > *width {
                *cell = format!("{}…", clip(cell, width - 1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet() -> Sheet {
        let row = |words: [&str; 3]| words.map(str::to_owned).to_vec();
        Sheet {
            columns: vec![("COLLECTION", false), ("WHO", false), ("PER S", true)],
            rows: vec![
                row(["shop.a_collection_with_a_long_name", "checkout", "12.0"]),
                row(["shop.b", "web", "7.0"]),
            ],
            whole: &["WHO"],
            nothing: "Nothing.",
            below: "7 of 9\n".into(),
        }
    }

    #[test]
    fn rows_are_filtered_by_their_words() {
        let lines = |filter: &str| sheet().text(filter, None).lines().count();
        // The headings, what is below and the line before it.
        assert_eq!([lines(""), lines("web"), lines("shop."), lines("check")], [5, 4, 5, 4]);
        assert_eq!(sheet().text("12.0", None), "Nothing.\n\n7 of 9\n", "numbers are no words");
    }

    #[test]
    fn words_are_cut_to_fit_and_numbers_never() {
        let widest = |width| sheet().text("", Some(width)).lines().map(|line| line.chars().count()).max();
        assert_eq!([widest(80), widest(40), widest(30)], [Some(51), Some(40), Some(30)]);
        let text = sheet().text("", Some(30));
        assert!(text.contains("shop.a_colle…  checkout   12.0\n"), "{text}");
        let headings =
            |width| sheet().text("", Some(width)).lines().next().map(str::to_owned).unwrap_or_default();
        assert!(headings(29).ends_with("PER S"), "there is room for all");
        assert_eq!([widest(28), widest(21)], [Some(28), Some(21)], "the last columns are left out");
        assert!(
            headings(28).ends_with("WHO") && headings(21) == "COLLECTION",
            "{} {}",
            headings(28),
            headings(21)
        );
        assert_eq!(widest(5), Some(12), "not narrower than can be read");
    }

    #[test]
    fn columns_that_say_nothing_are_left_out_where_there_is_no_room() {
        let mut sheet = sheet();
        sheet.rows.iter_mut().for_each(|row| row[1] = "-".to_owned());
        assert!(sheet.text("", Some(80)).contains("WHO"));
        let text = sheet.text("", Some(45));
        assert!(text.starts_with("COLLECTION") && !text.contains("WHO"), "{text}");
        assert!(
            text.contains("shop.a_collection_with_a_long_name"),
            "there is room for all of it now: {text}"
        );
        sheet.columns[1].0 = "LISTENER";
        sheet.rows.iter_mut().for_each(|row| row[1] = "orders-db".to_owned());
        assert!(!sheet.text("", Some(45)).contains("LISTENER"), "it is the same for all");
        sheet.rows[0][1] = "web".to_owned();
        assert!(sheet.text("", Some(45)).contains("LISTENER"));
    }
}
