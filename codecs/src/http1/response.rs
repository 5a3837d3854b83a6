//! Response heads (RFC 9112 sections 4 and 6.3).

use super::Limits;
use super::fields::{Fields, FieldsView, Span};
use super::framing::{self, Announced, Framing};
use super::head::{self, FAST_FIELDS, Parsed, Slots, Version};
use super::known::Known;
use super::reject::{Reject, Rule};
use super::request::{Method, RequestHead};
use super::scan::{self, Scan};

/// What has to be known of a request to read its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The method that was sent: the answer to HEAD has no body, and 2xx to CONNECT begins a tunnel.
    pub method: Method,
    /// Whether the request offered an upgrade; without it a 101 is refused.
    pub upgrade: bool,
}

impl Asked {
    /// A request of this method without an upgrade.
    #[must_use]
    pub const fn plain(method: Method) -> Self {
        Self { method, upgrade: false }
    }
}

impl From<&RequestHead> for Asked {
    fn from(head: &RequestHead) -> Self {
        Self { method: head.method(), upgrade: head.offers_upgrade() }
    }
}

/// A response head, by offsets into the buffer it was parsed from. Reuse one per connection: in the steady state
/// parsing into it allocates nothing. [`ResponseHead::view`] joins it with the bytes.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    scan: Option<Scan>,
    len: u32,
    version: Version,
    status: u16,
    reason: Span,
    fields: Fields,
    framing: Framing,
    content_length: Option<u64>,
    keep_alive: bool,
    upgrade: Option<Span>,
}

impl Default for ResponseHead {
    fn default() -> Self {
        Self::new()
    }
}

impl ResponseHead {
    /// An empty one, to be parsed into.
    #[must_use]
    pub fn new() -> Self {
        Self {
            scan: None,
            len: 0,
            version: Version::Http11,
            status: 0,
            reason: Span::default(),
            fields: Fields::default(),
            framing: Framing::None,
            content_length: None,
            keep_alive: false,
            upgrade: None,
        }
    }

    /// Forgets everything, half-seen heads included; the allocation stays.
    pub fn clear(&mut self) {
        let fields = std::mem::take(&mut self.fields);
        *self = Self { fields, ..Self::new() };
        self.fields.clear();
    }

    /// The bytes of the head: the body begins there.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether no head has been parsed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The version of the message.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The status, 100 to 999.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// Whether another response to the same request follows: any 1xx but 101. Whoever reads them bounds them.
    #[must_use]
    pub const fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// The fields.
    #[must_use]
    pub const fn fields(&self) -> &Fields {
        &self.fields
    }

    /// How the body ends.
    #[must_use]
    pub const fn framing(&self) -> Framing {
        self.framing
    }

    /// What Content-Length says, which for HEAD and 304 is the length of a body that does not come.
    #[must_use]
    pub const fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// Whether the connection serves another request once this response has ended. False for one that ends with its
    /// connection, and for a 1xx or 204 that announces a body nonetheless: nobody knows whether it sends one.
    #[must_use]
    pub const fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// The head with its bytes: `buf` is the buffer it was parsed from, or at least its first [`ResponseHead::len`]
    /// bytes.
    #[must_use]
    pub fn view<'a>(&'a self, buf: &'a [u8]) -> Response<'a> {
        Response { head: self, buf }
    }
}

/// A response head with the bytes behind it.
#[derive(Debug, Clone, Copy)]
pub struct Response<'a> {
    head: &'a ResponseHead,
    buf: &'a [u8],
}

impl<'a> Response<'a> {
    /// The facts.
    #[must_use]
    pub const fn head(&self) -> &'a ResponseHead {
        self.head
    }

    /// The reason phrase as it came, possibly empty.
    #[must_use]
    pub fn reason(&self) -> &'a [u8] {
        self.head.reason.of(self.buf)
    }

    /// The protocol a 101 switches to.
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

