//! What a piece of text means as a value of a kind. Pure: text in, a value or what is wrong with it out. The defaults of the
//! field tables go through here too.

use crate::address::{bind, endpoint, host, host_port, listen, network};
use crate::network::{Bind, Cidr};
use crate::table::{Choice, Kind, Word};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A scalar that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Parsed {
    Text(Arc<str>),
    Bool(bool),
    Number(u64),
    Duration(Duration),
    Bind(SocketAddr),
    Listen(Bind),
    Network(Cidr),
    Word(usize),
}

impl Parsed {
    pub(crate) fn text(self) -> Option<Arc<str>> {
        match self {
            Parsed::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn flag(self) -> Option<bool> {
        match self {
            Parsed::Bool(flag) => Some(flag),
            _ => None,
        }
    }

    pub(crate) fn number<T: TryFrom<u64>>(self) -> Option<T> {
        match self {
            Parsed::Number(number) => T::try_from(number).ok(),
            _ => None,
        }
    }

    pub(crate) fn duration(self) -> Option<Duration> {
        match self {
            Parsed::Duration(duration) => Some(duration),
            _ => None,
        }
    }

    pub(crate) fn bind(self) -> Option<SocketAddr> {
        match self {
            Parsed::Bind(address) => Some(address),
            _ => None,
        }
    }

    pub(crate) fn listen(self) -> Option<Bind> {
        match self {
            Parsed::Listen(bind) => Some(bind),
            _ => None,
        }
    }

    pub(crate) fn network(self) -> Option<Cidr> {
        match self {
            Parsed::Network(cidr) => Some(cidr),
            _ => None,
        }
    }

    pub(crate) fn word<T: Word>(self) -> Option<T> {
        match self {
            Parsed::Word(index) => T::WORDS.get(index).map(|(_, variant)| *variant),
            _ => None,
        }
    }
}

/// Why a text is not of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// What was expected, to follow the word "expected".
    pub expected: String,
    /// What may be said further, to follow a semicolon. May hold parts of the text.
    pub hint: Option<String>,
}

pub(crate) fn problem(expected: impl Into<String>) -> Problem {
    Problem { expected: expected.into(), hint: None }
}

pub(crate) fn suggest(expected: impl Into<String>, word: impl std::fmt::Display) -> Problem {
    Problem { expected: expected.into(), hint: Some(format!("did you mean `{word}`?")) }
}

/// Reads `text` as a scalar of `kind`. `plain`: it was not quoted, so that it may be a number or a boolean. Kinds that are
/// not scalars are a problem.
pub(crate) fn read(kind: &Kind, text: &str, plain: bool) -> Result<Parsed, Problem> {
    let shared = |text: &str| Parsed::Text(text.into());
    match *kind {
        Kind::Text { max } if text.len() > max => Err(problem(format!("at most {max} bytes of text"))),
        Kind::Text { .. } | Kind::Cluster => Ok(shared(text)),
        Kind::Path if text.is_empty() => Err(problem(expectation(kind))),
        Kind::Path => Ok(shared(text)),
        Kind::Bool => boolean(text, plain).map(Parsed::Bool),
        Kind::Integer { min, max } => integer(text, plain, min, max).map(Parsed::Number),
        Kind::Status => {
            integer(text, plain, 200, 599).map_err(|_| problem(expectation(kind))).map(Parsed::Number)
        }
        Kind::Duration { min, max } => duration(text, min, max).map(Parsed::Duration),
        Kind::Size { min, max } => size(text, min, max).map(Parsed::Number),
        Kind::Bind => bind(text).map(Parsed::Bind),
        Kind::Listen => listen(text).map(Parsed::Listen),
        Kind::HostPort => host_port(text).map(|_| shared(text)),
        Kind::Endpoint => endpoint(text).map(|()| shared(text)),
        Kind::Network => network(text).map(Parsed::Network),
        Kind::Host => host(text).map(|()| shared(text)),
        Kind::Method if is_token(text) => Ok(shared(text)),
        Kind::Method => Err(problem(expectation(kind))),
        Kind::OneOf(choices) => word(choices, text).map(Parsed::Word),
        Kind::Either(first, _) => read(first, text, plain),
        Kind::OneOrMany(item) => read(item, text, plain),
        Kind::Table(_) | Kind::List { .. } | Kind::Map { .. } => Err(problem(expectation(kind))),
    }
}

/// What a kind expects, to follow the word "expected".
pub(crate) fn expectation(kind: &Kind) -> String {
    match *kind {
        Kind::Text { .. } => "text".into(),
        Kind::Bool => "`true` or `false`".into(),
        Kind::Integer { min, max } => format!("a whole number from {min} to {max}"),
        Kind::Duration { min, max } => {
            format!(
                "a duration from {} to {}, such as `250ms`, `2s`, `1m` or `1h`",
                show_ms(min),
                show_ms(max)
            )
        }
        Kind::Size { min, max } => {
            format!("a size from {} to {}, such as `64KiB` or `1MiB`", show_size(min), show_size(max))
        }
        Kind::Bind => {
            "an IP address and a port to listen on, such as `127.0.0.1:8080` or `[::1]:8080`".into()
        }
        Kind::Listen => {
            "an IP address and a port to listen on, such as `127.0.0.1:8080` or `[::1]:8080`, or a Unix socket, such as \
             `unix:/run/weir/db.sock`"
                .into()
        }
        Kind::Endpoint => "a host and a port, such as `db.internal:27017`, `10.0.0.1:80` or `[::1]:80`, or a Unix socket, \
                           such as `unix:/run/db.sock`"
            .into(),
        Kind::Network => "an IP address or a network, such as `10.0.0.1`, `10.0.0.0/8` or `2001:db8::/32`".into(),
        Kind::HostPort => {
            "a host and a port, such as `db.internal:27017`, `10.0.0.1:80` or `[::1]:80`".into()
        }
        Kind::Host => "a host name or an IP address".into(),
        Kind::Path => "a path".into(),
        Kind::Cluster => "the name of a cluster".into(),
        Kind::Status => "an HTTP status from 200 to 599".into(),
        Kind::Method => "an HTTP method, such as `GET`".into(),
        Kind::OneOf(choices) => one_of(choices.iter().map(|choice| choice.word)),
        Kind::Table(_) | Kind::Map { .. } => "a mapping".into(),
        Kind::List { .. } => "a list".into(),
        Kind::OneOrMany(item) => format!("{}, or a list of such", expectation(item)),
        Kind::Either(first, second) => format!("{}, or {}", expectation(first), expectation(second)),
    }
}

/// `one of a, b and c`, or just `a`.
pub(crate) fn one_of<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.map(|word| format!("`{word}`")).collect();
    match words.as_slice() {
        [only] => only.clone(),
        _ => format!("one of {}", words.join(", ")),
    }
}

