//! Names of tables: plain, or wherever a name is legal an ARN, brought down to the table (and index) that they mean.

use std::str;

/// How many different tables one call is followed to: as many as the API allows items in a batch or transaction.
/// Tables beyond are counted in [`Tables::dropped`].
pub const MAX_TABLES: usize = 100;

/// The longest name or ARN that DynamoDB accepts.
pub const MAX_ARN: usize = 1024;

/// A table, and the index of it if one is named. Both are made of `[a-zA-Z0-9_.-]`, 3 to 255 of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TableRef<'a> {
    /// The table's name, without account and region.
    pub table: &'a str,
    /// The secondary index.
    pub index: Option<&'a str>,
}

impl<'a> TableRef<'a> {
    /// Reads a table's name, or an ARN of the table or of something that belongs to one
    /// (`arn:aws:dynamodb:REGION:ACCOUNT:table/T[/index/I|/stream/..|/backup/..|/export/..|/import/..]`, or
    /// `..:global-table/T`). `None`: DynamoDB would not take it either.
    pub fn parse(text: &'a [u8]) -> Option<TableRef<'a>> {
        if text.starts_with(b"arn:") {
            return Self::parse_arn(text);
        }
        name(text).map(|table| TableRef { table, index: None })
    }

    /// Reads an ARN.
    pub fn parse_arn(text: &'a [u8]) -> Option<TableRef<'a>> {
        if text.len() > MAX_ARN {
            return None;
        }
        let mut parts = text.splitn(6, |&byte| byte == b':');
        let (arn, _partition, service) = (parts.next()?, parts.next()?, parts.next()?);
        let (_region, _account, resource) = (parts.next()?, parts.next()?, parts.next()?);
        if arn != b"arn" || service != b"dynamodb" {
            return None;
        }
        let mut path = resource.split(|&byte| byte == b'/');
        match path.next()? {
            b"table" | b"global-table" => {}
            _ => return None,
        }
        let table = name(path.next()?)?;
        let index = match path.next() {
            Some(b"index") => Some(name(path.next()?)?),
            _ => None,
        };
        Some(TableRef { table, index })
    }
}

/// A table's or index's name, if it is one.
pub fn name(text: &[u8]) -> Option<&str> {
    let fits = (3..=255).contains(&text.len());
    let clean = text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if fits && clean { str::from_utf8(text).ok() } else { None }
}

/// An empty vector in the memory of this one.
pub(super) fn cleared<T>(mut vec: Vec<T>) -> Vec<T> {
    vec.clear();
    vec
}

/// The different tables of one call, in the order in which they were named: at most [`MAX_TABLES`]. The memory is kept
/// when it is cleared.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    names: String,
    rows: Vec<Row>,
    dropped: u32,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    start: u32,
    table: u16,
    index: u16,
}

impl Tables {
    /// None, with no memory yet.
    pub const fn new() -> Self {
        Tables { names: String::new(), rows: Vec::new(), dropped: 0 }
    }

    /// None, in the memory of these.
    pub fn cleared(self) -> Self {
        let Tables { mut names, rows, .. } = self;
        names.clear();
        Tables { names, rows: cleared(rows), ..Tables::new() }
    }

    /// How many different tables there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How often a table was named that found no place any more.
    pub fn dropped(&self) -> u32 {
        self.dropped
    }

    /// The table at `position`, counted from 0.
    pub fn get(&self, position: usize) -> Option<TableRef<'_>> {
        self.rows.get(position).and_then(|row| self.view(row))
    }