/// Parses the head at the start of `buf` into `head`, as the answer to a request that `asked`. Resumes like
/// [`parse_request`](super::parse_request). The SP before an empty reason may be missing, as many servers leave it
/// out.
///
/// # Errors
/// The first rule that the bytes break, in the order of the bytes; after them, those about the head as a whole. What
/// is in `head` then means nothing, the response is a 502 and the connection is closed.
pub fn parse_response(
    buf: &[u8],
    limits: &Limits,
    asked: Asked,
    head: &mut ResponseHead,
) -> Result<Parsed, Reject> {
    let resumed = head.scan.take().filter(|scan| scan.seen() <= buf.len());
    if resumed.is_none() {
        head.fields.clear();
        if fast(buf, limits, head).is_some() {
            return evaluate(buf, limits, asked, head);
        }
    }
    let mut scan = resumed.unwrap_or(const { Scan::response() });
    match scan.run(buf, limits)? {
        None => {
            head.scan = Some(scan);
            Ok(Parsed::Partial)
        }
        Some(len) => {
            let buf = buf.get(..len).unwrap_or_default();
            let fields = status_line(buf, head);
            head.fields.clear();
            for (name, value) in scan::lines(buf, fields) {
                head.fields.push(buf, name, value);
            }
            head.fields.finish(len.saturating_sub(2));
            head.len = Span::new(len, len).end;
            evaluate(buf, limits, asked, head)
        }
    }
}

/// The usual head: whole, and nothing wrong with it. Anything else is the machine's.
fn fast(buf: &[u8], limits: &Limits, head: &mut ResponseHead) -> Option<()> {
    if !matches!(buf.get(..13)?, [b'H', _, _, _, b'/', _, _, _, b' ', b'1'..=b'9', _, _, b' ' | b'\r']) {
        return None;
    }
    let mut slots: Slots<'_> = [const { std::mem::MaybeUninit::uninit() }; FAST_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let Ok(httparse::Status::Complete(len)) =
        config.parse_response_with_uninit_headers(&mut parsed, buf, &mut slots)
    else {
        return None;
    };
    if parsed.headers.len() > limits.fields as usize || len > limits.head as usize {
        return None;
    }
    let fields = status_line(buf, head);
    if buf.get(fields.checked_sub(1)?) != Some(&b'\n')
        || head::fill(buf, fields, parsed.headers, &mut head.fields) != Some(len)
    {
        head.fields.clear();
        return None;
    }
    head.len = Span::new(len, len).end;
    Some(())
}

/// Takes an accepted status line apart; gives where the fields begin.
fn status_line(buf: &[u8], head: &mut ResponseHead) -> usize {
    head.version = Version::from_minor(buf.get(7).copied().unwrap_or_default());
    let digits = buf.get(9..12).unwrap_or_default();
    head.status = digits.iter().fold(0, |n, b| n * 10 + u16::from(b.wrapping_sub(b'0') % 10));
    let end = 12 + memchr::memchr(b'\r', buf.get(12..).unwrap_or_default()).unwrap_or_default();
    head.reason = Span::new(end.min(13), end);
    end + 2
}

/// RFC 9112 section 6.3, and the rest of the facts.
fn evaluate(buf: &[u8], limits: &Limits, asked: Asked, head: &mut ResponseHead) -> Result<Parsed, Reject> {
    let announced = framing::announced(buf, &mut head.fields, head.version)?;
    let connection = framing::connection(buf, &mut head.fields, limits)?;
    head.keep_alive = framing::keep_alive(head.version, connection);
    head.content_length = match announced {
        Announced::Length(n) => Some(n),
        Announced::Nothing | Announced::Chunked => None,
    };
    head.upgrade = None;
    head.framing = match (head.status, asked.method) {
        (101, _) if asked.upgrade => {
            head.upgrade = framing::upgrade(buf, &head.fields)?;
            Framing::Tunnel
        }
        (101, _) => return Err(Reject::at(Rule::UpgradeUnasked, 9)),
        (100..=199 | 204, _) => {
            // Neither may announce a body (RFC 9110 section 8.6, RFC 9112 section 6.1). It is forwarded without the
            // fields that say so, and the connection is not used again.
            if !matches!(announced, Announced::Nothing | Announced::Length(0)) {
                head.keep_alive = false;
            }
            Framing::None
        }
        (200..=299, Method::Connect) => Framing::Tunnel,
        (304, _) | (_, Method::Head) => Framing::None,
        _ => match announced {
            Announced::Length(n) => Framing::Length(n),
            Announced::Chunked => Framing::Chunked,
            Announced::Nothing => Framing::UntilClose,
        },
    };
    if matches!(head.framing, Framing::UntilClose | Framing::Tunnel) {
        head.keep_alive = false;
    }
    Ok(Parsed::Complete { len: head.len() })
}

impl ResponseHead {
    /// Whether Content-Length and Transfer-Encoding, though no body comes, say something about the resource and may be
    /// forwarded: in the answer to HEAD and in 304.
    #[must_use]
    pub fn describes_absent_body(&self) -> bool {
        self.framing == Framing::None
            && self.status >= 200
            && self.status != 204
            && (self.fields.contains(Known::ContentLength) || self.fields.contains(Known::TransferEncoding))
    }
}
