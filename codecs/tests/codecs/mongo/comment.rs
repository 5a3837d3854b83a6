//! Comments of commands.

use bson::{Document, doc};
use proptest::prelude::*;
use weir_codecs::mongo::Comment;

use super::{body, op_msg, sequence};

/// What stands under `fn` in the command's comment; `-` for a comment without it.
fn named(command: &Document) -> Option<String> {
    let message = op_msg(0, &[body(command), sequence("documents", &[doc! { "comment": "of a document" }])]);
    let comment = Comment::of(&message)?;
    let mut out = vec![1, 2, 3];
    Some(if comment.field(b"fn", &mut out) { String::from_utf8(out).unwrap() } else { "-".into() })
}

#[test]
fn comments_are_found_at_the_top_or_in_the_condition() {
    for (command, expected) in [
        (doc! { "find": "c", "$db": "d" }, None),
        (doc! { "insert": "c", "comment": { "fn": "load" }, "$db": "d" }, Some("load")),
        (doc! { "find": "c", "filter": { "a": 1, "$comment": { "fn": "old" } }, "$db": "d" }, Some("old")),
        (
            doc! { "find": "c", "filter": { "$comment": { "fn": "old" } }, "comment": { "fn": "new" } },
            Some("new"),
        ),
        (doc! { "count": "c", "query": { "$comment": "{\"fn\": \"old\"}" } }, Some("old")),
        (doc! { "find": "c", "filter": { "a": { "$comment": { "fn": "deep" } } } }, None),
        // Values that are neither text nor document say nothing.
        (doc! { "find": "c", "comment": 5 }, None),
        (doc! { "find": "c", "comment": ["a"] }, None),
        (doc! { "find": "c", "comment": { "fn": 5 } }, Some("-")),
        (doc! { "find": "c", "comment": { "x": { "fn": "deep" } } }, Some("-")),
        (doc! { "find": "c", "comment": "fn" }, Some("-")),
    ] {
        assert_eq!(named(&command).as_deref(), expected, "{command}");
    }
}

#[test]
fn texts_may_be_json() {
    for (text, expected) in [
        (r#"{"fn": "load"}"#, "load"),
        (r#" { "user": {"fn": "x", "l": [1, "fn"]}, "n": null, "fn" : "lo\u0061d" } "#, "load"),
        (r#"{"\u0066n": "load"}"#, "load"),
        (r#"{"fn": ""}"#, ""),
        (r#"{"fn": {"fn": "deep"}}"#, "-"),
        (r#"{"fn": 5, "x": "y"}"#, "-"),
        (r#"{"fnx": "a", "f": "b"}"#, "-"),
        (r#"[{"fn": "load"}]"#, "-"),
        (r#"{"fn": "load""#, "-"),
        (r#"{"fn": "load"} and more"#, "-"),
        ("load", "-"),
        ("", "-"),
    ] {
        assert_eq!(named(&doc! { "find": "c", "comment": text }).as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn the_beginning_of_a_message_is_enough() {
    let command = doc! { "insert": "c", "comment": { "fn": "load" }, "documents": [{ "text": "x".repeat(10_000) }], "$db": "d" };
    let message = op_msg(0, &[body(&command)]);
    assert!(Comment::of(&message[..200]).is_some());
    assert_eq!(Comment::of(&message[..40]), None, "it ends within the comment");
    // Behind what is not there whole nothing can be found.
    let command = doc! { "insert": "c", "documents": [{ "text": "x".repeat(10_000) }], "comment": "late" };
    let message = op_msg(0, &[body(&command)]);
    assert_eq!(Comment::of(&message[..4096]), None);
    assert_eq!(Comment::of(&message), Some(Comment::Text(b"late")));
}

proptest! {
    #[test]
    fn nothing_does_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0..300_usize) {
        let mut message = op_msg(0, &[body(&doc! { "find": "c", "comment": { "fn": "x" }, "filter": { "$comment": "y" } })]);
        Comment::of(&message[..cut.min(message.len())]);
        let from = 16 + cut % (message.len() - 16);
        for (at, byte) in bytes.iter().enumerate() {
            if let Some(slot) = message.get_mut(from + at) {
                *slot = *byte;
            }
        }
        if let Some(comment) = Comment::of(&message) {
            comment.field(b"fn", &mut Vec::new());
        }
    }
}
