//! Field compression: the RFC's own examples, what must be refused, bounds, identity.

use super::dice::Dice;
use super::hex;
use crate::alloc::allocations;
use bytes::BytesMut;
use weir_codecs::http2::hpack::{Class, Decoder, Encoder, Outcome};
use weir_codecs::http2::{Code, Fields, Violation};

type Section = Vec<(Vec<u8>, Vec<u8>, bool)>;

fn list(fields: &Fields) -> Section {
    fields.iter().map(|f| (f.name.to_vec(), f.value.to_vec(), f.secret)).collect()
}

fn text(fields: &Fields) -> Vec<String> {
    let lossy = String::from_utf8_lossy;
    fields.iter().map(|f| format!("{}: {}", lossy(f.name), lossy(f.value))).collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, Violation> {
    let mut fields = Fields::new();
    let outcome = decoder.feed(block, true, 1 << 20, &mut fields)?.unwrap();
    assert!(!outcome.over);
    Ok(fields)
}

/// RFC 7541 appendix C: blocks that follow each other through one table.
#[test]
fn the_examples_of_the_rfc_decode() {
    let get = |path: &str, scheme: &str, more: &[&str]| {
        let mut all = vec![":method: GET".to_owned(), format!(":scheme: {scheme}"), format!(":path: {path}")];
        all.extend(more.iter().map(|&m| m.to_owned()));
        all
    };
    let requests = [
        get("/", "http", &[":authority: www.example.com"]),
        get("/", "http", &[":authority: www.example.com", "cache-control: no-cache"]),
        get("/index.html", "https", &[":authority: www.example.com", "custom-key: custom-value"]),
    ];
    let plain = [
        "828684410f7777772e6578616d706c652e636f6d",
        "828684be58086e6f2d6361636865",
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
    ];
    let coded = [
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    ];
    for blocks in [plain, coded] {
        let mut decoder = Decoder::new();
        for (block, expected) in blocks.iter().zip(&requests) {
            assert_eq!(&text(&decode(&mut decoder, &hex(block)).unwrap()), expected);
        }
    }
    let mut encoder = Encoder::new();
    for (block, expected) in coded.iter().zip(&requests) {
        let mut out = BytesMut::new();
        encoder.begin(&mut out);
        for line in expected {
            let (name, value) = line.rsplit_once(": ").unwrap();
            encoder.field(&mut out, name.as_bytes(), value.as_bytes(), Class::Indexed);
        }
        assert_eq!(out, hex(block), "{expected:?}");
    }
}

#[test]
fn the_responses_of_the_rfc_decode_through_a_table_of_256() {
    let (date, location) = ("date: Mon, 21 Oct 2013 20:13:2", "location: https://www.example.com");
    let response = |status: u16, second: u8, more: &[&str]| {
        let mut all = vec![format!(":status: {status}"), "cache-control: private".to_owned()];
        all.push(format!("{date}{second} GMT"));
        all.push(location.to_owned());
        all.extend(more.iter().map(|&m| m.to_owned()));
        all
    };
    let cookie = "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
    let expected =
        [response(302, 1, &[]), response(307, 1, &[]), response(200, 2, &["content-encoding: gzip", cookie])];
    let plain = [
        "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54
         6e1768747470733a2f2f7777772e6578616d706c652e636f6d",
        "4803333037c1c0bf",
        "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a697077
         38666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b
         2076657273696f6e3d31",
    ];
    let coded = [
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
        "4883640effc1c0bf",
        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960
         d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
    ];
    for blocks in [plain, coded] {
        let mut decoder = Decoder::new();
        assert!(decode(&mut decoder, &hex("3fe101")).unwrap().is_empty(), "the table becomes 256 bytes");
        for (block, expected) in blocks.iter().zip(&expected) {
            assert_eq!(&text(&decode(&mut decoder, &hex(block)).unwrap()), expected);
        }
    }
}

#[test]
fn a_secret_stays_one() {
    let fields = decode(&mut Decoder::new(), &hex("100870617373776f726406736563726574")).unwrap();
    assert_eq!(list(&fields), [(b"password".to_vec(), b"secret".to_vec(), true)]);
    for name in ["authorization", "cookie", "set-cookie", "proxy-authorization"] {
        assert_eq!(Class::of(name.as_bytes(), b"x"), Class::Never);
        let mut encoder = Encoder::new();
        let mut out = BytesMut::new();
        encoder.field(&mut out, name.as_bytes(), b"hunter2", Class::Never);
        assert_eq!(encoder.capacity(), 0, "{name} entered the table");
        assert_eq!(out[0] & 0xf0, 0x10);
    }
}

#[test]
fn what_changes_each_time_enters_the_table_once() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    let mut lengths = Vec::new();
    for i in 0..50 {
        let mut out = BytesMut::new();
        let id = format!("{i:032}");
        encoder.field(&mut out, b"x-request-id", id.as_bytes(), Class::of(b"x-request-id", id.as_bytes()));
        encoder.field(&mut out, b"x-tenant", b"shop", Class::of(b"x-tenant", b"shop"));
        let fields = decode(&mut decoder, &out).unwrap();
        assert_eq!(text(&fields), [format!("x-request-id: {id}"), "x-tenant: shop".to_owned()]);
        lengths.push(out.len());
    }
    assert!(lengths[0] > 35 && lengths[1..].iter().all(|&l| l <= 25), "{lengths:?}");
}

