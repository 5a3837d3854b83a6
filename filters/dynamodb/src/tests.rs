//! Calls from their heads to their records, as the exchange loop would lead them.

use super::*;
use crate::names::{
    DYNAMODB_ITEM_ERRORS, DYNAMODB_OPAQUE, DYNAMODB_TABLE_OPERATIONS, DYNAMODB_THROTTLES,
    DYNAMODB_UNPROCESSED,
};
use std::time::Duration;
use support::{Book, fields};
use weir_decide::exchange::{Class, Fault, Now, Outcome, Phase, Reason, RetryOn, Side};
use weir_decide::policy::Hint;
use weir_http::{AtHead, End, Refusal};
use weir_measure::names::Family;
use weir_measure::{Limits, Measure, OTHER};

#[path = "../../http/tests/shared/names.rs"]
mod support;

struct Stage {
    measure: Arc<Measure>,
    dialect: DynamoDbDialect,
    names: Book,
}

impl Stage {
    fn new() -> Stage {
        let measure = Measure::new(Limits::default());
        let dialect = DynamoDbDialect::new(&measure.local(), "tables", 7);
        Stage { measure, dialect, names: Book::default() }
    }

    fn look(&mut self, method: &str, path: &str, list: &[(&str, &str)]) -> Option<Box<dyn Watch>> {
        let fields = fields(list);
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let head = RequestHead {
            version: 11,
            method: method.as_bytes(),
            scheme: b"http",
            authority: b"tables",
            path: path.as_bytes(),
            query: query.map(str::as_bytes),
            fields: &fields,
            route: NameId::NONE,
            began: Now(1),
        };
        self.dialect.watch(&mut self.names, &head)
    }

    /// A call with its whole request.
    fn sent(&mut self, operation: &str, more: &[(&str, &str)], body: &[u8]) -> Box<dyn Watch> {
        let target = format!("DynamoDB_20120810.{operation}");
        let mut list = vec![("X-Amz-Target", target.as_str())];
        list.extend_from_slice(more);
        let mut call = self.look("POST", "/", &list).unwrap();
        call.attempt(0, Now(2), &mut fields(&list));
        for part in body.chunks(5) {
            call.request_data(&mut self.names, part);
        }
        call.request_end(&mut self.names, None);
        call
    }

    fn replied(
        &mut self,
        call: &mut Box<dyn Watch>,
        status: u16,
        list: &[(&str, &str)],
        body: &[u8],
    ) -> Outcome {
        call.reply_head(&mut self.names, status, &fields(list), body.is_empty());
        for part in body.chunks(7) {
            call.reply_data(part);
        }
        let outcome = call.judge(&mut self.names, End::Complete { trailers: None });
        call.finished(&outcome);
        outcome
    }

    fn counter(&self, family: &'static Family, labels: &[&str]) -> u64 {
        self.measure.value(family, labels)
    }

    fn show(&self, call: &dyn Watch) -> (String, String) {
        (self.names.show(call.operation().name), self.names.show(call.operation().resource))
    }
}

