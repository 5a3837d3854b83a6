//! The seventeen status codes.

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal $text:literal;)*) => {
        /// A gRPC status code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Code { $($(#[$doc])* $variant = $number),* }

        impl Code {
            /// All codes, by number.
            pub const ALL: [Code; 17] = [$(Code::$variant),*];

            /// The name as the gRPC project writes it, e.g. `DEADLINE_EXCEEDED`.
            pub const fn name(self) -> &'static str {
                match self { $(Code::$variant => $text),* }
            }
        }
    };
}

codes! {
    /// It worked.
    Ok = 0 "OK";
    /// The caller gave up.
    Cancelled = 1 "CANCELLED";
    /// Nobody knows, or the status was missing.
    Unknown = 2 "UNKNOWN";
    /// The request is wrong whatever the state of the system.
    InvalidArgument = 3 "INVALID_ARGUMENT";
    /// It took too long.
    DeadlineExceeded = 4 "DEADLINE_EXCEEDED";
    /// What is asked for is not there.
    NotFound = 5 "NOT_FOUND";
    /// What is to be created is there.
    AlreadyExists = 6 "ALREADY_EXISTS";
    /// The caller may not.
    PermissionDenied = 7 "PERMISSION_DENIED";
    /// A quota, a limit, memory.
    ResourceExhausted = 8 "RESOURCE_EXHAUSTED";
    /// The state of the system does not allow it.
    FailedPrecondition = 9 "FAILED_PRECONDITION";
    /// Another was faster.
    Aborted = 10 "ABORTED";
    /// Past the end.
    OutOfRange = 11 "OUT_OF_RANGE";
    /// No such method.
    Unimplemented = 12 "UNIMPLEMENTED";
    /// A broken invariant.
    Internal = 13 "INTERNAL";
    /// Not now; another try may work.
    Unavailable = 14 "UNAVAILABLE";
    /// Lost or corrupted for good.
    DataLoss = 15 "DATA_LOSS";
    /// Who is calling is not known.
    Unauthenticated = 16 "UNAUTHENTICATED";
}

impl Code {
    /// The code's number, as in `grpc-status`.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The code as in `grpc-status`, in decimal.
    pub const fn decimal(self) -> &'static str {
        const DECIMAL: [&str; 17] =
            ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"];
        #[allow(clippy::indexing_slicing)] // in bounds for every variant; a const fn cannot use `get`
        DECIMAL[self as usize]
    }

    /// Reads the value of `grpc-status`: one or two digits, 0 to 16, without a sign or a leading zero; anything else is
    /// UNKNOWN, as the specification asks.
    pub fn parse(value: &[u8]) -> Code {
        let number = match value {
            [digit @ b'0'..=b'9'] => digit - b'0',
            [b'1', digit @ b'0'..=b'6'] => 10 + digit - b'0',
            _ => return Code::Unknown,
        };
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Code::Unknown)
    }

    /// The code of this name, e.g. from a configuration.
    pub fn from_name(name: &str) -> Option<Code> {
        Self::ALL.into_iter().find(|code| code.name() == name)
    }

    /// What a reply without `grpc-status` means by its HTTP status (http-grpc-status-mapping of the gRPC project).
    pub const fn from_http(status: u16) -> Code {
        match status {
            400 => Code::Internal,
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 => Code::Unimplemented,
            429 | 502 | 503 | 504 => Code::Unavailable,
            _ => Code::Unknown,
        }
    }

    /// What a stream reset means by its HTTP/2 error code (PROTOCOL-HTTP2, "Errors").
    pub const fn from_reset(reason: u32) -> Code {
        match reason {
            7 => Code::Unavailable,        // REFUSED_STREAM
            8 => Code::Cancelled,          // CANCEL
            11 => Code::ResourceExhausted, // ENHANCE_YOUR_CALM
            12 => Code::PermissionDenied,  // INADEQUATE_SECURITY
            // NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, FRAME_SIZE_ERROR,
            // COMPRESSION_ERROR, CONNECT_ERROR; STREAM_CLOSED has no mapping, since there is nobody left to tell.
            0..=6 | 9 | 10 => Code::Internal,
            _ => Code::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names() {
        for (number, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(code.number()), number);
            assert_eq!(Code::parse(number.to_string().as_bytes()), code);
            assert_eq!(code.decimal(), number.to_string());
            assert_eq!(Code::from_name(code.name()), Some(code));
        }
        for bad in ["", "17", "20", "99", "-1", "+1", "00", "01", " 0", "0 ", "OK", "100", "١"] {
            assert_eq!(Code::parse(bad.as_bytes()), Code::Unknown, "{bad}");
        }
        assert_eq!(Code::from_name("unavailable"), None);
    }

    #[test]
    fn http_statuses() {
        let expected = [
            (200, Code::Unknown),
            (302, Code::Unknown),
            (400, Code::Internal),
            (401, Code::Unauthenticated),
            (403, Code::PermissionDenied),
            (404, Code::Unimplemented),
            (429, Code::Unavailable),
            (500, Code::Unknown),
            (502, Code::Unavailable),
            (503, Code::Unavailable),
            (504, Code::Unavailable),
        ];
        for (status, code) in expected {
            assert_eq!(Code::from_http(status), code, "{status}");
        }
    }

    #[test]
    fn resets() {
        let expected = [
            (0, Code::Internal),
            (2, Code::Internal),
            (7, Code::Unavailable),
            (8, Code::Cancelled),
            (13, Code::Unknown),
        ];
        for (reason, code) in expected {
            assert_eq!(Code::from_reset(reason), code, "{reason}");
        }
        assert_eq!(Code::from_reset(11), Code::ResourceExhausted);
        assert_eq!(Code::from_reset(12), Code::PermissionDenied);
    }
}
