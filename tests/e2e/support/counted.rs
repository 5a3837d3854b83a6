//! Holding Weir's counts against a client's.

use serde_json::Value;
use std::collections::BTreeMap;

/// Counts by words.
pub type Counts<const N: usize> = BTreeMap<[String; N], u64>;

/// What a client printed as `counted`: lists of words with a count at the end.
pub fn by_client<const N: usize>(printed: &Value) -> Counts<N> {
    let mut counts = BTreeMap::new();
    for row in printed["counted"].as_array().expect("a list") {
        let row = row.as_array().expect("a list");
        let (count, words) = row.split_last().expect("not empty");
        let words: Vec<String> = words.iter().map(|w| w.as_str().expect("a word").to_owned()).collect();
        *counts.entry(words.try_into().expect("so many words")).or_insert(0) +=
            count.as_u64().expect("a count");
    }
    counts
}

/// Both must say the same; where they do not, every difference is shown.
pub fn assert_same<const N: usize>(what: &str, client: &Counts<N>, weir: &Counts<N>) {
    let mut wrong = Vec::new();
    for key in client.keys().chain(weir.keys().filter(|key| !client.contains_key(*key))) {
        let (theirs, ours) = (client.get(key).unwrap_or(&0), weir.get(key).unwrap_or(&0));
        if theirs != ours {
            wrong.push(format!("{}: the client counted {theirs}, Weir {ours}", key.join(" ")));
        }
    }
    assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
    assert!(!client.is_empty(), "{what}: the client counted nothing");
}

/// What a mongod counted (`opcounters`) must be what docs/mongodb.md says it is in Weir's numbers, which are by family and operation.
pub fn assert_opcounters(counted: &Value, numbers: impl Fn(&str, &str) -> u64) {
    let (operations, sent) = ("weir_operations_total", "weir_operation_items_sent_total");
    for (counter, family, operation) in [
        ("insert", sent, "insert"),
        ("query", operations, "find"),
        ("update", sent, "update"),
        ("delete", sent, "delete"),
        ("getmore", operations, "getMore"),
    ] {
        assert_eq!(counted[counter].as_u64(), Some(numbers(family, operation)), "{counter}: {counted}");
    }
}
