//! Which addresses are taken: nobody else can listen there.

use crate::network::Bind;
use hashbrown::HashMap;

/// Addresses, and who has them.
#[derive(Debug, Default)]
pub(crate) struct Taken<'a> {
    exact: HashMap<Bind, &'a str>,
    /// Ports that are taken on every address of IPv4 (`false`) or IPv6 (`true`): the two do not get in each other's way.
    everywhere: HashMap<(bool, u16), &'a str>,
    /// Ports that are taken on some address.
    somewhere: HashMap<(bool, u16), &'a str>,
}

impl<'a> Taken<'a> {
    /// Who has this address, or part of it, or all addresses with its port. Nobody has port 0.
    pub(crate) fn by(&self, bind: &Bind) -> Option<&'a str> {
        let Some(address) = bind.ip() else { return self.exact.get(bind).copied() };
        let port = (address.is_ipv6(), address.port());
        let wider = if address.ip().is_unspecified() { &self.somewhere } else { &self.everywhere };
        let by = self.exact.get(bind).or_else(|| wider.get(&port));
        by.copied().filter(|_| address.port() != 0)
    }

    /// `who` takes the address. Whoever had it before keeps it.
    pub(crate) fn take(&mut self, bind: Bind, who: &'a str) {
        if let Some(address) = bind.ip() {
            let port = (address.is_ipv6(), address.port());
            if address.ip().is_unspecified() {
                self.everywhere.entry(port).or_insert(who);
            }
            self.somewhere.entry(port).or_insert(who);
        }
        self.exact.entry(bind).or_insert(who);
    }
}
