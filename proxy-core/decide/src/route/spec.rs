//! What a route matches on, in plain terms.

/// What one route asks of a request. All of it has to hold; what is empty asks nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteSpec {
    /// One of these hosts. Empty: any, also none at all.
    pub hosts: Vec<HostMatch>,
    /// The path.
    pub path: PathMatch,
    /// One of these methods, in the case in which they are sent. Empty: any.
    pub methods: Vec<Box<str>>,
    /// All of these conditions on headers.
    pub headers: Vec<HeaderMatch>,
}

/// Which hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostMatch {
    /// This one; in lower case, without a port.
    Exact(Box<str>),
    /// Every host that ends in this and has something before it; in lower case, beginning with the dot: `.example.com` is
    /// what `*.example.com` asks for. `example.com` itself is not among them, `a.b.example.com` is.
    Suffix(Box<str>),
}

/// Why a host pattern cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// There is nothing in it.
    #[error("a host must not be empty")]
    Empty,
    /// Longer than a host can be.
    #[error("a host has at most 253 characters")]
    TooLong,
    /// A `*` that is not the first label.
    #[error("`*` may only stand for the first labels, as in `*.example.com`")]
    Wildcard,
    /// Hosts are matched whatever the port.
    #[error("a host is matched without its port")]
    Port,
    /// A character that no host has.
    #[error("a host consists of letters, digits, `-`, `_`, `.`, or is an IPv6 address in brackets")]
    Character,
}

impl HostMatch {
    /// Reads `example.com`, `*.example.com` or `[::1]`, in any case. `*` alone is `None`: any host.
    ///
    /// # Errors
    /// [`HostError`], when it is none of these.
    pub fn parse(text: &str) -> Result<Option<HostMatch>, HostError> {
        if text == "*" {
            return Ok(None);
        }
        let (wild, name) = match text.strip_prefix('*') {
            Some(rest) if rest.starts_with('.') => (true, rest),
            Some(_) => return Err(HostError::Wildcard),
            None => (false, text),
        };
        let bare = name.strip_prefix('.').filter(|_| wild).unwrap_or(name);
        // A dot at the end says that the name is complete: to us they all are.
        let bare = bare.strip_suffix('.').unwrap_or(bare);
        if bare.is_empty() || bare.starts_with('.') {
            return Err(HostError::Empty);
        }
        if bare.len() > 253 {
            return Err(HostError::TooLong);
        }
        if bare.contains('*') {
            return Err(HostError::Wildcard);
        }
        let in_brackets = bare.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let (Some(address), false) = (in_brackets, wild) {
            let valid = address.parse::<std::net::Ipv6Addr>().is_ok();
            let exact = HostMatch::Exact(bare.to_ascii_lowercase().into());
            return if valid { Ok(Some(exact)) } else { Err(HostError::Character) };
        }
        if bare.contains(':') {
            return Err(HostError::Port);
        }
        if !bare.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
            return Err(HostError::Character);
        }
        let bare = bare.to_ascii_lowercase();
        Ok(Some(if wild {
            HostMatch::Suffix(format!(".{bare}").into())
        } else {
            HostMatch::Exact(bare.into())
        }))
    }
}

/// Which paths. Compared byte by byte with the normalised path, without the query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PathMatch {
    /// Any, `*` included.
    #[default]
    Any,
    /// This one.
    Exact(Box<str>),
    /// Every path that begins with these segments: `/orders` takes `/orders` and `/orders/7`, not `/orders7`. One that ends
    /// in a slash takes what begins with it: `/orders/` takes `/orders/` and `/orders/7`, not `/orders`; `/` takes all.
    Prefix(Box<str>),
}

impl PathMatch {
    /// Whether `path` is one of them.
    pub fn matches(&self, path: &[u8]) -> bool {
        match self {
            PathMatch::Any => true,
            PathMatch::Exact(exact) => exact.as_bytes() == path,
            PathMatch::Prefix(prefix) => begins_with_segments(path, prefix.as_bytes()),
        }
    }
}

pub(super) fn begins_with_segments(path: &[u8], prefix: &[u8]) -> bool {
    path.starts_with(prefix) && ends_segment(path, prefix.len())
}

/// Whether a segment of `path` ends at `len`, or the path does.
pub(super) fn ends_segment(path: &[u8], len: usize) -> bool {
    path.len() == len
        || path.get(len) == Some(&b'/')
        || len.checked_sub(1).and_then(|at| path.get(at)) == Some(&b'/')
}

/// A condition on the lines of one header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderMatch {
    /// The header's name, in lower case.
    pub name: Box<str>,
    /// What the value of one of its lines has to be.
    pub value: ValueMatch,
    /// The opposite: no line may be so. Holds where there is no such header.
    pub invert: bool,
}

/// Which values. Compared byte by byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueMatch {
    /// Any: the header is there.
    Present,
    /// This one.
    Exact(Box<str>),
    /// Those that begin so.
    Prefix(Box<str>),
    /// Those that end so.
    Suffix(Box<str>),
    /// Those that have this in them.
    Contains(Box<str>),
}

impl ValueMatch {
    /// Whether `value` is one of them.
    pub fn matches(&self, value: &[u8]) -> bool {
        match self {
            ValueMatch::Present => true,
            ValueMatch::Exact(exact) => exact.as_bytes() == value,
            ValueMatch::Prefix(prefix) => value.starts_with(prefix.as_bytes()),
            ValueMatch::Suffix(suffix) => value.ends_with(suffix.as_bytes()),
            ValueMatch::Contains(part) => {
                part.is_empty() || value.windows(part.len()).any(|window| window == part.as_bytes())
            }
        }
    }
}

/// The headers of a request, as far as routes ask about them.
pub trait Headers {
    /// Whether one of the lines named `name` (lower case) has a value that passes `test`.
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool;
}

impl Headers for [(&[u8], &[u8])] {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.iter().any(|(key, value)| key.eq_ignore_ascii_case(name.as_bytes()) && test(value))
    }
}

/// What is matched of a request, all of it borrowed.
pub struct Request<'a, H: Headers + ?Sized> {
    /// The authority: Host or `:authority`, in any case, with or without port. Empty: there is none.
    pub host: &'a [u8],
    /// The normalised path, without the query.
    pub path: &'a [u8],
    /// The method.
    pub method: &'a [u8],
    /// The headers.
    pub headers: &'a H,
}

/// The host of an authority: without the port, and without the dot that may end a complete name.
pub fn host_of(authority: &[u8]) -> &[u8] {
    let host = match authority.iter().rposition(|b| *b == b':') {
        Some(colon) => {
            let (host, port) = authority.split_at(colon);
            // Of `[::1]` the last colon is inside the brackets.
            if port.iter().skip(1).all(u8::is_ascii_digit) { host } else { authority }
        }
        None => authority,
    };
    host.strip_suffix(b".").unwrap_or(host)
}
