//! What a status means: for the numbers, for the endpoint, and for another try.

use std::time::Duration;

use weir_codecs::grpc::Code;
use weir_decide::exchange::{Class, Fault, NameId, Now, Outcome, Reason, RetryOn, Side};

/// The results of gRPC: a closed list.
pub mod result {
    /// OK.
    pub const OK: &str = "ok";
    /// CANCELLED.
    pub const CANCELLED: &str = "cancelled";
    /// DEADLINE_EXCEEDED.
    pub const TIMEOUT: &str = "timeout";
    /// UNAVAILABLE.
    pub const UNAVAILABLE: &str = "unavailable";
    /// RESOURCE_EXHAUSTED.
    pub const THROTTLED: &str = "throttled";
    /// UNKNOWN, INTERNAL, DATA_LOSS.
    pub const SERVER_ERROR: &str = "server_error";
    /// All others: the call is wrong, whoever serves it.
    pub const CLIENT_ERROR: &str = "client_error";
}

/// The result that a status belongs to.
pub fn result_of(code: Code) -> &'static str {
    match code {
        Code::Ok => result::OK,
        Code::Cancelled => result::CANCELLED,
        Code::DeadlineExceeded => result::TIMEOUT,
        Code::Unavailable => result::UNAVAILABLE,
        Code::ResourceExhausted => result::THROTTLED,
        Code::Unknown | Code::Internal | Code::DataLoss => result::SERVER_ERROR,
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => result::CLIENT_ERROR,
    }
}

/// The conditions of a retry that a status meets.
pub fn retryable(code: Code) -> RetryOn {
    match code {
        Code::Cancelled => RetryOn::GRPC_CANCELLED,
        Code::DeadlineExceeded => RetryOn::GRPC_DEADLINE_EXCEEDED,
        Code::Internal => RetryOn::GRPC_INTERNAL.and(RetryOn::SERVER_ERROR),
        Code::ResourceExhausted => RetryOn::GRPC_RESOURCE_EXHAUSTED,
        Code::Unavailable => RetryOn::GRPC_UNAVAILABLE.and(RetryOn::SERVER_ERROR),
        Code::Unknown | Code::DataLoss => RetryOn::SERVER_ERROR,
        _ => RetryOn::NONE,
    }
}

/// How a call went that its server ended with this status, in a reply with this HTTP status.
///
/// UNAVAILABLE and UNKNOWN speak against the endpoint; what the call itself brought about does not, nor does INTERNAL where a
/// handler says so itself.
pub fn of_status(code: Code, http_status: u16, id: NameId) -> Outcome {
    let class = match code {
        Code::Ok => Class::Success,
        // What speaks HTTP and no gRPC there: the client chose the path.
        Code::Unknown if matches!(http_status, 400..=499 | 501) => Class::Rejected,
        Code::Unavailable | Code::Unknown => Class::Failed,
        _ => Class::Rejected,
    };
    let mut retryable = retryable(code);
    if http_status >= 500 {
        retryable = retryable.and(RetryOn::SERVER_ERROR);
    }
    if matches!(http_status, 502..=504) {
        retryable = retryable.and(RetryOn::GATEWAY_ERROR);
    }
    Outcome { class, result: result_of(code), code: id, retryable, fault: None, latency: 0 }
}

/// The status of a call that failed otherwise. `reset`: the HTTP/2 error code, where the server reset the stream: it says what it
/// would say to a client without a proxy.
pub fn status_of(fault: &Fault, reset: Option<u32>) -> Code {
    match (fault.side, fault.reason) {
        (Side::Client, Reason::Malformed) => Code::Internal,
        (_, Reason::TooLarge) => Code::ResourceExhausted,
        _ if is_timer(fault) => Code::DeadlineExceeded,
        (Side::Client, _) => Code::Cancelled,
        (_, Reason::NoRoute) => Code::Unimplemented,
        (_, Reason::Denied) => Code::PermissionDenied,
        (_, Reason::Limited) => Code::ResourceExhausted,
        (_, Reason::Cancelled) => Code::Cancelled,
        (_, Reason::Malformed | Reason::Internal) => Code::Internal,
        (Side::Upstream, Reason::Reset) => reset.map_or(Code::Unavailable, Code::from_reset),
        _ => Code::Unavailable,
    }
}

