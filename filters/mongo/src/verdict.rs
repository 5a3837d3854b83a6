//! How an operation went, from the end of its reply.

use weir_codecs::mongo::{OpCode, ReplyHead};
use weir_decide::exchange::{Class, Fault, NameId, NameKind, Names, Outcome, Phase, Reason, RetryOn, Side};

use crate::operation::MongoOp;
use crate::result;

/// `ClientDisconnect`.
const CLIENT_DISCONNECT: i32 = 279;

/// The verdict on `op` by its reply's complete head.
pub(crate) fn of_reply(names: &mut dyn Names, op: &MongoOp, tail: &ReplyHead) -> Outcome {
    let outcome =
        |class, result, code, retryable| Outcome { class, result, code, retryable, fault: None, latency: 0 };
    let success = |result, code| outcome(Class::Success, result, code, RetryOn::NONE);
    if tail.problem.is_some() {
        return success(result::UNDECODED, NameId::NONE);
    }
    // A reply to a legacy find or getMore holds the user's documents: an `ok` in them says nothing.
    let ok = match tail.op_code {
        OpCode::REPLY if tail.query_failure() => false,
        OpCode::REPLY if !op.is_query_command => true,
        _ => tail.ok == Some(true),
    };
    if !ok && tail.code == CLIENT_DISCONNECT {
        // The server has seen the client go, and has left what it was doing: what it says of that reaches nobody.
        let fault = Some(Fault::new(Side::Client, Phase::Waiting, Reason::Closed));
        return Outcome {
            fault,
            ..outcome(Class::Cancelled, result::CLIENT_GONE, NameId::NONE, RetryOn::NONE)
        };
    }
    if !ok {
        let code = code_name(names, tail.code_name.as_bytes(), tail.code);
        return if is_state_change(tail.code) {
            outcome(Class::Failed, result::ERROR, code, RetryOn::SERVER_ERROR)
        } else {
            outcome(Class::Rejected, result::ERROR, code, RetryOn::NONE)
        };
    }
    if tail.write_errors > 0 {
        return success(result::WRITE_ERROR, code_name(names, b"", tail.write_error_code));
    }
    if let Some(code) = tail.write_concern_error {
        let code = code_name(names, tail.write_concern_error_name.as_bytes(), code);
        return success(result::WRITE_CONCERN_ERROR, code);
    }
    success(result::OK, NameId::NONE)
}

/// The server is not what it was: shutting down, stepping down, recovering, not the primary.
fn is_state_change(code: i32) -> bool {
    matches!(code, 91 | 189 | 10058 | 10107 | 11600 | 11602 | 13435 | 13436)
}

/// The code's name: the server's, or else ours for its number, or else the number.
fn code_name(names: &mut dyn Names, name: &[u8], code: i32) -> NameId {
    match known(code) {
        Some(known) if name.is_empty() || name == known.as_bytes() => {
            names.fixed(NameKind::Code, known.as_bytes())
        }
        _ if !name.is_empty() => names.intern(NameKind::Code, &[name]),
        Some(known) => names.fixed(NameKind::Code, known.as_bytes()),
        None if code == 0 => NameId::NONE,
        None => names.intern(NameKind::Code, &[code.to_string().as_bytes()]),
    }
}

/// The names of codes that come without one: those of single writes, and what old servers answer.
pub(crate) fn known(code: i32) -> Option<&'static str> {
    Some(match code {
        1 => "InternalError",
        2 => "BadValue",
        6 => "HostUnreachable",
        7 => "HostNotFound",
        9 => "FailedToParse",
        11 => "UserNotFound",
        13 => "Unauthorized",
        14 => "TypeMismatch",
        18 => "AuthenticationFailed",
        20 => "IllegalOperation",
        26 => "NamespaceNotFound",
        28 => "PathNotViable",
        40 => "ConflictingUpdateOperators",
        43 => "CursorNotFound",
        50 => "MaxTimeMSExpired",
        52 => "DollarPrefixedFieldName",
        53 => "InvalidIdField",
        54 => "NotSingleValueField",
        55 => "InvalidDBRef",
        57 => "DottedFieldName",
        59 => "CommandNotFound",
        61 => "ShardKeyNotFound",
        63 => "StaleShardVersion",
        64 => "WriteConcernFailed",
        66 => "ImmutableField",
        73 => "InvalidNamespace",
        79 => "UnknownReplWriteConcern",
        86 => "IndexKeySpecsConflict",
        89 => "NetworkTimeout",
        91 => "ShutdownInProgress",
        100 => "UnsatisfiableWriteConcern",
        112 => "WriteConflict",
        121 => "DocumentValidationFailure",
        134 => "ReadConcernMajorityNotAvailableYet",
        146 => "ExceededMemoryLimit",
        166 => "CommandNotSupportedOnView",
        189 => "PrimarySteppedDown",
        225 => "TransactionTooOld",
        251 => "NoSuchTransaction",
        262 => "ExceededTimeLimit",
        263 => "OperationNotSupportedInTransaction",
        462 => "IngressRequestRateLimitExceeded",
        8000 => "AtlasError",
        9001 => "SocketException",
        10058 => "LegacyNotPrimary",
        10107 => "NotWritablePrimary",
        10334 => "BSONObjectTooLarge",
        11000 => "DuplicateKey",
        11600 => "InterruptedAtShutdown",
        11601 => "Interrupted",
        11602 => "InterruptedDueToReplStateChange",
        13435 => "NotPrimaryNoSecondaryOk",
        13436 => "NotPrimaryOrSecondary",
        _ => return None,
    })
}
