//! How a call went: the results of the dialect, and what each means for retries and for the endpoint.

use weir_codecs::dynamodb::{ErrorKind, ErrorName};
use weir_decide::exchange::{Class, Fault, NameId, Outcome, Reason, RetryOn, Side};

/// The results of DynamoDB: a closed list.
pub mod result {
    /// Done, all of it.
    pub const OK: &str = "ok";
    /// Done in part: there are unprocessed keys or items, or statements of the batch failed.
    pub const PARTIAL: &str = "partial";
    /// More than the table, the index or the account may take.
    pub const THROTTLED: &str = "throttled";
    /// A condition did not hold.
    pub const CONDITIONAL_FAILED: &str = "conditional_failed";
    /// The request is not well-formed.
    pub const VALIDATION: &str = "validation";
    /// Who asks is not known or may not.
    pub const DENIED: &str = "denied";
    /// There is no such table, index, backup.
    pub const NOT_FOUND: &str = "not_found";
    /// Somebody else is changing it.
    pub const CONFLICT: &str = "conflict";
    /// The transaction was cancelled.
    pub const TRANSACTION_CANCELLED: &str = "transaction_cancelled";
    /// Any other fault of the request.
    pub const CLIENT_ERROR: &str = "client_error";
    /// DynamoDB's own fault.
    pub const SERVER_ERROR: &str = "server_error";
    /// The client went away.
    pub const CLIENT_GONE: &str = "client_gone";
    /// The request broke a rule of HTTP.
    pub const REJECTED: &str = "rejected";
    /// DynamoDB could not be reached, or was lost.
    pub const UPSTREAM_LOST: &str = "upstream_lost";
    /// It took too long.
    pub const TIMEOUT: &str = "timeout";
    /// Weir did not let it through.
    pub const REFUSED: &str = "refused";
}

/// How a reply with an error went.
pub fn of_error(name: ErrorName, status: u16, code: NameId) -> Outcome {
    let none = RetryOn::NONE;
    let (class, result, retryable) = match name.kind(status) {
        ErrorKind::Throttled => (Class::Rejected, result::THROTTLED, RetryOn::THROTTLED),
        ErrorKind::ConditionalFailed => (Class::Rejected, result::CONDITIONAL_FAILED, none),
        ErrorKind::Validation => (Class::Rejected, result::VALIDATION, none),
        ErrorKind::Denied => (Class::Rejected, result::DENIED, none),
        ErrorKind::NotFound => (Class::Rejected, result::NOT_FOUND, none),
        ErrorKind::Conflict => (Class::Rejected, result::CONFLICT, none),
        ErrorKind::Cancelled => (Class::Rejected, result::TRANSACTION_CANCELLED, none),
        ErrorKind::Client => (Class::Rejected, result::CLIENT_ERROR, none),
        // It does not know what it was asked for: the client's choice, not the server's failure.
        ErrorKind::Server if status == 501 => (Class::Rejected, result::SERVER_ERROR, RetryOn::SERVER_ERROR),
        ErrorKind::Server => {
            let gateway = if matches!(status, 502..=504) { RetryOn::GATEWAY_ERROR } else { none };
            (Class::Failed, result::SERVER_ERROR, RetryOn::SERVER_ERROR.and(gateway))
        }
    };
    Outcome { class, result, code, retryable, fault: None, latency: 0 }
}

/// How a call went that was done, `partial` or all of it.
pub fn of_success(partial: bool, code: NameId) -> Outcome {
    let result = if partial { result::PARTIAL } else { result::OK };
    Outcome { class: Class::Success, result, code, retryable: RetryOn::NONE, fault: None, latency: 0 }
}

/// How a call with this fault went.
pub fn of_fault(fault: &Fault, code: NameId) -> Outcome {
    let (class, result) = match (fault.side, fault.reason) {
        (Side::Client, Reason::Malformed | Reason::TooLarge) => (Class::Rejected, result::REJECTED),
        (Side::Client, _) if is_late(fault) => (Class::Cancelled, result::TIMEOUT),
        (Side::Client, _) => (Class::Cancelled, result::CLIENT_GONE),
        (_, Reason::NoEndpoint | Reason::NoRoute) => (Class::Refused, result::REFUSED),
        _ if is_late(fault) => (Class::Failed, result::TIMEOUT),
        (Side::Proxy, _) => (Class::Refused, result::REFUSED),
        (Side::Network | Side::Upstream, _) => (Class::Failed, result::UPSTREAM_LOST),
    };
    Outcome { class, result, code, retryable: retryable(fault), fault: Some(*fault), latency: 0 }
}

