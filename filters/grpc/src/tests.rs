//! Calls from their heads to their records, as the exchange loop would lead them.

use super::*;
use std::time::Duration;
use support::{Book, fields};
use weir_codecs::grpc::Timeout;
use weir_decide::exchange::{Class, Fault, Now, Phase, Reason, RetryOn, Side};
use weir_decide::policy::Hint;
use weir_http::{AtHead, End, Refusal};
use weir_measure::Limits;

#[path = "../../http/tests/shared/names.rs"]
mod support;

fn millis(millis: u64) -> Now {
    Now(1_000_000_000 + millis * 1_000_000)
}

struct Stage {
    measure: Arc<Measure>,
    dialect: GrpcDialect,
    names: Book,
}

impl Stage {
    fn new() -> Stage {
        let measure = Measure::new(Limits::default());
        let dialect = GrpcDialect::new(&measure, "calls");
        Stage { measure, dialect, names: Book::default() }
    }

    fn look(
        &mut self,
        version: u8,
        method: &str,
        path: &str,
        list: &[(&str, &str)],
    ) -> Option<Box<dyn Watch>> {
        let fields = fields(list);
        let head = RequestHead {
            version,
            method: method.as_bytes(),
            scheme: b"http",
            authority: b"calls",
            path: path.as_bytes(),
            query: None,
            fields: &fields,
            route: NameId::NONE,
            began: millis(0),
        };
        self.dialect.watch(&mut self.names, &head)
    }

    fn call(&mut self, more: &[(&str, &str)]) -> Box<dyn Watch> {
        let mut list = vec![("content-type", "application/grpc"), ("te", "trailers")];
        list.extend_from_slice(more);
        let mut call = self.look(20, "POST", "/shop.Cart/Add", &list).unwrap();
        call.attempt(0, millis(0), &mut fields(&list));
        call
    }

    /// A unary request, whole.
    fn unary(&mut self, more: &[(&str, &str)]) -> Box<dyn Watch> {
        let mut call = self.call(more);
        call.request_data(&mut self.names, b"\0\0\0\0\x02hi");
        call.request_end(&mut self.names, None);
        call
    }

    fn counter(&self, family: &'static weir_measure::names::Family, labels: &[&str]) -> u64 {
        self.measure.counter(family, labels).value()
    }
}

const GRPC: (&str, &str) = ("content-type", "application/grpc+proto");

#[test]
fn what_is_a_call() {
    let mut stage = Stage::new();
    let grpc = [("content-type", "application/grpc")];
    type Case<'a> = (u8, &'a str, &'a str, &'a [(&'a str, &'a str)], bool);
    let cases: &[Case<'_>] = &[
        (20, "POST", "/shop.Cart/Add", &grpc, true),
        (20, "POST", "/shop.Cart/Add", &[("content-type", "application/grpc+json;x=y")], true),
        (20, "POST", "/odd", &grpc, true),
        (11, "POST", "/shop.Cart/Add", &grpc, false),
        (20, "GET", "/shop.Cart/Add", &grpc, false),
        (20, "POST", "/shop.Cart/Add", &[("content-type", "application/grpc-web")], false),
        (20, "POST", "/shop.Cart/Add", &[("content-type", "application/json")], false),
        (20, "POST", "/shop.Cart/Add", &[], false),
    ];
    for (version, method, path, list, expected) in cases {
        assert_eq!(
            stage.look(*version, method, path, list).is_some(),
            *expected,
            "{version} {method} {path} {list:?}"
        );
    }
    let call = stage.call(&[]);
    assert_eq!(stage.names.show(call.operation().name), "Add");
    assert_eq!(stage.names.show(call.operation().resource), "shop.Cart");
    assert!(!call.operation().idempotent && !call.may_idle_out());
    let odd = stage.look(20, "POST", "/odd", &grpc).unwrap();
    assert_eq!((odd.operation().name, odd.operation().resource), (NameId::OTHER, NameId::OTHER));
}

