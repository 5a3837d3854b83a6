//! Rules that only run dry.

use super::*;

#[test]
fn a_dry_run_counts_and_refuses_nothing() {
    let mut client = Client::under(
        "dry",
        "{ name: deny, match: { collection: c }, deny: {}, dry_run: true },
         { name: still, match: { collection: c }, read_only: {}, dry_run: true },
         { name: rate, match: { collection: c }, rate: { count: 1, per: 1h }, dry_run: true },
         { name: few, match: { collection: c }, concurrency: 1, dry_run: true },
         { name: slow, match: { collection: c }, deadline: 1ms, dry_run: true },
         { name: chaos, match: { collection: c }, fault: { delay: 1s, code: 6 }, dry_run: true },
         { name: hard, match: { collection: hard }, deny: {}, dry_run: false }",
    );
    for _ in 0..3 {
        let (came, ruling) = client.send_cut(&op_msg(0, &doc! { "insert": "c", "$db": "d" }), 1000);
        assert!(matches!(came, Came::Through(_)), "{came:?}");
        assert_eq!((ruling.delay, ruling.time_limit), (None, None));
    }
    assert_eq!(client.refused_by(&doc! { "find": "x", "$db": "d" }), "");
    let dry = |client: &Client, rule: &str, action: &str| {
        client.measure.counter(&names::MONGO_RULE_ACTIONS, &["dry", rule, action, "true"]).value()
    };
    for (rule, action, times) in [
        ("deny", "deny", 3),
        ("still", "read_only", 3),
        ("rate", "rate", 2),
        ("few", "concurrency", 2),
        ("chaos", "fault", 3),
        ("slow", "deadline", 0),
    ] {
        assert_eq!(dry(&client, rule, action), times, "{rule}");
    }
    // Of a deadline it is known at the end.
    let op = client.held.remove(0);
    op.governed.ended(std::time::Duration::from_micros(900));
    op.governed.ended(std::time::Duration::from_millis(2));
    assert_eq!(dry(&client, "slow", "deadline"), 1);
    assert_eq!(client.refused_by(&doc! { "find": "hard", "$db": "d" }), "hard");
}

#[test]
fn where_all_run_dry_what_nobody_understands_passes() {
    let dry = "{ name: secrets, match: { database: secret }, deny: {}, dry_run: true }";
    let truncated = message(2013, b"\0\0\0\0\0\xff\0\0\0\x02find\0");
    let secret = op_msg(0, &doc! { "find": "c", "$db": "secret" });
    let corrupt = compressed(&secret, 2, b"no zlib");
    for message in [truncated, corrupt, message(7777, b"who knows"), op_msg(0, &Document::new())] {
        let mut client = Client::under("dry", dry);
        assert!(client.protocol.degrades(&client.session));
        let came = client.send(&message);
        assert!(matches!(came, Came::Through(_)), "{came:?}");
    }
    // There is no memory for it: nobody can say whether it would be refused.
    let late = doc! { "insert": "c", "documents": [{ "pad": "x".repeat(50_000) }], "$db": "secret" };
    let mut client = Client::under("dry", dry);
    client.room = 20_000;
    let (came, _) = client.send_cut(&op_msg(0, &late), 4096);
    assert!(matches!(came, Came::Through(_)), "{came:?}");
    // Beside one that holds, that one alone decides.
    let both = format!("{dry}, {{ name: other, match: {{ collection: other }}, deny: {{}} }}");
    let mut client = Client::under("dry", &both);
    client.room = 20_000;
    let (came, _) = client.send_cut(&op_msg(0, &late), 4096);
    assert!(matches!(came, Came::Through(_)), "{came:?}");
}