/// The word of `known` that `found` is most like, if it is like any.
pub(crate) fn nearest<'a>(found: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A typo changes a letter or three, never half of a word.
    let length = found.chars().count();
    if length > 128 {
        return None;
    }
    let most = (length / 3).clamp(1, 3);
    let lower = found.to_ascii_lowercase().replace('-', "_");
    known
        .filter(|word| word.len().abs_diff(found.len()) <= 3)
        .map(|word| (strsim::damerau_levenshtein(&word.to_ascii_lowercase().replace('-', "_"), &lower), word))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

fn boolean(text: &str, plain: bool) -> Result<bool, Problem> {
    let expected = expectation(&Kind::Bool);
    match text {
        "true" if plain => Ok(true),
        "false" if plain => Ok(false),
        "true" | "false" => {
            Err(Problem { expected, hint: Some("it is quoted, which makes it text".to_string()) })
        }
        _ => {
            let instead = match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" | "true" => "true",
                "no" | "off" | "n" | "false" => "false",
                _ => return Err(problem(expected)),
            };
            // YAML 1.1 had eleven spellings of each; YAML 1.2 has these two.
            let hint = format!("only `true` and `false` are booleans; did you mean `{instead}`?");
            Err(Problem { expected, hint: Some(hint) })
        }
    }
}