#[test]
fn statuses_of_replies() {
    // HTTP status, head, whether it ends there, trailers, the status that it comes to.
    type Case<'a> = (u16, &'a [(&'a str, &'a str)], bool, Option<&'a [(&'a str, &'a str)]>, &'a str);
    let cases: &[Case<'_>] = &[
        (200, &[GRPC], false, Some(&[("grpc-status", "0")]), "OK"),
        (200, &[GRPC], false, Some(&[("grpc-status", "5"), ("grpc-message", "no")]), "NOT_FOUND"),
        (200, &[GRPC, ("grpc-status", "0")], true, None, "OK"),
        (200, &[GRPC, ("grpc-status", "14")], true, None, "UNAVAILABLE"),
        (200, &[GRPC, ("grpc-status", "13")], false, None, "INTERNAL"),
        (200, &[GRPC, ("grpc-status", "0")], false, Some(&[("grpc-status", "8")]), "RESOURCE_EXHAUSTED"),
        (200, &[GRPC], false, Some(&[("other", "1")]), "UNKNOWN"),
        (200, &[GRPC], false, None, "UNKNOWN"),
        (200, &[GRPC], true, None, "UNKNOWN"),
        (200, &[GRPC], false, Some(&[("grpc-status", "99")]), "UNKNOWN"),
        (200, &[("content-type", "text/html")], false, None, "UNKNOWN"),
        (503, &[("content-type", "text/plain")], false, None, "UNAVAILABLE"),
        (404, &[], true, None, "UNIMPLEMENTED"),
        (401, &[], true, None, "UNAUTHENTICATED"),
        (500, &[], false, None, "UNKNOWN"),
        (500, &[GRPC, ("grpc-status", "9")], true, None, "FAILED_PRECONDITION"),
    ];
    for (status, head, end, trailers, expected) in cases {
        let mut stage = Stage::new();
        let mut call = stage.unary(&[]);
        call.reply_head(&mut stage.names, *status, &fields(head), *end);
        if !end {
            call.reply_data(b"\0\0\0\0\x01x");
        }
        let trailers = trailers.map(fields);
        let outcome = call.judge(&mut stage.names, End::Complete { trailers: trailers.as_ref() });
        assert_eq!(stage.names.show(outcome.code), *expected, "{status} {head:?} {trailers:?}");
        assert_eq!(outcome.result == "ok", *expected == "OK");
        call.finished(&outcome);
    }
}

#[test]
fn heads_are_held_where_nobody_waits_for_them() {
    let mut stage = Stage::new();
    let held = |at: AtHead| matches!(at, AtHead::Hold { limit: 0 });
    let mut unary = stage.unary(&[]);
    assert!(held(unary.reply_head(&mut stage.names, 200, &fields(&[GRPC]), false)));
    assert!(unary.hold_for().is_some_and(|limit| limit <= Duration::from_millis(100)));
    // Still sending: it may be waiting for the head.
    let mut open = stage.call(&[]);
    open.request_data(&mut stage.names, b"\0\0\0\0\x02hi");
    assert!(matches!(open.reply_head(&mut stage.names, 200, &fields(&[GRPC]), false), AtHead::Pass));
    // Not a reply to the call at all.
    let mut other = stage.unary(&[]);
    assert!(matches!(other.reply_head(&mut stage.names, 200, &fields(&[]), false), AtHead::Pass));
    // Failures that are known by the head.
    for (status, list, end) in [(200, [GRPC, ("grpc-status", "14")], true), (503, [GRPC, ("x", "y")], false)]
    {
        let mut call = stage.unary(&[]);
        let AtHead::Judged(outcome) = call.reply_head(&mut stage.names, status, &fields(&list), end) else {
            panic!("{status} is known to have failed")
        };
        assert!(outcome.retryable.meets(RetryOn::GRPC_UNAVAILABLE));
    }
}

#[test]
fn pushback_is_obeyed() {
    let mut stage = Stage::new();
    let wait = |millis| Hint::Wait(Duration::from_millis(millis));
    for (value, asked) in [("250", wait(250)), ("0", wait(0)), ("-1", Hint::Never), ("soon", Hint::Never)] {
        let mut call = stage.unary(&[]);
        call.reply_head(&mut stage.names, 200, &fields(&[GRPC]), false);
        let trailers = fields(&[("grpc-status", "14"), ("grpc-retry-pushback-ms", value)]);
        let outcome = call.judge(&mut stage.names, End::Complete { trailers: Some(&trailers) });
        assert!(outcome.retryable.meets(RetryOn::GRPC_UNAVAILABLE));
        assert_eq!(call.asked(), asked, "{value}");
        // What an earlier reply said counts no longer.
        call.attempt(1, millis(300), &mut fields(&[]));
        assert_eq!(call.asked(), Hint::Nothing);
    }
}

#[test]
fn a_client_that_has_tried_before_goes_on_by_itself() {
    let mut stage = Stage::new();
    for (value, repeats) in [("0", false), ("1", true), ("x", false)] {
        let call = stage.call(&[("grpc-previous-rpc-attempts", value)]);
        assert_eq!(call.client_repeats(), repeats, "{value}");
    }
    assert!(!stage.call(&[]).client_repeats());
}

