//! Generated messages, walked by the codec and read whole by the `bson` crate.

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, DateTime, Decimal128, Document, Regex, Timestamp, oid::ObjectId};
use proptest::prelude::*;
use weir_codecs::mongo::{Command, ReplyHead, RequestHead};

use super::{body, decode_cut, op_msg, sequence, tails};

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z$._]{0,12}",
        prop::sample::select(vec![
            "$db",
            "lsid",
            "txnNumber",
            "autocommit",
            "maxTimeMS",
            "documents",
            "updates",
            "filter",
            "limit",
            "cursor",
            "ok",
            "code",
            "codeName",
            "n",
            "nModified",
            "errorLabels",
            "writeErrors",
            "writeConcernError",
            "firstBatch",
            "id",
            "ns",
            "collection",
            "pipeline",
            "comment",
            "multi",
            "values",
            "upserted",
            "client",
            "driver",
            "name",
        ])
        .prop_map(str::to_owned),
        "[a-z]{250,260}",
    ]
}

fn value() -> impl Strategy<Value = Bson> {
    let leaf = prop_oneof![
        any::<f64>().prop_map(Bson::Double),
        prop::sample::select(vec![0.0, 1.0]).prop_map(Bson::Double),
        "[a-zA-Z é]{0,40}".prop_map(Bson::String),
        "[a-z]{500,520}".prop_map(Bson::String),
        any::<bool>().prop_map(Bson::Boolean),
        any::<i32>().prop_map(Bson::Int32),
        any::<i64>().prop_map(Bson::Int64),
        Just(Bson::Null),
        Just(Bson::Undefined),
        Just(Bson::MinKey),
        Just(Bson::MaxKey),
        any::<i64>().prop_map(|ms| Bson::DateTime(DateTime::from_millis(ms))),
        any::<[u8; 12]>().prop_map(|id| Bson::ObjectId(ObjectId::from_bytes(id))),
        any::<[u8; 16]>().prop_map(|bytes| Bson::Decimal128(Decimal128::from_bytes(bytes))),
        (any::<u32>(), any::<u32>())
            .prop_map(|(time, increment)| Bson::Timestamp(Timestamp { time, increment })),
        ("[a-z]{0,90}", "[imsx]{0,2}").prop_map(|(pattern, options)| {
            Bson::RegularExpression(Regex {
                pattern: pattern.try_into().unwrap(),
                options: options.try_into().unwrap(),
            })
        }),
        "[a-z(){}]{0,80}".prop_map(Bson::JavaScriptCode),
        prop::collection::vec(any::<u8>(), 0..120)
            .prop_map(|bytes| Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes })),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Bson::Array),
            prop::collection::vec((key(), inner), 0..6)
                .prop_map(|fields| Bson::Document(fields.into_iter().collect())),
        ]
    })
}

fn document() -> impl Strategy<Value = Document> {
    prop::collection::vec((key(), value()), 0..12).prop_map(|fields| fields.into_iter().collect())
}

fn truth(value: Option<&Bson>) -> Option<bool> {
    match value? {
        Bson::Boolean(value) => Some(*value),
        Bson::Double(value) => Some(*value != 0.0),
        value => integer(Some(value)).map(|n| n != 0),
    }
}

fn integer(value: Option<&Bson>) -> Option<i64> {
    match value? {
        Bson::Int32(n) => Some(i64::from(*n)),
        Bson::Int64(n) => Some(*n),
        _ => None,
    }
}

fn number(value: Option<&Bson>) -> Option<i64> {
    match value? {
        Bson::Double(n) => Some(*n as i64),
        value => integer(Some(value)),
    }
}

/// Whether there is such a field, as the walk sees it: it jumps over regular expressions, which mean nothing at the top.
fn has(document: &Document, key: &str) -> bool {
    document.get(key).is_some_and(|value| !matches!(value, Bson::RegularExpression(_)))
}

fn members(value: Option<&Bson>) -> usize {
    match value {
        Some(Bson::Array(array)) => array.len(),
        Some(Bson::Document(document)) => document.len(),
        _ => 0,
    }
}

fn cuts(parts: &[f64], length: usize) -> Vec<usize> {
    let mut cuts: Vec<usize> = parts.iter().map(|part| (part * length as f64) as usize).collect();
    cuts.sort_unstable();
    cuts
}

