//! `${VAR}` and `${file:PATH}` in the scalars of the file. What was put in is never shown again: in errors, in the rendered
//! configuration and in logs stands what the file says.

use std::cell::RefCell;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The largest file that `${file:PATH}` reads, in bytes.
pub const MAX_FILE: u64 = 64 << 10;

/// Where `${VAR}` and `${file:PATH}` come from.
pub trait Environment {
    /// The value of a variable; `None` when it is not set.
    fn variable(&self, name: &str) -> Option<String>;

    /// The text of a file, at most [`MAX_FILE`] bytes.
    fn file(&self, path: &Path) -> io::Result<String>;
}

/// The process's environment and the file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Environment for System {
    fn variable(&self, name: &str) -> Option<String> {
        // One that is not UTF-8 is as good as none.
        std::env::var(name).ok()
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        read_text(path, MAX_FILE)
    }
}

/// The same, and which files were asked for.
pub(crate) struct Traced<'a> {
    pub environment: &'a dyn Environment,
    pub files: RefCell<Vec<Seen>>,
}

impl Environment for Traced<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        self.environment.variable(name)
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        let text = self.environment.file(path);
        let print = text.as_ref().ok().map(|text| print(text.as_bytes()));
        self.files.borrow_mut().push((path.to_owned(), print));
        text
    }
}

/// A file that was read, and a print of what was in it; `None`: it could not be read.
pub type Seen = (PathBuf, Option<u64>);

/// A print of what is in a file, by which a change is told. Within one process.
pub fn print(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// Opens a regular file. Pipes and devices, which might never be ready, are refused without waiting for them.
///
/// # Errors
/// The system's, or that it is something else.
pub fn open_regular(path: &Path) -> io::Result<std::fs::File> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(file)
}

/// Reads a regular file of at most `most` bytes of UTF-8.
pub(crate) fn read_text(path: &Path, most: u64) -> io::Result<String> {
    read_all(open_regular(path)?, most)
}

/// Reads what is left, at most `most` bytes of UTF-8.
///
/// # Errors
/// The system's, or that there is more, or something else.
pub fn read_all(file: impl Read, most: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it is larger than {}", crate::scalar::show_size(most))));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8"))
}

/// Puts in what `${..}` stands for. Counts what it puts in, so that a small file cannot become a large configuration.
pub(crate) struct Substitution<'a> {
    pub environment: &'a dyn Environment,
    pub base: &'a Path,
    /// How many bytes may still be put in.
    pub left: usize,
}

impl Substitution<'_> {
    /// `None` when there is nothing to replace. `$$` is a `$`; a `$` before anything but `{` and `$` is itself.
    pub(crate) fn apply(&mut self, text: &str) -> Result<Option<String>, String> {
        if !text.contains('$') || !(text.contains("${") || text.contains("$$")) {
            return Ok(None);
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some(after) = after.strip_prefix('{') {
                let Some((name, after)) = after.split_once('}') else {
                    return Err("`${` without a `}` (a literal `$` is written `$$`)".into());
                };
                let value = self.value(name)?;
                self.left = self.left.checked_sub(value.len()).ok_or("`${..}` puts in too much text")?;
                out.push_str(&value);
                rest = after;
            } else {
                out.push('$');
                rest = after;
            }
        }
        out.push_str(rest);
        Ok(Some(out))
    }

    fn value(&self, name: &str) -> Result<String, String> {
        let shown = crate::walk::clip(name);
        if let Some(path) = name.strip_prefix("file:") {
            let path = path.trim();
            if path.is_empty() {
                return Err("`${file:}` names no file".into());
            }
            let read = self.environment.file(&self.base.join(path));
            let mut text =
                read.map_err(|error| format!("cannot read the file of `${{{shown}}}`: {error}"))?;
            if text.ends_with('\n') {
                text.pop();
                if text.ends_with('\r') {
                    text.pop();
                }
            }
            return Ok(text);
        }
        let good = !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !name.starts_with(|c: char| c.is_ascii_digit());
        if !good {
            return Err(format!("expected `${{VARIABLE}}` or `${{file:PATH}}`, found `${{{shown}}}`"));
        }
        self.environment
            .variable(name)
            .ok_or_else(|| format!("the environment variable `{shown}` is not set"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Some3;

    impl Environment for Some3 {
        fn variable(&self, name: &str) -> Option<String> {
            ["A", "_B2"].contains(&name).then(|| format!("<{name}>"))
        }

        fn file(&self, path: &Path) -> io::Result<String> {
            match path.to_str() {
                Some("/etc/f") => Ok("one\ntwo\r\n".into()),
                Some("/abs") => Ok("${A}\n\n".into()),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        }
    }

    fn apply(text: &str) -> Result<Option<String>, String> {
        Substitution { environment: &Some3, base: Path::new("/etc"), left: 20 }.apply(text)
    }

    #[test]
    fn what_is_put_in() {
        for text in ["", "$", "a$", "$A", "$ {A}", "a$b$", "{A}", "}"] {
            assert_eq!(apply(text), Ok(None), "{text}");
        }
        for (text, replaced) in [
            ("${A}", "<A>"),
            ("x${A}y${_B2}z", "x<A>y<_B2>z"),
            ("$$", "$"),
            ("$${A}", "${A}"),
            ("$$$", "$$"),
            ("$x$$y", "$x$y"),
            ("$${A", "${A"),
            // One line end goes, and what was put in is not looked into again.
            ("${file:f}", "one\ntwo"),
            ("${file: f }", "one\ntwo"),
            ("${file:/abs}", "${A}\n"),
        ] {
            assert_eq!(apply(text), Ok(Some(replaced.into())), "{text}");
        }
    }

    #[test]
    fn what_is_wrong() {
        for (text, message) in [
            ("${", "`${` without a `}`"),
            ("${A", "`${` without a `}`"),
            ("${A}${", "`${` without a `}`"),
            ("${}", "expected `${VARIABLE}` or `${file:PATH}`, found `${}`"),
            ("${a b}", "found `${a b}`"),
            ("${1}", "found `${1}`"),
            ("${A:-x}", "found `${A:-x}`"),
            ("${${A}}", "found `${${A}`"),
            ("${env:A}", "found `${env:A}`"),
            ("${C}", "the environment variable `C` is not set"),
            ("${file:}", "names no file"),
            ("${file:g}", "cannot read the file of `${file:g}`: entity not found"),
            ("${A}${A}${A}${A}${A}${A}${A}", "puts in too much text"),
        ] {
            let error = apply(text).expect_err(text);
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
