//! Which clients a listener takes: what the configuration says of them, made ready to be asked per connection.

use crate::ground::address::Address;
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
