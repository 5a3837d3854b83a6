//! DynamoDB bodies: every fixture whole, byte by byte and at random cuts, and what scanning costs.

use super::alloc::allocations;
use proptest::prelude::*;
use std::fmt::Write as _;
use weir_codecs::dynamodb::{
    Coding, FUEL, INFLATE_LIMIT, Inflater, MAX_ITEMS, MAX_TABLES, Opaque, RATIO_FREE, ReplyScanner,
    RequestScanner, TableRef, Target,
};

fn folder() -> String {
    format!("{}/../fixtures/dynamodb", env!("CARGO_MANIFEST_DIR"))
}

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/{name}", folder());
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The lines of a table of fixtures: the first word, and the rest.
fn table(name: &str) -> Vec<(String, String)> {
    let text = String::from_utf8(fixture(name)).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.split_once(' ').unwrap())
        .map(|(file, rest)| (file.to_owned(), rest.to_owned()))
        .collect()
}

pub fn target(operation: &str) -> Target {
    let streams = matches!(operation, "DescribeStream" | "GetRecords" | "GetShardIterator" | "ListStreams");
    let prefix = if streams { "DynamoDBStreams_20120810" } else { "DynamoDB_20120810" };
    Target::parse(format!("{prefix}.{operation}").as_bytes()).unwrap()
}

fn show(found: TableRef<'_>) -> String {
    match found.index {
        Some(index) => format!("{}/{index}", found.table),
        None => found.table.to_owned(),
    }
}

fn dash(words: Vec<String>, by: &str) -> String {
    if words.is_empty() { "-".to_owned() } else { words.join(by) }
}

/// What a scanner finds, in the words of `requests.txt`.
pub fn read_request<'a>(
    scanner: &mut RequestScanner,
    target: Target,
    parts: impl IntoIterator<Item = &'a [u8]>,
) -> String {
    scanner.begin(target);
    parts.into_iter().for_each(|part| scanner.feed(part));
    let end = match scanner.finish() {
        Ok(Some(request)) if request.repeatable(target) => "repeatable",
        Ok(Some(_)) => "",
        Ok(None) => "empty",
        Err(_) => "malformed",
    };
    let request = scanner.request();
    let flags = [
        (request.conditional, "conditional"),
        (request.returns_values, "returns"),
        (request.client_token, "token"),
        (request.unparsed, "unparsed"),
        (request.ambiguous, "ambiguous"),
        (!end.is_empty(), end),
    ];
    let flags = flags.iter().filter(|flag| flag.0).map(|flag| flag.1.to_owned()).collect();
    format!("{} {}", dash(request.tables.iter().map(show).collect(), ","), dash(flags, ","))
}

/// What a scanner finds, in the words of `replies.txt`.
fn read_reply<'a>(
    scanner: &mut ReplyScanner,
    inflater: &mut Inflater,
    coding: Coding,
    parts: impl IntoIterator<Item = &'a [u8]>,
) -> String {
    scanner.begin();
    inflater.begin(coding);
    for part in parts {
        inflater.feed(part, |plain| scanner.feed(plain)).unwrap();
    }
    inflater.finish().unwrap();
    let end = match scanner.finish() {
        Ok(Some(_)) => "",
        Ok(None) => " empty",
        Err(_) => " malformed",
    };
    let reply = scanner.reply();
    let name = |table: Option<u8>| {
        table
            .and_then(|table| reply.tables.get(table.into()))
            .map(|found| format!(":{}", found.table))
            .unwrap_or_default()
    };
    let mut text = reply.error.map_or("-", |error| error.as_str()).to_owned();
    for (found, row) in reply.per_table() {
        let facts = [
            (u64::from(row.unprocessed), "unprocessed"),
            (row.capacity_milliunits, "capacity"),
            (row.read_milliunits, "read"),
            (row.write_milliunits, "write"),
        ];
        let facts: Vec<_> =
            facts.iter().filter(|fact| fact.0 > 0).map(|fact| format!("{}:{}", fact.1, fact.0)).collect();
        let equals = if facts.is_empty() { "" } else { "=" };
        write!(text, " {}{equals}{}", show(found), facts.join(",")).unwrap();
    }
    for entry in &reply.entry_errors {
        write!(text, " entry:{}:{}{}", entry.item, entry.name.as_str(), name(entry.table)).unwrap();
    }
    for entry in &reply.cancellations {
        write!(text, " cancelled:{}:{}{}", entry.item, entry.name.as_str(), name(entry.table)).unwrap();
    }
    for throttle in &reply.throttles {
        match throttle.reason {
            Some(reason) => {
                let what = if reason.of_index { "index" } else { "table" };
                write!(
                    text,
                    " throttle:{what}:{:?}:{:?}{}",
                    reason.access,
                    reason.cause,
                    name(throttle.table)
                )
                .unwrap();
            }
            None => text.push_str(" throttle:other"),
        }
    }
    for (count, what) in [(reply.count, "count"), (reply.scanned, "scanned")] {
        count.iter().for_each(|count| write!(text, " {what}:{count}").unwrap());
    }
    if reply.unprocessed > 0 {
        write!(text, " unprocessed:{}", reply.unprocessed).unwrap();
    }
    text + end
}

