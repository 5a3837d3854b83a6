//! What a command touches, wherever it says so.

use super::*;

/// `d.secrets` and all of `vault` are protected.
const PROTECTED: &str = "{ name: secrets, match: { database: d, collection: secrets }, deny: {} },
    { name: vault, match: { database: vault }, deny: {} }";

fn aggregate(stages: &[Document]) -> Document {
    doc! { "aggregate": "c", "pipeline": stages.to_vec(), "cursor": {}, "$db": "d" }
}

/// Commands by the rule that refuses them.
#[allow(clippy::too_many_lines, reason = "a table")]
fn commands() -> Vec<(&'static str, Document)> {
    let uuid = || Binary { subtype: BinarySubtype::Uuid, bytes: vec![1; 16] };
    let lookup = |from: &str| doc! { "$lookup": { "from": from, "pipeline": [], "as": "x" } };
    let mut all = vec![
        ("", doc! { "find": "c", "$db": "d" }),
        ("secrets", doc! { "find": "secrets", "$db": "d" }),
        ("", doc! { "find": "secrets", "$db": "other" }),
        ("secrets", doc! { "find": uuid(), "$db": "d" }),
        ("", doc! { "find": uuid(), "$db": "other" }),
        ("secrets", doc! { "aggregate": uuid(), "pipeline": [], "$db": "d" }),
        ("", doc! { "getMore": 5i64, "collection": "c", "$db": "d" }),
        ("secrets", doc! { "getMore": 5i64, "collection": "secrets", "$db": "d" }),
        ("", doc! { "listCollections": 1, "$db": "d" }),
        ("", doc! { "hello": 1, "$db": "d" }),
        ("secrets", doc! { "explain": { "find": "secrets" }, "$db": "d" }),
        ("", doc! { "explain": { "find": "c" }, "$db": "d" }),
        ("secrets", doc! { "explain": { "find": "c", "$db": "vault" }, "$db": "d" }),
        // What is done to the buckets of a time series is done to it.
        ("secrets", doc! { "delete": "system.buckets.secrets", "$db": "d" }),
        ("", doc! { "find": "system.buckets.c", "$db": "d" }),
        // Copies of everything.
        ("secrets", doc! { "insert": "system.views", "$db": "d" }),
        ("", doc! { "insert": "system.views", "$db": "other" }),
        ("secrets", doc! { "find": "system.profile", "$db": "d" }),
        ("", doc! { "find": "system.profile", "$db": "other" }),
        ("vault", doc! { "find": "system.profile", "$db": "vault" }),
        ("secrets", doc! { "find": "oplog.rs", "$db": "local" }),
        ("", doc! { "find": "oplog.rs", "$db": "other" }),
        ("", doc! { "find": "startup_log", "$db": "local" }),
        ("secrets", doc! { "count": "image_collection", "$db": "config" }),
        ("secrets", doc! { "distinct": "system.preimages", "$db": "config" }),
        ("secrets", doc! { "currentOp": 1, "$db": "admin" }),
        ("secrets", doc! { "getLog": "global", "$db": "admin" }),
        ("secrets", doc! { "filemd5": 1, "root": "fs", "$db": "d" }),
        ("", doc! { "filemd5": 1, "root": "fs", "$db": "other" }),
        ("secrets", doc! { "aggregate": 1, "pipeline": [{ "$currentOp": {} }], "$db": "admin" }),
        // Writes beside its own collection.
        ("secrets", doc! { "renameCollection": "x.y", "to": "d.secrets", "$db": "admin" }),
        ("secrets", doc! { "renameCollection": "d.secrets", "to": "x.y", "$db": "admin" }),
        ("", doc! { "renameCollection": "d.x", "to": "d.y", "$db": "admin" }),
        ("vault", doc! { "renameCollection": "d.x", "to": "vault.y", "$db": "admin" }),
        ("secrets", doc! { "create": "view", "viewOn": "secrets", "pipeline": [], "$db": "d" }),
        ("secrets", doc! { "create": "view", "viewOn": "c", "pipeline": [lookup("secrets")], "$db": "d" }),
        ("", doc! { "create": "view", "viewOn": "c", "pipeline": [lookup("x")], "$db": "d" }),
        ("", doc! { "create": "view", "viewOn": "secrets", "$db": "other" }),
        ("", doc! { "create": "table", "$db": "d" }),
        ("secrets", doc! { "collMod": "view", "viewOn": "secrets", "pipeline": [], "$db": "d" }),
        ("", doc! { "collMod": "c", "validationLevel": "off", "$db": "d" }),
        ("secrets", doc! { "create": "e", "encryptedFields": { "escCollection": "secrets" }, "$db": "d" }),
        ("secrets", doc! { "dropDatabase": 1, "$db": "d" }),
        ("vault", doc! { "dropDatabase": 1, "$db": "vault" }),
        ("", doc! { "dropDatabase": 1, "$db": "other" }),
        (
            "secrets",
            doc! { "cloneCollectionAsCapped": "secrets", "toCollection": "x", "size": 1, "$db": "d" },
        ),
        (
            "secrets",
            doc! { "cloneCollectionAsCapped": "x", "toCollection": "secrets", "size": 1, "$db": "d" },
        ),
        ("", doc! { "cloneCollectionAsCapped": "x", "toCollection": "y", "size": 1, "$db": "d" }),
        ("secrets", doc! { "convertToCapped": "secrets", "size": 1, "$db": "d" }),
        ("secrets", doc! { "validate": "secrets", "$db": "d" }),
        ("", doc! { "validate": "c", "$db": "d" }),
        ("vault", doc! { "copydb": 1, "fromdb": "vault", "todb": "x", "$db": "admin" }),
        ("secrets", doc! { "copydb": 1, "fromdb": "x", "todb": "d", "$db": "admin" }),
        ("", doc! { "copydb": 1, "fromdb": "x", "todb": "y", "$db": "admin" }),
        ("vault", doc! { "movePrimary": "vault", "to": "s1", "$db": "admin" }),
        ("", doc! { "movePrimary": "x", "to": "s1", "$db": "admin" }),
        ("secrets", doc! { "dbHash": 1, "$db": "d" }),
        ("", doc! { "dbHash": 1, "collections": ["c"], "$db": "d" }),
        ("secrets", doc! { "group": { "ns": "secrets" }, "$db": "d" }),
        ("", doc! { "group": { "ns": "c" }, "$db": "d" }),
        ("secrets", doc! { "noSuchCommand": 1, "$db": "other" }),
        ("secrets", doc! { "mapReduce": "c", "out": "secrets", "$db": "d" }),
        ("secrets", doc! { "mapReduce": "c", "out": { "merge": "secrets" }, "$db": "d" }),
        ("vault", doc! { "mapReduce": "c", "out": { "replace": "x", "db": "vault" }, "$db": "d" }),
        ("", doc! { "mapReduce": "c", "out": { "reduce": "x" }, "$db": "d" }),
        ("", doc! { "mapReduce": "c", "out": { "inline": 1 }, "$db": "d" }),
        (
            "secrets",
            doc! { "bulkWrite": 1, "ops": [], "nsInfo": [{ "ns": "d.c" }, { "ns": "d.secrets" }], "$db": "admin" },
        ),
        (
            "",
            doc! { "bulkWrite": 1, "ops": [], "nsInfo": [{ "ns": "d.c" }, { "ns": "x.y" }], "$db": "admin" },
        ),
        ("", doc! { "applyOps": [{ "op": "i", "ns": "d.c", "o": {} }], "$db": "admin" }),
        (
            "secrets",
            doc! { "applyOps": [{ "op": "i", "ns": "d.c", "o": {} }, { "op": "d", "ns": "d.secrets", "o": {} }], "$db": "admin" },
        ),
        ("secrets", doc! { "applyOps": [{ "op": "i", "ns": "d.c", "ui": uuid(), "o": {} }], "$db": "admin" }),
        (
            "vault",
            doc! { "applyOps": [{ "op": "c", "ns": "vault.$cmd", "o": { "drop": "x" } }], "$db": "admin" },
        ),
        (
            "vault",
            doc! { "applyOps": [{ "op": "c", "ns": "admin.$cmd", "o": { "renameCollection": "x.y", "to": "vault.y" } }], "$db": "admin" },
        ),
        ("", doc! { "applyOps": [{ "op": "c", "ns": "d.$cmd", "o": { "drop": "c" } }], "$db": "admin" }),
        // A change stream on a collection, a database, everything.
        ("", doc! { "aggregate": "c", "pipeline": [{ "$changeStream": {} }], "$db": "d" }),
        ("secrets", doc! { "aggregate": 1, "pipeline": [{ "$changeStream": {} }], "$db": "d" }),
        ("", doc! { "aggregate": 1, "pipeline": [{ "$changeStream": {} }], "$db": "other" }),
        ("secrets", doc! { "aggregate": 1, "pipeline": [{ "$changeStream": {} }], "$db": "admin" }),
        (
            "secrets",
            doc! { "aggregate": "c", "pipeline": [{ "$changeStream": { "allChangesForCluster": true } }], "$db": "admin" },
        ),
    ];
    let at_home = |name: &str| {
        vec![
            doc! { "$lookup": { "from": name, "localField": "a", "foreignField": "b", "as": "x" } },
            doc! { "$lookup": { "from": { "db": "d", "coll": name }, "pipeline": [], "as": "x" } },
            doc! { "$graphLookup": { "from": name, "startWith": "$a", "as": "x" } },
            doc! { "$unionWith": name },
            doc! { "$unionWith": { "coll": name, "pipeline": [] } },
            doc! { "$facet": { "a": [{ "$count": "n" }], "b": [lookup(name)] } },
            doc! { "$lookup": { "from": "x", "pipeline": [{ "$match": {} }, lookup(name)], "as": "x" } },
            doc! { "$lookup": { "pipeline": [{ "$documents": [] }, lookup(name)], "as": "x" } },
            doc! { "$unionWith": { "pipeline": [{ "$documents": [] }, { "$unionWith": name }] } },
            doc! { "$unionWith": { "coll": "x", "pipeline": [{ "$unionWith": name }] } },
            doc! { "$rankFusion": { "input": { "pipelines": { "a": [{ "$unionWith": name }] } } } },
            doc! { "$out": name },
            doc! { "$out": { "db": "d", "coll": name } },
            doc! { "$merge": name },
            doc! { "$merge": { "into": name, "whenMatched": "merge" } },
            doc! { "$merge": { "into": { "db": "d", "coll": name }, "whenMatched": [{ "$set": { "a": 1 } }] } },
        ]
    };
    for (name, rule) in [("secrets", "secrets"), ("customers", ""), ("oplog.rs", "")] {
        all.extend(at_home(name).into_iter().map(|stage| (rule, aggregate(&[doc! { "$match": {} }, stage]))));
    }
    for (database, rule) in [("vault", "vault"), ("other", ""), ("d", "")] {
        for stage in [
            doc! { "$lookup": { "from": { "db": database, "coll": "x" }, "pipeline": [], "as": "x" } },
            // A name in a pipeline is one of the database that it reads.
            doc! { "$lookup": { "from": { "db": database, "coll": "x" }, "pipeline": [{ "$unionWith": "y" }], "as": "x" } },
            doc! { "$lookup": { "pipeline": [lookup("y")], "from": { "coll": "x", "db": database }, "as": "x" } },
            doc! { "$graphLookup": { "from": { "db": database, "coll": "x" }, "as": "x" } },
            doc! { "$unionWith": { "db": database, "coll": "x" } },
            doc! { "$out": { "db": database, "coll": "x" } },
            doc! { "$merge": { "into": { "db": database, "coll": "x" } } },
        ] {
            all.push((rule, aggregate(&[stage])));
        }
    }
    all.push((
        "secrets",
        aggregate(&[
            doc! { "$lookup": { "from": { "db": "local", "coll": "oplog.rs" }, "pipeline": [], "as": "x" } },
        ]),
    ));
    // What cannot be read is in doubt, and only that.
    for stage in [
        doc! { "$lookup": {} },
        doc! { "$lookup": { "from": 5, "as": "x" } },
        doc! { "$lookup": { "from": { "db": "d" }, "as": "x" } },
        doc! { "$graphLookup": {} },
        doc! { "$merge": {} },
        doc! { "$out": { "s3": { "bucket": "b" } } },
        doc! { "$noSuchStage": { "from": "c" } },
        doc! { "$facet": { "a": 1 } },
    ] {
        all.push(("secrets", aggregate(&[stage])));
    }
    let nested = |levels: usize| {
        (0..levels).fold(doc! { "$unionWith": "x" }, |inner, _| doc! { "$facet": { "a": [inner] } })
    };
    all.push(("", aggregate(&[nested(20)])));
    all.push(("secrets", aggregate(&[nested(90)])));
    all
}

