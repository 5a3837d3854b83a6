//! Field compression beside another implementation, both ways.

use super::dice::Dice;
use bytes::BytesMut;
use httlib_hpack as oracle;
use weir_codecs::http2::Fields;
use weir_codecs::http2::hpack::{Class, Decoder, Encoder};

/// What we encode, the oracle decodes to the same.
#[test]
fn the_oracle_reads_what_we_write() {
    let mut dice = Dice::new(3);
    for _ in 0..40 {
        let (mut ours, mut theirs) = (Encoder::new(), oracle::Decoder::default());
        for _ in 0..50 {
            let mut block = BytesMut::new();
            if dice.one_in(8) {
                ours.resize(*dice.pick(&[0, 100, 1000, 4096]));
            }
            ours.begin(&mut block);
            let mut section = Vec::new();
            // An update of the table's size has to be followed by a field, for the oracle.
            for _ in 0..1 + dice.below(12) {
                let (name, value) = dice.field();
                ours.field(&mut block, &name, &value, Class::of(&name, &value));
                section.push((name, value));
            }
            let (mut block, mut got) = (block.to_vec(), Vec::new());
            theirs.decode(&mut block, &mut got).unwrap();
            let got: Vec<_> = got.into_iter().map(|(name, value, _)| (name, value)).collect();
            assert_eq!(got, section);
        }
    }
}

/// Every representation that the oracle can write, we decode to the same, in any pieces.
#[test]
fn we_read_what_the_oracle_writes() {
    let mut dice = Dice::new(5);
    for _ in 0..40 {
        let (mut theirs, mut ours) = (oracle::Encoder::default(), Decoder::new());
        for _ in 0..50 {
            let (mut block, mut section) = (Vec::new(), Vec::new());
            if dice.one_in(8) {
                theirs.update_max_dynamic_size(*dice.pick(&[0, 100, 1000, 4096]), &mut block).unwrap();
            }
            for _ in 0..dice.below(12) {
                let (name, value) = dice.field();
                let mut flags = oracle::Encoder::BEST_FORMAT;
                for flag in [oracle::Encoder::HUFFMAN_NAME, oracle::Encoder::HUFFMAN_VALUE] {
                    flags |= if dice.one_in(2) { flag } else { 0 };
                }
                flags |= *dice.pick(&[0, oracle::Encoder::WITH_INDEXING, oracle::Encoder::NEVER_INDEXED]);
                theirs.encode((name.clone(), value.clone(), flags), &mut block).unwrap();
                section.push((name, value));
            }
            let (mut fields, mut rest) = (Fields::new(), &block[..]);
            while !rest.is_empty() {
                let (piece, tail) = rest.split_at(1 + dice.below(rest.len()));
                ours.feed(piece, false, 1 << 20, &mut fields).unwrap();
                rest = tail;
            }
            ours.feed(&[], true, 1 << 20, &mut fields).unwrap();
            let got: Vec<_> = fields.iter().map(|f| (f.name.to_vec(), f.value.to_vec())).collect();
            assert_eq!(got, section);
        }
    }
}
