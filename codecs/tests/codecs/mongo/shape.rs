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
            "{aggregate: ?, pipeline: [{$match: {a: ?}}, {$group: {_id: $x, n: {$sum: ?}}}]}",
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

/// The shape of an aggregation, but for what is the same in all.
fn stages(pipeline: Vec<Document>) -> String {
    let shape = shape(doc! { "aggregate": "c", "pipeline": pipeline });
    let inner = shape.strip_prefix("{aggregate: ?, pipeline: [").and_then(|shape| shape.strip_suffix("]}"));
    inner.expect("a pipeline").to_owned()
}

#[test]
fn paths_in_stages_stay() {
    for (stage, expected) in [
        (doc! { "$group": { "_id": "$customer.country" } }, "{$group: {_id: $customer.country}}"),
        (
            doc! { "$group": { "_id": { "a": "$x", "b": { "$year": "$y" } }, "n": { "$sum": { "$multiply": ["$p", "$p", 3] } } } },
            "{$group: {_id: {a: $x, b: {$year: $y}}, n: {$sum: {$multiply: [$p, $p, ?]}}}}",
        ),
        (
            doc! { "$group": { "_id": { "secret": 1 }, "a": { "$push": "$$ROOT" } } },
            "{$group: {_id: ?, a: {$push: $$ROOT}}}",
        ),
        (doc! { "$sortByCount": "$x" }, "{$sortByCount: $x}"),
        (doc! { "$replaceRoot": { "newRoot": "$x" } }, "{$replaceRoot: {newRoot: $x}}"),
        (
            doc! { "$project": { "a": 1, "b": "$x", "c": { "secret": 1 }, "d": { "$in": ["$y", [1, 2, 3]] } } },
            "{$project: {a: ?, b: $x, c: ?, d: {$in: [$y, [?]]}}}",
        ),
        (
            doc! { "$lookup": { "from": "o", "localField": "a", "foreignField": "b", "as": "c" } },
            "{$lookup: {from: o, localField: a, foreignField: b, as: c}}",
        ),
        (
            doc! { "$lookup": { "from": "o", "let": { "v": "$a" }, "pipeline": [{ "$match": { "$expr": { "$eq": ["$$v", "$b"] } } }], "as": "c" } },
            "{$lookup: {from: o, let: {v: $a}, pipeline: [{$match: {$expr: {$eq: [$$v, $b]}}}], as: c}}",
        ),
        (
            doc! { "$graphLookup": { "from": "o", "startWith": "$a", "connectFromField": "b", "connectToField": "d", "as": "e", "depthField": "f", "restrictSearchWithMatch": { "g": "$secret" } } },
            "{$graphLookup: {from: o, startWith: $a, connectFromField: b, connectToField: d, as: e, depthField: ?, restrictSearchWithMatch: ?}}",
        ),
        (doc! { "$unwind": "$a.b" }, "{$unwind: $a.b}"),
        (
            doc! { "$unwind": { "path": "$a", "includeArrayIndex": "i", "preserveNullAndEmptyArrays": true } },
            "{$unwind: {path: $a, includeArrayIndex: i, preserveNullAndEmptyArrays: ?}}",
        ),
        (
            doc! { "$facet": { "one": [{ "$group": { "_id": "$x" } }], "two": [{ "$match": { "a": "$secret" } }] } },
            "{$facet: {one: [{$group: {_id: $x}}], two: [{$match: {a: ?}}]}}",
        ),
        (
            doc! { "$unionWith": { "coll": "secret", "pipeline": [{ "$set": { "a": "$x" } }] } },
            "{$unionWith: {coll: ?, pipeline: [{$set: {a: $x}}]}}",
        ),
        (
            doc! { "$bucket": { "groupBy": "$x", "boundaries": ["$secret"], "default": "$secret", "output": { "n": { "$sum": "$y" } } } },
            "{$bucket: {groupBy: $x, boundaries: [?], default: ?, output: {n: {$sum: $y}}}}",
        ),
        (
            doc! { "$setWindowFields": { "partitionBy": "$x", "sortBy": { "d": 1 }, "output": { "n": { "$sum": "$y", "window": { "documents": [-1, 0] } } } } },
            "{$setWindowFields: {partitionBy: $x, sortBy: ?, output: {n: {$sum: $y, window: ?}}}}",
        ),
        (
            doc! { "$merge": { "into": "secret", "let": { "v": "$x" }, "whenMatched": [{ "$set": { "a": "$$new.b" } }] } },
            "{$merge: {into: ?, let: {v: $x}, whenMatched: [{$set: {a: $$new.b}}]}}",
        ),
        (
            doc! { "$set": { "a": { "$switch": { "branches": [{ "case": { "$gt": ["$x", 1] }, "then": "$y" }], "default": 0 } } } },
            "{$set: {a: {$switch: {branches: [{case: {$gt: [$x, ?]}, then: $y}], default: ?}}}}",
        ),
    ] {
        assert_eq!(stages(vec![stage]), expected);
    }
}

