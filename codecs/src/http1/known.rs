//! The field names that frame, route or authenticate, recognised once while a head is parsed.

macro_rules! known {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)*) => {
        /// A field name the proxy itself looks at. Everything else is forwarded without being known.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Known { $($(#[$doc])* #[doc = concat!("`", $name, "`")] $variant,)* }

        impl Known {
            /// Every known name.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in lower case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

known! {
    Host = "host";
    ContentLength = "content-length";
    TransferEncoding = "transfer-encoding";
    Connection = "connection";
    KeepAlive = "keep-alive";
    ProxyConnection = "proxy-connection";
    Te = "te";
    Trailer = "trailer";
    Upgrade = "upgrade";
    Http2Settings = "http2-settings";
    Expect = "expect";
    MaxForwards = "max-forwards";
    Authorization = "authorization";
    ProxyAuthorization = "proxy-authorization";
    ProxyAuthenticate = "proxy-authenticate";
    ProxyAuthenticationInfo = "proxy-authentication-info";
    WwwAuthenticate = "www-authenticate";
    Cookie = "cookie";
    SetCookie = "set-cookie";
    ContentType = "content-type";
    ContentEncoding = "content-encoding";
    ContentRange = "content-range";
    Range = "range";
    CacheControl = "cache-control";
    Date = "date";
    Server = "server";
    Location = "location";
    RetryAfter = "retry-after";
    Via = "via";
    Forwarded = "forwarded";
    XForwardedFor = "x-forwarded-for";
    XForwardedProto = "x-forwarded-proto";
    XForwardedHost = "x-forwarded-host";
    XForwardedPort = "x-forwarded-port";
    XRequestId = "x-request-id";
    XAmzTarget = "x-amz-target";
    Traceparent = "traceparent";
}

impl Known {
    /// The known name that `name` is, in any case.
    #[must_use]
    pub fn of(name: &[u8]) -> Option<Self> {
        use Known::*;
        let candidates: &[Self] = match name.len() {
            2 => &[Te],
            3 => &[Via],
            4 => &[Host, Date],
            5 => &[Range],
            6 => &[Cookie, Expect, Server],
            7 => &[Upgrade, Trailer],
            8 => &[Location],
            9 => &[Forwarded],
            10 => &[Connection, KeepAlive, SetCookie],
            11 => &[RetryAfter, Traceparent],
            12 => &[ContentType, XRequestId, XAmzTarget, MaxForwards],
            13 => &[Authorization, CacheControl, ContentRange],
            14 => &[ContentLength, Http2Settings],
            15 => &[XForwardedFor],
            16 => &[XForwardedHost, XForwardedPort, ContentEncoding, ProxyConnection, WwwAuthenticate],
            17 => &[TransferEncoding, XForwardedProto],
            18 => &[ProxyAuthenticate],
            19 => &[ProxyAuthorization],
            25 => &[ProxyAuthenticationInfo],
            _ => &[],
        };
        let ends = Ends::of(name);
        // Most names that are not known differ from all that are by their ends, and no two known ones of a length have both
        // in common: what is left is compared once.
        let known = candidates.iter().copied().find(|&known| ENDS.get(known as usize) == Some(&ends))?;
        name.eq_ignore_ascii_case(known.name().as_bytes()).then_some(known)
    }

    /// Whether the field is about this connection only (RFC 9110 section 7.6.1): it is never forwarded, named by
    /// Connection or not. `TE` and `Upgrade` are in the set because the next hop's are written anew. The `Proxy-*`
    /// credentials are not: they are for the first proxy that asks for them (RFC 9110 section 11.7), which we never do.
    #[must_use]
    pub const fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::KeepAlive
                | Self::ProxyConnection
                | Self::Te
                | Self::Upgrade
                | Self::Http2Settings
        )
    }

    /// Whether the field must not come in a trailer section (RFC 9110 section 6.5.1): it frames, routes, controls the
    /// request, authenticates, or says how to read content that has already been read.
    #[must_use]
    pub const fn is_forbidden_in_trailers(self) -> bool {
        !matches!(self, Self::Date | Self::Server | Self::RetryAfter | Self::XRequestId | Self::Traceparent)
    }

    const fn bit(self) -> u64 {
        1 << self as u8
    }
}

/// A name's last byte and the fourth from its end (or its first), in lower case as far as they are letters.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Ends(u8, u8);

impl Ends {
    const fn of(name: &[u8]) -> Ends {
        match name {
            [.., fourth, _, _, last] | [fourth, .., last] => Ends(*fourth | 0x20, *last | 0x20),
            _ => Ends(0, 0),
        }
    }
}

static ENDS: [Ends; Known::ALL.len()] = ends();

#[allow(clippy::indexing_slicing)] // evaluated at compile time, where out of bounds is a compile error
const fn ends() -> [Ends; Known::ALL.len()] {
    let mut ends = [Ends(0, 0); Known::ALL.len()];
    let mut at = 0;
    while at < ends.len() {
        ends[at] = Ends::of(Known::ALL[at].name().as_bytes());
        at += 1;
    }
    ends
}

/// Which known names a head has, so that looking for an absent one costs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KnownSet(u64);

impl KnownSet {
    /// Whether the head has the field at least once.
    #[must_use]
    pub const fn contains(self, known: Known) -> bool {
        self.0 & known.bit() != 0
    }

    pub(super) const fn insert(&mut self, known: Known) {
        self.0 |= known.bit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_names_of_a_length_have_the_same_ends() {
        for &one in Known::ALL {
            for &other in Known::ALL {
                let alike =
                    one.name().len() == other.name().len() && ENDS[one as usize] == ENDS[other as usize];
                assert!(one == other || !alike, "{one:?} and {other:?}: only the first would be found");
            }
        }
    }

    #[test]
    fn every_name_is_found_in_any_case_and_no_prefix_is() {
        assert!(Known::ALL.len() <= 64, "KnownSet is one word");
        for &known in Known::ALL {
            let name = known.name();
            assert_eq!(Known::of(name.as_bytes()), Some(known));
            assert_eq!(Known::of(name.to_ascii_uppercase().as_bytes()), Some(known));
            assert_eq!(Known::of(&name.as_bytes()[1..]), None);
            assert_eq!(Known::of(name.replace('-', "_").as_bytes()), (!name.contains('-')).then_some(known));
        }
    }
}
