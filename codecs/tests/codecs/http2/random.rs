//! Random frames, right and wrong ones: whole and byte by byte the same comes of them, windows stay in range, what waits to
//! be written is bounded, and each stream ends once. The owner is the one of the fuzz targets.

#[path = "../../../../fuzz/fuzz_targets/shared/http2.rs"]
mod owner;

use super::dice::Dice;
use super::wire::{GET, POST, Writer};
use weir_codecs::http2::frame::{self, Kind};
use weir_codecs::http2::{Code, Connection, Role};

fn one(writer: &mut Writer, dice: &mut Dice, role: Role, last: &mut u32) {
    let known = |dice: &mut Dice, last: u32| 1 + 2 * dice.below(1 + last as usize / 2) as u32;
    let kind = dice.below(16);
    let stream = match dice.below(200) {
        0 => dice.below(20) as u32,
        _ if role == Role::Client => known(dice, 7),
        1..120 if kind < 5 => {
            *last += 2;
            *last
        }
        _ => known(dice, *last),
    };
    let list: &[(&str, &str)] = match (role, dice.below(8)) {
        (_, 0) => &[("x-sum", "1")],
        (_, 1) => &[("x-long", LONG)],
        (Role::Server, 2..5) => &GET,
        (Role::Server, _) => &POST,
        (Role::Client, 2) => &[(":status", "103")],
        (Role::Client, 3) => &[(":status", "200"), ("content-length", "5")],
        (Role::Client, _) => &[(":status", "200")],
    };
    let flags = [0, 1, 4, 5, 8, 9, 0xd, 0x25, 0x2d, 0xff][dice.below(10)];
    let payload: Vec<u8> = (0..dice.below(30)).map(|_| dice.below(256) as u8).collect();
    match kind {
        0..5 => _ = writer.head(stream, list, dice.one_in(3)),
        5..9 => _ = writer.data(stream, &payload, dice.one_in(4)),
        9 => _ = writer.word(Kind::RstStream, stream, 8),
        10 => _ = writer.word(Kind::WindowUpdate, stream, (dice.below(20) as u32).min(1) * 1000),
        11 => {
            let block = writer.block(list);
            let (first, rest) = block.split_at(dice.below(block.len()));
            writer.frame(Kind::Headers, flags & !frame::END_HEADERS & 5, stream, first);
            writer.frame(Kind::Continuation, frame::END_HEADERS, stream, rest);
        }
        12 => {
            let padded: Vec<u8> = [&[dice.below(9) as u8][..], &payload, &[0; 8]].concat();
            writer.frame(Kind::Data, frame::PADDED | dice.below(2) as u8, stream, &padded);
        }
        13 => _ = writer.frame(Kind::Settings, 0, 0, &[0, 4, 0, dice.below(2) as u8, 0, 7]),
        14 => _ = writer.frame(Kind::Ping, dice.below(2) as u8, 0, b"weir-bdp"),
        _ if dice.one_in(20) => _ = writer.frame(Kind::of(dice.below(18) as u8), flags, stream, &payload),
        _ => {}
    }
}

const LONG: &str = match std::str::from_utf8(&[b'v'; 2500]) {
    Ok(text) => text,
    Err(_) => "",
};

#[test]
fn whole_and_byte_by_byte_the_same_comes() {
    let mut codes = std::collections::BTreeMap::<Option<Code>, u32>::new();
    for seed in 0..800 {
        let mut dice = Dice::new(seed);
        let role = if dice.one_in(2) { Role::Server } else { Role::Client };
        let mut writer = if role == Role::Server { Writer::client() } else { Writer::server() };
        let mut last = 1;
        if role == Role::Server {
            writer.head(1, &POST, false);
        }
        (0..1 + dice.below(40)).for_each(|_| one(&mut writer, &mut dice, role, &mut last));
        let run = |step| {
            let mut connection = Connection::new(role, owner::settings());
            let head = [(":method", "POST"), (":scheme", "http"), (":path", "/")];
            let begin = |end| _ = connection.open(owner::fields(&head), end);
            [true, false, true, false].into_iter().for_each(begin);
            owner::feed(&mut connection, &writer.out, step)
        };
        let whole = run(usize::MAX);
        assert_eq!(run(1), whole, "seed {seed}");
        assert_eq!(run(13), whole, "seed {seed}");
        *codes.entry(whole.1).or_default() += 1;
    }
    assert!(codes.len() > 3 && codes[&None] > 100, "{codes:?}");
}
