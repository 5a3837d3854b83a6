//! What members say of their set, and whom to believe.

use super::belief::{Named, is_set};
use super::map::Map;
use bson::Document;
use std::sync::Arc;

/// What a member says of its set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) set: Arc<str>,
    pub(super) version: i64,
    pub(super) members: Vec<Arc<str>>,
    /// What it says and is not believed.
    pub(super) named: Named,
    pub(super) primary: Option<Arc<str>>,
    pub(super) is_primary: bool,
    /// Tells which of two that call themselves primary was elected later.
    election: Vec<u8>,
}

impl Word {
    /// Reads a hello; `None`: it is of no replica set, or of a member that is not in it yet. `told` says whether a server may tell of
    /// another one there.
    pub(super) fn of(hello: &Document, told: impl Fn(&str) -> bool) -> Option<Word> {
        let set = hello.get_str("setName").ok().filter(|set| is_set(set))?;
        let lists = ["hosts", "passives", "arbiters"].into_iter().filter_map(|key| hello.get_array(key).ok());
        let mut named = Named::of(lists.flatten().filter_map(|member| member.as_str()), told);
        let members = std::mem::take(&mut named.members);
        if members.is_empty() && named.refused.is_empty() {
            return None;
        }
        let version = hello.get_i32("setVersion").map_or(0, i64::from);
        let election = hello.get_object_id("electionId").map(|id| id.bytes().to_vec()).unwrap_or_default();
        let is_primary =
            ["isWritablePrimary", "ismaster"].iter().any(|key| hello.get_bool(key).unwrap_or(false));
        let primary = hello
            .get_str("primary")
            .ok()
            .and_then(|primary| members.iter().find(|member| member.eq_ignore_ascii_case(primary)).cloned());
        Some(Word { set: set.into(), version, members, named, primary, is_primary, election })
    }
}

/// What the map says itself.
pub(super) fn remembered(map: &Map) -> Option<Word> {
    let ported = map.members.iter().map(|(_, member)| member);
    let members = ported.chain(&map.left_out).cloned().collect();
    let (set, version) = (map.set.clone()?, map.version);
    let named = Named::default();
    Some(Word { set, version, members, named, primary: None, is_primary: false, election: Vec::new() })
}

/// What is to be believed, of what the members say; `None`: nothing new.
pub(super) fn believed(map: &Map, words: &[Word]) -> Option<Word> {
    let of_set = || words.iter().filter(|word| map.set.as_ref().is_none_or(|set| *set == word.set));
    let primary =
        of_set().filter(|word| word.is_primary).max_by_key(|word| (word.version, word.election.clone()));
    let newest = || of_set().max_by_key(|word| word.version);
    match primary {
        Some(word) => Some(word.clone()),
        None => {
            let word = newest().filter(|word| !map.is_known() || word.version > map.version)?;
            Some(Word { primary: None, ..word.clone() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::Ports;
    use super::*;
    use bson::{doc, oid::ObjectId};

    fn word(text: &str) -> Word {
        // version, members, and a star when it is the primary
        let mut words = text.split_whitespace();
        let version: i32 = words.next().unwrap().parse().unwrap();
        let members: Vec<&str> = words.next().unwrap().split(',').collect();
        let election = words.next().map(|nth| ObjectId::from_bytes([nth.len() as u8; 12]));
        let mut hello = doc! { "setName": "rs", "setVersion": version, "hosts": members.clone() };
        if let Some(election) = election {
            hello.extend(doc! { "isWritablePrimary": true, "primary": members[0], "electionId": election });
        }
        Word::of(&hello, |_| true).unwrap()
    }

    #[test]
    fn the_primary_is_believed_and_silence_changes_nothing() {
        let known = Map::unknown().with(
            &"rs".into(),
            &"weir".into(),
            &word("3 a:1,b:1").members,
            Ports { first: 10, last: 12 },
            &[],
        );
        let known = Map { version: 3, ..known };
        // (what is known, what members say, who is believed)
        let table: &[(&Map, &[&str], Option<&str>)] = &[
            (&known, &[], None),
            (&known, &["3 a:1,b:1", "3 a:1,b:1 *"], Some("3 a:1,b:1 *")),
            (&known, &["2 a:1 *", "3 b:1 *"], Some("3 b:1 *")),
            (&known, &["3 a:1 *", "3 b:1 **"], Some("3 b:1 **")),
            (&known, &["3 a:1,b:1", "3 a:1,b:1,c:1"], None),
            (&known, &["4 a:1,b:1,c:1"], Some("4 a:1,b:1,c:1")),
            (&Map::unknown(), &["3 a:1,b:1"], Some("3 a:1,b:1")),
            (&Map::unknown(), &[], None),
        ];
        for (map, said, expected) in table {
            let words: Vec<Word> = said.iter().map(|text| word(text)).collect();
            assert_eq!(believed(map, &words), expected.map(word), "{said:?}");
        }
        let stranger = Word { set: "other".into(), ..word("9 z:1 *") };
        assert_eq!(believed(&known, &[stranger]), None);
    }

    #[test]
    fn hellos_of_no_set_say_nothing() {
        for hello in [doc! { "ok": 1 }, doc! { "isreplicaset": true }, doc! { "setName": "rs", "hosts": [] }]
        {
            assert_eq!(Word::of(&hello, |_| true), None);
        }
    }
}
