//! Looking into compressed messages.

use std::io::Write;
use std::sync::Arc;

use bson::doc;
use bytes::BytesMut;
use proptest::prelude::*;
use weir_codecs::mongo::{
    Budget, Command, Compressor, FUEL, Inflate, Problem, ReplyDecoder, RequestDecoder, RequestHead, Shape,
    opening,
};

use super::{body, compressed, decode_cut, head, op_msg, sequence, tails};

fn pack(compressor: Compressor, clear: &[u8]) -> Vec<u8> {
    match compressor {
        Compressor::Noop => clear.to_vec(),
        Compressor::Snappy => snap::raw::Encoder::new().compress_vec(clear).unwrap(),
        Compressor::Zlib => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(clear).unwrap();
            encoder.finish().unwrap()
        }
        Compressor::Zstd => zstd::bulk::compress(clear, 3).unwrap(),
    }
}

const ALL: [Compressor; 4] = [Compressor::Noop, Compressor::Snappy, Compressor::Zlib, Compressor::Zstd];

fn wrap(compressor: Compressor, clear: &[u8]) -> Vec<u8> {
    compressed(clear, compressor.id(), &pack(compressor, &clear[16..]), clear.len() as i32 - 16)
}

fn insert(documents: usize, size: usize) -> Vec<u8> {
    // Neither all alike nor all different, so that there is something to compress and something left of it.
    let document = |n: usize| {
        let text: String = (0..size).map(|i| char::from(b'a' + ((n * i + i / 7) % 23) as u8)).collect();
        doc! { "_id": n as i64, "text": text }
    };
    let documents: Vec<_> = (0..documents).map(document).collect();
    op_msg(0, &[body(&doc! { "insert": "orders", "$db": "shop" }), sequence("documents", &documents)])
}

#[test]
fn the_same_is_learnt_as_from_the_clear() {
    for (documents, size) in [(1, 10), (100, 50), (2000, 100), (30, 20_000)] {
        let clear = insert(documents, size);
        let expected: RequestHead = head(&clear);
        for compressor in ALL {
            let bytes = wrap(compressor, &clear);
            for step in [bytes.len(), 1 + bytes.len() / 7, 1500, 61] {
                let cuts: Vec<usize> = (0..bytes.len()).step_by(step).collect();
                let pieces = decode_cut::<RequestHead>(&bytes, &cuts).unwrap();
                let out: Vec<u8> = pieces.iter().flat_map(|piece| piece.bytes.to_vec()).collect();
                assert!(out == bytes, "the bytes go on as they came");
                let mut found = tails(&pieces).remove(0);
                assert_eq!(found.compressor, Some(compressor));
                assert_eq!(found.uncompressed_length as usize, clear.len());
                found.compressor = None;
                found.header = expected.header;
                assert_eq!(found, expected, "{compressor:?} in steps of {step}");
            }
        }
    }
}

#[test]
fn wrong_lengths_are_noticed() {
    let clear = insert(10, 100);
    let length = clear.len() as i32 - 16;
    for compressor in ALL {
        let packed = pack(compressor, &clear[16..]);
        for (announced, cut, problem) in [
            (length + 1, 0, Problem::InflatedLength),
            (length - 1, 0, Problem::InflatedLength),
            (
                length,
                1,
                if compressor == Compressor::Noop { Problem::InflatedLength } else { Problem::Corrupt },
            ),
        ] {
            let bytes = compressed(&clear, compressor.id(), &packed[..packed.len() - cut], announced);
            let found: RequestHead = head(&bytes);
            let problem =
                if found.problem == Some(Problem::Truncated) { Problem::Truncated } else { problem };
            assert_eq!(found.problem, Some(problem), "{compressor:?} {announced} {cut}");
        }
        let trailing = [packed.as_slice(), b"x"].concat();
        let bytes = compressed(&clear, compressor.id(), &trailing, length);
        assert!(head::<RequestHead>(&bytes).problem.is_some(), "{compressor:?} with a byte too many");
    }
}

#[test]
fn a_bomb_is_defused() {
    let zeros = vec![0; 47_000_000];
    for compressor in [Compressor::Snappy, Compressor::Zlib, Compressor::Zstd] {
        let clear = op_msg(0, &[body(&doc! { "ping": 1, "$db": "admin" })]);
        let packed = pack(compressor, &zeros);
        // It announces little: no more than that is looked at.
        let found: RequestHead = head(&compressed(&clear, compressor.id(), &packed, 100));
        assert!(found.problem.is_some());
        // It announces all: the zeros are no sections.
        let found: RequestHead = head(&compressed(&clear, compressor.id(), &packed, 47_000_000));
        assert_eq!(found.problem, Some(Problem::Length));
        // It announces too much.
        let found: RequestHead = head(&compressed(&clear, compressor.id(), &packed, 48_000_000));
        assert_eq!(found.problem, Some(Problem::Inflated));
    }
}