#[test]
fn what_is_a_call() {
    let mut stage = Stage::new();
    // Method, path, fields; the operation, if it is a call.
    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], Option<&'a str>);
    const GET: &str = "DynamoDB_20120810.GetItem";
    let cases: &[Case<'_>] = &[
        ("POST", "/", &[("x-amz-target", "DynamoDB_20120810.GetItem")], Some("GetItem")),
        ("POST", "/", &[("x-amz-target", "DynamoDB_20120810.NewThing")], Some("_other")),
        ("POST", "/", &[("x-amz-target", "DynamoDBStreams_20120810.GetRecords")], Some("GetRecords")),
        (
            "POST",
            "/",
            &[("x-amz-target", "DynamoDB_20120810.GetItem"), ("x-amz-target", "DynamoDB_20120810.PutItem")],
            Some("_other"),
        ),
        (
            "POST",
            "/service/DynamoDB_20120810/operation/PutItem",
            &[("smithy-protocol", "rpc-v2-cbor")],
            Some("PutItem"),
        ),
        // Whatever some server could take for a call.
        ("POST", "/service/DynamoDB_20120810/operation/PutItem", &[], Some("_other")),
        ("POST", "/", &[("smithy-protocol", "rpc-v2-cbor")], Some("_other")),
        ("POST", "/", &[("smithy-protocol", "rpc-v3"), ("x-amz-target", GET)], Some("_other")),
        ("POST", "/service/DynamoDB_20120810/operation/PutItem", &[("x-amz-target", GET)], Some("_other")),
        ("POST", "/", &[("x-amz-target", "Kinesis_20131202.GetRecords")], Some("_other")),
        ("POST", "/", &[("x-amz-target", "Foo.DeleteTable")], Some("_other")),
        ("POST", "/", &[("x-amz-target", "DynamoDB_20120810.Foo")], Some("_other")),
        ("POST", "/", &[("x-amz-target", "DynamoDB_20111205.GetItem")], Some("_other")),
        ("POST", "/", &[("x-amz-target", "dynamodb_20120810.getitem")], Some("_other")),
        ("POST", "/", &[("x-amz-target", "DynamoDB_20120810 . GetItem")], Some("_other")),
        ("POST", "/", &[("x-amz-target", "")], Some("_other")),
        ("POST", "/", &[("x_amz_target", GET)], Some("_other")),
        ("POST", "/", &[("X-Amz_Target", GET), ("x-amz-target", GET)], Some("_other")),
        ("POST", "/?X-Amz-Target=DynamoDB_20120810.DeleteTable", &[], Some("_other")),
        ("POST", "/?a=b&x%2damz%5Ftarget=x", &[("x-amz-target", GET)], Some("_other")),
        ("GET", "/", &[("x-amz-target", GET)], Some("_other")),
        ("PUT", "/", &[("x-amz-target", GET)], Some("_other")),
        ("POST", "/?x-amz-targets=1&amz-target", &[], None),
        ("POST", "/", &[], None),
        ("GET", "/", &[], None),
        ("OPTIONS", "*", &[], None),
    ];
    for (method, path, list, expected) in cases {
        let call = stage.look(method, path, list);
        let name = call.map(|call| stage.names.show(call.operation().name));
        assert_eq!(name.as_deref(), *expected, "{method} {path} {list:?}");
    }
}

#[test]
fn two_targets_are_refused() {
    let mut stage = Stage::new();
    const GET: (&str, &str) = ("x-amz-target", "DynamoDB_20120810.GetItem");
    for (list, refused) in [
        (&[GET][..], false),
        (&[GET, GET], true),
        (&[GET, ("X-Amz-Target", "")], true),
        (&[("x-amz-target", "DynamoDB_20120810.GetItem, DynamoDB_20120810.DeleteTable")], true),
        (&[("x-amz-target", "DynamoDB_20120810.GetItem,")], true),
    ] {
        let mut call = stage.look("POST", "/", list).unwrap();
        assert_eq!(call.refused().is_some(), refused, "{list:?}");
        let fault = Fault::new(Side::Client, Phase::Admitted, Reason::Malformed);
        let reply = call.refuse(&Refusal { fault: &fault, status: 400, text: "two" });
        assert!(String::from_utf8_lossy(&reply.body).contains("SerializationException"));
    }
}

