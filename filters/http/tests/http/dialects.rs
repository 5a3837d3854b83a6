//! A dialect for tests: its operation is a header's value, its verdict a trailer's.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use weir_config::Listener;
use weir_decide::exchange::{Class, NameKind, Names, Operation, Outcome, RetryOn};
use weir_drive::Worker;
use weir_http::{AtHead, Dialect, DialectFactory, End, Fields, LocalReply, Refusal, RequestHead, Watch};

pub struct Toy;

impl DialectFactory for Toy {
    fn name(&self) -> &'static str {
        "toy"
    }

    fn conditions(&self) -> RetryOn {
        RetryOn::HTTP.and(RetryOn::GRPC_UNAVAILABLE)
    }

    fn dialect(&self, _: &Arc<Listener>, _: &Rc<Worker>) -> Rc<dyn Dialect> {
        Rc::new(Toy)
    }
}

impl Dialect for Toy {
    fn name(&self) -> &'static str {
        "toy"
    }

    fn watch(&self, names: &mut dyn Names, head: &RequestHead<'_>) -> Option<Box<dyn Watch>> {
        let name = head.fields.value(b"x-toy")?;
        let timeout = head.fields.value(b"x-toy-timeout").map(|_| Duration::from_millis(50));
        let operation = Operation::new(
            names.intern(NameKind::Operation, &[name]),
            names.intern(NameKind::Resource, &[b"toys"]),
        );
        Some(Box::new(Play { operation, timeout, seen: 0, status: None }))
    }
}

struct Play {
    operation: Operation,
    timeout: Option<Duration>,
    seen: usize,
    status: Option<Vec<u8>>,
}

impl Watch for Play {
    fn operation(&self) -> &Operation {
        &self.operation
    }

    fn timeout(&self, route: Option<Duration>) -> Option<Duration> {
        self.timeout.or(route)
    }

    fn attempt(&mut self, number: u32, _: weir_decide::exchange::Now, fields: &mut Fields) {
        self.status = None;
        if number > 0 {
            fields.set(b"x-toy-attempt", number.to_string().as_bytes());
        }
    }

    fn request_data(&mut self, names: &mut dyn Names, data: &[u8]) {
        self.seen += data.len();
        self.operation.resource =
            names.intern(NameKind::Resource, &[b"toys:", self.seen.to_string().as_bytes()]);
    }

    fn wants_body(&self) -> bool {
        true
    }

    fn reply_head(&mut self, _: &mut dyn Names, _: u16, fields: &Fields, _: bool) -> AtHead {
        self.status = fields.value(b"x-toy-status").map(<[u8]>::to_vec);
        AtHead::Hold { limit: 0 }
    }

    fn judge(&mut self, names: &mut dyn Names, end: End<'_>) -> Outcome {
        let status = match end {
            End::Complete { trailers } => {
                let trailer = trailers.and_then(|t| t.value(b"x-toy-status").map(<[u8]>::to_vec));
                trailer.or(self.status.clone()).unwrap_or_else(|| b"none".to_vec())
            }
            End::Failed { fault, .. } => fault.reason.label().as_bytes().to_vec(),
        };
        let (class, result, retryable) = match &*status {
            b"fine" => (Class::Success, "ok", RetryOn::NONE),
            b"later" => (Class::Failed, "later", RetryOn::GRPC_UNAVAILABLE),
            _ => (Class::Failed, "bad", RetryOn::NONE),
        };
        let code = names.intern(NameKind::Code, &[&status]);
        Outcome { class, result, code, retryable, fault: None, latency: 0 }
    }

    fn refuse(&mut self, refusal: &Refusal<'_>) -> LocalReply {
        let mut fields = Fields::new();
        fields.push(b"x-toy-status", refusal.fault.reason.label().as_bytes());
        LocalReply { status: 200, fields, body: (&b""[..]).into() }
    }

    fn abort(&mut self, fault: &weir_decide::exchange::Fault) -> Option<Fields> {
        let mut fields = Fields::new();
        fields.push(b"x-toy-status", fault.reason.label().as_bytes());
        Some(fields)
    }
}
