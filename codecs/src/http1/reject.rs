//! Why a message was refused: one [`Rule`] per check, so that each has its own counter and its own name in a log line.

use std::fmt;

/// A message that broke a rule. Whoever gets one answers [`Rule::status`] (a client) or treats the upstream as broken
/// (502), and closes the connection: after any of these nobody can say where the next message begins, so what is left
/// in the buffer is discarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reject {
    /// The rule that was broken.
    pub rule: Rule,
    /// The first offending byte, counted from the start of the buffer that was passed in; none where the rule is about
    /// the head as a whole (a missing Host, say).
    pub offset: Option<u32>,
}

impl Reject {
    /// A rule broken by the byte at `offset`.
    #[must_use]
    pub const fn at(rule: Rule, offset: usize) -> Self {
        Self { rule, offset: Some(if offset > u32::MAX as usize { u32::MAX } else { offset as u32 }) }
    }

    /// A rule broken by the message as a whole.
    #[must_use]
    pub const fn whole(rule: Rule) -> Self {
        Self { rule, offset: None }
    }

    /// The stable snake_case name of the rule.
    #[must_use]
    pub const fn rule(&self) -> &'static str {
        self.rule.name()
    }

    /// The status to answer a client whose request broke the rule.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.rule.status()
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            Some(at) => write!(f, "{}@{at}", self.rule.name()),
            None => f.write_str(self.rule.name()),
        }
    }
}

impl std::error::Error for Reject {}

macro_rules! rules {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $status:literal;)*) => {
        /// Every rule of the codec, closed: `rule as usize` indexes an array of [`Rule::COUNT`] counters.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Rule { $($(#[$doc])* $variant,)* }

        impl Rule {
            /// Every rule, in the order of its index.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// How many rules there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The stable snake_case name: a metric label and a log field.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The status a request that broke the rule is answered with. A response that broke it becomes a 502.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }
        }
    };
}