#[test]
fn many_slow_senders_share_the_budget() {
    // Little to send, 20 MB to look at.
    let text = "a line that is repeated ".repeat(2000);
    let documents = vec![doc! { "text": text }; 400];
    let clear = op_msg(0, &[body(&doc! { "insert": "c", "$db": "d" }), sequence("documents", &documents)]);
    for (compressor, most) in
        [(Compressor::Snappy, 100_000), (Compressor::Zlib, 90_000), (Compressor::Zstd, 8 << 20)]
    {
        let bytes = wrap(compressor, &clear);
        let budget = Budget::new(16 << 20);
        let mut inflate = Inflate::new(budget.clone());
        let mut slow: Vec<(RequestDecoder, BytesMut)> = (0..200).map(|_| Default::default()).collect();
        let (half, rest) = bytes.split_at(bytes.len() / 8);
        for (decoder, buf) in &mut slow {
            buf.extend_from_slice(half);
            while let Some(piece) = decoder.decode(buf, &mut inflate).unwrap() {
                let told = piece.head.is_none_or(|head| head.command == Command::Insert);
                assert!(told, "whoever comes last is looked into");
            }
            assert!(budget.used() <= 16 << 20);
        }
        let stand = 200 - budget.refused() as usize;
        assert!(budget.used() / stand <= most, "{compressor:?}: {} each", budget.used() / stand);
        let (mut understood, mut unread) = (0, 0);
        for (decoder, buf) in &mut slow {
            buf.extend_from_slice(rest);
            let head = loop {
                let piece = decoder.decode(buf, &mut inflate).unwrap().unwrap();
                if piece.last {
                    break piece.head.unwrap();
                }
            };
            match head.problem {
                None => understood += usize::from(head.documents == 400),
                Some(problem) => {
                    assert_eq!(problem, Problem::OverBudget);
                    unread += 1;
                }
            }
        }
        assert_eq!((understood + unread, unread as u64), (200, budget.refused()), "{compressor:?}");
        assert!(understood > 0);
        drop(slow);
        drop(inflate);
        assert_eq!(budget.used(), 0, "all of it is given back");
    }
}

#[test]
fn one_go_is_little_however_little_was_sent_for_it() {
    let documents = vec![doc! { "text": "a".repeat(1 << 20) }; 8];
    let clear = op_msg(0, &[body(&doc! { "insert": "c", "$db": "d" }), sequence("documents", &documents)]);
    for compressor in [Compressor::Snappy, Compressor::Zlib, Compressor::Zstd] {
        let bytes = wrap(compressor, &clear);
        // What one block of zstd's holds is not to be had in parts.
        let most = if compressor == Compressor::Zstd { FUEL + (256 << 10) } else { 3 * FUEL };
        let (mut decoder, mut inflate) = (RequestDecoder::default(), Inflate::new(Budget::new(16 << 20)));
        let mut buf = BytesMut::from(&bytes[..]);
        let (mut goes, mut taken, mut toiled) = (0, 0, 0);
        let head = loop {
            let piece = decoder.decode(&mut buf, &mut inflate).unwrap().unwrap();
            assert!(!piece.bytes.is_empty());
            taken += piece.bytes.len();
            goes += 1;
            toiled += usize::from(inflate.has_toiled());
            assert!(!inflate.has_toiled(), "it is said once");
            if piece.last {
                break piece.head.unwrap();
            }
        };
        assert_eq!((head.documents, head.problem, taken), (8, None, bytes.len()));
        assert!(goes >= clear.len() / most, "{compressor:?}: {} bytes in {goes} goes", clear.len());
        assert!(toiled + 1 >= goes, "{compressor:?}: {toiled} of {goes}");
    }
}

#[test]
fn who_stands_still_gives_way_and_replies_do_not_to_requests() {
    let text = "a line that is repeated ".repeat(2000);
    let insert = op_msg(0, &[body(&doc! { "insert": "c", "$db": "d", "text": &text })]);
    let reply = op_msg(0, &[body(&doc! { "ok": 1, "text": &text })]);
    let clear = insert.clone();
    let (insert, reply) = (wrap(Compressor::Zlib, &insert), wrap(Compressor::Zlib, &reply));
    // For two of them.
    let budget = Budget::new(200 << 10);
    let mut inflate = Inflate::new(budget.clone());
    let mut feed = |decoder: &mut RequestDecoder, bytes: &[u8]| {
        let mut buf = BytesMut::from(bytes);
        while let Some(piece) = decoder.decode(&mut buf, &mut inflate).unwrap() {
            if piece.last {
                return piece.head.unwrap().problem;
            }
        }
        None
    };
    let cut = insert.len() - 8;
    let (mut one, mut two, mut three) =
        (RequestDecoder::default(), RequestDecoder::default(), RequestDecoder::default());
    for decoder in [&mut one, &mut two] {
        feed(decoder, &insert[..cut - 2]);
    }
    feed(&mut one, &insert[cut - 2..cut]);
    assert_eq!(
        feed(&mut three, &insert),
        None,
        "it takes that of the second, which has stood still for longer"
    );
    assert_eq!(feed(&mut one, &insert[cut..]), None);
    assert_eq!(feed(&mut two, &insert[cut - 2..]), Some(Problem::OverBudget));
    let mut replies: Vec<ReplyDecoder> = vec![ReplyDecoder::default(), ReplyDecoder::default()];
    for decoder in &mut replies {
        let mut buf = BytesMut::from(&reply[..cut.min(reply.len() - 4)]);
        while decoder.decode(&mut buf, &mut inflate).unwrap().is_some() {}
    }
    let mut feed = |decoder: &mut RequestDecoder, bytes: &[u8]| {
        let mut buf = BytesMut::from(bytes);
        decoder.decode(&mut buf, &mut inflate).unwrap().unwrap().head.unwrap().problem
    };
    assert_eq!(feed(&mut RequestDecoder::default(), &insert), Some(Problem::OverBudget));
    // What its length cannot be true of is not looked at.
    let lie = compressed(&clear, Compressor::Zlib.id(), &[0x78, 0x9c, 0, 0], 40_000_000);
    assert_eq!(feed(&mut RequestDecoder::default(), &lie), Some(Problem::InflatedLength));
}

