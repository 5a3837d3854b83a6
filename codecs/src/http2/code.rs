//! Error codes (RFC 9113 section 7), and the faults that lead to them.

/// Why a stream or a connection ends. Codes that are not known are kept as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(pub u32);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        impl Code {
            $($(#[$doc])* pub const $name: Code = Code($value);)*

            /// The code's name in the RFC; `None` for codes that it does not define.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// Nothing went wrong.
    NO_ERROR = 0;
    /// The peer broke the protocol.
    PROTOCOL_ERROR = 1;
    /// The sender failed.
    INTERNAL_ERROR = 2;
    /// The peer sent more than its window allowed.
    FLOW_CONTROL_ERROR = 3;
    /// The peer did not acknowledge settings in time.
    SETTINGS_TIMEOUT = 4;
    /// A frame came for a stream that its sender had ended.
    STREAM_CLOSED = 5;
    /// A frame had a length that its kind or the settings do not allow.
    FRAME_SIZE_ERROR = 6;
    /// The stream was refused before anything was done for it.
    REFUSED_STREAM = 7;
    /// The stream is no longer wanted.
    CANCEL = 8;
    /// The table of field compression is out of step.
    COMPRESSION_ERROR = 9;
    /// The connection behind a CONNECT was reset.
    CONNECT_ERROR = 10;
    /// The peer made work that brought nothing.
    ENHANCE_YOUR_CALM = 11;
    /// TLS is not good enough.
    INADEQUATE_SECURITY = 12;
    /// HTTP/1.1 is needed for this request.
    HTTP_1_1_REQUIRED = 13;
}

/// A rule that the peer broke. Whether it ends a stream or the connection is said by where it is returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} (section {section})")]
pub struct Violation {
    /// The code that the peer is told.
    pub code: Code,
    /// The rule's section, of RFC 9113 unless it names another.
    pub section: &'static str,
    /// What was wrong.
    pub what: &'static str,
}

impl Violation {
    /// A violation of the rule in this section.
    #[must_use]
    pub const fn new(code: Code, section: &'static str, what: &'static str) -> Self {
        Self { code, section, what }
    }
}
