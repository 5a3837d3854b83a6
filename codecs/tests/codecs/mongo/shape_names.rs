//! Names of fields that are data.

use bson::{Document, doc};
use weir_codecs::mongo::Shape;

fn shape(command: &Document) -> String {
    let body = command.to_vec().unwrap();
    let words = [21 + body.len() as i32, 1, 0, 2013, 0];
    let message: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).chain([0]).chain(body).collect();
    Shape::of(&message).unwrap().text
}

#[test]
fn what_is_data_in_a_name_is_not_shown() {
    for (field, shown) in [
        ("name", "name"),
        ("address.street", "address.street"),
        ("items.0.qty", "items.?.qty"),
        ("items.$.qty", "items.$.qty"),
        ("items.$[].qty", "items.$[].qty"),
        ("items.$[e].qty", "items.$[e].qty"),
        ("line item", "line item"),
        ("created-at", "created-at"),
        ("utm_source2", "utm_source2"),
        ("counts.alice@x.org", "counts.?"),
        ("alice@x.org", "?"),
        ("by_day.2024-05-01.hits", "by_day.?.hits"),
        ("carts.5f3a9c1b2d4e5f6a7b8c9d0e.total", "carts.?.total"),
        ("users.550e8400-e29b-41d4-a716-446655440000", "users.?"),
        ("hosts.10.0.0.1", "hosts.?.?.?.?"),
        ("phones.+49 30 1234", "phones.?"),
        ("names.Jos\u{e9}", "names.?"),
        ("tokens.a1b2c3d4e5f6", "tokens.?"),
        ("pages./cart/7", "pages.?"),
        ("x\u{1b}[2J", "?"),
    ] {
        for (command, expected) in [
            (
                doc! { "update": "c", "updates": [{ "q": {}, "u": { "$inc": { field: 1 } } }] },
                format!("u: {{$inc: {{{shown}: ?}}}}"),
            ),
            (
                doc! { "findAndModify": "c", "update": { "$set": { field: 1 } } },
                format!("update: {{$set: {{{shown}: ?}}}}"),
            ),
            (
                doc! { "find": "c", "filter": { field: { "$gt": 1 } } },
                format!("filter: {{{shown}: {{$gt: ?}}}}"),
            ),
            (doc! { "find": "c", "sort": { field: 1 } }, format!("sort: {{{shown}: ?}}")),
        ] {
            let text = shape(&command);
            assert!(text.contains(&expected), "{field:?}: {text} lacks {expected}");
        }
    }
}
