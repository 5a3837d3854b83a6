//! Plain HTTP: the operation is the method, the resource the route, the judgement the status. What every exchange is unless a
//! dialect claims it.

use weir_codecs::http1::Method;
use weir_decide::exchange::{Class, Fault, NameId, NameKind, Names, Outcome, Phase, Reason, RetryOn, Side};

/// The results of plain HTTP: a closed list.
pub mod result {
    /// A status below 400.
    pub const OK: &str = "ok";
    /// 4xx of the server's.
    pub const CLIENT_ERROR: &str = "client_error";
    /// 5xx of the server's.
    pub const SERVER_ERROR: &str = "server_error";
    /// The client went away or gave up.
    pub const CLIENT_GONE: &str = "client_gone";
    /// The server could not be reached, or was lost, or what it sent could not be understood.
    pub const UPSTREAM_LOST: &str = "upstream_lost";
    /// A timeout of the route's, or nothing moved for too long.
    pub const TIMEOUT: &str = "timeout";
    /// Weir had no route, no endpoint or no room for it.
    pub const REFUSED: &str = "refused";
    /// The request broke a rule of HTTP.
    pub const REJECTED: &str = "rejected";
    /// Weir went away in the middle of it.
    pub const ABORTED: &str = "aborted";
}

const METHODS: [(Method, &[u8]); 9] = [
    (Method::Get, b"GET"),
    (Method::Head, b"HEAD"),
    (Method::Post, b"POST"),
    (Method::Put, b"PUT"),
    (Method::Delete, b"DELETE"),
    (Method::Connect, b"CONNECT"),
    (Method::Options, b"OPTIONS"),
    (Method::Trace, b"TRACE"),
    (Method::Patch, b"PATCH"),
];

/// Ids of the names that plain HTTP needs again and again.
#[derive(Debug)]
pub struct Vocabulary {
    methods: [NameId; METHODS.len()],
    statuses: Box<[std::cell::Cell<Option<NameId>>]>,
    /// A request whose head could not be read.
    pub malformed: NameId,
}

impl Vocabulary {
    /// Interns the methods.
    pub fn new(names: &mut dyn Names) -> Vocabulary {
        Vocabulary {
            methods: METHODS.map(|(_, text)| names.fixed(NameKind::Operation, text)),
            statuses: (100..1000).map(|_| std::cell::Cell::new(None)).collect(),
            malformed: names.fixed(NameKind::Operation, b"_malformed"),
        }
    }

    /// The operation of a request with this method; methods nobody knows are `_other`.
    pub fn method(&self, method: Method) -> NameId {
        let known = METHODS.iter().zip(&self.methods).find(|((m, _), _)| *m == method);
        known.map_or(NameId::OTHER, |(_, id)| *id)
    }

    /// The code for a status.
    pub fn status(&self, names: &mut dyn Names, status: u16) -> NameId {
        let Some(cell) = self.statuses.get(usize::from(status).wrapping_sub(100)) else {
            return NameId::OTHER;
        };
        cell.get().unwrap_or_else(|| {
            let digits =
                [b'0' + (status / 100) as u8, b'0' + (status / 10 % 10) as u8, b'0' + (status % 10) as u8];
            let id = names.fixed(NameKind::Code, &digits);
            cell.set(Some(id));
            id
        })
    }
}

/// Whether doing it twice is the same as doing it once (RFC 9110 section 9.2.2).
pub fn is_idempotent(method: Method) -> bool {
    matches!(
        method,
        Method::Get | Method::Head | Method::Put | Method::Delete | Method::Options | Method::Trace
    )
}