#[test]
fn paths_stay_wherever_expressions_are_read() {
    let update = doc! { "q": { "$or": [{ "$expr": { "$gt": ["$a", "$b"] } }, { "c": "$secret" }] }, "u": [{ "$set": { "m": "$f" } }] };
    for (command, expected) in [
        (
            doc! { "distinct": "c", "key": "a.b", "query": { "c": "$secret" } },
            "{distinct: ?, key: a.b, query: {c: ?}}",
        ),
        (doc! { "other": "c", "key": "secret" }, "{other: ?, key: ?}"),
        (
            doc! { "update": "c", "updates": [update] },
            "{update: ?, updates: [{q: {$or: [{$expr: {$gt: [$a, $b]}}, {c: ?}]}, u: [{$set: {m: $f}}]}]}",
        ),
        (
            doc! { "findAndModify": "c", "update": [{ "$set": { "m": "$f" } }], "fields": { "a": "$b" } },
            "{findAndModify: ?, update: [{$set: {m: $f}}], fields: {a: $b}}",
        ),
        (
            doc! { "find": "c", "projection": { "a": { "$toUpper": "$b" }, "c": { "$elemMatch": { "d": "$secret" } } } },
            "{find: ?, projection: {a: {$toUpper: $b}, c: {$elemMatch: {d: ?}}}}",
        ),
        (
            doc! { "find": "c", "let": { "now": "$$NOW", "secret": { "secret": 1 } } },
            "{find: ?, let: {now: $$NOW, secret: ?}}",
        ),
        (doc! { "find": "c", "let": { "secret": "secret" } }, "{find: ?, let: ?}"),
        (doc! { "find": "c", "let": { "$secret": 1 } }, "{find: ?, let: ?}"),
    ] {
        assert_eq!(shape(command), expected);
    }
}

#[test]
fn other_paths_are_other_shapes() {
    let matches = |expression: Document| doc! { "find": "c", "filter": { "$expr": expression } };
    let of = |command: &Document| Shape::of(&message(command, None)).unwrap();
    for (one, other) in [
        (doc! { "$eq": ["$a", 5] }, doc! { "$eq": ["$b", 5] }),
        (doc! { "$eq": ["$a", "$b"] }, doc! { "$eq": ["$b", "$a"] }),
        (doc! { "$cond": ["$a", "$b", "$a"] }, doc! { "$cond": ["$a", "$b", "$b"] }),
        (doc! { "$cond": ["$a", "$a", "$b"] }, doc! { "$cond": ["$a", "$b", "$b"] }),
        (doc! { "$in": ["$a", [1, 2]] }, doc! { "$in": ["$b", [1, 2]] }),
        (doc! { "$not": "$a" }, doc! { "$not": "$$a" }),
    ] {
        assert_ne!(of(&matches(one)).hash, of(&matches(other)).hash);
    }
    let list = |many: i32| {
        let values: Vec<_> = (0..many).collect();
        matches(doc! { "$in": ["$a", values] })
    };
    for many in [1, 300, 60_000] {
        assert_eq!(of(&list(many)).text, "{find: ?, filter: {$expr: {$in: [$a, [?]]}}}", "{many}");
    }
    // What differs where the text has long been cut.
    let long = |last: &str| {
        let mut fields: Document =
            (0..60).map(|n| (format!("a_rather_long_name_{n}"), Bson::from(format!("$path.{n}")))).collect();
        fields.insert("last", last);
        doc! { "aggregate": "c", "pipeline": [{ "$facet": { "one": [{ "$project": { "inner": fields } }] } }] }
    };
    let (one, other) = (of(&long("$a")), of(&long("$b")));
    assert_eq!((&one.text, one.text.len() <= MAX_SHAPE), (&other.text, true));
    assert!(one.text.contains("a_rather_long_name_9: $path.9") && one.text.ends_with('…'));
    assert_ne!(one.hash, other.hash);
    assert_eq!(one, of(&long("$a")));
}