    /// The one table of a call that has exactly one.
    pub fn only(&self) -> Option<TableRef<'_>> {
        if self.rows.len() == 1 && self.dropped == 0 { self.get(0) } else { None }
    }

    /// All tables.
    pub fn iter(&self) -> impl Iterator<Item = TableRef<'_>> {
        self.rows.iter().filter_map(|row| self.view(row))
    }

    /// The position of a table that is there, or is added now. An index is noted if the table had none yet. `None`:
    /// there are [`MAX_TABLES`] others.
    pub fn add(&mut self, found: TableRef<'_>) -> Option<usize> {
        let known = self.iter().position(|known| known.table == found.table);
        if let Some(position) = known {
            if let Some(index) = found.index {
                self.note_index(position, index);
            }
            return Some(position);
        }
        let start = u32::try_from(self.names.len()).ok().filter(|_| self.rows.len() < MAX_TABLES);
        let sizes = (u16::try_from(found.table.len()), u16::try_from(found.index.map_or(0, str::len)));
        let (Some(start), (Ok(table), Ok(index))) = (start, sizes) else {
            self.dropped = self.dropped.saturating_add(1);
            return None;
        };
        self.names.push_str(found.table);
        self.names.push_str(found.index.unwrap_or_default());
        self.rows.push(Row { start, table, index });
        Some(self.rows.len() - 1)
    }

    /// Notes the index of a table that has none yet.
    pub fn note_index(&mut self, position: usize, index: &str) {
        let Some(table) = self.rows.get(position).filter(|row| row.index == 0).map(|row| row.table) else {
            return;
        };
        let Some(range) =
            self.rows.get(position).map(|row| row.start as usize..row.start as usize + table as usize)
        else {
            return;
        };
        let (Ok(start), Ok(length)) = (u32::try_from(self.names.len()), u16::try_from(index.len())) else {
            return;
        };
        self.names.extend_from_within(range);
        self.names.push_str(index);
        if let Some(row) = self.rows.get_mut(position) {
            *row = Row { start, table, index: length };
        }
    }

    fn view(&self, row: &Row) -> Option<TableRef<'_>> {
        let (start, table) = (row.start as usize, row.table as usize);
        let index = start + table;
        Some(TableRef {
            table: self.names.get(start..index)?,
            index: self.names.get(index..index + row.index as usize).filter(|index| !index.is_empty()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Expected<'a> = Option<(&'a str, Option<&'a str>)>;

    #[test]
    fn names_and_arns() {
        let long = "t".repeat(255);
        let too_long = "t".repeat(256);
        let cases: &[(&str, Expected<'_>)] = &[
            ("Music", Some(("Music", None))),
            ("a.b-c_D9", Some(("a.b-c_D9", None))),
            ("ab", None),
            ("", None),
            (&long, Some((&long, None))),
            (&too_long, None),
            ("a b", None),
            ("Müsic", None),
            ("a\"b", None),
            ("arn:aws:dynamodb:eu-west-1:123456789012:table/Music", Some(("Music", None))),
            (
                "arn:aws-cn:dynamodb:cn-north-1:123456789012:table/Music/index/ByYear",
                Some(("Music", Some("ByYear"))),
            ),
            ("arn:aws:dynamodb:x:1:table/Music/stream/2015-05-11T21:21:33.291", Some(("Music", None))),
            ("arn:aws:dynamodb:x:1:table/Music/backup/01489602797149-73d8d5bc", Some(("Music", None))),
            ("arn:aws:dynamodb:x:1:table/Music/export/01", Some(("Music", None))),
            ("arn:aws:dynamodb::1:global-table/Music", Some(("Music", None))),
            ("arn:aws:dynamodb:x:1:table/Music/index", None),
            ("arn:aws:dynamodb:x:1:table/Music/index/", None),
            ("arn:aws:dynamodb:x:1:table/", None),
            ("arn:aws:dynamodb:x:1:table", None),
            ("arn:aws:kinesis:x:1:table/Music", None),
            ("arn:aws:dynamodb:x:1:tables/Music", None),
            ("arn:aws:dynamodb", None),
            ("arn:", None),
        ];
        for (text, expected) in cases {
            let found = TableRef::parse(text.as_bytes()).map(|found| (found.table, found.index));
            assert_eq!(found, *expected, "{text}");
        }
        let huge = format!("arn:aws:dynamodb:x:1:table/Music/stream/{}", "x".repeat(1024));
        assert_eq!(TableRef::parse(huge.as_bytes()), None);
    }

    #[test]
    fn tables_are_distinct_and_capped() {
        let mut tables = Tables::new();
        let music = TableRef { table: "Music", index: None };
        assert_eq!(tables.add(music), Some(0));
        assert_eq!(tables.add(TableRef { table: "Books", index: Some("ByYear") }), Some(1));
        assert_eq!(tables.add(TableRef { table: "Music", index: Some("ByArtist") }), Some(0));
        assert_eq!(tables.add(TableRef { table: "Music", index: Some("Other") }), Some(0));
        assert_eq!(tables.get(0), Some(TableRef { table: "Music", index: Some("ByArtist") }));
        assert_eq!(tables.get(1), Some(TableRef { table: "Books", index: Some("ByYear") }));
        assert_eq!(tables.only(), None);
        for number in 0..200 {
            tables.add(TableRef { table: &format!("table{number}"), index: None });
        }
        assert_eq!((tables.len(), tables.dropped()), (MAX_TABLES, 102));
        let mut tables = tables.cleared();
        assert!(tables.is_empty());
        tables.add(music);
        assert_eq!(tables.only(), Some(music));
    }
}
