//! Normal paths, so that a route means the same to Weir as to the server behind it (RFC 3986 section 6.2.2).

use super::reject::{Reject, Rule};

/// How a path is made normal beyond the rules of RFC 3986.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Whether `//` becomes `/`.
    pub merge_slashes: bool,
}

/// The normal form of `path` (without its query): escapes of unreserved characters decoded, the others in upper case,
/// dot segments removed. `%2F` stays what it is, since it is not a separator. Gives `path` itself if it is normal already, and
/// otherwise what it wrote into `scratch`.
///
/// A path that does not begin with `/` (`*`, or the empty one of CONNECT) is given back as it is.
///
/// # Errors
/// [`Rule::PathEscape`], [`Rule::PathNul`], [`Rule::PathBackslash`], with the offset in `path`.
pub fn normalize<'a>(path: &'a [u8], options: Options, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], Reject> {
    if !path.starts_with(b"/") || is_normal(path, options) {
        return Ok(path);
    }
    scratch.clear();
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        match byte {
            b'/' => {
                segment_end(scratch, options);
                at += 1;
            }
            b'%' => {
                escape(path, at, scratch)?;
                at += 3;
            }
            b'\\' => return Err(Reject::at(Rule::PathBackslash, at)),
            b => {
                scratch.push(b);
                at += 1;
            }
        }
    }
    last_segment(scratch);
    Ok(scratch)
}

/// Whether nothing in the path could need a change.
fn is_normal(path: &[u8], options: Options) -> bool {
    let mut before = 0;
    path.iter().all(|&b| {
        let fine = match b {
            b'%' | b'\\' => false,
            b'.' => before != b'/',
            b'/' => before != b'/' || !options.merge_slashes,
            _ => true,
        };
        before = b;
        fine
    })
}

/// A `/` follows what has been written: resolves the segment that ends here, and writes it.
fn segment_end(out: &mut Vec<u8>, options: Options) {
    if out.is_empty() || !(resolve(out) || options.merge_slashes && out.ends_with(b"/")) {
        out.push(b'/');
    }
}

/// The path ends: a dot segment here leaves its `/` behind.
fn last_segment(out: &mut Vec<u8>) {
    resolve(out);
}

/// Removes the last segment if it is `.`, and with it the one before if it is `..`. What is left ends in `/` then.
fn resolve(out: &mut Vec<u8>) -> bool {
    let Some(slash) = out.iter().rposition(|&b| b == b'/') else { return false };
    match out.get(slash + 1..) {
        Some(b".") => out.truncate(slash + 1),
        Some(b"..") => {
            let parent = out.get(..slash).and_then(|p| p.iter().rposition(|&b| b == b'/'));
            // Above the root there is the root.
            out.truncate(parent.unwrap_or(0) + 1);
        }
        _ => return false,
    }
    true
}

fn escape(path: &[u8], at: usize, out: &mut Vec<u8>) -> Result<(), Reject> {
    let digit = |i: usize| path.get(i).and_then(|&b| char::from(b).to_digit(16));
    let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2)) else {
        return Err(Reject::at(Rule::PathEscape, at));
    };
    let byte = (high * 16 + low) as u8;
    match byte {
        0 => Err(Reject::at(Rule::PathNul, at)),
        b if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~') => {
            out.push(b);
            Ok(())
        }
        _ => {
            out.push(b'%');
            out.extend(path.get(at + 1..at + 3).unwrap_or_default().iter().map(u8::to_ascii_uppercase));
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(path: &str, merge_slashes: bool) -> Result<String, String> {
        let mut scratch = Vec::new();
        let out = normalize(path.as_bytes(), Options { merge_slashes }, &mut scratch);
        out.map(|p| String::from_utf8(p.to_vec()).unwrap()).map_err(|r| r.to_string())
    }

    #[test]
    fn makes_paths_normal() {
        for (path, want) in [
            ("/", "/"),
            ("*", "*"),
            ("", ""),
            ("/a/b", "/a/b"),
            ("/.", "/"),
            ("/..", "/"),
            ("/./", "/"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/../", "/"),
            ("/a/../b", "/b"),
            ("/a/./b", "/a/b"),
            ("/a/b/../../c", "/c"),
            ("/../../etc/passwd", "/etc/passwd"),
            ("/a/..b", "/a/..b"),
            ("/a/...", "/a/..."),
            ("/.well-known/x", "/.well-known/x"),
            ("/%2e%2E/admin", "/admin"),
            ("/x/%2e/y", "/x/y"),
            ("/x/.%2e/y", "/y"),
            ("/%61%7e%2d", "/a~-"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%2f..%2fb", "/a%2F..%2Fb"),
            ("/%5c", "/%5C"),
            ("/%c3%a9", "/%C3%A9"),
            ("/%25%32%65", "/%252e"),
            ("//a", "//a"),
            ("/a//../b", "/a/b"),
        ] {
            assert_eq!(normal(path, false).as_deref(), Ok(want), "{path}");
        }
        for (path, want) in
            [("//a", "/a"), ("/a//b///c", "/a/b/c"), ("/a//../b", "/b"), ("/a/.//b", "/a/b"), ("///", "/")]
        {
            assert_eq!(normal(path, true).as_deref(), Ok(want), "{path}");
        }
    }

    #[test]
    fn refuses_what_has_no_normal_form() {
        for (path, want) in [
            ("/%00", "path_nul@1"),
            ("/a%", "path_escape@2"),
            ("/a%2", "path_escape@2"),
            ("/%zz", "path_escape@1"),
            ("/%u0041", "path_escape@1"),
            ("/%+1", "path_escape@1"),
            ("/a\\..\\b", "path_backslash@2"),
        ] {
            assert_eq!(normal(path, false), Err(want.to_owned()), "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn normal_is_normal(path in "/[a-c./%2eEfF\\\\]{0,24}", merge: bool) {
            if let Ok(once) = normal(&path, merge) {
                proptest::prop_assert_eq!(normal(&once, merge), Ok(once.clone()));
                proptest::prop_assert!(!once.split('/').any(|s| s == "." || s == ".."));
            }
        }
    }
}