/// Forty fields that come again and again are in the table after the first time, whatever their names.
#[test]
fn what_comes_again_is_found_again() {
    let (mut encoder, mut first, mut later) = (Encoder::new(), 0, 0);
    for round in 0..4 {
        let mut out = BytesMut::new();
        for i in 0..40 {
            encoder.field(
                &mut out,
                format!("x-{i}").as_bytes(),
                format!("value {i}").as_bytes(),
                Class::Indexed,
            );
        }
        if round == 0 {
            first = out.len();
        } else {
            later = out.len();
        }
    }
    assert!(first > 300 && later <= 60, "{first}, then {later}");
}

#[test]
fn what_breaks_the_code_is_refused() {
    let cases = [
        ("80", "index 0"),
        ("be", "an index beyond both tables"),
        ("7f80808010", "a name by an index that is not there"),
        ("ffffffffffff7f", "a number without end"),
        ("8220", "the size changes within a section"),
        ("3fe21f", "a table of 4097"),
        ("40", "no name"),
        ("4001", "half a name"),
        ("400161", "no value"),
        ("400161 02 61", "half a value"),
        ("3f", "half a number"),
        ("00 81 00 00", "a Huffman string filled with zeros"),
        ("00 84 ffffffff 00", "the end-of-string symbol"),
    ];
    for (block, what) in cases {
        let got = decode(&mut Decoder::new(), &hex(block));
        assert_eq!(got.map_err(|v| v.code).err(), Some(Code::COMPRESSION_ERROR), "{what}");
    }
}

#[test]
fn a_smaller_table_has_to_be_taken_up() {
    let mut decoder = Decoder::new();
    decode(&mut decoder, &hex("400161 0162")).unwrap();
    decoder.allow(100);
    assert!(decode(&mut decoder, &hex("be")).is_err(), "the acknowledged size was ignored");
    let mut decoder = Decoder::new();
    decoder.allow(100);
    assert!(decode(&mut decoder, &hex("3f46")).is_err(), "101 of 100");
    let mut decoder = Decoder::new();
    decoder.allow(100);
    // Two updates in one section: down to 0, then up to 100.
    assert_eq!(text(&decode(&mut decoder, &hex("20 3f45 400161 0162 be")).unwrap()), ["a: b", "a: b"]);
}

#[test]
fn the_encoder_says_the_least_and_the_last_size() {
    let mut encoder = Encoder::new();
    let mut out = BytesMut::new();
    encoder.resize(0);
    encoder.resize(1000);
    encoder.resize(100_000);
    encoder.begin(&mut out);
    assert_eq!(out, hex("20 3fe11f"), "0, then 4096, which is as much as we keep");
    encoder.begin(&mut out);
    assert_eq!(out.len(), 4, "said once");
}

