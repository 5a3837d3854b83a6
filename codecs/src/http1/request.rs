//! Request heads (RFC 9112 sections 2 to 3, RFC 9110 section 7).

use bytes::{BufMut, BytesMut};

use super::Limits;
use super::authority::Authority;
use super::fields::{Fields, FieldsView, Span};
use super::framing::{self, Announced, Framing};
use super::head::{self, FAST_FIELDS, Parsed, Slots, Version};
use super::known::Known;
use super::reject::{Reject, Rule};
use super::scan::{self, Scan};

/// The methods of RFC 9110 and PATCH; case matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // each is what it is called
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    /// Any other token.
    Other,
}

impl Method {
    /// The method that `bytes` names.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        match bytes {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"CONNECT" => Self::Connect,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            _ => Self::Other,
        }
    }
}

/// The form of a request target (RFC 9112 section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `/path?query`
    Origin,
    /// `http://authority/path?query`, as sent to a forward proxy.
    Absolute(Scheme),
    /// `host:port`; only with CONNECT.
    Authority,
    /// `*`; only with OPTIONS.
    Asterisk,
}

/// The scheme of an absolute-form target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl Scheme {
    const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// A request head, by offsets into the buffer it was parsed from. Reuse one per connection: in the steady state
/// parsing into it allocates nothing. [`RequestHead::view`] joins it with the bytes.
#[derive(Debug, Clone)]
pub struct RequestHead {
    scan: Option<Scan>,
    len: u32,
    method: Method,
    method_span: Span,
    target: Span,
    form: Form,
    authority: Span,
    path: Span,
    query: Option<Span>,
    version: Version,
    fields: Fields,
    framing: Framing,
    keep_alive: bool,
    expects_continue: bool,
    takes_trailers: bool,
    upgrade: Option<Span>,
}

impl Default for RequestHead {
    fn default() -> Self {
        Self::new()
    }
}

impl RequestHead {
    /// An empty one, to be parsed into.
    #[must_use]
    pub fn new() -> Self {
        Self {
            scan: None,
            len: 0,
            method: Method::Other,
            method_span: Span::default(),
            target: Span::default(),
            form: Form::Origin,
            authority: Span::default(),
            path: Span::default(),
            query: None,
            version: Version::Http11,
            fields: Fields::default(),
            framing: Framing::None,
            keep_alive: false,
            expects_continue: false,
            takes_trailers: false,
            upgrade: None,
        }
    }

    /// Forgets everything, half-seen heads included; the allocation stays.
    pub fn clear(&mut self) {
        let fields = std::mem::take(&mut self.fields);
        *self = Self { fields, ..Self::new() };
        self.fields.clear();
    }

    /// The bytes of the head, any empty line before it included: the body begins there.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether no head has been parsed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The method, if it is a usual one.
    #[must_use]
    pub const fn method(&self) -> Method {
        self.method
    }

    /// The form of the target.
    #[must_use]
    pub const fn form(&self) -> Form {
        self.form
    }

    /// The version of the message.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The fields.
    #[must_use]
    pub const fn fields(&self) -> &Fields {
        &self.fields
    }

    /// How the body ends: None, Length or Chunked. CONNECT has None; what follows it belongs to the tunnel if there is
    /// one, and to nobody if there is none (then the connection is closed after the response).
    #[must_use]
    pub const fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether the client would send another request on this connection. Nothing to do with the upstream connection.
    #[must_use]
    pub const fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Whether the client waits for a 100 before it sends its body. Only with a body and on 1.1 (RFC 9110 section
    /// 10.1.1). Expect itself is end-to-end: a proxy that answers the 100 drops the field, one that forwards it does not.
    #[must_use]
    pub const fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// Whether the client takes trailers in the response (`TE: trailers`).
    #[must_use]
    pub const fn takes_trailers(&self) -> bool {
        self.takes_trailers
    }

    /// Whether the client offers to switch to another protocol; see [`Request::upgrade`].
    #[must_use]
    pub const fn offers_upgrade(&self) -> bool {
        self.upgrade.is_some()
    }

    /// The head with its bytes: `buf` is the buffer it was parsed from, or at least its first [`RequestHead::len`]
    /// bytes.
    #[must_use]
    pub fn view<'a>(&'a self, buf: &'a [u8]) -> Request<'a> {
        Request { head: self, buf }
    }
}

/// A request head with the bytes behind it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    head: &'a RequestHead,
    buf: &'a [u8],
}