/// How a reply with this status went.
pub fn judge_status(status: u16, code: NameId) -> Outcome {
    let (class, result, retryable) = match status {
        // The server does not know the method: that is the client's choice, not the server's failure.
        501 => (Class::Rejected, result::SERVER_ERROR, RetryOn::SERVER_ERROR),
        // It would only go round once more.
        508 => (Class::Failed, result::SERVER_ERROR, RetryOn::NONE),
        500.. => {
            let gateway = if matches!(status, 502..=504) { RetryOn::GATEWAY_ERROR } else { RetryOn::NONE };
            (Class::Failed, result::SERVER_ERROR, RetryOn::SERVER_ERROR.and(gateway))
        }
        429 => (Class::Rejected, result::CLIENT_ERROR, RetryOn::THROTTLED),
        400..=499 => (Class::Rejected, result::CLIENT_ERROR, RetryOn::NONE),
        _ => (Class::Success, result::OK, RetryOn::NONE),
    };
    Outcome { class, result, code, retryable, fault: None, latency: 0 }
}

/// Whether by this fault there is no client left to be answered.
pub fn has_gone(fault: &Fault) -> bool {
    let answered = matches!(fault.reason, Reason::Malformed | Reason::TooLarge) || is_late(fault);
    fault.side == Side::Client && !answered
}

/// Whether time was over; of a fault of the client's: while it was waited for.
pub fn is_late(fault: &Fault) -> bool {
    matches!(fault.reason, Reason::Timeout | Reason::TryTimeout | Reason::Deadline | Reason::Idle)
}

/// How an exchange with this fault went.
pub fn judge_fault(fault: &Fault, code: NameId) -> Outcome {
    let (class, result) = match (fault.side, fault.reason) {
        (Side::Client, Reason::Malformed | Reason::TooLarge) => (Class::Rejected, result::REJECTED),
        (Side::Client, _) if is_late(fault) => (Class::Cancelled, result::TIMEOUT),
        (Side::Client, _) => (Class::Cancelled, result::CLIENT_GONE),
        (_, Reason::NoEndpoint | Reason::NoRoute) => (Class::Refused, result::REFUSED),
        _ if is_late(fault) => (Class::Failed, result::TIMEOUT),
        (Side::Proxy, Reason::Draining) => (Class::Cancelled, result::ABORTED),
        (Side::Proxy, _) => (Class::Refused, result::REFUSED),
        (Side::Network | Side::Upstream, _) => (Class::Failed, result::UPSTREAM_LOST),
    };
    Outcome { class, result, code, retryable: retryable(fault), fault: Some(*fault), latency: 0 }
}

/// The conditions of a retry that a fault meets. What the client would see as a 502 or 504 counts as such.
pub fn retryable(fault: &Fault) -> RetryOn {
    RetryOn::of_fault(fault, RetryOn::GATEWAY_ERROR.and(RetryOn::SERVER_ERROR))
}

