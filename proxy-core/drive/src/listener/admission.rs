//! Which clients a listener takes: what the configuration says of them, made ready to be asked per connection.

use crate::address::Address;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use weir_config as config;
use weir_decide::rules::{Bucket, Rate};
use weir_decide::sources::{Networks, Sources};

/// What stands between a client and the service.
#[derive(Debug)]
pub(crate) struct Admission {
    sources: Sources,
    /// The most connections of one address.
    pub(super) per_address: Option<u32>,
    /// How fast connections are accepted, by all workers together.
    pub(super) turns: Option<Turns>,
    header: Option<Header>,
}

/// Whose turn it is to be accepted.
#[derive(Debug, Clone)]
pub(super) struct Turns {
    pub(super) rate: Rate,
    pub(super) bucket: Arc<Bucket>,
}

/// Who begins with a header of the PROXY protocol.
#[derive(Debug)]
struct Header {
    /// `None`: everybody.
    from: Option<Networks>,
    timeout: Duration,
}

impl Admission {
    /// What `config` says. A rate that stays the same goes on where it was `before`.
    pub(crate) fn new(
        config: &config::Admission,
        before: Option<(&config::Admission, &Admission)>,
    ) -> Arc<Admission> {
        let turns = config.accept_rate.map(|rate| {
            let same = before.filter(|(before, _)| before.accept_rate == Some(rate));
            let bucket =
                same.and_then(|(_, before)| before.turns.as_ref()).map(|turns| Arc::clone(&turns.bucket));
            let config::AcceptRate { count, per, burst } = rate;
            Turns { rate: Rate::new(count, per, burst), bucket: bucket.unwrap_or_default() }
        });
        let header = config.proxy_protocol.as_ref().map(|header| Header {
            from: Some(&header.from).filter(|from| !from.is_empty()).map(|from| Networks::new(from)),
            timeout: header.timeout,
        });
        Arc::new(Admission {
            sources: Sources::new(&config.allow, &config.deny),
            per_address: config.max_connections_per_address,
            turns,
            header,
        })
    }

    /// Whether a connection from `peer` has to begin with a header of the PROXY protocol, and how long that may take.
    pub(super) fn expects_header(&self, peer: Address) -> Option<Duration> {
        let header = self.header.as_ref()?;
        let is_in = |from: &Networks| peer.ip().is_some_and(|address| from.contains(address.ip()));
        header.from.as_ref().is_none_or(is_in).then_some(header.timeout)
    }

    /// Whether a client with this address is let in.
    pub(super) fn admits(&self, client: Address) -> bool {
        self.sources.admits(client.ip().map(|address| address.ip()))
    }
}

/// What counts as one client address: an IPv4 address, or a /64 of IPv6, within which a host picks addresses as it likes (RFC 4291
/// section 2.5.1, RFC 8981).
pub(super) fn one_client(address: IpAddr) -> u128 {
    match address.to_canonical() {
        // Not the beginning of any network of IPv6: `::ffff:0:0/96` is IPv4.
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() & !u128::from(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_apart_as_far_as_one_can() {
        let table = [
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.1", "::10.0.0.1", false),
            ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("0.0.0.0", "::", false),
        ];
        for (one, other, same) in table {
            let of = |text: &str| one_client(text.parse().unwrap());
            assert_eq!(of(one) == of(other), same, "{one} and {other}");
        }
    }
}