#[test]
fn every_name_that_a_command_states_is_read_and_no_other_is_meant() {
    let mut client = Client::under("touches", PROTECTED);
    for (rule, command) in commands() {
        assert_eq!(client.refused_by(&command), rule, "{command}");
    }
}

#[test]
fn names_are_read_however_the_message_comes() {
    for (rule, command) in commands() {
        let expected = match rule {
            "" => Came::Through(0),
            rule => Came::Refused(13, format!("weir: denied by the rule {rule}")),
        };
        let plain = op_msg(0, &command);
        // The server reads an array of documents behind the command as it reads one in it.
        let first = command.keys().next().unwrap().clone();
        let mut forms = vec![plain.clone(), zlib(&plain), query(&command)];
        for key in ["pipeline", "nsInfo"] {
            if first != "explain" && command.get_array(key).is_ok() {
                forms.push(sectioned(&command, key));
                forms.push(zlib(&sectioned(&command, key)));
            }
        }
        for message in forms {
            for step in [message.len(), 7] {
                let mut client = Client::under("forms", PROTECTED);
                let came = match client.send_cut(&message, step).0 {
                    Came::Through(_) => Came::Through(0),
                    came => came,
                };
                assert_eq!(came, expected, "{command} in steps of {step}");
            }
        }
    }
}