rules! {
    /// A byte of the method is not a token character.
    MethodChar = "method_char", 400;
    /// The request line is not three parts with exactly one SP between them and none around them.
    RequestLineSpace = "request_line_space", 400;
    /// The target has a control character, a byte outside ASCII or DEL.
    TargetChar = "target_char", 400;
    /// The target has a fragment (`#`), which never goes on the wire.
    TargetFragment = "target_fragment", 400;
    /// The target is in none of the four forms, or in one that its method does not allow.
    TargetForm = "target_form", 400;
    /// The authority in an absolute-form or authority-form target is not `host[:port]`.
    TargetAuthority = "target_authority", 400;
    /// The target is longer than [`Limits::target`](super::Limits::target).
    TargetTooLong = "target_too_long", 414;
    /// The request line ends after the target: HTTP/0.9.
    VersionMissing = "version_missing", 400;
    /// The version is not of the shape `HTTP/digit.digit`.
    VersionMalformed = "version_malformed", 400;
    /// The version is well formed and neither 1.0 nor 1.1.
    VersionUnsupported = "version_unsupported", 505;
    /// The status line has no three-digit status from 100 up, or something other than SP around it.
    StatusMalformed = "status_malformed", 502;
    /// The reason phrase has a control character.
    ReasonChar = "reason_char", 502;
    /// A CR that is not followed by LF.
    BareCr = "bare_cr", 400;
    /// An LF that does not follow a CR.
    BareLf = "bare_lf", 400;
    /// More than one empty line before a request, or any before a response.
    EmptyLines = "empty_lines", 400;
    /// A field line that begins with `:`.
    FieldNameEmpty = "field_name_empty", 400;
    /// A byte of a field name is not a token character.
    FieldNameChar = "field_name_char", 400;
    /// White space in or after a field name, before the colon.
    FieldNameSpace = "field_name_space", 400;
    /// A line without a colon where a field should be.
    FieldColonMissing = "field_colon_missing", 400;
    /// The first field line begins with white space.
    FieldLeadingSpace = "field_leading_space", 400;
    /// A later field line begins with white space: obsolete line folding.
    ObsFold = "obs_fold", 400;
    /// A NUL in a field value.
    ValueNul = "value_nul", 400;
    /// A control character other than HTAB in a field value.
    ValueCtl = "value_ctl", 400;
    /// The head is longer than [`Limits::head`](super::Limits::head).
    HeadTooLarge = "head_too_large", 431;
    /// The head has more fields than [`Limits::fields`](super::Limits::fields).
    TooManyFields = "too_many_fields", 431;
    /// An HTTP/1.1 request without Host.
    HostMissing = "host_missing", 400;
    /// More than one Host.
    HostRepeated = "host_repeated", 400;
    /// Host is not `host[:port]`.
    HostInvalid = "host_invalid", 400;
    /// Host differs from the authority of an absolute-form or authority-form target.
    HostMismatch = "host_mismatch", 400;
    /// Content-Length is not a list of decimal digits.
    ContentLengthInvalid = "content_length_invalid", 400;
    /// Content-Length is above 2^63-1.
    ContentLengthTooLarge = "content_length_too_large", 400;
    /// Two different values of Content-Length.
    ContentLengthConflict = "content_length_conflict", 400;
    /// Transfer-Encoding in an HTTP/1.0 message.
    TransferEncodingVersion = "transfer_encoding_version", 400;
    /// Transfer-Encoding together with Content-Length.
    TransferEncodingContentLength = "transfer_encoding_content_length", 400;
    /// Transfer-Encoding is not a list of tokens: empty, an empty element, a parameter on `chunked`.
    TransferEncodingMalformed = "transfer_encoding_malformed", 400;
    /// A transfer coding other than `chunked`.
    TransferEncodingUnsupported = "transfer_encoding_unsupported", 501;
    /// `chunked` more than once.
    TransferEncodingRepeated = "transfer_encoding_repeated", 400;
    /// Connection is not a list of tokens.
    ConnectionMalformed = "connection_malformed", 400;
    /// Connection names more fields than [`Limits::nominated`](super::Limits::nominated).
    ConnectionTooMany = "connection_too_many", 400;
    /// Connection announces an upgrade and Upgrade is not a list of protocols.
    UpgradeMalformed = "upgrade_malformed", 400;
    /// An expectation other than `100-continue`.
    ExpectUnsupported = "expect_unsupported", 417;
    /// CONNECT with a body: its bytes could as well be the tunnel's.
    ConnectBody = "connect_body", 400;
    /// 101 in answer to a request that asked for no upgrade.
    UpgradeUnasked = "upgrade_unasked", 502;
    /// A chunk size that is not 1 to 16 hexadecimal digits followed at once by CRLF or `;`.
    ChunkSizeInvalid = "chunk_size_invalid", 400;
    /// A chunk size of more than 16 digits or above 2^63-1.
    ChunkSizeTooLarge = "chunk_size_too_large", 400;
    /// A chunk extension that is not `;name[=token or quoted string]`.
    ChunkExtensionMalformed = "chunk_extension_malformed", 400;
    /// Chunk extensions longer than [`Limits::chunk_extension`](super::Limits::chunk_extension) in one chunk, or
    /// [`Limits::chunk_extensions`](super::Limits::chunk_extensions) in one body.
    ChunkExtensionTooLarge = "chunk_extension_too_large", 400;
    /// A chunk's data is not followed by CRLF.
    ChunkDataEnd = "chunk_data_end", 400;
    /// A trailer field that frames, routes or authenticates.
    TrailerForbidden = "trailer_forbidden", 400;
    /// The trailer section is longer than [`Limits::trailers`](super::Limits::trailers).
    TrailersTooLarge = "trailers_too_large", 431;
    /// The connection ended in the middle of a body.
    BodyTruncated = "body_truncated", 400;
    /// A `%` in the path that is not followed by two hexadecimal digits.
    PathEscape = "path_escape", 400;
    /// `%00` in the path.
    PathNul = "path_nul", 400;
    /// A `\` in the path, which some servers take for `/`.
    PathBackslash = "path_backslash", 400;
}