/// How a call with this fault went, which has this status.
pub fn of_fault(fault: &Fault, code: Code, id: NameId) -> Outcome {
    let class = match (fault.side, fault.reason) {
        // Time was over while the client was waited for.
        (Side::Client, _) if is_timer(fault) => Class::Cancelled,
        (Side::Client, Reason::Malformed | Reason::TooLarge) => Class::Rejected,
        (Side::Client, _) => Class::Cancelled,
        (_, Reason::NoRoute | Reason::NoEndpoint) => Class::Refused,
        _ if is_timer(fault) => Class::Failed,
        (Side::Proxy, Reason::Draining) => Class::Cancelled,
        (Side::Proxy, _) => Class::Refused,
        (Side::Network | Side::Upstream, _) => Class::Failed,
    };
    let retryable = again(fault);
    Outcome { class, result: result_of(code), code: id, retryable, fault: Some(*fault), latency: 0 }
}

fn is_timer(fault: &Fault) -> bool {
    matches!(fault.reason, Reason::Timeout | Reason::TryTimeout | Reason::Deadline | Reason::Idle)
}

/// A lost connection is none of the statuses that a policy may name, whatever its client is told: those a server gives.
fn again(fault: &Fault) -> RetryOn {
    let late = match fault.reason {
        Reason::TryTimeout => RetryOn::GRPC_DEADLINE_EXCEEDED,
        _ => RetryOn::NONE,
    };
    RetryOn::of_fault(fault, RetryOn::SERVER_ERROR.and(late))
}

