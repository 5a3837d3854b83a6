//! Requests that come back to the process that sent them: a cluster may lead to a listener, and a request through it to the cluster again.
//! Which connections lead to a listener of this process is known when they are made; what goes over them carries how often it has
//! done so, in words that only this process knows.

use crate::ground::sync::lock;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use weir_config::Bind;

/// How many bytes [`Hops::text`] has.
pub const HOP_LENGTH: usize = TOKEN + 2;
const TOKEN: usize = 32;

/// The listeners of this process, and what its requests to them are known by.
#[derive(Debug)]
pub(crate) struct Hops {
    /// Random: nobody else can say how often a request has been here.
    token: [u8; TOKEN],
    listening: Mutex<Vec<Bind>>,
}

impl Hops {
    pub(crate) fn new() -> Hops {
        let (high, low) = (crate::ground::time::seed(u64::MAX), crate::ground::time::seed(u64::MAX - 1));
        let text = format!("{high:016x}{low:016x}");
        let mut token = [b'0'; TOKEN];
        token.iter_mut().zip(text.bytes()).for_each(|(digit, byte)| *digit = byte);
        Hops { token, listening: Mutex::default() }
    }

    /// The process listens on these addresses. `also`: and on those that it listened on before.
    pub(crate) fn listen(&self, addresses: impl Iterator<Item = Bind>, also: bool) {
        let mut listening = lock(&self.listening);
        if !also {
            listening.clear();
        }
        for address in addresses {
            if !listening.contains(&address) {
                listening.push(address);
            }
        }
    }

    /// Whether a connection to `peer` leads to one of them. `local`: its own end, which is asked for only where it matters.
    pub(crate) fn leads_here(&self, peer: SocketAddr, local: impl Fn() -> Option<IpAddr>) -> bool {
        let ip = peer.ip().to_canonical();
        lock(&self.listening).iter().filter_map(Bind::ip).any(|bound| {
            let port = bound.port() == peer.port();
            // A connection from a host to itself has the same address at both ends, unless it is by loopback.
            let any = bound.ip().is_unspecified() && bound.is_ipv4() == ip.is_ipv4();
            port && (bound.ip().to_canonical() == ip
                || any && (ip.is_loopback() || local().is_some_and(|local| local.to_canonical() == ip)))
        })
    }

    /// The same of a Unix socket.
    pub(crate) fn is_path(&self, path: &str) -> bool {
        let path = std::path::Path::new(path);
        lock(&self.listening).iter().any(|bound| bound.path().is_some_and(|bound| **bound == *path))
    }

    /// How a request says that it goes to this process for the `hop`-th time.
    pub(crate) fn text(&self, hop: u8) -> [u8; HOP_LENGTH] {
        let mut text = [b'-'; HOP_LENGTH];
        text.iter_mut().zip(self.token).for_each(|(into, byte)| *into = byte);
        if let Some(last) = text.last_mut() {
            *last = b'0' + hop.min(9);
        }
        text
    }

    /// How often a request that says `told` has come from this process; 0 for what others say.
    pub(crate) fn of(&self, told: &[u8]) -> u8 {
        let rest = told.strip_prefix(&self.token).and_then(|rest| rest.strip_prefix(b"-"));
        match rest {
            Some([digit @ b'0'..=b'9']) => digit - b'0',
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_process_knows_how_often() {
        let (ours, others) = (Hops::new(), Hops::new());
        for hop in 0..=9 {
            assert_eq!(ours.of(&ours.text(hop)), hop);
            assert_eq!(others.of(&ours.text(hop)), 0);
        }
        let text = ours.text(3);
        for forged in [
            &b""[..],
            b"3",
            &text[1..],
            &text[..33],
            &[&text[..], b"1"].concat(),
            b"00000000000000000000000000000000-3",
        ] {
            assert_eq!(ours.of(forged), 0);
        }
    }

    #[test]
    fn connections_that_lead_back_are_known_by_their_ends() {
        let hops = Hops::new();
        let bind = |text: &str| Bind::Ip(text.parse().unwrap());
        hops.listen(
            [bind("127.0.0.1:80"), bind("0.0.0.0:81"), bind("[::]:82"), bind("10.0.0.1:83")].into_iter(),
            false,
        );
        for (peer, local, here) in [
            ("127.0.0.1:80", "127.0.0.1", true),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1", true),
            ("127.0.0.2:80", "127.0.0.1", false),
            ("127.0.0.2:81", "127.0.0.1", true),
            ("192.0.2.1:81", "192.0.2.1", true),
            ("192.0.2.1:81", "192.0.2.2", false),
            ("[::1]:81", "::1", false),
            ("[::1]:82", "::1", true),
            ("10.0.0.1:83", "10.0.0.1", true),
            ("10.0.0.1:84", "10.0.0.1", false),
        ] {
            let found = hops.leads_here(peer.parse().unwrap(), || local.parse().ok());
            assert_eq!(found, here, "{peer} from {local}");
        }
        hops.listen([Bind::Unix(std::path::Path::new("/run/a.sock").into())].into_iter(), true);
        assert!(hops.is_path("/run/a.sock") && !hops.is_path("/run/b.sock"));
        assert!(hops.leads_here("127.0.0.1:80".parse().unwrap(), || None));
        hops.listen(std::iter::empty(), false);
        assert!(!hops.leads_here("127.0.0.1:80".parse().unwrap(), || None));
    }
}
