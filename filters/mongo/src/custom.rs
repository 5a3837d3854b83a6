//! Whether a server's clients authenticate, as far as what passes shows it.

use weir_codecs::mongo::Command;

/// What clients do before a server serves them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Custom {
    /// No client has been served yet.
    Unknown,
    /// They authenticate: one has, and none has been served without.
    Authenticates,
    /// One has been served that had not authenticated.
    Open,
}

impl Custom {
    /// A command was answered well on a connection that `known` says whether somebody has authenticated on.
    pub fn after(self, command: Command, known: bool) -> Custom {
        use Command::{Aggregate, Count, Delete, Distinct, Find, FindAndModify, Insert, Update};
        let serves =
            matches!(command, Find | Insert | Update | Delete | Aggregate | FindAndModify | Count | Distinct);
        match self {
            _ if serves && !known => Custom::Open,
            Custom::Unknown if known => Custom::Authenticates,
            before => before,
        }
    }
}