#[test]
fn who_is_turned_away_is_told_when_to_come_back() {
    let mut stage = Stage::new();
    for (side, reason, told) in [
        (Side::Proxy, Reason::MaxRequests, true),
        (Side::Proxy, Reason::Limited, true),
        (Side::Proxy, Reason::Denied, false),
        (Side::Network, Reason::ConnectFailed, false),
    ] {
        let mut call = stage.unary(&[]);
        let fault = Fault::new(side, Phase::Admitted, reason);
        call.judge(&mut stage.names, End::Failed { fault: &fault, code: None, now: Now(5) });
        let reply = call.refuse(&Refusal { fault: &fault, status: 503, text: "no" });
        let value = reply.fields.value(b"grpc-retry-pushback-ms").map(|v| std::str::from_utf8(v).unwrap());
        assert_eq!(value.is_some(), told, "{fault}");
        assert!(value.is_none_or(|value| (500..1500).contains(&value.parse().unwrap())));
    }
}

#[test]
fn deadlines() {
    let mut stage = Stage::new();
    let second = Some(Duration::from_secs(1));
    let cases = [
        ("500m", None, Some(500)),
        ("500m", second, Some(500)),
        ("5S", second, Some(1000)),
        ("soon", second, Some(1000)),
        ("soon", None, None),
    ];
    for (header, route, expected) in cases {
        let call = stage.call(&[("grpc-timeout", header)]);
        assert_eq!(call.timeout(route), expected.map(Duration::from_millis), "{header} {route:?}");
    }
    assert_eq!(stage.call(&[]).timeout(second), second);

    // The server is told what is left.
    let list = [("content-type", "application/grpc"), ("grpc-timeout", "1S")];
    let mut call = stage.call(&list[1..]);
    let mut sent = fields(&list);
    call.attempt(0, millis(0), &mut sent);
    assert_eq!(sent.value(b"grpc-timeout"), Some(&b"1S"[..]), "as it came: no time has passed");
    assert_eq!(sent.value(b"grpc-previous-rpc-attempts"), None);
    for (number, at, left) in [(0, 100, 900), (1, 400, 600), (2, 2000, 0)] {
        call.attempt(number, millis(at), &mut sent);
        let told = sent.value(b"grpc-timeout").and_then(Timeout::parse).map(|timeout| timeout.0);
        assert_eq!(told, Some(Duration::from_millis(left)), "{number}");
    }
    assert_eq!(sent.value(b"grpc-previous-rpc-attempts"), Some(&b"2"[..]));
    let mut call = stage.call(&[("grpc-previous-rpc-attempts", "3")]);
    call.attempt(1, millis(1), &mut sent);
    assert_eq!(sent.value(b"grpc-previous-rpc-attempts"), Some(&b"4"[..]));
    assert_eq!(sent.values(b"grpc-timeout").count(), 1);
}

#[test]
fn calls_without_a_reply() {
    use Side::*;
    // Side, phase, reason, reset code, when; status, class.
    let cases = [
        (Client, Phase::Waiting, Reason::Cancelled, Some(8), 100, "CANCELLED", Class::Cancelled),
        (Client, Phase::Waiting, Reason::Cancelled, Some(8), 1001, "DEADLINE_EXCEEDED", Class::Failed),
        (Client, Phase::Replying, Reason::Closed, None, 1500, "DEADLINE_EXCEEDED", Class::Failed),
        (Upstream, Phase::Waiting, Reason::Deadline, None, 1000, "DEADLINE_EXCEEDED", Class::Failed),
        (Network, Phase::Connecting, Reason::ConnectFailed, None, 1, "UNAVAILABLE", Class::Failed),
        (Upstream, Phase::Waiting, Reason::Reset, Some(8), 10, "CANCELLED", Class::Failed),
        (Upstream, Phase::Sending, Reason::Reset, Some(2), 10, "INTERNAL", Class::Failed),
        (Network, Phase::Waiting, Reason::Closed, None, 10, "UNAVAILABLE", Class::Failed),
        (Upstream, Phase::Replying, Reason::Reset, Some(8), 10, "CANCELLED", Class::Failed),
        (Network, Phase::Admitted, Reason::NoEndpoint, None, 0, "UNAVAILABLE", Class::Refused),
    ];
    for (side, phase, reason, reset, at, expected, class) in cases {
        let mut stage = Stage::new();
        let mut call = stage.unary(&[("grpc-timeout", "1S")]);
        let fault = Fault::new(side, phase, reason);
        let outcome =
            call.judge(&mut stage.names, End::Failed { fault: &fault, code: reset, now: millis(at) });
        assert_eq!(stage.names.show(outcome.code), expected, "{fault} at {at}");
        assert_eq!(outcome.class, class, "{fault} at {at}");
        if side == Client {
            continue;
        }
        // The client is told the same: by a reply of Weir's, or by the trailers of the one that has begun.
        let code = Code::from_name(expected).unwrap().decimal().as_bytes();
        if phase < Phase::Replying {
            let reply = call.refuse(&Refusal { fault: &fault, status: 503, text: "100% of \u{20ac}" });
            assert_eq!((reply.status, reply.body.len()), (200, 0));
            assert_eq!(reply.fields.value(b"content-type"), Some(&b"application/grpc"[..]));
            assert_eq!(reply.fields.value(b"grpc-status"), Some(code));
            assert_eq!(reply.fields.value(b"grpc-message"), Some(&b"weir: 100%25 of %E2%82%AC"[..]));
        } else {
            let trailers = call.abort(&fault).unwrap();
            assert_eq!(trailers.value(b"grpc-status"), Some(code));
        }
    }
}

