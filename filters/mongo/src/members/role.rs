//! What a server says it is, in a hello: read by Weir itself, or seen as it passes.

use crate::measure::topology::{Heard, Role};
use bson::Document;
use weir_codecs::mongo::ReplyHead;

/// By Weir's own look at an answer.
pub(crate) fn of_document(hello: &Document) -> Heard {
    let says = |key: &str| hello.get_bool(key).unwrap_or(false);
    let facts = Facts {
        is_primary: says("isWritablePrimary") || says("ismaster"),
        is_secondary: says("secondary"),
        is_arbiter: says("arbiterOnly"),
        is_router: hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid"),
        has_set: hello.contains_key("setName") || says("isreplicaset"),
    };
    let election = hello.get_object_id("electionId").ok().map(|id| id.bytes());
    Heard { role: facts.role(), election, round_trip: None }
}

/// By an answer that passes.
pub(crate) fn of_reply(tail: &ReplyHead) -> Heard {
    let facts = Facts {
        is_primary: tail.is_writable_primary,
        is_secondary: tail.is_secondary,
        is_arbiter: tail.is_arbiter,
        is_router: tail.is_router,
        has_set: tail.has_set,
    };
    Heard { role: facts.role(), election: tail.election, round_trip: None }
}

#[derive(Clone, Copy)]
struct Facts {
    is_primary: bool,
    is_secondary: bool,
    is_arbiter: bool,
    is_router: bool,
    has_set: bool,
}

impl Facts {
    fn role(self) -> Role {
        match self {
            Facts { is_router: true, .. } => Role::Router,
            Facts { is_primary: true, has_set: true, .. } => Role::Primary,
            Facts { is_primary: true, .. } => Role::Standalone,
            Facts { is_secondary: true, .. } => Role::Secondary,
            Facts { is_arbiter: true, .. } => Role::Arbiter,
            Facts { .. } => Role::Other,
        }
    }
}