#[test]
fn the_codings_of_a_body_may_stand_in_several_lines() {
    let mut stage = Stage::new();
    for lines in [
        &[("content-encoding", ""), ("Content-Encoding", "identity")][..],
        &[("content-encoding", "Identity, , identity")],
    ] {
        let call = stage.sent("GetItem", lines, br#"{"TableName":"orders"}"#);
        assert_eq!(stage.show(&*call), ("GetItem".into(), "orders".into()), "{lines:?}");
    }
    let lines = [("content-encoding", "gzip"), ("content-encoding", "gzip")];
    let call = stage.sent("GetItem", &lines, br#"{"TableName":"orders"}"#);
    assert_eq!(stage.show(&*call).1, "_unparsed");
}

#[test]
fn tables_and_repeatability() {
    let cases: &[(&str, &str, &str, bool)] = &[
        ("GetItem", r#"{"TableName":"orders","Key":{}}"#, "orders", true),
        ("GetItem", r#"{"TableName":"arn:aws:dynamodb:x:1:table/orders"}"#, "orders", true),
        ("PutItem", r#"{"TableName":"orders","Item":{}}"#, "orders", true),
        ("PutItem", r#"{"TableName":"orders","ConditionExpression":"x"}"#, "orders", false),
        ("UpdateItem", r#"{"TableName":"orders"}"#, "orders", false),
        ("BatchWriteItem", r#"{"RequestItems":{"orders":[],"items":[]}}"#, "_multiple", true),
        ("BatchGetItem", r#"{"RequestItems":{"items":{}}}"#, "items", true),
        ("TransactWriteItems", r#"{"TransactItems":[{"Put":{"TableName":"orders"}}]}"#, "orders", false),
        (
            "TransactWriteItems",
            r#"{"TransactItems":[{"Put":{"TableName":"orders"}}],"ClientRequestToken":"t"}"#,
            "orders",
            true,
        ),
        ("ExecuteStatement", r#"{"Statement":"SELECT * FROM \"orders\""}"#, "orders", true),
        ("ExecuteStatement", r#"{"Statement":"DELETE FROM orders WHERE a=1"}"#, "orders", false),
        ("ExecuteStatement", r#"{"Statement":"DROP TABLE orders"}"#, "_unparsed", false),
        ("ListTables", "{}", "", true),
        ("ListTables", "", "", true),
        ("GetItem", r#"{"TableName":"orders","TableName":"items"}"#, "_unparsed", false),
        ("GetItem", r#"{"TableName":"orders""#, "_unparsed", false),
        ("GetItem", "<xml/>", "_unparsed", false),
        ("GetItem", r#"{"TableName":7}"#, "_unparsed", true),
        ("NewThing", r#"{"TableName":"orders"}"#, "orders", false),
    ];
    for (operation, body, resource, idempotent) in cases {
        let mut stage = Stage::new();
        let call = stage.sent(operation, &[], body.as_bytes());
        assert_eq!(stage.show(&*call).1, *resource, "{operation} {body}");
        assert_eq!(call.operation().idempotent, *idempotent, "{operation} {body}");
    }
}

#[test]
fn what_cannot_be_read_is_counted() {
    let mut stage = Stage::new();
    for (list, body) in [
        (&[][..], &b"\x1f\x8b"[..]),
        (&[("content-encoding", "gzip")], b"{}"),
        (&[("content-encoding", "br")], b"{}"),
    ] {
        let call = stage.sent("GetItem", list, body);
        assert_eq!(stage.show(&*call).1, "_unparsed");
        assert!(!call.operation().idempotent);
    }
    assert_eq!(stage.counter(&DYNAMODB_OPAQUE, &["tables", "request"]), 3);
    let mut call = stage.sent("GetItem", &[], br#"{"TableName":"orders"}"#);
    let outcome = stage.replied(&mut call, 500, &[("content-type", "text/html")], b"<html>");
    assert_eq!((outcome.result, stage.names.show(outcome.code)), ("server_error", "_other".to_owned()));
    assert_eq!(stage.counter(&DYNAMODB_OPAQUE, &["tables", "reply"]), 1);
}

#[test]
fn replies() {
    // Operation, status, fields, body; result, code, class.
    type Case<'a> = (&'a str, u16, &'a [(&'a str, &'a str)], &'a str, &'a str, &'a str, Class);
    let cases: &[Case<'_>] = &[
        ("GetItem", 200, &[], "{}", "ok", "", Class::Success),
        ("TagResource", 200, &[], "", "ok", "", Class::Success),
        ("GetItem", 200, &[], r#"{"Item":{"__type":{"S":"x"}}}"#, "ok", "", Class::Success),
        (
            "PutItem",
            400,
            &[],
            r#"{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","Message":"x"}"#,
            "conditional_failed",
            "ConditionalCheckFailedException",
            Class::Rejected,
        ),
        (
            "GetItem",
            400,
            &[("x-amzn-errortype", "ThrottlingException:http://x")],
            r#"{"__type":"a#ValidationException"}"#,
            "throttled",
            "ThrottlingException",
            Class::Rejected,
        ),
        (
            "TransactWriteItems",
            400,
            &[],
            r#"{"__type":"x#TransactionCanceledException","CancellationReasons":[{"Code":"None"}]}"#,
            "transaction_cancelled",
            "TransactionCanceledException",
            Class::Rejected,
        ),
        (
            "GetItem",
            400,
            &[],
            r#"{"__type":"x#BrandNewException"}"#,
            "client_error",
            "_other",
            Class::Rejected,
        ),
        ("GetItem", 403, &[], "<Error/>", "denied", "_other", Class::Rejected),
        ("GetItem", 503, &[], "", "server_error", "_other", Class::Failed),
        (
            "GetItem",
            500,
            &[],
            r#"{"__type":"x#InternalServerError"}"#,
            "server_error",
            "InternalServerError",
            Class::Failed,
        ),
        ("BatchGetItem", 200, &[], r#"{"UnprocessedKeys":{}}"#, "ok", "", Class::Success),
        (
            "BatchGetItem",
            200,
            &[],
            r#"{"UnprocessedKeys":{"orders":{"Keys":[{}]}}}"#,
            "partial",
            "UnprocessedKeys",
            Class::Success,
        ),
        (
            "BatchWriteItem",
            200,
            &[],
            r#"{"UnprocessedItems":{"orders":[{}]}}"#,
            "partial",
            "UnprocessedItems",
            Class::Success,
        ),
        (
            "BatchExecuteStatement",
            200,
            &[],
            r#"{"Responses":[{},{"Error":{"Code":"ResourceNotFound"}}]}"#,
            "partial",
            "ResourceNotFoundException",
            Class::Success,
        ),
    ];
    for (operation, status, list, body, result, code, class) in cases {
        let mut stage = Stage::new();
        let mut call = stage.sent(operation, &[], b"{}");
        let outcome = stage.replied(&mut call, *status, list, body.as_bytes());
        let found = (outcome.result, stage.names.show(outcome.code), outcome.class);
        assert_eq!(found, (*result, (*code).to_owned(), *class), "{operation} {status} {body}");
        assert_eq!(outcome.result == "ok", outcome.code == NameId::NONE);
    }
}

#[test]
fn errors_are_held_until_they_are_known() {
    let mut stage = Stage::new();
    let mut at = |status, list: &[(&str, &str)], end| {
        let mut call = stage.sent("GetItem", &[], b"{}");
        call.reply_head(&mut stage.names, status, &fields(list), end)
    };
    assert!(matches!(at(200, &[], false), AtHead::Pass));
    assert!(matches!(at(200, &[], true), AtHead::Pass));
    assert!(matches!(at(400, &[], false), AtHead::Hold { .. }));
    assert!(
        matches!(at(503, &[], true), AtHead::Judged(outcome) if outcome.retryable.meets(RetryOn::GATEWAY_ERROR))
    );
    let throttled = [("x-amzn-errortype", "ThrottlingException")];
    assert!(
        matches!(at(400, &throttled, false), AtHead::Judged(outcome) if outcome.retryable == RetryOn::THROTTLED)
    );
}

#[test]
fn a_new_try_forgets_the_last_reply() {
    let mut stage = Stage::new();
    let mut call = stage.sent("GetItem", &[], br#"{"TableName":"orders"}"#);
    call.reply_head(&mut stage.names, 500, &fields(&[("x-amzn-errortype", "InternalServerError")]), false);
    call.reply_data(b"{\"__type\":\"x#Internal");
    call.attempt(1, Now(9), &mut fields(&[]));
    let outcome = stage.replied(&mut call, 200, &[], b"{}");
    assert_eq!((outcome.result, outcome.code), ("ok", NameId::NONE));
    assert_eq!(stage.show(&*call).1, "orders");
}

#[test]
fn each_table_is_charged() {
    let mut stage = Stage::new();
    let body = br#"{"RequestItems":{"orders":[],"items":[{}],"arn:aws:dynamodb:x:1:table/items":[]}}"#;
    for _ in 0..2 {
        let mut call = stage.sent("BatchWriteItem", &[], body);
        stage.replied(&mut call, 200, &[], br#"{"UnprocessedItems":{"items":[{},{}]}}"#);
    }
    let mut call = stage.sent("GetItem", &[], br#"{"TableName":"orders"}"#);
    stage.replied(&mut call, 200, &[], b"{}");
    let charged = |table, operation| stage.counter(&DYNAMODB_TABLE_OPERATIONS, &["tables", table, operation]);
    assert_eq!(charged("orders", "BatchWriteItem"), 2);
    assert_eq!(charged("items", "BatchWriteItem"), 2);
    assert_eq!(charged("orders", "GetItem"), 1);
    assert_eq!(stage.counter(&DYNAMODB_UNPROCESSED, &["tables", "items", "BatchWriteItem"]), 4);
}

#[test]
fn failed_items_and_throttles_are_counted() {
    let mut stage = Stage::new();
    let body = br#"{"TransactItems":[{"Put":{"TableName":"orders"}},{"Put":{"TableName":"items"}}]}"#;
    let mut call = stage.sent("TransactWriteItems", &[], body);
    let reply = br#"{"__type":"x#TransactionCanceledException","CancellationReasons":[{"Code":"None"},{"Code":"ConditionalCheckFailed"}]}"#;
    stage.replied(&mut call, 400, &[], reply);
    let labels = ["tables", "items", "TransactWriteItems", "ConditionalCheckFailedException"];
    assert_eq!(stage.counter(&DYNAMODB_ITEM_ERRORS, &labels), 1);

    let mut call = stage.sent("Query", &[], br#"{"TableName":"orders","IndexName":"ByDay"}"#);
    let reply = br#"{"__type":"x#ProvisionedThroughputExceededException","ThrottlingReasons":[{"reason":"IndexReadKeyRangeThroughputExceeded","resource":"arn:aws:dynamodb:x:1:table/orders/index/ByDay"}]}"#;
    let outcome = stage.replied(&mut call, 400, &[], reply);
    assert_eq!(outcome.result, "throttled");
    let labels = ["tables", "orders", "ByDay", "read", "key_range_throughput"];
    assert_eq!(stage.counter(&DYNAMODB_THROTTLES, &labels), 1);

    // The table itself beside its index.
    let mut call = stage.sent("Query", &[], br#"{"TableName":"songs","IndexName":"ByDay"}"#);
    let reply = br#"{"__type":"x#ThrottlingException","ThrottlingReasons":[
        {"reason":"TableReadAccountLimitExceeded","resource":"arn:aws:dynamodb:x:1:table/songs"},
        {"reason":"IndexWriteKeyRangeThroughputExceeded","resource":"arn:aws:dynamodb:x:1:table/songs/index/ByDay"}]}"#;
    stage.replied(&mut call, 400, &[], reply);
    for labels in [
        ["tables", "songs", "", "read", "account_limit"],
        ["tables", "songs", "ByDay", "write", "key_range_throughput"],
    ] {
        assert_eq!(stage.counter(&DYNAMODB_THROTTLES, &labels), 1, "{labels:?}");
    }
}

#[test]
fn what_a_reply_has_too_many_of_is_counted_as_other() {
    let mut stage = Stage::new();
    let mut call = stage.sent("TransactWriteItems", &[], br#"{"TransactItems":[]}"#);
    let cancelled = vec![r#"{"Code":"ConditionalCheckFailed"}"#; 103].join(",");
    let reply =
        format!(r#"{{"__type":"x#TransactionCanceledException","CancellationReasons":[{cancelled}]}}"#);
    stage.replied(&mut call, 400, &[], reply.as_bytes());
    let known = ["tables", OTHER, "TransactWriteItems", "ConditionalCheckFailedException"];
    assert_eq!(stage.counter(&DYNAMODB_ITEM_ERRORS, &known), 100);
    assert_eq!(stage.counter(&DYNAMODB_ITEM_ERRORS, &["tables", OTHER, "TransactWriteItems", OTHER]), 3);

    let mut call = stage.sent("Query", &[], br#"{"TableName":"orders"}"#);
    let reason =
        r#"{"reason":"TableReadKeyRangeThroughputExceeded","resource":"arn:aws:dynamodb:x:1:table/orders"}"#;
    let reasons = vec![reason; 18].join(",");
    let reply = format!(r#"{{"__type":"x#ThrottlingException","ThrottlingReasons":[{reasons}]}}"#);
    stage.replied(&mut call, 400, &[], reply.as_bytes());
    assert_eq!(
        stage.counter(&DYNAMODB_THROTTLES, &["tables", "orders", "", "read", "key_range_throughput"]),
        16
    );
    assert_eq!(stage.counter(&DYNAMODB_THROTTLES, &["tables", OTHER, OTHER, OTHER, OTHER]), 2);
}

#[test]
fn failures_and_refusals() {
    use Side::*;
    // Side, phase, reason, plain status; result, code, status.
    let cases = [
        (Network, Phase::Connecting, Reason::ConnectFailed, 502, "upstream_lost", "InternalServerError", 503),
        (Proxy, Phase::Admitted, Reason::MaxRequests, 503, "refused", "ThrottlingException", 400),
        (Network, Phase::Admitted, Reason::NoEndpoint, 503, "refused", "InternalServerError", 503),
        (Upstream, Phase::Waiting, Reason::Timeout, 504, "timeout", "InternalServerError", 503),
        (Client, Phase::Sending, Reason::TooLarge, 413, "rejected", "ValidationException", 413),
    ];
    for (side, phase, reason, plain, result, code, status) in cases {
        let mut stage = Stage::new();
        let mut call = stage.sent("GetItem", &[], br#"{"TableName":"orders"}"#);
        let fault = Fault::new(side, phase, reason);
        let outcome = call.judge(&mut stage.names, End::Failed { fault: &fault, code: None, now: Now(5) });
        assert_eq!((outcome.result, stage.names.show(outcome.code)), (result, code.to_owned()), "{fault}");
        let reply = call.refuse(&Refusal { fault: &fault, status: plain, text: "no" });
        assert_eq!(reply.status, status, "{fault}");
        let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        assert!(body["__type"].as_str().unwrap().ends_with(&format!("#{code}")), "{fault}");
        let again = call.refuse(&Refusal { fault: &fault, status: plain, text: "no" });
        let id = |reply: &weir_http::LocalReply| reply.fields.value(b"x-amzn-requestid").map(<[u8]>::to_vec);
        assert_ne!(id(&reply), id(&again), "ids differ");
        call.finished(&outcome);
        assert_eq!(stage.counter(&DYNAMODB_TABLE_OPERATIONS, &["tables", "orders", "GetItem"]), 1);
    }
    // A client that goes in the middle of its request: what was read so far names the table.
    let mut stage = Stage::new();
    let target = [("x-amz-target", "DynamoDB_20120810.PutItem")];
    let mut call = stage.look("POST", "/", &target).unwrap();
    call.attempt(0, Now(2), &mut fields(&target));
    call.request_data(&mut stage.names, br#"{"TableName":"orders","Item":{"a"#);
    let fault = Fault::new(Client, Phase::Sending, Reason::Closed);
    let outcome = call.judge(&mut stage.names, End::Failed { fault: &fault, code: None, now: Now(5) });
    assert_eq!(
        (outcome.result, outcome.code, outcome.class),
        ("client_gone", NameId::NONE, Class::Cancelled)
    );
    assert_eq!(stage.show(&*call).1, "orders");
}

#[test]
fn what_the_body_tells_decides_whether_it_may_be_done_twice() {
    let mut stage = Stage::new();
    for (operation, body, before, after) in [
        ("GetItem", "{}", true, true),
        ("PutItem", r#"{"TableName":"t","Item":{}}"#, true, true),
        ("PutItem", r#"{"TableName":"t","Item":{},"ConditionExpression":"a"}"#, true, false),
        ("TransactWriteItems", r#"{"ClientRequestToken":"x","TransactItems":[]}"#, true, true),
        ("TransactWriteItems", r#"{"TransactItems":[]}"#, true, false),
        ("UpdateItem", r#"{"TableName":"t"}"#, false, false),
    ] {
        let target = [("x-amz-target", &*format!("DynamoDB_20120810.{operation}"))];
        let mut call = stage.look("POST", "/", &target).unwrap();
        assert_eq!(call.may_be_idempotent(), before, "{operation}");
        call.attempt(0, Now(2), &mut fields(&target));
        call.request_data(&mut stage.names, body.as_bytes());
        call.request_end(&mut stage.names, None);
        assert_eq!((call.operation().idempotent, call.may_be_idempotent()), (after, after), "{body}");
    }
}

#[test]
fn what_the_server_asks_for() {
    let mut stage = Stage::new();
    let mut call = stage.sent("GetItem", &[], b"{}");
    let list = fields(&[("x-amz-retry-after", "300")]);
    call.reply_head(&mut stage.names, 400, &list, false);
    assert_eq!(call.asked(), Hint::Wait(Duration::from_millis(300)));
    call.attempt(1, Now(9), &mut fields(&[]));
    assert_eq!(call.asked(), Hint::Nothing);
}

#[test]
fn scanners_are_used_again() {
    let mut stage = Stage::new();
    for _ in 0..3 {
        let mut call = stage.sent("GetItem", &[], br#"{"TableName":"orders"}"#);
        stage.replied(&mut call, 200, &[], b"{}");
    }
    assert_eq!(stage.dialect.shared.pool.borrow().len(), 1);
    let calls: Vec<_> = (0..MAX_POOLED + 10).map(|_| stage.sent("ListTables", &[], b"{}")).collect();
    drop(calls);
    assert_eq!(stage.dialect.shared.pool.borrow().len(), MAX_POOLED);
}

#[test]
fn the_section_reads_like_http() {
    static SECTION: HttpSection = section(&[&DynamoDb]);
    let text = "listeners: { d: { bind: '127.0.0.1:0', dynamodb: { cluster: c } } }\nclusters: { c: { endpoints: ['127.0.0.1:1'] } }\n";
    let config = weir_config::parse(text, "weir.yaml", &[&SECTION]).unwrap();
    assert_eq!(config.listeners[0].protocol, NAME);
    let settings = config.listeners[0].settings.downcast_ref::<weir_http::config::Http>().unwrap();
    assert_eq!(settings.routes[0].dialect.as_deref(), Some(NAME));
}

#[test]
fn a_try_that_failed_before_the_body_came_does_not_settle_the_table() {
    let mut stage = Stage::new();
    let list = [("X-Amz-Target", "DynamoDB_20120810.GetItem")];
    let mut call = stage.look("POST", "/", &list).unwrap();
    call.attempt(0, Now(2), &mut fields(&list));
    let fault = Fault::new(Side::Network, Phase::Connecting, Reason::ConnectFailed);
    call.judge(&mut stage.names, End::Failed { fault: &fault, code: None, now: Now(3) });
    assert!(call.wants_body());
    assert_eq!(call.operation().resource, NameId::NONE);
    call.request_data(&mut stage.names, br#"{"TableName":"orders","Key":{"id":{"S":"1"}}}"#);
    call.request_end(&mut stage.names, None);
    assert!(!call.wants_body());
    assert_eq!(stage.names.show(call.operation().resource), "orders");
}
