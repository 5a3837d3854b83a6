//! What the client is told when the server cannot answer.

use bson::{Document, doc};
use weir_decide::exchange::{Fault, Phase, Reason, Side};

use crate::harness::{Connection, document, op_msg, recorded};

const LOST: Fault = Fault { side: Side::Network, phase: Phase::Waiting, reason: Reason::Reset };
const UNREACHABLE: Fault =
    Fault { side: Side::Network, phase: Phase::Connecting, reason: Reason::ConnectFailed };

fn labels(reply: &Document) -> Vec<String> {
    let labels = reply.get_array("errorLabels").cloned().unwrap_or_default();
    labels.iter().map(|label| label.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_lost_server_is_told_in_the_form_that_drivers_retry() {
    let txn = |mut document: Document, first: bool| {
        document.insert("txnNumber", 1i64);
        document.insert("autocommit", false);
        if first {
            document.insert("startTransaction", true);
        }
        document
    };
    for (command, expected) in [
        (doc! { "find": "c", "$db": "d" }, vec![]),
        (doc! { "insert": "c", "$db": "d" }, vec![]),
        (doc! { "insert": "c", "txnNumber": 1i64, "$db": "d" }, vec!["RetryableWriteError"]),
        (doc! { "findAndModify": "c", "txnNumber": 1i64, "$db": "d" }, vec!["RetryableWriteError"]),
        (txn(doc! { "insert": "c", "$db": "d" }, true), vec!["TransientTransactionError"]),
        (txn(doc! { "find": "c", "$db": "d" }, false), vec!["TransientTransactionError"]),
        (
            txn(doc! { "commitTransaction": 1, "$db": "admin" }, false),
            vec!["RetryableWriteError", "UnknownTransactionCommitResult"],
        ),
        (txn(doc! { "abortTransaction": 1, "$db": "admin" }, false), vec!["RetryableWriteError"]),
        (doc! { "getMore": 5i64, "collection": "c", "$db": "d" }, vec!["ResumableChangeStreamError"]),
    ] {
        for (fault, result) in [(LOST, "upstream_lost Failed"), (UNREACHABLE, "connect_failed Failed")] {
            let mut connection = Connection::new();
            let mut op = connection.command(command.clone());
            let (outcome, reply) = connection.fail(&mut op, fault);
            let told = document(&reply);
            assert_eq!(told.get_i32("code").unwrap(), 6);
            assert_eq!(told.get_str("codeName").unwrap(), "HostUnreachable");
            assert_eq!(told.get_f64("ok").unwrap(), 0.0);
            assert!(told.get_str("errmsg").unwrap().starts_with("weir: "));
            assert_eq!(labels(&told), expected, "{command}");
            assert_eq!(i32::from_le_bytes(reply[8..12].try_into().unwrap()) as u64, op.as_ref().tag);
            assert_eq!(format!("{} {:?}", outcome.result, outcome.class), result);
            assert_eq!(connection.names.name(outcome.code), "HostUnreachable");
            assert_eq!(outcome.fault, Some(fault));
        }
    }
}

#[test]
fn each_reason_has_its_code() {
    let proxy = |reason| Fault::new(Side::Proxy, Phase::Admitted, reason);
    for (fault, code, expected) in [
        (proxy(Reason::MaxRequests), 462, "shed IngressRequestRateLimitExceeded Refused"),
        (proxy(Reason::MaxPending), 462, "shed IngressRequestRateLimitExceeded Refused"),
        (proxy(Reason::MaxConnections), 462, "shed IngressRequestRateLimitExceeded Refused"),
        (proxy(Reason::Limited), 462, "shed IngressRequestRateLimitExceeded Refused"),
        (proxy(Reason::Denied), 13, "denied Unauthorized Refused"),
        (proxy(Reason::NoEndpoint), 6, "refused HostUnreachable Refused"),
        (proxy(Reason::Draining), 6, "refused HostUnreachable Refused"),
        (proxy(Reason::Internal), 1, "internal InternalError Refused"),
        (Fault::new(Side::Proxy, Phase::Waiting, Reason::Timeout), 50, "timeout MaxTimeMSExpired Failed"),
        (Fault::new(Side::Proxy, Phase::Waiting, Reason::Idle), 6, "timeout HostUnreachable Failed"),
        (
            Fault::new(Side::Network, Phase::Connecting, Reason::ConnectTimeout),
            6,
            "connect_failed HostUnreachable Failed",
        ),
        (
            Fault::new(Side::Network, Phase::Connecting, Reason::TlsFailed),
            6,
            "connect_failed HostUnreachable Failed",
        ),
        (
            Fault::new(Side::Network, Phase::Sending, Reason::Closed),
            6,
            "upstream_lost HostUnreachable Failed",
        ),
    ] {
        let mut connection = Connection::new();
        let mut op = connection.command(doc! { "find": "c", "$db": "d" });
        let (outcome, reply) = connection.fail(&mut op, fault);
        let told = document(&reply);
        assert_eq!(told.get_i32("code").unwrap(), code, "{fault}");
        assert_eq!(connection.told(&outcome), expected, "{fault}");
        let overloaded = if code == 462 { vec!["SystemOverloadedError", "RetryableError"] } else { vec![] };
        assert_eq!(labels(&told), overloaded);
    }
}

/// Every reason there is: never a code from which a driver concludes that the server has changed its state.
#[test]
fn no_fault_is_told_as_a_change_of_state() {
    for side in Side::ALL {
        for phase in Phase::ALL {
            for &reason in Reason::ALL {
                let mut connection = Connection::new();
                let mut op = connection.command(doc! { "insert": "c", "txnNumber": 1i64, "$db": "d" });
                let (outcome, reply) = connection.fail(&mut op, Fault::new(side, phase, reason));
                assert_ne!(outcome.result, "ok");
                if reply.is_empty() {
                    continue;
                }
                let code = document(&reply).get_i32("code").unwrap();
                assert!(![91, 189, 10058, 10107, 11600, 11602, 13435, 13436].contains(&code), "{code}");
            }
        }
    }
}

#[test]
fn nothing_is_said_where_nobody_listens() {
    let find = doc! { "find": "c", "$db": "d" };
    for (flags, fault, result) in [
        (2, LOST, "upstream_lost"),
        (2, UNREACHABLE, "connect_failed"),
        (0, Fault::new(Side::Network, Phase::Replying, Reason::Reset), "upstream_lost"),
        (0, Fault::new(Side::Client, Phase::Waiting, Reason::Closed), "client_gone"),
        (0, Fault::new(Side::Client, Phase::Waiting, Reason::Malformed), "undecoded"),
        (0, Fault::new(Side::Upstream, Phase::Waiting, Reason::Malformed), "undecoded"),
    ] {
        let mut connection = Connection::new();
        let mut op = connection.flagged(flags, find.clone());
        let (outcome, reply) = connection.fail(&mut op, fault);
        assert_eq!((outcome.result, reply.len()), (result, 0), "{fault}");
        assert_eq!(connection.names.name(outcome.code), "", "a code that nobody was told");
    }
}

#[test]
fn a_legacy_hello_is_answered_in_its_own_form() {
    let mut connection = Connection::new();
    let hello = recorded("handshake_op_query", "request")[0].clone();
    let mut op = connection.send(&hello);
    let (_, reply) = connection.fail(&mut op, UNREACHABLE);
    assert_eq!(i32::from_le_bytes(reply[12..16].try_into().unwrap()), 1, "an OP_REPLY");
    assert_eq!(reply[8..12], hello[4..8]);
}

#[test]
fn a_stream_is_ended_as_the_answer_to_its_last_reply() {
    let mut connection = Connection::new();
    let hello = doc! { "hello": 1, "topologyVersion": {}, "maxAwaitTimeMS": 1, "$db": "admin" };
    let mut op = connection.flagged(1 << 16, hello);
    let reply = op_msg(4321, op.as_ref().tag as i32, 2, &doc! { "ok": 1 });
    assert!(connection.answer(&mut op, &reply).1);
    let (_, reply) = connection.fail(&mut op, LOST);
    assert_eq!(i32::from_le_bytes(reply[8..12].try_into().unwrap()), 4321);
    assert_eq!(reply[16..20], [0; 4], "and no more to come");
}
