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