/// A section beyond the limit is dropped, and the table stays in step.
#[test]
fn what_is_beyond_the_limit_is_decoded_and_dropped() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    let mut block = BytesMut::new();
    encoder.field(&mut block, b"x-first", b"1", Class::Indexed);
    encoder.field(&mut block, b"x-long", &[b'v'; 3000], Class::NameOnly);
    encoder.field(&mut block, b"x-last", b"3", Class::Indexed);
    let mut fields = Fields::new();
    let outcome = decoder.feed(&block, true, 1000, &mut fields).unwrap();
    assert_eq!(outcome, Some(Outcome { size: 7 + 1 + 6 + 3000 + 6 + 1 + 96, over: true }));
    assert_eq!(text(&fields), ["x-first: 1"]);
    let mut block = BytesMut::new();
    encoder.field(&mut block, b"x-last", b"3", Class::Indexed);
    assert_eq!(block.len(), 1, "by its index");
    assert_eq!(text(&decode(&mut decoder, &block).unwrap()), ["x-last: 3"]);
}

/// What is encoded comes back, whole and in pieces, while the table changes its size.
#[test]
fn encode_and_decode_are_one() {
    let mut dice = Dice::new(11);
    for _ in 0..60 {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        for _ in 0..60 {
            if dice.one_in(6) {
                let size = *dice.pick(&[0, 64, 500, 4096, 8000]);
                encoder.resize(size);
                // The decoder's owner sends the setting, and the encoder's takes it up at once.
                decoder.allow(size);
            }
            let mut block = BytesMut::new();
            let mut section = Section::new();
            encoder.begin(&mut block);
            for _ in 0..dice.below(12) {
                let (name, value) = dice.field();
                let class = match dice.below(4) {
                    0 => *dice.pick(&[Class::Indexed, Class::NameOnly, Class::Never]),
                    _ => Class::of(&name, &value),
                };
                encoder.field(&mut block, &name, &value, class);
                section.push((name, value, class == Class::Never));
            }
            let mut fields = Fields::new();
            let mut rest = &block[..];
            let bytewise = dice.one_in(4);
            while !rest.is_empty() {
                let n = if bytewise { 1 } else { 1 + dice.below(rest.len()) };
                assert_eq!(decoder.feed(&rest[..n], false, 1 << 20, &mut fields), Ok(None));
                rest = &rest[n..];
            }
            let outcome = decoder.feed(&[], true, 1 << 20, &mut fields).unwrap().unwrap();
            assert_eq!(list(&fields), section);
            assert_eq!(outcome.size, section.iter().map(|(n, v, _)| n.len() + v.len() + 32).sum::<usize>());
        }
    }
}

#[test]
fn a_section_costs_no_allocation() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    let (mut block, mut fields) = (BytesMut::with_capacity(4096), Fields::new());
    let mut count = 0u32;
    let mut once = || {
        block.clear();
        fields.clear(4096);
        count += 1;
        let mut id = *b"00000000";
        for (i, digit) in id.iter_mut().enumerate() {
            *digit = b'a' + (count >> (i * 4) & 15) as u8;
        }
        encoder.begin(&mut block);
        for (name, value) in
            [(&b":method"[..], &b"POST"[..]), (b":path", b"/shop.Cart/Add"), (b"te", b"trailers")]
        {
            encoder.field(&mut block, name, value, Class::of(name, value));
        }
        encoder.field(&mut block, b"x-request-id", &id, Class::NameOnly);
        encoder.field(&mut block, b"x-other", &id, Class::Indexed);
        decoder.feed(&block, true, 4096, &mut fields).unwrap();
        assert_eq!(fields.value(b"x-other"), Some(&id[..]));
    };
    (0..2000).for_each(|_| once());
    assert_eq!(allocations(|| (0..5000).for_each(|_| once())), 0);
    assert!(
        encoder.capacity() + decoder.capacity() < 24 << 10,
        "{} {}",
        encoder.capacity(),
        decoder.capacity()
    );
}