/// Whether the client went away: there is nobody left to answer.
pub fn is_gone(fault: &Fault) -> bool {
    let answered = matches!(fault.reason, Reason::Malformed | Reason::TooLarge) || is_late(fault);
    fault.side == Side::Client && !answered
}

/// Whether time was over; of a fault of the client's: while it was waited for.
fn is_late(fault: &Fault) -> bool {
    matches!(fault.reason, Reason::Timeout | Reason::TryTimeout | Reason::Deadline | Reason::Idle)
}

fn retryable(fault: &Fault) -> RetryOn {
    RetryOn::of_fault(fault, RetryOn::GATEWAY_ERROR.and(RetryOn::SERVER_ERROR))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_decide::exchange::Phase;

    #[test]
    fn errors() {
        let none = RetryOn::NONE;
        let server = RetryOn::SERVER_ERROR;
        let cases = [
            (ErrorName::Throttling, 400, Class::Rejected, "throttled", RetryOn::THROTTLED),
            (ErrorName::ProvisionedThroughputExceeded, 400, Class::Rejected, "throttled", RetryOn::THROTTLED),
            (ErrorName::Throttling, 503, Class::Rejected, "throttled", RetryOn::THROTTLED),
            (ErrorName::ConditionalCheckFailed, 400, Class::Rejected, "conditional_failed", none),
            (ErrorName::Validation, 400, Class::Rejected, "validation", none),
            (ErrorName::AccessDenied, 400, Class::Rejected, "denied", none),
            (ErrorName::ResourceNotFound, 400, Class::Rejected, "not_found", none),
            (ErrorName::TransactionConflict, 400, Class::Rejected, "conflict", none),
            (ErrorName::TransactionCanceled, 400, Class::Rejected, "transaction_cancelled", none),
            (ErrorName::LimitExceeded, 400, Class::Rejected, "client_error", none),
            (ErrorName::InternalServerError, 500, Class::Failed, "server_error", server),
            (ErrorName::Other, 501, Class::Rejected, "server_error", server),
            (ErrorName::Other, 503, Class::Failed, "server_error", server.and(RetryOn::GATEWAY_ERROR)),
            (ErrorName::Other, 404, Class::Rejected, "client_error", none),
            (ErrorName::Other, 403, Class::Rejected, "denied", none),
        ];
        for (name, status, class, result, retryable) in cases {
            let outcome = of_error(name, status, NameId::OTHER);
            assert_eq!(
                (outcome.class, outcome.result, outcome.retryable),
                (class, result, retryable),
                "{name:?}"
            );
        }
    }

    #[test]
    fn faults() {
        use Phase::*;
        use Side::*;
        let none = RetryOn::NONE;
        let seen = RetryOn::GATEWAY_ERROR.and(RetryOn::SERVER_ERROR);
        let cases = [
            (Client, Sending, Reason::Closed, Class::Cancelled, "client_gone", none),
            (Client, Sending, Reason::Malformed, Class::Rejected, "rejected", none),
            (Client, Sending, Reason::Timeout, Class::Cancelled, "timeout", none),
            (Client, Replying, Reason::Idle, Class::Cancelled, "timeout", none),
            (Proxy, Admitted, Reason::MaxRequests, Class::Refused, "refused", none),
            (Network, Admitted, Reason::NoEndpoint, Class::Refused, "refused", none),
            (
                Network,
                Connecting,
                Reason::ConnectFailed,
                Class::Failed,
                "upstream_lost",
                seen.and(RetryOn::CONNECT_FAILURE),
            ),
            (
                Upstream,
                Waiting,
                Reason::RefusedStream,
                Class::Failed,
                "upstream_lost",
                seen.and(RetryOn::REFUSED_STREAM),
            ),
            (Network, Waiting, Reason::Reset, Class::Failed, "upstream_lost", seen.and(RetryOn::RESET)),
            (Network, Replying, Reason::Reset, Class::Failed, "upstream_lost", none),
            (Upstream, Waiting, Reason::Timeout, Class::Failed, "timeout", none),
        ];
        for (side, phase, reason, class, result, retryable) in cases {
            let fault = Fault::new(side, phase, reason);
            let outcome = of_fault(&fault, NameId::NONE);
            assert_eq!(
                (outcome.class, outcome.result, outcome.retryable),
                (class, result, retryable),
                "{fault}"
            );
        }
    }
}
