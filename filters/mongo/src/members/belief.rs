//! What is believed of what servers say of their set. A server that somebody else has taken over names whom it likes: at most as
//! many members as a set can have, by names that can be names, and none on this host or its link unless the configuration lists
//! such servers itself.

use std::sync::Arc;

use weir_decide::text;

/// The most members of a replica set.
pub(super) const MOST_MEMBERS: usize = 50;

/// The longest name of a set.
const LONGEST_SET: usize = 128;

/// The most members that are remembered for not being believed in.
const MOST_REFUSED: usize = 64;

/// Why a member is not believed in: a label value.
pub(super) const REASONS: [&str; 3] = [TOO_MANY, MALFORMED, NEAR];
const TOO_MANY: &str = "too_many";
const MALFORMED: &str = "malformed";
const NEAR: &str = "near";

/// The members that servers name, as far as they are believed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Named {
    pub(super) members: Vec<Arc<str>>,
    /// Those that are not believed in, and why: the names cleaned, and some of them only.
    pub(super) refused: Vec<(Arc<str>, &'static str)>,
    /// How many those are.
    pub(super) refused_count: usize,
}

impl Named {
    /// Of these names; `told` says whether a server may tell of one there.
    pub(super) fn of<'a>(names: impl IntoIterator<Item = &'a str>, told: impl Fn(&str) -> bool) -> Named {
        let mut named = Named::default();
        for name in names {
            // However many there are, they are not worth a look any more.
            if named.refused.len() == MOST_REFUSED && named.members.len() == MOST_MEMBERS {
                named.refused_count += 1;
                continue;
            }
            // Names are told apart without regard to case: many spellings are one host.
            if named.members.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                continue;
            }
            let reason = match () {
                () if !is_member(name) => MALFORMED,
                () if is_near(name, &told) => NEAR,
                () if named.members.len() == MOST_MEMBERS => TOO_MANY,
                () => {
                    named.members.push(name.into());
                    continue;
                }
            };
            named.refused_count += 1;
            if named.refused.len() < MOST_REFUSED {
                named.refused.push((shown(name), reason));
            }
        }
        named
    }
}

fn is_near(name: &str, told: impl Fn(&str) -> bool) -> bool {
    // What the name stands for is looked at when it is resolved; of this one everybody knows.
    let localhost = name.rsplit_once(':').is_some_and(|(host, _)| {
        let host = host.trim_end_matches('.');
        host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost")
    });
    !told(if localhost { "127.0.0.1:1" } else { name })
}

/// Text of a server's, as it may be shown.
fn shown(name: &str) -> Arc<str> {
    let short: String = name.chars().take(LONGEST_SET).collect();
    text::clean(&short).into()
}

/// Whether this is an address as members have: `host:port`, a name, an IPv4 address or an IPv6 address in brackets.
pub fn is_member(name: &str) -> bool {
    let Some((host, port)) = name.rsplit_once(':') else { return false };
    let digits = (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = digits && port.parse::<u16>().is_ok_and(|port| port > 0);
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let part = |part: &str| {
                (1..=63).contains(&part.len())
                    && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            };
            host.len() <= 253 && host.strip_suffix('.').unwrap_or(host).split('.').all(part)
        }
    };
    host && port
}

/// Whether this may be the name of a set.
pub fn is_set(name: &str) -> bool {
    !name.is_empty() && name.len() <= LONGEST_SET && text::is_clean(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_names_and_ports() {
        for good in [
            "a:1",
            "mongo-0.mongo.svc:27017",
            "a_b.c:1",
            "10.0.0.1:27017",
            "[::1]:1",
            "[fe80::1]:2",
            "a.b.:1",
        ] {
            assert!(is_member(good), "{good}");
        }
        let long = format!("{}:1", "a".repeat(64));
        for bad in [
            "",
            "a",
            "a:",
            "a:0",
            "a:65536",
            "a:+1",
            ":1",
            "a b:1",
            "a/b:1",
            "a&tls=false:1",
            "a,b:1",
            "a@b:1",
            "ä:1",
            "a..b:1",
            ".a:1",
            "\x1b[2J:1",
            "[::1:1",
            "::1:1",
            "[a]:1",
            "a\n:1",
            "unix:/a:1",
            &long,
        ] {
            assert!(!is_member(bad), "{bad:?}");
        }
        for (name, good) in [
            ("rs0", true),
            ("näme", true),
            ("a&tls=false", true),
            ("", false),
            ("a\x1b[2J", false),
            ("a\nb", false),
        ] {
            assert_eq!(is_set(name), good, "{name:?}");
        }
    }

    #[test]
    fn no_more_are_believed_than_a_set_can_have() {
        let names: Vec<String> = (0..500).map(|n| format!("h{n}:1")).collect();
        let named = Named::of(names.iter().map(String::as_str), |_| true);
        assert_eq!((named.members.len(), named.refused_count, named.refused.len()), (50, 450, 64));
        assert!(named.refused.iter().all(|(_, reason)| *reason == TOO_MANY));
        let spelt = Named::of(["a:1", "A:1", "a:1", "b:1"], |_| true);
        assert_eq!((spelt.members.len(), spelt.refused_count), (2, 0));
    }

    #[test]
    fn nobody_is_sent_to_this_host_or_its_link() {
        let told = |address: &str| !address.starts_with("127.") && !address.starts_with("169.254.");
        let named = Named::of(
            ["a:1", "127.0.0.1:1", "169.254.169.254:80", "LocalHost:1", "x.localhost.:1", "\x1b]0;x:1"],
            told,
        );
        assert_eq!(named.members, ["a:1".into()]);
        let reasons: Vec<_> = named.refused.iter().map(|(_, reason)| *reason).collect();
        assert_eq!(reasons, [NEAR, NEAR, NEAR, NEAR, MALFORMED]);
        assert_eq!(&*named.refused[4].0, "\\u{1b}]0;x:1");
    }
}
