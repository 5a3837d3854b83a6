//! gRPC as a dialect of HTTP/2: which method of which service a request calls, until when, and in which of the seventeen
//! statuses it ended. Every call ends in exactly one, the one that its client sees: cancelled, late, refused and broken off
//! calls included.
//!
//! How a call passes through:
//!
//! 1. [`GrpcDialect`] looks at the head: a POST over HTTP/2 with a content type of `application/grpc` is a call, anything else
//!    (gRPC-Web too) plain HTTP. The path names service and method, `grpc-timeout` says how long it may take;
//! 2. each try is told how much of that time is left and how many tries came before ([`Call::attempt`](weir_http::Watch));
//! 3. where the route's policy may want another try, the reply's head is held until its first message or its trailers, if the
//!    request is complete by then: a call that fails before any message can still be tried again. A client that is still sending may be waiting for the head, so there it is
//!    not held; nor is it for longer than a tenth of a second.
//! 4. the status is in the trailers, or in the head of a reply without a body; where there is none, the HTTP status, the reset
//!    or the fault says which it is ([`verdict`]). Weir's own replies are a head with a status and nothing else.
//!
//! Messages are counted by their prefixes as they pass, compressed or not; nothing is held, decoded or changed.

mod call;
pub mod names;
mod numbers;
pub mod verdict;

pub use call::Call;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use numbers::Numbers;
use weir_codecs::grpc::{Code, Method, Protocol};
use weir_config::{Listener, Table};
use weir_decide::exchange::{NameId, NameKind, Names, Operation, RetryOn};
use weir_drive::Worker;
use weir_http::{Dialect, DialectFactory, Fields, HttpSection, RequestHead, Watch};
use weir_measure::Measure;

/// The `protocol` label value, and the key of the listener's section.
pub const NAME: &str = "grpc";

/// Makes the dialect's instances, for routes with `dialect: grpc`.
#[derive(Debug, Clone, Copy)]
pub struct Grpc;

impl DialectFactory for Grpc {
    fn name(&self) -> &'static str {
        NAME
    }

    fn needs_http2(&self) -> bool {
        true
    }

    fn conditions(&self) -> RetryOn {
        RetryOn(RetryOn::HTTP.0 & !RetryOn::THROTTLED.0).and(RetryOn::GRPC_STATUS)
    }

    fn has_methods(&self) -> bool {
        true
    }

    fn dialect(&self, listener: &Arc<Listener>, worker: &Rc<Worker>) -> Rc<dyn Dialect> {
        Rc::new(GrpcDialect::new(worker.measure().measure(), &listener.name))
    }
}

static TABLE: Table = weir_http::config::table_with_methods(
    NAME,
    "gRPC over HTTP/2: an `http` listener whose routes have `dialect: grpc`. It has either `cluster` (all calls go there) or `routes`; a call that no route takes is answered with UNIMPLEMENTED.",
);

/// The `grpc:` section of a listener. `dialects`: those that its routes may name instead.
pub const fn section(dialects: &'static [&'static dyn DialectFactory]) -> HttpSection {
    HttpSection { key: NAME, table: &TABLE, dialect: Some(&Grpc), dialects }
}

/// The dialect, for one listener on one worker.
#[derive(Debug)]
pub struct GrpcDialect {
    shared: Rc<Shared>,
}

impl GrpcDialect {
    /// For `listener`, whose name is a label.
    pub fn new(measure: &Arc<Measure>, listener: &str) -> GrpcDialect {
        let codes = Code::ALL.map(|_| Cell::new(None));
        GrpcDialect { shared: Rc::new(Shared { numbers: Numbers::new(measure, listener), codes }) }
    }
}

impl Dialect for GrpcDialect {
    fn name(&self) -> &'static str {
        NAME
    }

    // Metadata is no header field of CGI.
    fn takes_names_exactly(&self, version: u8, fields: &Fields) -> bool {
        let protocol = fields.value(b"content-type").and_then(Protocol::of);
        version == 20 && protocol == Some(Protocol::Grpc)
    }

    fn watch(&self, names: &mut dyn Names, head: &RequestHead<'_>) -> Option<Box<dyn Watch>> {
        if head.version != 20 || head.method != b"POST" {
            return None;
        }
        if Protocol::of(head.fields.value(b"content-type")?)? != Protocol::Grpc {
            return None;
        }
        let operation = match Method::parse(head.path) {
            Some(Method { service, method }) => Operation::new(
                names.intern(NameKind::Operation, &[method.as_bytes()]),
                names.intern(NameKind::Resource, &[service.as_bytes()]),
            ),
            // No method can have such a path: the server will say UNIMPLEMENTED.
            None => Operation::new(NameId::OTHER, NameId::OTHER),
        };
        Some(Box::new(Call::new(Rc::clone(&self.shared), head, operation)))
    }
}

/// What the calls of a listener on a worker share.
#[derive(Debug)]
struct Shared {
    numbers: Numbers,
    /// Ids by number of the code.
    codes: [Cell<Option<NameId>>; 17],
}

impl Shared {
    fn code(&self, names: &mut dyn Names, code: Code) -> NameId {
        let Some(cell) = self.codes.get(usize::from(code.number())) else { return NameId::OTHER };
        cell.get().unwrap_or_else(|| {
            let id = names.fixed(NameKind::Code, code.name().as_bytes());
            cell.set(Some(id));
            id
        })
    }
}

#[cfg(test)]
mod tests;
