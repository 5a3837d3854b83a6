//! What is used again is as new: whatever it read before, its state is that of a new one, to the last field.

use weir_codecs::dynamodb::partiql::StatementScanner;
use weir_codecs::dynamodb::{Coding, Inflater, ReplyScanner, RequestScanner, Target};
use weir_codecs::http1::{self, Asked, Limits, Method, RequestHead, ResponseHead};

/// Bodies that reach every corner, whole and broken off.
const BODIES: &[&str] = &[
    r#"{"__type":"x#ThrottlingException","ThrottlingReasons":[{"reason":"TableReadProvisionedThroughputExceeded","resource":"arn:aws:dynamodb:x:1:table/Music/index/I"}]}"#,
    r#"{"UnprocessedKeys":{"Music":{"Keys":[{"a":1},{"a":2}]},"x":1},"Count":3,"ScannedCount":9,"ConsumedCapacity":[{"TableName":"Music","CapacityUnits":1.5,"ReadCapacityUnits":1}]}"#,
    r#"{"Responses":[{"Error":{"Code":"ConditionalCheckFailed"},"TableName":"Music"}],"CancellationReasons":[{"Code":"None"},{"Code":"ThrottlingError"}]}"#,
    r#"{"TableName":"Music","TableName":"Books","IndexName":"ByYear","ConditionExpression":"x","ReturnValues":"ALL_OLD","ClientRequestToken":"t"}"#,
    r#"{"TransactItems":[{"Put":{"TableName":"Music"}},{"Get":{"TableName":7}}],"Statements":[{"Statement":"SELECT * FROM \"Music\".\"I\" WHERE a = 'x"}]}"#,
    r#"{"Statement":"INSERT INTO \"Music"#,
    "<html>",
];

fn many_reasons() -> String {
    let one = r#"{"reason":"TableReadAccountLimitExceeded","resource":"Music"}"#;
    let failed = r#"{"Error":{"Code":"Unheard"},"TableName":"Music"}"#;
    let reasons = vec![one; 40].join(",");
    format!(r#"{{"Responses":[{}],"ThrottlingReasons":[{reasons}]}}"#, vec![failed; 150].join(","))
}

#[test]
fn scanners_of_bodies_begin_anew() {
    let targets =
        ["GetItem", "TransactWriteItems", "BatchExecuteStatement", "ExecuteStatement", "BatchGetItem"];
    let targets = targets.map(|name| Target::parse(format!("DynamoDB_20120810.{name}").as_bytes()).unwrap());
    let many = many_reasons();
    for body in BODIES.iter().copied().chain([&*many]) {
        for cut in (0..=body.len()).step_by(1 + body.len() / 300) {
            let mut used = ReplyScanner::new();
            used.begin();
            used.feed(&body.as_bytes()[..cut]);
            if cut % 2 == 0 {
                let _ = used.finish();
            }
            used.begin();
            assert_eq!(format!("{used:?}"), format!("{:?}", ReplyScanner::new()), "{cut} of {body}");
            for target in targets {
                let (mut used, mut new) = (RequestScanner::new(), RequestScanner::new());
                used.begin(target);
                used.feed(&body.as_bytes()[..cut]);
                if cut % 2 == 0 {
                    let _ = used.finish();
                }
                used.begin(targets[0]);
                new.begin(targets[0]);
                assert_eq!(format!("{used:?}"), format!("{new:?}"), "{cut} of {body}");
            }
        }
    }
}

#[test]
fn reasons_without_room_count_for_their_own_reply_only() {
    let mut scanner = ReplyScanner::new();
    scanner.begin();
    scanner.feed(many_reasons().as_bytes());
    let reply = scanner.finish().unwrap().unwrap();
    assert_eq!((reply.more_throttles, reply.more_errors, reply.failed_entries), (24, 50, 150));
    scanner.begin();
    scanner.feed(b"{}");
    let reply = scanner.finish().unwrap().unwrap();
    assert_eq!((reply.more_throttles, reply.more_errors, reply.failed_entries), (0, 0, 0));
}

#[test]
fn scanners_of_statements_begin_anew() {
    let statement = r#"DELETE FROM "arn:aws:dynamodb:x:1:table/Music"."I" WHERE a = 'x' AND (b = 1"#;
    for cut in 0..=statement.len() {
        let mut used = StatementScanner::new();
        used.feed(&statement.as_bytes()[..cut]);
        let _ = used.finish();
        used.clear();
        assert_eq!(format!("{used:?}"), format!("{:?}", StatementScanner::new()), "{cut}");
    }
}

#[test]
fn inflaters_begin_anew() {
    let mut used = Inflater::new();
    for coding in [Coding::Gzip, Coding::Deflate, Coding::Other] {
        used.begin(coding);
        let _ = used.feed(b"\x1f\x8b\x08nothing of the kind", |_| {});
        used.begin(Coding::Identity);
        let mut read = Vec::new();
        used.feed(b"as it is", |plain| read.extend_from_slice(plain)).unwrap();
        assert_eq!((read.as_slice(), used.finish()), (&b"as it is"[..], Ok(())));
    }
}

#[test]
fn heads_begin_anew() {
    let limits = Limits::default();
    let request = b"POST http://a.example/b?c HTTP/1.0\r\nhost: a.example\r\nexpect: 100-continue\r\nte: trailers\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 5\r\n\r\n";
    let reply =
        b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 0\r\n\r\n";
    for cut in 0..=request.len() {
        let mut used = RequestHead::new();
        let _ = http1::parse_request(&request[..cut], &limits, &mut used);
        used.clear();
        assert_eq!(format!("{used:?}"), format!("{:?}", RequestHead::new()), "{cut}");
        let mut used = ResponseHead::new();
        let asked = Asked { upgrade: true, ..Asked::plain(Method::Get) };
        let _ = http1::parse_response(&reply[..cut.min(reply.len())], &limits, asked, &mut used);
        used.clear();
        assert_eq!(format!("{used:?}"), format!("{:?}", ResponseHead::new()), "{cut}");
    }
}