/// The command as an `OP_QUERY` on `$cmd`.
fn query(command: &Document) -> Vec<u8> {
    let mut command = command.clone();
    let database = command.remove("$db").unwrap();
    let mut body = [0u8; 4].to_vec();
    body.extend(format!("{}.$cmd\0", database.as_str().unwrap()).as_bytes());
    body.extend([[0u8; 4], [0xff; 4]].concat());
    body.extend(command.to_vec().unwrap());
    message(2004, &body)
}

/// The command with one of its arrays in a section of its own, before the body.
fn sectioned(command: &Document, key: &str) -> Vec<u8> {
    let mut command = command.clone();
    let Some(bson::Bson::Array(array)) = command.remove(key) else { panic!("{command}") };
    let mut section = format!("{key}\0").into_bytes();
    array.iter().for_each(|one| section.extend(one.as_document().unwrap().to_vec().unwrap()));
    let mut body = [0, 0, 0, 0, 1].to_vec();
    body.extend((section.len() as i32 + 4).to_le_bytes());
    body.extend(section);
    body.push(0);
    body.extend(command.to_vec().unwrap());
    message(2013, &body)
}

#[test]
fn read_only_refuses_what_would_change_what_it_is_about() {
    let mut client = Client::under(
        "frozen",
        "{ name: frozen, match: { database: d, collection: frozen }, read_only: {} }",
    );
    for (command, refused) in [
        (aggregate(&[doc! { "$lookup": { "from": "frozen", "as": "x" } }, doc! { "$out": "report" }]), false),
        (doc! { "aggregate": "frozen", "pipeline": [{ "$out": "report" }], "$db": "d" }, false),
        (doc! { "aggregate": "frozen", "pipeline": [{ "$merge": "frozen" }], "$db": "d" }, true),
        (aggregate(&[doc! { "$out": "frozen" }]), true),
        (doc! { "mapReduce": "frozen", "out": "report", "$db": "d" }, false),
        (doc! { "mapReduce": "c", "out": { "merge": "frozen" }, "$db": "d" }, true),
        (doc! { "create": "view", "viewOn": "frozen", "pipeline": [], "$db": "d" }, false),
        (doc! { "create": "frozen", "$db": "d" }, true),
        (doc! { "cloneCollectionAsCapped": "frozen", "toCollection": "x", "size": 1, "$db": "d" }, false),
        (doc! { "cloneCollectionAsCapped": "x", "toCollection": "frozen", "size": 1, "$db": "d" }, true),
        (doc! { "renameCollection": "d.frozen", "to": "d.x", "$db": "admin" }, true),
        (doc! { "insert": "oplog.rs", "$db": "local" }, true),
        (doc! { "find": "oplog.rs", "$db": "local" }, false),
        (doc! { "currentOp": 1, "$db": "admin" }, false),
    ] {
        assert_eq!(!client.refused_by(&command).is_empty(), refused, "{command}");
    }
}

#[test]
fn more_names_than_are_noted_are_in_doubt() {
    let joins = |n: usize| {
        let stages: Vec<_> = (0..n).map(|n| doc! { "$unionWith": format!("c{n}") }).collect();
        aggregate(&stages)
    };
    let mut client = Client::under("many", PROTECTED);
    assert_eq!(client.refused_by(&joins(500)), "");
    assert_eq!(client.refused_by(&joins(600)), "secrets");
    // However often the same.
    let same: Vec<_> = (0..5000).map(|_| doc! { "$unionWith": "c" }).collect();
    assert_eq!(client.refused_by(&aggregate(&same)), "");
}
