//! The MongoDB codec: recorded conversations, generated messages against the `bson` crate, malformed bytes.

mod comment;
mod compressed;
mod differential;
mod encode;
mod facts;
mod malformed;
mod max_time;
mod shape;
mod shape_names;
mod splits;
mod steady;

use std::rc::Rc;

use bytes::BytesMut;
use weir_codecs::Piece;
use weir_codecs::mongo::{Budget, Decoder, Head, Inflate, Malformed};

/// Decompressors with 16 MiB to share.
pub fn inflate() -> Inflate {
    Inflate::new(Budget::new(16 << 20))
}

/// The messages of one side of a recorded conversation.
pub fn recorded(name: &str, side: &str) -> Vec<Vec<u8>> {
    let path = format!("{}/../fixtures/mongo/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.lines()
        .filter_map(|line| line.strip_prefix(side)?.strip_prefix(' '))
        .map(|digits| {
            let pairs = digits.as_bytes().chunks(2);
            pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
        })
        .collect()
}

/// The names of all recorded conversations.
pub fn recordings() -> Vec<String> {
    let folder = format!("{}/../fixtures/mongo", env!("CARGO_MANIFEST_DIR"));
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".hex")?.to_owned()))
        .collect();
    names.sort();
    assert!(names.len() > 30, "the recordings are there");
    names
}

/// Feeds `bytes` to a fresh decoder, cut at `cuts`, and returns what came out.
pub fn decode_cut<H: Head>(bytes: &[u8], cuts: &[usize]) -> Result<Vec<Piece<Rc<H>>>, Malformed> {
    let (mut decoder, mut inflate) = (Decoder::<H>::default(), inflate());
    let (mut buf, mut pieces, mut start) = (BytesMut::new(), Vec::new(), 0);
    for &cut in cuts.iter().chain([&bytes.len()]) {
        buf.extend_from_slice(&bytes[start..cut]);
        start = cut;
        while let Some(piece) = decoder.decode(&mut buf, &mut inflate)? {
            pieces.push(piece);
        }
        assert!(buf.len() <= 1024, "{} bytes are held back", buf.len());
    }
    Ok(pieces)
}

/// The complete heads, one for each message.
pub fn tails<H: Head>(pieces: &[Piece<Rc<H>>]) -> Vec<H> {
    let last = pieces.iter().filter(|piece| piece.last);
    last.map(|piece| H::clone(piece.head.as_ref().expect("the last piece has a head"))).collect()
}

/// The head of a message that is there whole.
pub fn head<H: Head>(message: &[u8]) -> H {
    let pieces = decode_cut::<H>(message, &[]).expect("a message");
    assert_eq!(pieces.len(), 1, "one piece");
    assert_eq!(pieces[0].bytes, message, "its bytes are untouched");
    tails(&pieces).remove(0)
}

/// An `OP_MSG` around `sections`.
pub fn op_msg(flags: u32, sections: &[Vec<u8>]) -> Vec<u8> {
    let mut body = flags.to_le_bytes().to_vec();
    body.extend(sections.concat());
    message(2013, &body)
}

/// A message with this opcode, numbered 7, in answer to 5.
pub fn message(op_code: i32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [body.len() as i32 + 16, 7, 5, op_code] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(body);
    bytes
}

/// A body section.
pub fn body(document: &bson::Document) -> Vec<u8> {
    let mut section = vec![0];
    section.extend(document.to_vec().unwrap());
    section
}

/// A document sequence.
pub fn sequence(identifier: &str, documents: &[bson::Document]) -> Vec<u8> {
    let mut content = identifier.as_bytes().to_vec();
    content.push(0);
    content.extend(documents.iter().flat_map(|document| document.to_vec().unwrap()));
    let mut section = vec![1];
    section.extend((content.len() as i32 + 4).to_le_bytes());
    section.extend(content);
    section
}

/// The message compressed, announcing `announced` bytes.
pub fn compressed(message_bytes: &[u8], id: u8, packed: &[u8], announced: i32) -> Vec<u8> {
    let mut content = message_bytes[12..16].to_vec();
    content.extend(announced.to_le_bytes());
    content.push(id);
    content.extend(packed);
    message(2012, &content)
}