impl<'a> Request<'a> {
    /// The facts.
    #[must_use]
    pub const fn head(&self) -> &'a RequestHead {
        self.head
    }

    /// The method as it came.
    #[must_use]
    pub fn method(&self) -> &'a [u8] {
        self.head.method_span.of(self.buf)
    }

    /// The target as it came.
    #[must_use]
    pub fn target(&self) -> &'a [u8] {
        self.head.target.of(self.buf)
    }

    /// `host[:port]` of the target if it has one, else of Host; empty if there is neither (1.0), or Host is.
    #[must_use]
    pub fn authority(&self) -> &'a [u8] {
        self.head.authority.of(self.buf)
    }

    /// The same, taken apart.
    #[must_use]
    pub fn host(&self) -> Option<Authority<'a>> {
        Authority::parse(self.authority())
    }

    /// The path, never empty but for CONNECT: `/` stands for the missing one of an absolute-form target, and `*` for
    /// that of OPTIONS (RFC 9112 section 3.2.4).
    #[must_use]
    pub fn path(&self) -> &'a [u8] {
        match (self.head.form, self.head.path.of(self.buf)) {
            (Form::Absolute(_), []) if self.head.method == Method::Options && self.head.query.is_none() => {
                b"*"
            }
            (Form::Absolute(_), []) => b"/",
            (_, path) => path,
        }
    }

    /// What follows the first `?`, if there is one.
    #[must_use]
    pub fn query(&self) -> Option<&'a [u8]> {
        self.head.query.map(|q| q.of(self.buf))
    }

    /// Writes the target in the form an origin server takes: the path and the query of an absolute-form target, any
    /// other target as it came.
    pub fn write_origin_target(&self, out: &mut BytesMut) {
        if !matches!(self.head.form, Form::Absolute(_)) {
            out.put_slice(self.target());
            return;
        }
        out.put_slice(self.path());
        if let Some(query) = self.query() {
            out.put_u8(b'?');
            out.put_slice(query);
        }
    }

    /// The protocol the client offers to switch to: the first of Upgrade that is not `h2c`, if Connection says
    /// `upgrade` and the version is 1.1. Connection and Upgrade are hop-by-hop, so a proxy that lets the route switch
    /// writes both anew.
    #[must_use]
    pub fn upgrade(&self) -> Option<&'a [u8]> {
        self.head.upgrade.map(|u| u.of(self.buf))
    }

    /// The fields.
    #[must_use]
    pub fn fields(&self) -> FieldsView<'a> {
        self.head.fields.view(self.buf)
    }
}

/// Parses the head at the start of `buf` into `head`.
///
/// Call it again with the same buffer, grown, after [`Parsed::Partial`]: what has been seen is not looked at again.
/// Call [`RequestHead::clear`] if that buffer is given up instead.
///
/// # Errors
/// The first rule that the bytes break, in the order of the bytes; after them, those about the head as a whole. What
/// is in `head` then means nothing.
pub fn parse_request(buf: &[u8], limits: &Limits, head: &mut RequestHead) -> Result<Parsed, Reject> {
    let resumed = head.scan.take().filter(|scan| scan.seen() <= buf.len());
    if resumed.is_none() {
        head.fields.clear();
        if fast(buf, limits, head).is_some() {
            return evaluate(buf, limits, head);
        }
    }
    let mut scan = resumed.unwrap_or(const { Scan::request() });
    match scan.run(buf, limits)? {
        None => {
            head.scan = Some(scan);
            Ok(Parsed::Partial)
        }
        Some(len) => {
            slow(buf, len, head);
            evaluate(buf, limits, head)
        }
    }
}