proptest! {
    #[test]
    fn requests(
        command in prop::sample::select(vec!["find", "insert", "update", "aggregate", "getMore", "unheardOf"]),
        fields in document(),
        documents in prop::collection::vec(document(), 0..5),
        body_last in any::<bool>(),
        parts in prop::collection::vec(0.0..1.0f64, 0..8),
    ) {
        let mut whole = Document::new();
        whole.insert(command, "orders");
        whole.extend(fields);
        let mut sections = vec![body(&whole), sequence("documents", &documents)];
        if body_last {
            sections.reverse();
        }
        let bytes = op_msg(0, &sections);
        let found = tails(&decode_cut::<RequestHead>(&bytes, &cuts(&parts, bytes.len())).unwrap()).remove(0);

        prop_assert_eq!(found.problem, None);
        let known = Command::from_name(command.as_bytes());
        prop_assert_eq!(found.command, known);
        let database = whole.get_str("$db").unwrap_or_default();
        let database = if database.len() > 64 { "" } else { database };
        prop_assert_eq!(found.database.as_bytes(), database.as_bytes());
        prop_assert_eq!(found.txn_number, integer(whole.get("txnNumber")));
        prop_assert_eq!(found.in_transaction, truth(whole.get("autocommit")) == Some(false));
        prop_assert_eq!(found.max_time_ms, number(whole.get("maxTimeMS")));
        prop_assert_eq!(found.comment.is_some(), has(&whole, "comment"));
        let inside = if known == Command::Insert { members(whole.get("documents")) } else { 0 };
        let edits = if known == Command::Update { members(whole.get("updates")) } else { 0 };
        prop_assert_eq!(found.documents as usize, documents.len() + inside + edits);
        if known == Command::Find {
            let filter = whole.get_document("filter").is_ok_and(|filter| !filter.is_empty());
            prop_assert_eq!(found.has_filter, filter);
        }
        if known == Command::Aggregate {
            prop_assert_eq!(found.stages as usize, members(whole.get("pipeline")));
        }
        if let Some((offset, kind)) = found.comment {
            prop_assert_eq!(kind, whole.get("comment").unwrap().element_type() as u8);
            prop_assert!(bytes[..offset as usize].ends_with(b"comment\0"));
        }
    }

    #[test]
    fn replies(fields in document(), parts in prop::collection::vec(0.0..1.0f64, 0..8)) {
        let bytes = op_msg(0, &[body(&fields)]);
        let found = tails(&decode_cut::<ReplyHead>(&bytes, &cuts(&parts, bytes.len())).unwrap()).remove(0);

        prop_assert_eq!(found.problem, None);
        prop_assert_eq!(found.ok, truth(fields.get("ok")));
        let code = number(fields.get("code")).and_then(|code| i32::try_from(code).ok()).unwrap_or(0);
        prop_assert_eq!(found.code, code);
        let name = fields.get_str("codeName").unwrap_or_default();
        prop_assert_eq!(found.code_name.as_bytes(), if name.len() > 64 { b"" } else { name.as_bytes() });
        prop_assert_eq!(found.modified, number(fields.get("nModified")).unwrap_or(0));
        prop_assert_eq!(found.write_errors as usize, members(fields.get("writeErrors")));
        prop_assert_eq!(found.upserted as usize, members(fields.get("upserted")));
        prop_assert_eq!(found.has_cursor, has(&fields, "cursor"));
        if let Ok(cursor) = fields.get_document("cursor") {
            prop_assert_eq!(found.cursor_id, integer(cursor.get("id")).unwrap_or(0));
        }
        if let Ok(error) = fields.get_document("writeConcernError") {
            let code = number(error.get("code")).and_then(|code| i32::try_from(code).ok()).unwrap_or(0);
            prop_assert_eq!(found.write_concern_error, Some(code));
        }
    }

    #[test]
    fn any_bytes_do_no_harm(
        mut bytes in prop::collection::vec(any::<u8>(), 0..600),
        op_code in prop::sample::select(vec![1, 2001, 2002, 2004, 2005, 2006, 2007, 2012, 2013]),
        parts in prop::collection::vec(0.0..1.0f64, 0..8),
    ) {
        bytes = super::message(op_code, &bytes);
        let cuts = cuts(&parts, bytes.len());
        let whole = tails(&decode_cut::<RequestHead>(&bytes, &[]).unwrap());
        prop_assert_eq!(&tails(&decode_cut::<RequestHead>(&bytes, &cuts).unwrap()), &whole);
        let whole = tails(&decode_cut::<ReplyHead>(&bytes, &[]).unwrap());
        prop_assert_eq!(&tails(&decode_cut::<ReplyHead>(&bytes, &cuts).unwrap()), &whole);
    }

    #[test]
    fn flipped_bytes_do_no_harm(
        name in prop::sample::select(super::recordings()),
        flips in prop::collection::vec((0.0..1.0f64, any::<u8>()), 1..5),
        parts in prop::collection::vec(0.0..1.0f64, 0..8),
    ) {
        for mut bytes in super::recorded(&name, "request") {
            for (at, flip) in &flips {
                let at = 16 + (at * (bytes.len() - 16) as f64) as usize;
                bytes[at] ^= flip;
            }
            let whole = tails(&decode_cut::<RequestHead>(&bytes, &[]).unwrap());
            let cuts = cuts(&parts, bytes.len());
            let cut = tails(&decode_cut::<RequestHead>(&bytes, &cuts).unwrap());
            if whole[0].compressor.is_some() && whole[0].problem.is_some() {
                // How far a decompressor gets before it notices depends on how much it is given.
                prop_assert!(cut[0].problem.is_some());
            } else {
                prop_assert_eq!(cut, whole);
            }
        }
    }
}
