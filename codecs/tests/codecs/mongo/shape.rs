//! Commands without their values.

use bson::{Bson, Document, doc};
use proptest::prelude::*;
use weir_codecs::mongo::{MAX_SHAPE, Shape, op_msg};

/// An `OP_MSG` of this body and, where there is one, a document sequence.
fn message(body: &Document, sequence: Option<(&str, &[Document])>) -> Vec<u8> {
    let mut sections = vec![0];
    sections.extend(body.to_vec().unwrap());
    if let Some((name, documents)) = sequence {
        let mut inner = name.as_bytes().to_vec();
        inner.push(0);
        documents.iter().for_each(|document| inner.extend(document.to_vec().unwrap()));
        sections.push(1);
        sections.extend((inner.len() as u32 + 4).to_le_bytes());
        sections.extend(inner);
    }
    let mut out = Vec::new();
    for word in [20 + sections.len() as u32, 7, 0, 2013, 0] {
        out.extend(word.to_le_bytes());
    }
    out.extend(sections);
    out
}

fn shape(body: Document) -> String {
    Shape::of(&message(&body, None)).expect("a shape").text
}

#[test]
fn paths_and_operators_stay_and_values_go() {
    for (command, expected) in [
        (
            doc! { "find": "people", "filter": { "age": { "$gt": 5, "$lt": 9 }, "a.b": "x" }, "limit": 3, "lsid": { "id": 1 }, "$db": "d" },
            "{find: ?, filter: {age: {$gt: ?, $lt: ?}, a.b: ?}, limit: ?}",
        ),
        (
            doc! { "find": "c", "filter": { "id": { "$in": [1, 2, 3] }, "$or": [{ "a": 1 }, { "a": 2 }, { "b": 1 }] } },
            "{find: ?, filter: {id: {$in: [?]}, $or: [{a: ?}, {b: ?}]}}",
        ),
        (doc! { "find": "c", "filter": { "a": { "secret": 1 } } }, "{find: ?, filter: {a: ?}}"),
        (
            doc! { "find": "c", "filter": { "a": { "$eq": { "secret": 1 } } } },
            "{find: ?, filter: {a: {$eq: ?}}}",
        ),
        (doc! { "find": "c", "sort": { "a": 1, "b": -1 } }, "{find: ?, sort: {a: ?, b: ?}}"),
        (
            doc! { "aggregate": "c", "pipeline": [{ "$match": { "a": 1 } }, { "$group": { "_id": "$x", "n": { "$sum": 1 } } }] },
            "{aggregate: ?, pipeline: [{$match: {a: ?}}, {$group: {_id: ?, n: {$sum: ?}}}]}",
        ),
        (
            doc! { "findAndModify": "c", "query": { "_id": 1 }, "update": { "$set": { "a": { "secret": 1 } } } },
            "{findAndModify: ?, query: {_id: ?}, update: {$set: {a: ?}}}",
        ),
        (doc! { "findAndModify": "c", "update": { "secret": 1 } }, "{findAndModify: ?, update: ?}"),
        (doc! { "insert": "c", "documents": [{ "secret": 1 }] }, "{insert: ?, documents: ?}"),
        (
            doc! { "update": "c", "updates": [{ "q": { "a": 1 }, "u": { "$inc": { "n": 1 } } }, { "q": { "a": 2 }, "u": { "$inc": { "n": 5 } } }] },
            "{update: ?, updates: [{q: {a: ?}, u: {$inc: {n: ?}}}]}",
        ),
        (doc! { "ping": 1, "$db": "d" }, "{ping: ?}"),
    ] {
        assert_eq!(shape(command), expected);
    }
}