fn coding(name: &str) -> Coding {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("gz") => Coding::Gzip,
        Some("zlib") => Coding::Deflate,
        _ => Coding::Identity,
    }
}

/// `body` cut after each of `cuts`.
pub fn cut<'a>(body: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
    places.sort_unstable();
    let mut parts = Vec::new();
    let mut start = 0;
    for place in places {
        parts.push(&body[start..place]);
        start = place;
    }
    parts.push(&body[start..]);
    parts
}

#[test]
fn request_fixtures() {
    let mut scanner = RequestScanner::new();
    let lines = table("requests.txt");
    for (name, rest) in &lines {
        let body = fixture(&format!("requests/{name}.json"));
        let (operation, expected) = rest.split_once(' ').unwrap();
        let target = target(operation);
        assert_eq!(read_request(&mut scanner, target, [&body[..]]), expected, "{name}");
        assert_eq!(read_request(&mut scanner, target, body.chunks(1)), expected, "{name}, byte by byte");
    }
    let files = std::fs::read_dir(format!("{}/requests", folder())).unwrap().count();
    assert_eq!(files, lines.len(), "every file is in the table");
}

#[test]
fn reply_fixtures() {
    let (mut scanner, mut inflater) = (ReplyScanner::new(), Inflater::new());
    for (name, expected) in table("replies.txt") {
        let body = fixture(&format!("replies/{name}"));
        let coding = coding(&name);
        assert_eq!(read_reply(&mut scanner, &mut inflater, coding, [&body[..]]), expected, "{name}");
        let found = read_reply(&mut scanner, &mut inflater, coding, body.chunks(1));
        assert_eq!(found, expected, "{name}, byte by byte");
    }
}

#[test]
fn items_keep_their_tables() {
    let mut scanner = RequestScanner::new();
    let body = fixture("requests/transact_write_items.json");
    read_request(&mut scanner, target("TransactWriteItems"), [&body[..]]);
    let items: Vec<_> =
        (0..4).map(|item| scanner.request().item(item).map(|found| found.table.to_owned())).collect();
    let name = |name: &str| Some(name.to_owned());
    assert_eq!(items, [name("Music"), name("Books"), name("Music"), None]);

    let body = fixture("requests/batch_execute_statement.json");
    read_request(&mut scanner, target("BatchExecuteStatement"), [&body[..]]);
    let request = scanner.request();
    assert_eq!(request.item(1).map(|found| found.table), Some("Nowhere"));
    assert_eq!((request.statements, request.reading_statements), (3, 2));
}

#[test]
fn what_is_kept_is_bounded() {
    let mut scanner = RequestScanner::new();
    let mut body = String::from("{\"TransactItems\":[");
    for number in 0..1000 {
        let comma = if number == 0 { "" } else { "," };
        write!(body, "{comma}{{\"Put\":{{\"TableName\":\"table{number}\"}}}}").unwrap();
    }
    body.push_str("]}");
    read_request(&mut scanner, target("TransactWriteItems"), [body.as_bytes()]);
    let tables = &scanner.request().tables;
    assert_eq!((tables.len(), tables.dropped()), (MAX_TABLES, 900));
    assert_eq!(tables.only(), None);
    assert!(scanner.request().item(MAX_ITEMS - 1).is_some() && scanner.request().item(MAX_ITEMS).is_none());

    // An endless name, an endless statement: nothing is collected beyond the cap.
    for (operation, start) in
        [("GetItem", "{\"TableName\":\""), ("ExecuteStatement", "{\"Statement\":\"SELECT ")]
    {
        scanner.begin(target(operation));
        scanner.feed(start.as_bytes());
        scanner.feed(&[b'x'; 4096]);
        let made = allocations(|| (0..1000).for_each(|_| scanner.feed(&[b'x'; 4096])));
        assert_eq!(made, 0, "{operation}");
        scanner.feed(b"\"}");
        assert!(scanner.finish().unwrap().unwrap().unparsed, "{operation}");
    }
    // Very deep: refused, not followed.
    scanner.begin(target("GetItem"));
    scanner.feed("[".repeat(200_000).as_bytes());
    assert!(scanner.finish().is_err());
}

