//! What Weir answers where the server cannot, in the form that drivers treat best.
//!
//! Never a state-change code (91, 10107 and the like): drivers would believe it, mark the server unknown and then wait for
//! news that do not come, since its topologyVersion has not changed.
//!
//! | what happened | code | labels | drivers |
//! |---|---|---|---|
//! | no connection, or it was lost | 6 HostUnreachable | `RetryableWriteError` for retryable writes, commits and aborts; `TransientTransactionError` in a transaction; `ResumableChangeStreamError` for getMores | try once more, at once |
//! | a limit is met | 462 IngressRequestRateLimitExceeded | `SystemOverloadedError`, `RetryableError` | of 2026: back off, then try again; older: report it |
//! | it took too long | 50 MaxTimeMSExpired | | report it |
//! | a rule forbids it | 13 Unauthorized | | report it |
//! | a rule's fault | as the rule says | | |
//! | a fault of Weir's | 1 InternalError | | report it |
//!
//! Nothing is answered where no reply is due, where a reply has begun, and where the client is gone; nor, in a drain, to a monitor's
//! hello.
//!
//! | result | meaning |
//! |---|---|
//! | `client_gone` | the client went away before it was answered; the server is told by its connection's end |
//! | `connect_failed` | no connection to the server could be made |
//! | `upstream_lost` | the connection was lost before the answer was whole |
//! | `timeout` | it took too long |
//! | `shed`, `denied`, `refused`, `internal` | Weir's own decision, or fault |
//! | `injected` | a rule's fault, on purpose |
//! | `undecoded` | a message that could not be understood came before it was answered |

use bytes::BytesMut;
use weir_codecs::mongo::{Command, ErrorReply, Labels, error_reply};
use weir_decide::exchange::{Class, Fault, NameId, NameKind, Names, Outcome, Phase, Reason, RetryOn, Side};

use crate::operation::{MongoOp, Session};
use crate::result;

/// What is told, and how it counts.
struct Template {
    code: i32,
    code_name: &'static str,
    labels: Labels,
    result: &'static str,
    class: Class,
    retryable: RetryOn,
}

/// Answers `op`, which failed with `fault`, on `out` where an answer is due, and says how it counts.
pub(crate) fn refuse(
    session: &mut Session,
    names: &mut dyn Names,
    op: &mut MongoOp,
    fault: &Fault,
    out: &mut BytesMut,
) -> Outcome {
    let unanswered = |result| Outcome {
        class: Class::Cancelled,
        result,
        code: NameId::NONE,
        retryable: RetryOn::NONE,
        fault: Some(*fault),
        latency: 0,
    };
    match (fault.side, fault.reason) {
        // The connection goes on as bytes (or ends): nobody will know how this one went.
        (Side::Client | Side::Upstream | Side::Network, Reason::Malformed) => {
            return unanswered(result::UNDECODED);
        }
        // A client that goes takes its long polls with it, of which nothing more was expected.
        (Side::Client, _) if op.as_ref().parked => return unanswered(result::OK),
        (Side::Client, _) => return unanswered(result::CLIENT_GONE),
        // A monitor whose connection ends asks anew at once.
        (Side::Proxy, Reason::Draining) if op.command.is_hello() => return unanswered("refused"),
        _ => {}
    }
    let overdue = (fault.side, fault.reason) == (Side::Proxy, Reason::Timeout);
    let rule = if overdue { op.governed.note_overdue() } else { None };
    op.governed.release();
    let text = match &rule {
        Some(rule) => format!("weir: too long for the rule {rule}: {fault}"),
        None => format!("weir: {fault}"),
    };
    let mut outcome = tell(session, names, op, fault, &text, out);
    if rule.is_some() {
        // That it was given little time says nothing against the server.
        outcome.class = Class::Cancelled;
    }
    outcome
}

/// Tells the client of `fault` in these words, where an answer is due, and says how it counts.
pub(crate) fn tell(
    session: &mut Session,
    names: &mut dyn Names,
    op: &MongoOp,
    fault: &Fault,
    message: &str,
    out: &mut BytesMut,
) -> Outcome {
    let template = template(op, fault);
    let mut code = NameId::NONE;
    if let Some(to) = op.reply_to.filter(|_| fault.phase < Phase::Replying) {
        session.last_request_id = session.last_request_id.wrapping_add(1);
        let reply = ErrorReply {
            code: template.code,
            code_name: template.code_name,
            message,
            labels: template.labels,
            base_backoff_ms: None,
        };
        error_reply(out, to, session.last_request_id, &reply);
        code = names.fixed(NameKind::Code, template.code_name.as_bytes());
    }
    let Template { result, class, retryable, .. } = template;
    Outcome { class, result, code, retryable, fault: Some(*fault), latency: 0 }
}

fn template(op: &MongoOp, fault: &Fault) -> Template {
    let ours = |code, code_name, labels, result| Template {
        code,
        code_name,
        labels,
        result,
        class: Class::Refused,
        retryable: RetryOn::NONE,
    };
    match (fault.side, fault.reason) {
        (Side::Proxy, Reason::Idle) => {
            Template { class: Class::Failed, ..ours(6, "HostUnreachable", lost(op), "timeout") }
        }
        (_, Reason::Timeout | Reason::TryTimeout | Reason::Deadline) => {
            Template { class: Class::Failed, ..ours(50, "MaxTimeMSExpired", Labels::NONE, "timeout") }
        }
        (
            Side::Proxy,
            Reason::MaxRequests | Reason::MaxPending | Reason::MaxConnections | Reason::Limited,
        ) => {
            let labels = Labels::SYSTEM_OVERLOADED.and(Labels::RETRYABLE);
            ours(462, "IngressRequestRateLimitExceeded", labels, "shed")
        }
        (Side::Proxy, Reason::Denied | Reason::TooLarge | Reason::Malformed) => {
            ours(13, "Unauthorized", Labels::NONE, "denied")
        }
        (Side::Proxy, Reason::Internal) => ours(1, "InternalError", Labels::NONE, "internal"),
        // Draining, no endpoint: go and try again.
        (Side::Proxy, _) => ours(6, "HostUnreachable", lost(op), "refused"),
        _ => {
            let connecting = fault.phase <= Phase::Connecting;
            Template {
                class: Class::Failed,
                retryable: if connecting { RetryOn::CONNECT_FAILURE } else { RetryOn::RESET },
                ..ours(
                    6,
                    "HostUnreachable",
                    lost(op),
                    if connecting { "connect_failed" } else { "upstream_lost" },
                )
            }
        }
    }
}

/// The labels of an operation whose fate is unknown, or which never reached the server.
fn lost(op: &MongoOp) -> Labels {
    match op.command {
        Command::CommitTransaction => Labels::RETRYABLE_WRITE.and(Labels::UNKNOWN_COMMIT_RESULT),
        Command::AbortTransaction => Labels::RETRYABLE_WRITE,
        _ if op.in_transaction => Labels::TRANSIENT_TRANSACTION,
        // Drivers look for it on change streams only.
        Command::GetMore => Labels::RESUMABLE_CHANGE_STREAM,
        _ if op.is_retryable_write => Labels::RETRYABLE_WRITE,
        _ => Labels::NONE,
    }
}