proptest! {
    #[test]
    fn snappy_agrees_with_the_reference(
        parts in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..40), 1..3000usize), 0..20),
        cuts in prop::collection::vec(0.0..1.0f64, 0..10),
    ) {
        let clear: Vec<u8> = parts.iter().flat_map(|(part, times)| part.iter().cycle().take(*times).copied()).collect();
        let clear = op_msg(0, &[body(&doc! { "ping": 1, "$db": "d" }), sequence(
            "documents",
            &[doc! { "data": bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: clear } }],
        )]);
        let bytes = wrap(Compressor::Snappy, &clear);
        let mut cuts: Vec<usize> = cuts.iter().map(|part| (part * bytes.len() as f64) as usize).collect();
        cuts.sort_unstable();
        let found = tails(&decode_cut::<RequestHead>(&bytes, &cuts).unwrap()).remove(0);
        prop_assert_eq!((found.command, found.documents, found.problem), (Command::Ping, 1, None));
    }

    #[test]
    fn corrupt_bytes_never_do_harm(
        id in 0..5u8,
        announced in 0..200_000i32,
        packed in prop::collection::vec(any::<u8>(), 0..300),
        flips in prop::collection::vec((0..4000usize, any::<u8>()), 1..4),
    ) {
        let clear = insert(20, 60);
        head::<RequestHead>(&compressed(&clear, id, &packed, announced));
        for compressor in ALL {
            let mut bytes = wrap(compressor, &clear);
            for (at, flip) in &flips {
                let at = 25 + at % (bytes.len() - 25);
                bytes[at] ^= flip;
            }
            head::<RequestHead>(&bytes);
        }
    }
}

#[test]
fn the_beginning_is_had_from_the_beginning() {
    let budget = Budget::new(16 << 20);
    let mut inflate = Inflate::new(Arc::clone(&budget));
    let mut opening = |bytes: &[u8], limit| {
        let mut clear = vec![1, 2, 3];
        opening(bytes, &mut inflate, limit, &mut clear).then_some(clear)
    };
    let clear = insert(200, 300);
    for compressor in ALL {
        let bytes = wrap(compressor, &clear);
        let mut begins = |from: usize, limit: usize| opening(&bytes[..from], limit);
        for limit in [21, 4096, clear.len(), clear.len() + 1] {
            let found = begins(bytes.len(), limit).expect("it is whole");
            assert!(found[..] == clear[..limit.min(clear.len())], "{compressor:?} {limit}");
        }
        // Of a part, as much as the compressor gives; zstd gives nothing of a block that is not whole.
        let found = begins(bytes.len() / 2, 4096).expect("a beginning");
        assert!(clear.starts_with(&found), "{compressor:?}");
        assert!(compressor == Compressor::Zstd || found.len() > 1000, "{compressor:?} {}", found.len());
    }
    let find = op_msg(0, &[body(&doc! { "find": "c", "filter": { "a": { "$gt": 5 } }, "$db": "d" })]);
    for compressor in ALL {
        let found = opening(&wrap(compressor, &find), 4096).expect("a beginning");
        assert_eq!(Shape::of(&found), Shape::of(&find), "{compressor:?}");
        let mut broken = wrap(compressor, &find);
        broken.truncate(24);
        assert_eq!(opening(&broken, 4096), None);
    }
    assert_eq!(opening(&find, 4096), None, "it is in the clear as it is");
    // Nobody makes it work for more than it wants to see.
    let bomb = op_msg(0, &[body(&doc! { "insert": "c", "text": "a".repeat(16 << 20), "$db": "d" })]);
    let bomb = wrap(Compressor::Zlib, &bomb);
    assert_eq!(opening(&bomb, 4096).map(|clear| clear.len()), Some(4096));
    drop(inflate);
    assert_eq!(budget.used(), 0);
}
