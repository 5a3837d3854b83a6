//! What ends routing for a connection: CONNECT, and upgrades. Whatever follows passes no route and no rule, so it takes a
//! route's own word.

use super::{Action, Route};
use std::sync::Arc;
use weir_codecs::http1::token::is_protocol;
use weir_config::{Fields, Kind, Walk};
use weir_decide::route::PathMatch;

/// What a route lets a connection become.
#[derive(Debug, Clone)]
pub struct Switches {
    /// A tunnel, by CONNECT.
    pub connect: bool,
    upgrades: Option<Arc<[Arc<str>]>>,
}

impl Default for Switches {
    /// A WebSocket, and nothing else.
    fn default() -> Switches {
        Switches { connect: false, upgrades: None }
    }
}

impl Switches {
    /// Whether a client may switch to `protocol`.
    pub fn takes(&self, protocol: &[u8]) -> bool {
        match &self.upgrades {
            Some(list) => list.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(protocol)),
            None => protocol.eq_ignore_ascii_case(b"websocket"),
        }
    }
}

pub(super) fn read(walk: &mut Walk<'_>, fields: &Fields<'_>) -> Option<Switches> {
    let connect = fields.flag(walk, "connect")?;
    let upgrades = match fields.items(walk, "upgrades") {
        None => None,
        Some(items) => Some(
            items
                .iter()
                .map(|item| {
                    let text = walk.text(item, &Kind::Text { max: 64 })?;
                    if !is_protocol(text.as_bytes()) {
                        walk.expected(item, "the name of a protocol, as in `websocket` (not `h2c`, which Weir never switches to)");
                        return None;
                    }
                    Some(text)
                })
                .collect::<Option<Arc<[_]>>>()?,
        ),
    };
    if fields.child("cluster").is_none() {
        for key in ["connect", "upgrades"] {
            if let Some(node) = fields.child(key) {
                walk.error(node, format!("`{key}` needs `cluster`: a connection that is forwarded to nobody becomes nothing else"));
                return None;
            }
        }
    }
    Some(Switches { connect, upgrades })
}

/// Says what cannot hold together: a route for CONNECT that does not let it through, or that no CONNECT can match.
pub(super) fn check(walk: &mut Walk<'_>, fields: &Fields<'_>, route: &Route) {
    let methods = &route.spec.methods;
    let names = |method: &str| methods.iter().any(|known| &**known == method);
    let forwards = matches!(route.action, Action::Cluster(_));
    if let Some(node) = fields.child("method")
        && names("CONNECT")
        && forwards
        && !route.switches.connect
    {
        walk.error(node, "CONNECT is answered with 405 on a route without `connect: true`");
    }
    let Some(node) = fields.child("connect").filter(|_| route.switches.connect) else { return };
    if !methods.is_empty() && !names("CONNECT") {
        walk.error(node, "never holds: `method` does not name CONNECT");
    }
    if route.spec.path != PathMatch::Any {
        walk.error(node, "never holds: a CONNECT has no path, and this route asks for one");
    }
}
