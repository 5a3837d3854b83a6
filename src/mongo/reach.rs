//! Whether the members of a set can be reached from here, by the names that the set has for them. Behind a port-forward or a tunnel, and
//! from outside of containers, they cannot: then it is said, and what helps.

use anyhow::{Context as _, Result, bail};
use bson::Document;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::mpsc::channel;
use std::time::Duration;
use weir_drive::time;

/// How long all that may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long one address may take.
const CONNECT: Duration = Duration::from_secs(2);
/// The most members of a set.
const MOST: usize = 50;

/// A member that cannot be reached.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreached {
    name: String,
    why: String,
}

/// Reads `NAME=ADDRESS`.
pub fn member(text: &str) -> Result<(String, String)> {
    let (name, at) = text.split_once('=').context("--member: expected NAME=ADDRESS, each HOST:PORT")?;
    for part in [name, at] {
        if !weir_mongo::is_member(part) {
            bail!(
                "--member: expected NAME=ADDRESS, each HOST:PORT, found {}",
                weir_decide::text::clean(text)
            );
        }
    }
    Ok((name.to_owned(), at.to_owned()))
}

/// The members that a hello names, as far as they can be names.
pub fn names(hello: &Document) -> Vec<String> {
    let lists = ["hosts", "passives", "arbiters"].into_iter().filter_map(|key| hello.get_array(key).ok());
    let names = lists.flatten().filter_map(|name| name.as_str()).filter(|name| weir_mongo::is_member(name));
    names.take(MOST).map(str::to_owned).collect()
}

/// Those of the members that cannot be reached; `elsewhere` says where some of them really are. All are tried at a time.
pub fn unreached(members: &[String], elsewhere: &[(String, String)]) -> Vec<Unreached> {
    let (send, results) = channel();
    for (nth, member) in members.iter().enumerate() {
        let at = elsewhere.iter().find(|(name, _)| name.eq_ignore_ascii_case(member));
        let (address, send) = (at.map_or(member, |(_, at)| at).clone(), send.clone());
        // A resolver may hang for long: such a thread ends with it, or with the process.
        std::thread::spawn(move || send.send((nth, why_not(&address))));
    }
    drop(send);
    let mut found: Vec<Option<String>> =
        members.iter().map(|_| Some("it did not answer in time".to_owned())).collect();
    let until = time::now().after(PATIENCE);
    let left = || Duration::from_nanos(until.since(time::now()));
    while let Ok((nth, why)) = results.recv_timeout(left()) {
        if let Some(slot) = found.get_mut(nth) {
            *slot = why;
        }
    }
    let unreached = members.iter().zip(found);
    unreached.filter_map(|(name, why)| Some(Unreached { name: name.clone(), why: why? })).collect()
}

/// Why nobody can be reached at this address; `None`: somebody can.
fn why_not(address: &str) -> Option<String> {
    let Ok(addresses) = address.to_socket_addrs() else {
        return Some("its name does not resolve here".into());
    };
    let mut why = "its name has no address here".to_owned();
    for address in addresses.take(4) {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(_) => return None,
            Err(error) => why = format!("{address}: {error}"),
        }
    }
    Some(why)
}

/// What to tell of them.
pub fn told(unreached: &[Unreached]) -> String {
    let Some(first) = unreached.first() else { return String::new() };
    let mut text = String::new();
    for (nth, Unreached { name, why }) in unreached.iter().enumerate() {
        let heading = if nth == 0 { "cannot be reached" } else { "" };
        text += &format!("  {heading:<22} {name}: {}\n", weir_decide::text::clean(why));
    }
    text + &format!(
        "\x20                        applications are sent to all members, so the URI does not work without them. Behind a port-forward,\n\
         \x20                        a tunnel or containers, say where each is: --member {}=127.0.0.1:27017 (in a file: `members`);\n\
         \x20                        or front one server alone, by directConnection=true in the URI that Weir is given\n",
        first.name
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;

    #[test]
    fn who_cannot_be_reached_is_named() {
        let there = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let there = there.local_addr().unwrap().to_string();
        let members = vec!["m.invalid:1".to_owned(), there.clone(), "n.invalid:1".to_owned()];
        let elsewhere = vec![("N.invalid:1".to_owned(), there)];
        let found = unreached(&members, &elsewhere);
        assert_eq!(found.iter().map(|one| &*one.name).collect::<Vec<_>>(), ["m.invalid:1"]);
        let text = told(&found);
        assert!(text.contains("--member m.invalid:1=") && text.contains("does not resolve"), "{text}");
        assert_eq!(told(&[]), "");
    }

    #[test]
    fn names_that_are_none_are_left_out() {
        let hello = doc! { "hosts": ["a:1", "\x1b[2J:1", 5], "passives": ["b:1"], "arbiters": "c:1" };
        assert_eq!(names(&hello), ["a:1", "b:1"]);
    }
}