#[test]
fn nothing_is_allocated_in_the_steady_state() {
    let bodies: Vec<_> =
        ["put_item", "batch_get_item_arn", "transact_write_items", "execute_statement_select"]
            .iter()
            .zip(["PutItem", "BatchGetItem", "TransactWriteItems", "ExecuteStatement"])
            .map(|(name, operation)| (target(operation), fixture(&format!("requests/{name}.json"))))
            .collect();
    let replies: Vec<_> = ["query_index", "unprocessed_keys", "throttled", "transact_write_cancelled"]
        .iter()
        .map(|name| fixture(&format!("replies/{name}.json")))
        .collect();
    let zipped = fixture("replies/unprocessed_keys.json.gz");
    let (mut requests, mut reply, mut inflater) =
        (RequestScanner::new(), ReplyScanner::new(), Inflater::new());
    let mut round = || {
        for (target, body) in &bodies {
            requests.begin(*target);
            body.chunks(50).for_each(|part| requests.feed(part));
            assert!(requests.finish().unwrap().is_some());
        }
        for body in &replies {
            reply.begin();
            body.chunks(50).for_each(|part| reply.feed(part));
            assert!(reply.finish().unwrap().is_some());
        }
        reply.begin();
        inflater.begin(Coding::Gzip);
        inflater.feed(&zipped, |plain| reply.feed(plain)).unwrap();
    };
    round();
    assert_eq!(allocations(round), 0);
}

#[test]
fn compressed_bodies_that_cannot_be_read() {
    let zipped = fixture("replies/unprocessed_keys.json.gz");
    let mut inflater = Inflater::new();
    let mut read = |coding, body: &[u8]| {
        inflater.begin(coding);
        let mut length = 0;
        inflater.feed(body, |plain| length += plain.len()).and_then(|()| inflater.finish()).map(|()| length)
    };
    assert_eq!(read(Coding::Gzip, &zipped), Ok(fixture("replies/unprocessed_keys.json").len()));
    assert_eq!(read(Coding::Deflate, &zipped), Err(Opaque::Broken));
    assert_eq!(read(Coding::Gzip, &zipped[..40]), Err(Opaque::Truncated));
    assert_eq!(read(Coding::Gzip, &zipped[..4]), Err(Opaque::Truncated));
    assert_eq!(read(Coding::Gzip, b"{}"), Err(Opaque::Broken));
    assert_eq!(read(Coding::Gzip, b""), Err(Opaque::Truncated));
    assert_eq!(read(Coding::Other, b"x"), Err(Opaque::Coding));
    assert_eq!(read(Coding::Identity, b"x"), Ok(1));
    let mut broken = zipped.clone();
    broken[30] ^= 0xff;
    assert!(read(Coding::Gzip, &broken).is_err());
    // Every optional part of the header.
    let mut dressed = zipped[..3].to_vec();
    dressed.push(0x1e);
    dressed.extend_from_slice(&zipped[4..10]);
    dressed.extend_from_slice(b"\x03\0abcname\0comment\0cc");
    dressed.extend_from_slice(&zipped[10..]);
    assert_eq!(read(Coding::Gzip, &dressed), Ok(fixture("replies/unprocessed_keys.json").len()));
}

