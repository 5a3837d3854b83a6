//! What is said about a configuration file: where, under which key, and what was expected.

use std::fmt;
use std::sync::Arc;

/// A place in a file. Lines and columns count from one; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line, from one.
    pub line: u32,
    /// The column in characters, from one.
    pub column: u32,
}

impl Position {
    /// Where a file begins.
    pub const START: Position = Position { line: 1, column: 1 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One error or warning, shown as `file:line:column: key.path: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file as it was named by who asked for it.
    pub file: Arc<str>,
    /// Where in the file.
    pub at: Position,
    /// The full path of the key, such as `clusters.web.endpoints[0]`; empty for the file as a whole.
    pub path: String,
    /// What was expected and what was found.
    pub message: String,
}

impl Diagnostic {
    /// What is said of `file`. Whatever it repeats of a file's words is cleaned here, so that it is one line and does nothing to a
    /// terminal.
    pub(crate) fn new(file: Arc<str>, at: Position, path: &str, message: &str) -> Diagnostic {
        Diagnostic { file, at, path: clean(path), message: clean(message) }
    }

    /// The same as a JSON object: `file`, `line`, `column`, `path`, `message`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "file": &*self.file,
            "line": self.at.line,
            "column": self.at.column,
            "path": self.path,
            "message": self.message,
        })
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.at)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Text from a file, or from the wire, with all escaped that is not printable or changes how the rest is shown: controls, ends of
/// lines of whatever kind, marks of direction.
pub fn clean(text: &str) -> String {
    if !text.contains(is_unclean) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_unclean(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

pub(crate) fn is_unclean(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Everything that is wrong with a file, in the order of the file; never empty. At most [`Errors::MOST`] are kept, the rest
/// are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors {
    list: Vec<Diagnostic>,
    omitted: usize,
}

impl Errors {
    /// The most errors that are listed; further ones are only counted.
    pub const MOST: usize = 100;

    /// Errors in the order of the file.
    pub(crate) fn new(list: Vec<Diagnostic>, omitted: usize) -> Errors {
        Errors { list, omitted }
    }

    /// A file that could not be read.
    pub fn unread(name: &str, error: &std::io::Error) -> Errors {
        let message = format!("cannot read the file: {error}");
        Errors::new(vec![Diagnostic::new(name.into(), Position::START, "", &message)], 0)
    }

    /// The errors, in the order of the file.
    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }

    /// How many more there are.
    pub fn omitted(&self) -> usize {
        self.omitted
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.list.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        if self.omitted > 0 {
            write!(f, "\nand {} more", self.omitted)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_one_line_and_does_nothing() {
        for (text, said) in [
            ("found `web`", "found `web`"),
            ("unix:/run/wei\nr.sock", "unix:/run/wei\\u{a}r.sock"),
            ("a\r\u{85}\u{2028}b", "a\\u{d}\\u{85}\\u{2028}b"),
            ("\u{1b}[2J\u{202e}x\u{200f}", "\\u{1b}[2J\\u{202e}x\\u{200f}"),
            ("Kundenübersicht 顧客", "Kundenübersicht 顧客"),
        ] {
            assert_eq!(clean(text), said);
            let all = Diagnostic::new("f".into(), Position::START, text, text).to_string();
            assert_eq!(all, format!("f:1:1: {said}: {said}"));
        }
    }
}
