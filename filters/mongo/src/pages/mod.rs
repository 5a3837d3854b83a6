//! The pages of the admin API that only MongoDB has.

mod cursors;
mod members;

use serde::Serialize;
use weir_drive::Page;

pub(crate) static PAGES: [Page; 2] = [
    Page {
        path: "/cursors",
        what: "cursors of MongoDB that are open on servers, the longest idle first",
        list: "cursors",
        items: cursors::items,
    },
    Page {
        path: "/members",
        what: "the servers behind MongoDB listeners: roles, elections, round trips",
        list: "sets",
        items: members::items,
    },
];

/// An item of a list.
fn json<T: Serialize>(item: &T) -> Vec<u8> {
    // Plain data always has a JSON form.
    serde_json::to_vec_pretty(item).unwrap_or_default()
}