#[test]
fn messages_are_counted() {
    use crate::names::{GRPC_BROKEN, GRPC_MESSAGE_BYTES, GRPC_MESSAGES};
    let mut stage = Stage::new();
    let mut call = stage.call(&[]);
    for part in [&b"\0\0\0\0\x02h"[..], b"i\x01\0\0", b"\0\x01z"] {
        call.request_data(&mut stage.names, part);
    }
    call.request_end(&mut stage.names, None);
    call.reply_head(&mut stage.names, 200, &fields(&[GRPC]), false);
    call.reply_data(b"\0\0\0\0\0\0\0\0\0\x04abcd\0\0");
    let trailers = fields(&[("grpc-status", "0")]);
    let outcome = call.judge(&mut stage.names, End::Complete { trailers: Some(&trailers) });
    call.finished(&outcome);
    let count = |direction, compressed| stage.counter(&GRPC_MESSAGES, &["calls", direction, compressed]);
    assert_eq!((count("request", "false"), count("request", "true")), (1, 1));
    assert_eq!((count("reply", "false"), count("reply", "true")), (2, 0));
    assert_eq!(stage.counter(&GRPC_MESSAGE_BYTES, &["calls", "request"]), 3);
    assert_eq!(stage.counter(&GRPC_MESSAGE_BYTES, &["calls", "reply"]), 4);
    assert_eq!(stage.counter(&GRPC_BROKEN, &["calls", "request"]), 0);
    assert_eq!(stage.counter(&GRPC_BROKEN, &["calls", "reply"]), 1, "the reply ended inside a prefix");
}

#[test]
fn the_section_reads_like_http() {
    static SECTION: HttpSection = section(&[&Grpc]);
    let text = "listeners: { g: { bind: '127.0.0.1:0', grpc: { cluster: c } } }\nclusters: { c: { endpoints: ['127.0.0.1:1'], protocol: http2 } }\n";
    let config = weir_config::parse(text, "weir.yaml", &[&SECTION]).unwrap();
    assert_eq!(config.listeners[0].protocol, NAME);
    let settings = config.listeners[0].settings.downcast_ref::<weir_http::config::Http>().unwrap();
    assert_eq!(settings.routes[0].dialect.as_deref(), Some(NAME));
}

#[test]
fn a_client_that_gives_up_at_its_deadline_has_waited_for_the_server() {
    let gone = Fault::new(Side::Client, Phase::Waiting, Reason::Reset);
    // Whatever was first, its clock or Weir's: the same cause has the same name, and speaks against the endpoint.
    for (after, late) in [(100, false), (955, false), (970, true), (1000, true), (1200, true)] {
        let mut stage = Stage::new();
        let mut call = stage.unary(&[("grpc-timeout", "1S")]);
        let end = End::Failed { fault: &gone, code: Some(8), now: millis(after) };
        let outcome = call.judge(&mut stage.names, end);
        let expected = match late {
            true => ("timeout", Class::Failed, Fault::new(Side::Upstream, Phase::Waiting, Reason::Deadline)),
            false => ("cancelled", Class::Cancelled, gone),
        };
        assert_eq!(
            (outcome.result, outcome.class, outcome.fault),
            (expected.0, expected.1, Some(expected.2)),
            "{after}"
        );
    }
}

#[test]
fn trailing_metadata_keeps_all_names_but_those_of_framing() {
    let mut stage = Stage::new();
    let call = stage.unary(&[]);
    for name in
        ["authorization", "location", "cache-control", "set-cookie", "range", "max-forwards", "x-amz-target"]
    {
        assert!(call.keeps_trailer(name.as_bytes()), "{name}");
    }
    for name in ["connection", "content-length", "transfer-encoding", "te", "host", "trailer"] {
        assert!(!call.keeps_trailer(name.as_bytes()), "{name}");
    }
}
