//! Printing. Whoever reads may go away and a disk may be full: that is an error of a command, never a panic, and the proxy does not
//! mind at all.

use std::io::{self, Write as _};
use weir_decide::text::clean_lines;

/// What was to be printed could not be.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// Nobody reads any more, as with `weir stats | head`: there is nothing to complain about, and nobody to hear it.
    #[error("nobody reads")]
    Unread,
    /// Such as a full disk.
    #[error("cannot write to standard output: {0}")]
    Failed(io::Error),
}

/// Prints to standard output. What names of others may hold moves no terminal's cursor.
pub fn out(text: &str) -> Result<(), Lost> {
    json(&clean_lines(text))
}

/// Prints JSON, which other programs read: as it is.
pub fn json(text: &str) -> Result<(), Lost> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Lost::Unread,
        _ => Lost::Failed(error),
    })
}

/// Prints a line to standard error, if anybody reads it.
pub fn err(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", clean_lines(line));
}

/// Whether people's terminals are to be shown colours on `stream`: a terminal, and neither `NO_COLOR` nor `CLICOLOR=0` nor
/// `TERM=dumb` says otherwise. `CLICOLOR_FORCE` wins over all but `NO_COLOR`.
pub fn in_colours(stream: &impl io::IsTerminal) -> bool {
    colours(stream.is_terminal(), |name| std::env::var(name).ok())
}

/// Whether a terminal can move its cursor.
pub fn can_draw(stream: &impl io::IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

fn colours(is_terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    let is_set = |name: &str| variable(name).filter(|value| !value.is_empty());
    if is_set("NO_COLOR").is_some() {
        return false;
    }
    if is_set("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
        return true;
    }
    is_terminal
        && is_set("CLICOLOR").is_none_or(|value| value != "0")
        && is_set("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_whose_people_want_them() {
        // (terminal, what is set, colours)
        type Case<'a> = (bool, &'a [(&'a str, &'a str)], bool);
        let table: &[Case<'_>] = &[
            (true, &[], true),
            (false, &[], false),
            (true, &[("NO_COLOR", "1")], false),
            (true, &[("NO_COLOR", "0")], false),
            (true, &[("NO_COLOR", "")], true),
            (true, &[("CLICOLOR", "0")], false),
            (true, &[("CLICOLOR", "1")], true),
            (true, &[("TERM", "dumb")], false),
            (true, &[("TERM", "xterm")], true),
            (false, &[("CLICOLOR_FORCE", "1")], true),
            (false, &[("CLICOLOR_FORCE", "0")], false),
            (true, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
        ];
        for (is_terminal, set, expected) in table {
            let variable = |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
            assert_eq!(colours(*is_terminal, variable), *expected, "{is_terminal} {set:?}");
        }
    }
}