/// Whether a client that went away at `now` did so because its time was over. Its clock began before ours, the more so the busier
/// either is, and what it sent as `grpc-timeout` may have been rounded up: a little less than all of it will do.
pub fn is_late(began: Now, timeout: Option<Duration>, now: Now) -> bool {
    timeout.is_some_and(|timeout| {
        let slack = timeout / 50 + Duration::from_millis(20);
        now >= began.after(timeout.saturating_sub(slack))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_decide::exchange::Phase;

    #[test]
    fn statuses_of_servers() {
        let none = RetryOn::NONE;
        let server = RetryOn::SERVER_ERROR;
        let cases = [
            (Code::Ok, Class::Success, "ok", none),
            (Code::Cancelled, Class::Rejected, "cancelled", RetryOn::GRPC_CANCELLED),
            (Code::Unknown, Class::Failed, "server_error", server),
            (Code::InvalidArgument, Class::Rejected, "client_error", none),
            (Code::DeadlineExceeded, Class::Rejected, "timeout", RetryOn::GRPC_DEADLINE_EXCEEDED),
            (Code::NotFound, Class::Rejected, "client_error", none),
            (Code::ResourceExhausted, Class::Rejected, "throttled", RetryOn::GRPC_RESOURCE_EXHAUSTED),
            (Code::Aborted, Class::Rejected, "client_error", none),
            (Code::Unimplemented, Class::Rejected, "client_error", none),
            (Code::Internal, Class::Rejected, "server_error", server.and(RetryOn::GRPC_INTERNAL)),
            (Code::Unavailable, Class::Failed, "unavailable", server.and(RetryOn::GRPC_UNAVAILABLE)),
            (Code::DataLoss, Class::Rejected, "server_error", server),
            (Code::Unauthenticated, Class::Rejected, "client_error", none),
        ];
        for (code, class, result, retryable) in cases {
            let outcome = of_status(code, 200, NameId::OTHER);
            assert_eq!(
                (outcome.class, outcome.result, outcome.retryable),
                (class, result, retryable),
                "{code:?}"
            );
            assert_eq!(outcome.result == "ok", code == Code::Ok);
        }
        for (http, class) in
            [(405, Class::Rejected), (415, Class::Rejected), (501, Class::Rejected), (500, Class::Failed)]
        {
            assert_eq!(of_status(Code::from_http(http), http, NameId::OTHER).class, class, "{http}");
        }
        let gateway = of_status(Code::from_http(503), 503, NameId::OTHER);
        assert!(
            gateway.retryable.meets(RetryOn::GATEWAY_ERROR)
                && gateway.retryable.meets(RetryOn::GRPC_UNAVAILABLE)
        );
    }

    #[test]
    fn faults() {
        use Phase::*;
        use Side::*;
        let none = RetryOn::NONE;
        let server = RetryOn::SERVER_ERROR;
        let late = RetryOn::GRPC_DEADLINE_EXCEEDED;
        let cases = [
            (Client, Sending, Reason::Cancelled, None, Code::Cancelled, Class::Cancelled, none),
            (Client, Replying, Reason::Closed, None, Code::Cancelled, Class::Cancelled, none),
            (Client, Sending, Reason::Malformed, None, Code::Internal, Class::Rejected, none),
            (Client, Sending, Reason::Deadline, None, Code::DeadlineExceeded, Class::Cancelled, none),
            (Client, Replying, Reason::Timeout, None, Code::DeadlineExceeded, Class::Cancelled, none),
            (Proxy, Admitted, Reason::NoRoute, None, Code::Unimplemented, Class::Refused, none),
            (Proxy, Admitted, Reason::MaxRequests, None, Code::Unavailable, Class::Refused, none),
            (Proxy, Admitted, Reason::Limited, None, Code::ResourceExhausted, Class::Refused, none),
            (Proxy, Admitted, Reason::Denied, None, Code::PermissionDenied, Class::Refused, none),
            (Network, Admitted, Reason::NoEndpoint, None, Code::Unavailable, Class::Refused, none),
            (Upstream, Waiting, Reason::Deadline, None, Code::DeadlineExceeded, Class::Failed, none),
            (Upstream, Waiting, Reason::Timeout, None, Code::DeadlineExceeded, Class::Failed, none),
            (
                Upstream,
                Waiting,
                Reason::TryTimeout,
                None,
                Code::DeadlineExceeded,
                Class::Failed,
                server.and(late).and(RetryOn::RESET),
            ),
            (
                Network,
                Connecting,
                Reason::ConnectFailed,
                None,
                Code::Unavailable,
                Class::Failed,
                server.and(RetryOn::CONNECT_FAILURE),
            ),
            (
                Upstream,
                Waiting,
                Reason::RefusedStream,
                Some(7),
                Code::Unavailable,
                Class::Failed,
                server.and(RetryOn::REFUSED_STREAM),
            ),
            (
                Upstream,
                Waiting,
                Reason::Reset,
                Some(2),
                Code::Internal,
                Class::Failed,
                server.and(RetryOn::RESET),
            ),
            (
                Upstream,
                Waiting,
                Reason::Reset,
                Some(8),
                Code::Cancelled,
                Class::Failed,
                server.and(RetryOn::RESET),
            ),
            (
                Upstream,
                Sending,
                Reason::Reset,
                Some(11),
                Code::ResourceExhausted,
                Class::Failed,
                server.and(RetryOn::RESET),
            ),
            (
                Network,
                Waiting,
                Reason::Closed,
                None,
                Code::Unavailable,
                Class::Failed,
                server.and(RetryOn::RESET),
            ),
            (Upstream, Replying, Reason::Reset, Some(2), Code::Internal, Class::Failed, none),
            (Network, Replying, Reason::Closed, None, Code::Unavailable, Class::Failed, none),
        ];
        for (side, phase, reason, reset, code, class, retryable) in cases {
            let fault = Fault::new(side, phase, reason);
            assert_eq!(status_of(&fault, reset), code, "{fault}");
            let outcome = of_fault(&fault, code, NameId::OTHER);
            assert_eq!((outcome.class, outcome.retryable), (class, retryable), "{fault}");
        }
    }

    #[test]
    fn clients_that_run_out_of_time() {
        let (began, second) = (Now(5_000_000_000), Some(Duration::from_secs(1)));
        let at = |millis: u64| Now(5_000_000_000 + millis * 1_000_000);
        assert!(is_late(began, second, at(1000)));
        assert!(is_late(began, second, at(1500)));
        assert!(is_late(began, second, at(960)));
        assert!(!is_late(began, second, at(955)));
        assert!(!is_late(began, second, at(900)));
        assert!(!is_late(began, None, at(1_000_000)));
        assert!(is_late(began, Some(Duration::from_millis(1)), began));
    }
}