#[test]
fn how_it_is_done_and_explained_changes_nothing() {
    let find = doc! { "find": "c", "filter": { "a": 1 }, "limit": 5 };
    let update = doc! { "update": "c", "updates": [{ "q": { "a": 1 }, "u": { "$set": { "b": 1 } } }] };
    let aggregate = doc! { "aggregate": "c", "pipeline": [{ "$match": { "a": 1 } }] };
    let options = doc! {
        "batchSize": 7, "singleBatch": true, "noCursorTimeout": true, "allowPartialResults": true, "allowDiskUse": true,
        "cursor": { "batchSize": 5 }, "ordered": false, "bypassDocumentValidation": true, "maxTimeMS": 5,
    };
    for command in [find, update, aggregate] {
        let expected = shape(command.clone());
        let mut with = command.clone();
        with.extend(options.clone());
        assert_eq!(shape(with.clone()), expected);
        let explain = doc! { "explain": with, "verbosity": "executionStats", "comment": 1, "$db": "d" };
        assert_eq!(shape(explain), expected);
    }
    // What is asked for does.
    let find = |skip: bool| {
        let skips = if skip {
            doc! { "skip": 5 }
        } else {
            doc! {}
        };
        let mut find = doc! { "find": "c", "filter": { "a": 1 } };
        find.extend(skips);
        shape(find)
    };
    assert_ne!(find(true), find(false));
    assert_eq!(shape(doc! { "explain": "odd" }), "{explain: ?}");
}

#[test]
fn lists_have_the_same_shape_however_long_they_are() {
    let of = |list: Vec<Bson>| {
        Shape::of(&message(&doc! { "find": "c", "filter": { "a": { "$in": list } } }, None))
            .map(|shape| shape.text)
    };
    for many in [1, 255, 256, 257, 60_000] {
        let whole = Some("{find: ?, filter: {a: {$in: [?]}}}".to_owned());
        assert_eq!(of((0..many).map(Bson::Int32).collect()), whole, "{many}");
    }
    let document = Bson::Document(doc! { "x": 1 });
    let mixed = (0..300).map(Bson::Int32).chain([document.clone()]);
    assert_eq!(
        of(mixed.collect()).unwrap(),
        "{find: ?, filter: {a: {$in: [?]}}}",
        "no document in a list of values is shown"
    );
    // Of documents not every number is looked at.
    assert!(of(vec![document.clone(); 256]).is_some() && of(vec![document; 257]).is_none());
}

#[test]
fn statements_in_a_sequence_belong_to_the_shape() {
    let body = doc! { "delete": "c", "ordered": true, "$db": "d" };
    let statements = [doc! { "q": { "a": 1 }, "limit": 1 }, doc! { "q": { "b": 1 }, "limit": 0 }];
    let whole = message(&body, Some(("deletes", &statements)));
    let expected = "{delete: ?, deletes: [{q: {a: ?}, limit: ?}, {q: {b: ?}, limit: ?}]}";
    assert_eq!(Shape::of(&whole).unwrap().text, expected);
    // Not all of it is there.
    assert_eq!(Shape::of(&whole[..whole.len() - 3]).unwrap().text, "{delete: ?, deletes: ?}");
    let inserts = message(&doc! { "insert": "c" }, Some(("documents", &[doc! { "secret": 1 }])));
    assert_eq!(Shape::of(&inserts).unwrap().text, "{insert: ?, documents: ?}");
}

#[test]
fn the_same_shape_has_the_same_hash_for_ever() {
    let one = Shape::of(&message(&doc! { "find": "a", "filter": { "x": 1 } }, None)).unwrap();
    let other =
        Shape::of(&message(&doc! { "find": "b", "filter": { "x": "text" }, "$db": "e" }, None)).unwrap();
    let third = Shape::of(&message(&doc! { "find": "a", "filter": { "y": 1 } }, None)).unwrap();
    assert_eq!(one, other);
    assert_ne!(one.hash, third.hash);
    // 64-bit FNV-1a of `{find: ?, filter: {x: ?}}`: whoever stored it finds it again.
    let fnv = one
        .text
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3));
    assert_eq!((one.text.as_str(), one.hash), ("{find: ?, filter: {x: ?}}", fnv));
}

