//! The fields that Weir adds to messages by itself: the one declaration of them, each with its switch. What frames a message, and what
//! a dialect has to say by its protocol (`grpc-timeout`), is none of them.

use weir_config::{Field, Fields, Kind, Table, Walk};

macro_rules! adds {
    ($($variant:ident = $key:literal, $name:literal, $default:literal, $doc:literal;)+) => {
        /// A field that Weir adds.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Added { $($variant,)+ }

        impl Added {
            /// All of them.
            #[cfg(test)]
            pub const ALL: &'static [Added] = &[$(Added::$variant,)+];

            /// Its name.
            pub const fn name(self) -> &'static [u8] {
                match self { $(Added::$variant => $name.as_bytes(),)+ }
            }
        }

        /// The switches of a section.
        pub static ADDS: Table = Table {
            name: "adds",
            doc: "Which fields Weir adds to messages by itself. `via` has a key of its own, on listeners and clusters. To requests \
                  with a signature nothing is added where `signed` holds.",
            fields: &[$(Field::with_default($key, Kind::Bool, $default, $doc),)+],
            rules: &[],
        };

        impl Adds {
            /// Reads the switches.
            pub fn read(walk: &mut Walk<'_>, fields: &Fields<'_>) -> Adds {
                let mut all = 0;
                $(if fields.flag(walk, $key).unwrap_or_default() { all |= 1 << Added::$variant as u16; })+
                Adds(all)
            }
        }
    };
}

adds! {
    XForwardedFor = "x_forwarded_for", "x-forwarded-for", "true",
        "To requests: the address of the peer, at the right end of what trusted proxies say.";
    XForwardedProto = "x_forwarded_proto", "x-forwarded-proto", "true",
        "To requests: `https` or `http`, as the client asked.";
    XForwardedHost = "x_forwarded_host", "x-forwarded-host", "true",
        "To requests: the host that the client asked for.";
    XForwardedPort = "x_forwarded_port", "x-forwarded-port", "false",
        "To requests: the port that the client asked for.";
    XRealIp = "x_real_ip", "x-real-ip", "false",
        "To requests: the address of the client, as `trusted` and `hops` find it.";
    Forwarded = "forwarded", "forwarded", "false",
        "To requests: an element of RFC 7239 with `for`, `proto` and `host`. A list of trusted proxies is extended in any case.";
    XRequestId = "x_request_id", "x-request-id", "true",
        "To requests: a random UUID. That of a trusted peer is kept; that of others where `keep_request_id` says so.";
    XWeirReason = "x_weir_reason", "x-weir-reason", "true",
        "To replies of Weir's own: why, in a word.";
    Date = "date", "date", "true",
        "To replies of Weir's own: the time (RFC 9110 section 6.6.1).";
}

/// The switches that are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adds(u16);

impl Adds {
    /// Whether the field is added.
    pub fn has(self, added: Added) -> bool {
        self.0 & (1 << added as u16) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_switch_of_its_name() {
        for (added, field) in Added::ALL.iter().zip(ADDS.fields) {
            assert_eq!(field.name.replace('_', "-").as_bytes(), added.name(), "{added:?}");
        }
        assert_eq!(Added::ALL.len(), ADDS.fields.len());
        assert!(Added::ALL.len() <= 16, "they are bits of one word");
    }
}
