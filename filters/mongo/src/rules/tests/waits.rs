//! Requests that say late what they are about.

use super::*;

/// A driver that puts the documents into the body says `$db` after them.
fn late(size: usize, database: &str) -> Vec<u8> {
    op_msg(0, &doc! { "insert": "c", "documents": [{ "pad": "x".repeat(size) }], "$db": database })
}

#[test]
fn a_late_database_is_waited_for() {
    for step in [1 << 20, 5000, 333] {
        let mut client = Client::under("late", SECRETS);
        let (came, _) = client.send_cut(&late(100_000, "open"), step);
        assert!(matches!(came, Came::Through(size) if size > 100_000), "{came:?}");
        let (came, _) = client.send_cut(&late(100_000, "secret"), step);
        assert_eq!(came, Came::Refused(13, "weir: denied by the rule secrets".into()));
        // However long that takes, unless there is no memory for it.
        let (came, _) = client.send_cut(&late(700_000, "open"), step);
        assert!(matches!(came, Came::Through(size) if size > 700_000), "{came:?}");
        if step < 1 << 20 {
            client.room = 300_000;
            let (came, _) = client.send_cut(&late(700_000, "open"), step);
            let text = "weir: too much waits until it is known what it is about";
            assert_eq!(came, Came::Refused(462, text.into()), "{step}");
        }
        // And the connection goes on.
        assert_eq!(client.refused_by(&doc! { "find": "c", "$db": "secret" }), "secrets");
        // What says it early streams.
        let mut early = op_msg(0, &doc! { "insert": "c", "$db": "open" });
        let pad = doc! { "pad": "x".repeat(900_000) }.to_vec().unwrap();
        early.push(1);
        early.extend((4 + 10 + pad.len() as i32).to_le_bytes());
        early.extend_from_slice(b"documents\0");
        early.extend(pad);
        let length = early.len() as i32;
        early[..4].copy_from_slice(&length.to_le_bytes());
        let (came, _) = client.send_cut(&early, step);
        assert!(matches!(came, Came::Through(size) if size <= step + 1100), "{came:?}");
    }
}

#[test]
fn what_no_rule_can_be_about_is_not_waited_for() {
    let find = || doc! { "find": "c", "filter": { "a": "x".repeat(100_000) }, "$db": "d" };
    let pipeline = doc! { "aggregate": "c", "pipeline": [{ "$match": find() }], "cursor": {}, "$db": "d" };
    let update = doc! { "update": "c", "updates": [{ "q": {}, "u": find() }], "$db": "d" };
    for (rule, command, waits) in [
        ("match: { collection: other }, deny: {}", find(), false),
        ("match: { collection: other, database: d }, rate: { count: 1, per: 1s }", find(), false),
        ("match: { collection: 'c*' }, deny: {}", find(), true),
        ("match: { database: other }, deny: {}", find(), true),
        ("match: { database: other }, read_only: {}", find(), false),
        ("match: { database: other }, read_only: {}", update.clone(), true),
        ("match: { class: [write, admin] }, deadline: 1s", find(), false),
        ("match: { class: read }, deadline: 1s", find(), true),
        ("match: { command: [insert, distinct] }, deny: {}", find(), false),
        ("match: { command: '!find' }, deny: {}", find(), false),
        ("match: { command: '!find' }, deny: {}", update.clone(), true),
        ("match: { application: batch }, deny: {}", find(), false),
        ("match: { application: '!batch' }, deny: {}", find(), true),
        // Its pipeline may be about another collection, and may write.
        ("match: { collection: other }, deny: {}", pipeline.clone(), true),
        ("match: { class: write }, deny: {}", pipeline.clone(), true),
        ("match: { command: insert }, deny: {}", pipeline, false),
        ("match: { collection: other }, deny: {}", doc! { "explain": find(), "$db": "d" }, true),
        (
            "match: { collection: other }, deny: {}",
            doc! { "bulkWrite": 1, "ops": [find()], "$db": "admin" },
            true,
        ),
    ] {
        let mut client = Client::under("foreseen", &format!("{{ name: one, {rule} }}"));
        let message = op_msg(0, &command);
        let (came, _) = client.send_cut(&message, 4096);
        let waited = !matches!(came, Came::Through(size) if size < 10_000);
        let name = command.keys().next().unwrap();
        assert_eq!(waited, waits, "{rule}: {name} {came:?}");
        for message in [message.clone(), zlib(&message)] {
            let (whole, _) =
                Client::under("foreseen", &format!("{{ name: one, {rule} }}")).send_cut(&message, 1 << 20);
            let same = matches!((&came, &whole), (Came::Through(_), Came::Through(_))) || came == whole;
            assert!(same, "{rule}: {name} {came:?} {whole:?}");
        }
    }
}

/// The body of an update comes before its statements: it has no shape before they are there.
#[test]
fn an_update_is_of_its_shape_however_late_its_statements_come() {
    let mut message = op_msg(0, &doc! { "update": "c", "$db": "d" });
    let statement =
        doc! { "q": { "age": 1 }, "u": { "$set": { "pad": "x".repeat(100_000) } } }.to_vec().unwrap();
    message.push(1);
    message.extend((4 + 8 + statement.len() as i32).to_le_bytes());
    message.extend_from_slice(b"updates\0");
    message.extend(statement);
    let length = message.len() as i32;
    message[..4].copy_from_slice(&length.to_le_bytes());
    let shape = Shape::of(&message).unwrap().hash;
    let rule = format!("{{ name: by-age, match: {{ shape: '{shape:016x}' }}, deny: {{}} }}");
    for step in [1 << 20, 4096] {
        let (came, _) = Client::under("statements", &rule).send_cut(&message, step);
        assert_eq!(came, Came::Refused(13, "weir: denied by the rule by-age".into()));
    }
}