fn integer(text: &str, plain: bool, min: u64, max: u64) -> Result<u64, Problem> {
    let expected = || expectation(&Kind::Integer { min, max });
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits && !plain {
        return Err(Problem { expected: expected(), hint: Some("it is quoted, which makes it text".into()) });
    }
    if digits
        && (text.len() == 1 || !text.starts_with('0'))
        && let Ok(number) = text.parse::<u64>()
        && (min..=max).contains(&number)
    {
        return Ok(number);
    }
    let cleaned: String = text.chars().filter(|c| !matches!(c, '_' | ',')).collect();
    match cleaned.parse::<u64>() {
        Ok(number) if cleaned != text && (min..=max).contains(&number) => Err(suggest(expected(), number)),
        _ => Err(problem(expected())),
    }
}

/// Splits digits from the unit after them.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(at)?;
    Some((digits.parse().ok()?, unit))
}

fn duration(text: &str, min: u64, max: u64) -> Result<Duration, Problem> {
    let expected = || expectation(&Kind::Duration { min, max });
    let Some((number, unit)) = split_unit(text) else { return Err(problem(expected())) };
    let ms = |number: u64, unit: &str| {
        let factor = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        number.checked_mul(factor).filter(|ms| (min..=max).contains(ms))
    };
    if let Some(ms) = ms(number, unit) {
        return Ok(Duration::from_millis(ms));
    }
    let (number, unit) = match unit.trim().to_ascii_lowercase().as_str() {
        "msec" | "millis" | "milliseconds" | "ms" => (number, "ms"),
        "" | "sec" | "secs" | "second" | "seconds" | "s" => (number, "s"),
        "min" | "mins" | "minute" | "minutes" | "m" => (number, "m"),
        "hr" | "hour" | "hours" | "h" => (number, "h"),
        "d" | "day" | "days" => (number.saturating_mul(24), "h"),
        _ => return Err(problem(expected())),
    };
    match ms(number, unit) {
        Some(_) => Err(suggest(expected(), format_args!("{number}{unit}"))),
        None => Err(problem(expected())),
    }
}

/// Milliseconds in the largest unit that divides them.
pub(crate) fn show_ms(ms: u64) -> String {
    if ms == 0 {
        return "0s".into();
    }
    for (factor, unit) in [(3_600_000_u64, "h"), (60_000, "m"), (1_000, "s")] {
        if ms.is_multiple_of(factor) {
            return format!("{}{unit}", ms / factor);
        }
    }
    format!("{ms}ms")
}

/// Bytes in the largest unit that divides them.
pub(crate) fn show_size(bytes: u64) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes > 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}")
}

fn size(text: &str, min: u64, max: u64) -> Result<u64, Problem> {
    let expected = || expectation(&Kind::Size { min, max });
    let Some((number, unit)) = split_unit(text) else { return Err(problem(expected())) };
    let bytes = |unit: &str| {
        let factor = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.checked_mul(factor).filter(|bytes| (min..=max).contains(bytes))
    };
    if let Some(bytes) = bytes(unit) {
        return Ok(bytes);
    }
    let unit = match unit.trim().to_ascii_lowercase().as_str() {
        "b" | "bytes" => "B",
        "k" | "kb" | "kib" => "KiB",
        "m" | "mb" | "mib" => "MiB",
        "g" | "gb" | "gib" => "GiB",
        _ => return Err(problem(expected())),
    };
    match bytes(unit) {
        Some(_) => Err(suggest(expected(), format_args!("{number}{unit}"))),
        None => Err(problem(expected())),
    }
}

/// A token of RFC 9110 section 5.6.2, at most 64 bytes.
fn is_token(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn word(choices: &'static [Choice], text: &str) -> Result<usize, Problem> {
    let expected = || one_of(choices.iter().map(|choice| choice.word));
    choices.iter().position(|choice| choice.word == text).ok_or_else(|| {
        match nearest(text, choices.iter().map(|choice| choice.word)) {
            Some(word) => suggest(expected(), word),
            None => problem(expected()),
        }
    })
}

/// Whether this may name a listener or a cluster: 1 to 128 of `A-Z a-z 0-9 _ . -`, beginning with a letter, a digit or `_`.
/// Such names go into labels, logs and paths of the admin API without being escaped.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        && !text.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests;