/// The usual head: whole, and nothing wrong with it. Anything else is the machine's.
fn fast(buf: &[u8], limits: &Limits, head: &mut RequestHead) -> Option<()> {
    let mut slots: Slots<'_> = [const { std::mem::MaybeUninit::uninit() }; FAST_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    let Ok(httparse::Status::Complete(len)) = parsed.parse_with_uninit_headers(buf, &mut slots) else {
        return None;
    };
    let (method, target) = (parsed.method?, parsed.path?);
    let at = head::offset(buf, method);
    let space = at + method.len();
    let end = space + 1 + target.len();
    let line = buf.get(end..end + 11)?;
    if !(at == 0 || at == 2 && buf.starts_with(b"\r\n"))
        || head::offset(buf, target) != space + 1
        || !line.starts_with(b" HTTP/1.")
        || !line.ends_with(b"\r\n")
        || target.len() > limits.target as usize
        || parsed.headers.len() > limits.fields as usize
        || len > limits.head as usize
        || !target.bytes().all(|b| b.is_ascii() && b != b'#')
    {
        return None;
    }
    head.method_span = Span::new(at, space);
    head.target = Span::new(space + 1, end);
    head.version = Version::from_minor(*line.get(8)?);
    if head::fill(buf, end + 11, parsed.headers, &mut head.fields) != Some(len) {
        head.fields.clear();
        return None;
    }
    head.len = Span::new(len, len).end;
    Some(())
}

/// Fills `head` from the first `len` bytes, which the machine has accepted.
fn slow(buf: &[u8], len: usize, head: &mut RequestHead) {
    let buf = buf.get(..len).unwrap_or_default();
    let at = if buf.starts_with(b"\r\n") { 2 } else { 0 };
    let mut spaces = memchr::memchr_iter(b' ', buf);
    let space = spaces.next().unwrap_or(at);
    let end = spaces.next().unwrap_or(space);
    head.method_span = Span::new(at, space);
    head.target = Span::new(space + 1, end);
    head.version = Version::from_minor(buf.get(end + 8).copied().unwrap_or_default());
    head.fields.clear();
    for (name, value) in scan::lines(buf, end + 11) {
        head.fields.push(buf, name, value);
    }
    head.fields.finish(len.saturating_sub(2));
    head.len = Span::new(len, len).end;
}

/// The rules about the head as a whole, and the facts that follow from it.
fn evaluate(buf: &[u8], limits: &Limits, head: &mut RequestHead) -> Result<Parsed, Reject> {
    head.method = Method::of(head.method_span.of(buf));
    target(buf, head)?;
    host(buf, head)?;
    let announced = framing::announced(buf, &mut head.fields, head.version)?;
    head.framing = match announced {
        Announced::Nothing => Framing::None,
        Announced::Length(n) => Framing::Length(n),
        Announced::Chunked => Framing::Chunked,
    };
    if head.method == Method::Connect {
        if !head.framing.is_empty() {
            return Err(Reject::whole(Rule::ConnectBody));
        }
        head.framing = Framing::None;
    }
    let connection = framing::connection(buf, &mut head.fields, limits)?;
    head.keep_alive = framing::keep_alive(head.version, connection);
    let modern = head.version == Version::Http11;
    head.upgrade = if connection.upgrade && modern { framing::upgrade(buf, &head.fields)? } else { None };
    if modern {
        head.expects_continue = framing::expect(buf, &head.fields)? && !head.framing.is_empty();
    } else {
        // RFC 9110 section 10.1.1: nothing is expected on 1.0, and forwarded as 1.1 it would be.
        head.expects_continue = false;
        head.fields.mark_hop_by_hop(Known::Expect);
    }
    head.takes_trailers = modern && framing::takes_trailers(buf, &head.fields);
    Ok(Parsed::Complete { len: head.len() })
}

