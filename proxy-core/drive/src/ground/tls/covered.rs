//! Which hosts a connection may be asked for. A browser that has a connection of HTTP/2 for one name of a certificate uses it for
//! every other name of that certificate (RFC 9113 section 9.1.1), and a client of either version may ask for any host it likes: a
//! request could get to another application than the one which its name leads to, past the certificates and the rules of that.

use super::identity::ByName;
use super::passed::Names;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use weir_decide::route::host_of;

/// What the TLS of a terminated connection says of the hosts that may be asked for on it.
pub struct Covered {
    names: Arc<ByName>,
    /// Which certificate the client was shown.
    shown: usize,
    passed: Option<Rc<Names>>,
    match_host: bool,
}

impl Covered {
    /// `names` are those of the listener's certificates, `passed` those that it passes on; `None`: any host is as good as another.
    pub(crate) fn new(
        names: &Arc<ByName>,
        passed: Option<&Rc<Names>>,
        shown: usize,
        match_host: bool,
    ) -> Option<Rc<Covered>> {
        let all_alike = names.len() < 2 && passed.is_none() && !match_host;
        (!all_alike).then(|| {
            let (names, passed) = (Arc::clone(names), passed.cloned());
            Rc::new(Covered { names, shown, passed, match_host })
        })
    }

    /// Whether a request for `authority` belongs on another connection (RFC 9110 section 15.5.20): its host is one of
    /// `passthrough`, or not in the certificate that was shown, though in another of the listener's, or in none where it has to be.
    pub fn is_misdirected(&self, authority: &[u8]) -> bool {
        let Ok(host) = std::str::from_utf8(host_of(authority)) else { return self.match_host };
        if host.is_empty() {
            return false;
        }
        if host.bytes().any(|b| b.is_ascii_uppercase()) {
            self.decide(&host.to_ascii_lowercase())
        } else {
            self.decide(host)
        }
    }

    fn decide(&self, host: &str) -> bool {
        if self.passed.as_ref().is_some_and(|passed| passed.find(host).is_some()) {
            return true;
        }
        !self.names.covers(self.shown, host) && (self.match_host || self.names.knows(host))
    }
}

impl fmt::Debug for Covered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Covered").field("shown", &self.shown).finish_non_exhaustive()
    }
}