/// What Weir answers by itself: the status and a sentence.
pub fn answer(fault: &Fault) -> (u16, &'static str) {
    match (fault.side, fault.reason) {
        (Side::Client, Reason::TooLarge) => (413, "the request is too large"),
        (Side::Client, _) if is_late(fault) => (408, "the request did not come in time"),
        (Side::Client, _) => (400, "the request could not be understood"),
        (_, Reason::NoRoute) => (404, "no route matches the request"),
        (_, Reason::Misdirected) => (421, "this connection is not for this host: another one is"),
        (_, Reason::Loop) => (508, "the request has come through this proxy too often"),
        (_, Reason::MethodNotAllowed) => (405, "the method is not allowed"),
        (_, Reason::NoEndpoint) => (503, "there is no server for the request"),
        (_, Reason::MaxRequests | Reason::MaxPending | Reason::MaxConnections) => (503, "too many requests"),
        (_, Reason::Draining) => (503, "going away"),
        (_, Reason::Limited) => (429, "too many requests"),
        (_, Reason::Denied) => (403, "the request is not allowed"),
        _ if is_late(fault) => (504, "the server did not answer in time"),
        (_, Reason::TlsFailed) if fault.phase != Phase::Connecting => {
            (502, "the connection to the server was lost")
        }
        (_, Reason::ConnectFailed | Reason::ConnectTimeout | Reason::TlsFailed) => {
            (502, "the server could not be reached")
        }
        (_, Reason::Reset | Reason::Closed | Reason::RefusedStream | Reason::GoAway) => {
            (502, "the connection to the server was lost")
        }
        (_, Reason::Malformed | Reason::TooLarge) => (502, "the server's reply could not be understood"),
        _ => (500, "something went wrong"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_judged() {
        let table: &[(u16, Class, &str, RetryOn)] = &[
            (101, Class::Success, "ok", RetryOn::NONE),
            (200, Class::Success, "ok", RetryOn::NONE),
            (304, Class::Success, "ok", RetryOn::NONE),
            (404, Class::Rejected, "client_error", RetryOn::NONE),
            (429, Class::Rejected, "client_error", RetryOn::THROTTLED),
            (500, Class::Failed, "server_error", RetryOn::SERVER_ERROR),
            (501, Class::Rejected, "server_error", RetryOn::SERVER_ERROR),
            (508, Class::Failed, "server_error", RetryOn::NONE),
            (503, Class::Failed, "server_error", RetryOn::SERVER_ERROR.and(RetryOn::GATEWAY_ERROR)),
            (599, Class::Failed, "server_error", RetryOn::SERVER_ERROR),
        ];
        for (status, class, result, retryable) in table {
            let outcome = judge_status(*status, NameId::NONE);
            assert_eq!(
                (outcome.class, outcome.result, outcome.retryable),
                (*class, *result, *retryable),
                "{status}"
            );
        }
    }

    #[test]
    fn faults_are_judged_and_answered() {
        use Phase::*;
        use Side::*;
        let none = RetryOn::NONE;
        let seen = RetryOn::GATEWAY_ERROR.and(RetryOn::SERVER_ERROR);
        let table = [
            (Client, Waiting, Reason::Closed, Class::Cancelled, "client_gone", none, 400),
            (Client, Sending, Reason::Malformed, Class::Rejected, "rejected", none, 400),
            (Proxy, Admitted, Reason::NoRoute, Class::Refused, "refused", none, 404),
            (Network, Admitted, Reason::NoEndpoint, Class::Refused, "refused", none, 503),
            (Proxy, Admitted, Reason::MaxRequests, Class::Refused, "refused", none, 503),
            (
                Network,
                Connecting,
                Reason::ConnectFailed,
                Class::Failed,
                "upstream_lost",
                seen.and(RetryOn::CONNECT_FAILURE),
                502,
            ),
            (Network, Waiting, Reason::Reset, Class::Failed, "upstream_lost", seen.and(RetryOn::RESET), 502),
            (Upstream, Waiting, Reason::TryTimeout, Class::Failed, "timeout", seen.and(RetryOn::RESET), 504),
            (Upstream, Waiting, Reason::Timeout, Class::Failed, "timeout", none, 504),
            (Client, Sending, Reason::Timeout, Class::Cancelled, "timeout", none, 408),
            (Client, Sending, Reason::TryTimeout, Class::Cancelled, "timeout", none, 408),
            (Client, Replying, Reason::Idle, Class::Cancelled, "timeout", none, 408),
            (Network, Replying, Reason::Reset, Class::Failed, "upstream_lost", none, 502),
            (
                Upstream,
                Waiting,
                Reason::RefusedStream,
                Class::Failed,
                "upstream_lost",
                seen.and(RetryOn::REFUSED_STREAM),
                502,
            ),
        ];
        for (side, phase, reason, class, result, retryable, status) in table {
            let fault = Fault::new(side, phase, reason);
            let outcome = judge_fault(&fault, NameId::NONE);
            assert_eq!(
                (outcome.class, outcome.result, outcome.retryable),
                (class, result, retryable),
                "{fault}"
            );
            assert_eq!(answer(&fault).0, status, "{fault}");
        }
    }
}