#[test]
fn what_is_no_plain_command_in_hand_has_no_shape() {
    let whole = message(&doc! { "find": "c", "filter": { "a": 1 } }, None);
    for cut in 0..whole.len() {
        assert_eq!(Shape::of(&whole[..cut]), None, "{cut}");
    }
    let mut compressed = whole.clone();
    compressed[12..16].copy_from_slice(&2012_u32.to_le_bytes());
    assert_eq!(Shape::of(&compressed), None);
    let mut out = bytes::BytesMut::new();
    op_msg(&mut out, 1, 0, &doc! { "ping": 1 }.to_vec().unwrap());
    assert_eq!(Shape::of(&out).unwrap().text, "{ping: ?}");
}

#[test]
fn shapes_are_bounded() {
    let mut filter = Document::new();
    (0..200).for_each(|n| drop(filter.insert(format!("a_rather_long_name_{n}"), n)));
    let mut deep = doc! { "a": 1 };
    (0..60).for_each(|_| deep = doc! { "$and": [deep.clone()] });
    for filter in [filter, deep] {
        let shape = Shape::of(&message(&doc! { "find": "c", "filter": filter }, None)).unwrap();
        assert!(shape.text.len() <= MAX_SHAPE);
    }
}

/// Every string and number of these is marked, and so is every name that stands inside data.
fn value() -> impl Strategy<Value = Bson> {
    let leaf = prop_oneof![
        "[a-z]{0,8}".prop_map(|s| Bson::String(format!("LITERAL{s}"))),
        any::<i64>().prop_map(|_| Bson::Int64(771_177)),
        Just(Bson::Double(771.177)),
        Just(Bson::Boolean(true)),
        Just(Bson::RegularExpression(bson::Regex {
            pattern: "LITERAL".try_into().unwrap(),
            options: "i".try_into().unwrap()
        })),
        Just(Bson::JavaScriptCode("LITERAL".into())),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Bson::Array),
            prop::collection::vec(inner, 0..3).prop_map(|values| {
                let named = values.into_iter().enumerate();
                Bson::Document(named.map(|(n, value)| (format!("LITERAL{n}"), value)).collect())
            }),
        ]
    })
}

fn condition() -> impl Strategy<Value = Document> {
    let many = || prop::collection::vec(one_condition(), 0..4);
    (many(), many()).prop_map(|(these, those)| {
        let mut all: Document = these.into_iter().flatten().collect();
        if !those.is_empty() {
            all.insert("$or", those);
        }
        all
    })
}

fn one_condition() -> impl Strategy<Value = Document> {
    let operator = prop::sample::select(vec!["$eq", "$in", "$gt", "$regex", "$elemMatch", "$not", "$mod"]);
    ("[a-z]{1,6}", prop::option::of(operator), value()).prop_map(|(field, operator, value)| match operator {
        // What these hold is a condition again, whose names are of fields.
        Some("$elemMatch" | "$not") | None => doc! { field: value },
        Some(operator) => doc! { field: { operator: value } },
    })
}

proptest! {
    #[test]
    fn no_value_is_ever_in_a_shape(filter in condition(), set in value(), change in value(), document in value()) {
        let commands = [
            doc! { "find": "LITERAL", "filter": filter.clone(), "let": document.clone(), "comment": "LITERAL" },
            doc! { "aggregate": "LITERAL", "pipeline": [{ "$match": filter.clone() }, { "$limit": 771_177 }], "cursor": { "batchSize": 771_177 } },
            doc! { "update": "LITERAL", "updates": [{ "q": filter.clone(), "u": { "$set": { "a": set } } }, { "q": filter, "u": change }] },
            doc! { "insert": "LITERAL", "documents": [document.clone()] },
            doc! { "somethingNew": document.clone(), "more": document },
        ];
        for command in commands {
            let shape = Shape::of(&message(&command, None)).expect("a shape");
            prop_assert!(!shape.text.contains("LITERAL") && !shape.text.contains("771"), "{}", shape.text);
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut whole = message(&doc! { "find": "c", "filter": { "a": { "$in": [1, 2] } } }, None);
        Shape::of(&bytes);
        let at = 21 + bytes.len() % (whole.len() - 21);
        for (slot, byte) in whole.iter_mut().skip(at).zip(&bytes) {
            *slot = *byte;
        }
        if let Some(shape) = Shape::of(&whole) {
            prop_assert!(shape.text.len() <= MAX_SHAPE);
        }
    }
}