#[test]
fn bombs_are_left_alone() {
    use flate2::{Compression, write::ZlibEncoder};
    use std::io::Write as _;
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    let block = vec![b' '; 1 << 20];
    (0..40).for_each(|_| encoder.write_all(&block).unwrap());
    let bomb = encoder.finish().unwrap();
    let mut inflater = Inflater::new();
    inflater.begin(Coding::Deflate);
    let mut seen = 0;
    assert_eq!(inflater.feed(&bomb, |plain| seen += plain.len() as u64), Err(Opaque::TooDense));
    assert!((RATIO_FREE..2 * RATIO_FREE).contains(&seen), "{seen}");
    // One that is not so dense, and long.
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    let mut noise = 1u64;
    for _ in 0..(20 << 20) / 512 {
        noise = noise.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        encoder.write_all(&(noise >> 16).to_le_bytes()).unwrap();
        encoder.write_all(&block[..504]).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    inflater.begin(Coding::Deflate);
    let mut seen = 0;
    assert_eq!(inflater.feed(&bomb, |plain| seen += plain.len() as u64), Err(Opaque::TooLong));
    assert!(seen <= INFLATE_LIMIT);
}

#[test]
fn one_go_is_little_however_little_was_sent_for_it() {
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write as _;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&vec![b' '; 1 << 20]).unwrap();
    let body = encoder.finish().unwrap();
    let mut inflater = Inflater::new();
    inflater.begin(Coding::Gzip);
    let (mut rest, mut all, mut goes) = (&body[..], 0, 0);
    while !rest.is_empty() {
        let mut made = 0;
        let used = inflater.step(rest, |plain| made += plain.len()).unwrap();
        assert!(used > 0 && made <= 3 * FUEL, "{used} {made}");
        (rest, all, goes) = (&rest[used..], all + made, goes + 1);
    }
    assert_eq!((all, inflater.finish()), (1 << 20, Ok(())));
    assert!(goes >= (1 << 20) / (3 * FUEL), "{goes}");
}

#[test]
fn members_one_after_the_other() {
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write as _;
    let member = |text: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    };
    let all = [member(b"{\"Table"), member(b""), member(b"Name\":"), member(b"\"t\"}"), vec![0; 20]].concat();
    for size in [1, 3, 7, all.len()] {
        let mut inflater = Inflater::new();
        inflater.begin(Coding::Gzip);
        let mut plain = Vec::new();
        all.chunks(size).for_each(|part| inflater.feed(part, |more| plain.extend_from_slice(more)).unwrap());
        assert_eq!((&plain[..], inflater.finish()), (&b"{\"TableName\":\"t\"}"[..], Ok(())));
    }
    let mut inflater = Inflater::new();
    inflater.begin(Coding::Gzip);
    let broken = [member(b"{}"), b"{}".to_vec()].concat();
    assert_eq!(inflater.feed(&broken, |_| {}), Err(Opaque::Broken));
}

#[test]
fn codings() {
    let cases: &[(Option<&[u8]>, Coding)] = &[
        (None, Coding::Identity),
        (Some(b""), Coding::Identity),
        (Some(b"Identity"), Coding::Identity),
        (Some(b" GZIP "), Coding::Gzip),
        (Some(b"x-gzip"), Coding::Gzip),
        (Some(b"deflate"), Coding::Deflate),
        (Some(b"gzip, gzip"), Coding::Other),
        (Some(b"gzip, identity"), Coding::Gzip),
        (Some(b"identity,, deflate ,"), Coding::Deflate),
        (Some(b"br"), Coding::Other),
    ];
    for (value, expected) in cases {
        assert_eq!(Coding::parse(*value), *expected);
    }
}

proptest! {
    #[test]
    fn random_cuts(cuts in prop::collection::vec(any::<prop::sample::Index>(), 1..12)) {
        let (mut requests, mut replies, mut inflater) = (RequestScanner::new(), ReplyScanner::new(), Inflater::new());
        for (name, rest) in table("requests.txt") {
            let body = fixture(&format!("requests/{name}.json"));
            let (operation, expected) = rest.split_once(' ').unwrap();
            let found = read_request(&mut requests, target(operation), cut(&body, &cuts));
            prop_assert_eq!(found, expected, "{}", name);
        }
        for (name, expected) in table("replies.txt") {
            let body = fixture(&format!("replies/{name}"));
            let found = read_reply(&mut replies, &mut inflater, coding(&name), cut(&body, &cuts));
            prop_assert_eq!(found, expected, "{}", name);
        }
    }

    #[test]
    fn compressed_is_the_same_as_plain(body in prop::collection::vec(any::<u8>(), 0..40_000), cuts in prop::collection::vec(any::<prop::sample::Index>(), 1..12)) {
        use flate2::{Compression, write::{GzEncoder, ZlibEncoder}};
        use std::io::Write as _;
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&body).unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
        zlib.write_all(&body).unwrap();
        let mut inflater = Inflater::new();
        for (coding, wire) in [(Coding::Gzip, gzip.finish().unwrap()), (Coding::Deflate, zlib.finish().unwrap())] {
            let mut plain = Vec::new();
            inflater.begin(coding);
            for part in cut(&wire, &cuts) {
                inflater.feed(part, |piece| plain.extend_from_slice(piece)).unwrap();
            }
            prop_assert_eq!(inflater.finish(), Ok(()));
            prop_assert_eq!(&plain, &body);
        }
    }
}