/// Takes the target apart (RFC 9112 section 3.2).
fn target(buf: &[u8], head: &mut RequestHead) -> Result<(), Reject> {
    let span = head.target;
    let start = span.start as usize;
    let bytes = span.of(buf);
    let refuse = |rule| Err(Reject::at(rule, start));
    head.authority = Span::default();
    head.query = None;
    let path_start = match (head.method, bytes) {
        (Method::Connect, _) => {
            if Authority::parse(bytes).is_none_or(|a| a.port.is_none()) {
                return refuse(if bytes.starts_with(b"/") {
                    Rule::TargetForm
                } else {
                    Rule::TargetAuthority
                });
            }
            head.form = Form::Authority;
            head.authority = span;
            head.path = Span::new(start, start);
            return Ok(());
        }
        (_, [b'/', ..]) => {
            head.form = Form::Origin;
            start
        }
        (Method::Options, b"*") => {
            head.form = Form::Asterisk;
            head.path = span;
            return Ok(());
        }
        (_, _) => {
            let Some((scheme, lead)) = scheme(bytes) else { return refuse(Rule::TargetForm) };
            let rest = bytes.get(lead..).unwrap_or_default();
            let len = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
            if Authority::parse(rest.get(..len).unwrap_or_default()).is_none() {
                return Err(Reject::at(Rule::TargetAuthority, start + lead));
            }
            head.form = Form::Absolute(scheme);
            head.authority = Span::new(start + lead, start + lead + len);
            start + lead + len
        }
    };
    let end = span.end as usize;
    let rest = buf.get(path_start..end).unwrap_or_default();
    let path_end = memchr::memchr(b'?', rest).map_or(end, |q| path_start + q);
    head.path = Span::new(path_start, path_end);
    head.query = (path_end < end).then(|| Span::new(path_end + 1, end));
    Ok(())
}

fn scheme(target: &[u8]) -> Option<(Scheme, usize)> {
    let starts = |prefix: &[u8]| target.get(..prefix.len()).is_some_and(|s| s.eq_ignore_ascii_case(prefix));
    if starts(b"http://") {
        Some((Scheme::Http, 7))
    } else if starts(b"https://") {
        Some((Scheme::Https, 8))
    } else {
        None
    }
}

/// Exactly one valid Host on 1.1, at most one on 1.0, and none that contradicts the target (RFC 9112 section 3.2).
fn host(buf: &[u8], head: &mut RequestHead) -> Result<(), Reject> {
    let mut hosts = head.fields.all(Known::Host);
    let Some(field) = hosts.next().copied() else {
        return match head.version {
            Version::Http11 => Err(Reject::whole(Rule::HostMissing)),
            Version::Http10 => Ok(()),
        };
    };
    if let Some(second) = hosts.next() {
        return Err(Reject::at(Rule::HostRepeated, second.name.start as usize));
    }
    let at = field.value.start as usize;
    // RFC 9110 section 7.2: what is sent where the target has no authority.
    if field.value.of(buf).is_empty() && matches!(head.form, Form::Origin | Form::Asterisk) {
        return Ok(());
    }
    let Some(host) = Authority::parse(field.value.of(buf)) else {
        return Err(Reject::at(Rule::HostInvalid, at));
    };
    let default = match head.form {
        Form::Origin | Form::Asterisk => {
            head.authority = field.value;
            return Ok(());
        }
        Form::Absolute(scheme) => scheme.port(),
        // The port of an authority-form target is written; 0 can equal none that Host leaves out.
        Form::Authority => 0,
    };
    match Authority::parse(head.authority.of(buf)) {
        Some(named) if named.same(&host, default) => Ok(()),
        // `CONNECT example.com:443` with `Host: example.com` is what several clients send.
        Some(named)
            if head.form == Form::Authority
                && host.port.is_none()
                && named.host.eq_ignore_ascii_case(host.host) =>
        {
            Ok(())
        }
        _ => Err(Reject::at(Rule::HostMismatch, at)),
    }
}