/// None of these strings is a path, though all begin with a `$`.
#[test]
fn values_that_look_like_paths_go() {
    let (longest, too_long) = (format!("${}", "x".repeat(127)), format!("${}", "x".repeat(128)));
    for (stage, expected) in [
        (
            doc! { "$match": { "a": "$secret", "b": { "$in": ["$secret"] } } },
            "{$match: {a: ?, b: {$in: [?]}}}",
        ),
        // Behind a field even an operator's name is data.
        (doc! { "$match": { "a": { "$eq": { "$expr": "$secret" } } } }, "{$match: {a: {$eq: {$expr: ?}}}}"),
        (
            doc! { "$match": { "a": { "$elemMatch": { "$or": [{ "$expr": "$secret" }] } } } },
            "{$match: {a: {$elemMatch: {$or: [{$expr: ?}]}}}}",
        ),
        (
            doc! { "$match": { "$expr": { "$eq": ["$a", { "$literal": "$secret" }] } } },
            "{$match: {$expr: {$eq: [$a, {$literal: ?}]}}}",
        ),
        (
            doc! { "$set": { "a": { "$literal": { "$expr": ["$secret"] } }, "b": { "$literal": { "secret": "$secret" } } } },
            "{$set: {a: {$literal: {$expr: [?]}}, b: {$literal: ?}}}",
        ),
        (
            doc! { "$lookup": { "from": "o", "as": "c", "pipeline": [{ "$match": { "a": "$secret" } }, { "$facet": { "f": [{ "$match": { "$nor": [{ "a": "$secret" }] } }] } }] } },
            "{$lookup: {from: o, as: c, pipeline: [{$match: {a: ?}}, {$facet: {f: [{$match: {$nor: [{a: ?}]}}]}}]}}",
        ),
        (
            doc! { "$lookup": { "from": { "secret": "$secret" }, "as": ["secret"] } },
            "{$lookup: {from: ?, as: [?]}}",
        ),
        (doc! { "$unwind": "secret" }, "{$unwind: ?}"),
        (doc! { "$count": "$secret" }, "{$count: ?}"),
        (doc! { "$out": "$secret" }, "{$out: ?}"),
        (doc! { "$documents": [{ "secret": "$secret" }] }, "{$documents: [?]}"),
        (doc! { "$search": { "text": { "query": "$secret" } } }, "{$search: ?}"),
        (doc! { "$newStage": { "$op": "$secret" } }, "{$newStage: {$op: ?}}"),
        (doc! { "secret": "$secret" }, "?"),
        (
            doc! { "$geoNear": { "near": "$secret", "query": { "a": "$secret" } } },
            "{$geoNear: {near: ?, query: ?}}",
        ),
        (
            doc! { "$set": { "a": { "$function": { "body": "$secret", "args": ["$x"], "lang": "js" } } } },
            "{$set: {a: {$function: {body: ?, args: [$x], lang: ?}}}}",
        ),
        (
            doc! { "$set": { "a": "secret", "b": "$", "c": "$$", "d": too_long } },
            "{$set: {a: ?, b: ?, c: ?, d: ?}}",
        ),
        (doc! { "$set": { "a": &longest } }, &format!("{{$set: {{a: {longest}}}}}")),
        (doc! { "$set": { "a": Bson::Symbol("$secret".into()) } }, "{$set: {a: ?}}"),
    ] {
        assert_eq!(stages(vec![stage]), expected);
    }
    for (command, expected) in [
        (
            doc! { "find": "c", "filter": { "a": "$secret" }, "sort": { "a": "$secret" }, "hint": "$secret", "min": { "a": "$secret" } },
            "{find: ?, filter: {a: ?}, sort: {a: ?}, hint: ?, min: {a: ?}}",
        ),
        (
            doc! { "update": "c", "updates": [{ "q": { "a": "$secret" }, "u": { "$set": { "a": "$secret" } }, "arrayFilters": [{ "a": "$secret" }], "c": { "v": "$secret" } }] },
            "{update: ?, updates: [{q: {a: ?}, u: {$set: {a: ?}}, arrayFilters: [{a: ?}], c: ?}]}",
        ),
        (doc! { "findAndModify": "c", "update": { "a": "$secret" } }, "{findAndModify: ?, update: ?}"),
        (doc! { "insert": "c", "documents": [{ "a": "$secret" }] }, "{insert: ?, documents: ?}"),
        (doc! { "distinct": "c", "key": { "secret": "$secret" } }, "{distinct: ?, key: {secret: ?}}"),
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
        Just(Bson::String("$LITERAL".into())),
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
            doc! { "find": "LITERAL", "filter": filter.clone(), "let": { "a": { "$literal": document.clone() } }, "comment": "LITERAL" },
            doc! { "aggregate": "LITERAL", "pipeline": [
                { "$lookup": { "from": "o", "let": { "a": "$b" }, "pipeline": [{ "$match": filter.clone() }] } },
                { "$facet": { "f": [{ "$match": filter.clone() }, { "$set": { "a": "$b", "c": { "$literal": document.clone() } } }] } },
            ] },
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
        Shape::of(&bytes);
        let find = doc! { "find": "c", "filter": { "a": { "$in": [1, 2] } } };
        let stages = [doc! { "$group": { "_id": { "a": "$x" } } }, doc! { "$unwind": { "path": "$a" } }];
        let aggregate = doc! { "aggregate": "c", "pipeline": stages, "let": { "v": "$$NOW" } };
        for command in [find, aggregate] {
            let mut whole = message(&command, None);
            let at = 21 + bytes.len() % (whole.len() - 21);
            for (slot, byte) in whole.iter_mut().skip(at).zip(&bytes) {
                *slot = *byte;
            }
            if let Some(shape) = Shape::of(&whole) {
                prop_assert!(shape.text.len() <= MAX_SHAPE);
            }
        }
    }
}
