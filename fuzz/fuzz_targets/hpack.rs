//! Any bytes as a field section: whole and byte by byte they come to the same, what is decoded stays within the limit, and
//! encoded anew it decodes to the same.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use weir_codecs::http2::Fields;
use weir_codecs::http2::hpack::{Class, Decoder, Encoder};

const LIMIT: usize = 4096;

fuzz_target!(|data: &[u8]| {
    let (mut decoder, mut slow) = (Decoder::new(), Decoder::new());
    let (mut encoder, mut again) = (Encoder::new(), Decoder::new());
    let (mut fields, mut other, mut third) = (Fields::new(), Fields::new(), Fields::new());
    // Several sections through one table, each behind its length.
    let mut rest = data;
    while let Some((&len, tail)) = rest.split_first() {
        let (block, tail) = tail.split_at(tail.len().min(usize::from(len)));
        rest = tail;
        fields.clear(LIMIT);
        other.clear(LIMIT);
        third.clear(LIMIT);
        let whole = decoder.feed(block, true, LIMIT, &mut fields);
        let bytewise = block
            .iter()
            .try_for_each(|&b| slow.feed(&[b], false, LIMIT, &mut other).map(|_| ()))
            .and_then(|()| slow.feed(&[], true, LIMIT, &mut other));
        assert_eq!(whole.is_ok(), bytewise.is_ok());
        let Ok(Some(outcome)) = whole else { return };
        assert_eq!(bytewise, Ok(Some(outcome)));
        assert!(fields.iter().eq(other.iter()));
        let size: usize = fields.iter().map(|f| f.name.len() + f.value.len() + 32).sum();
        assert!(size <= LIMIT && (outcome.over || size == outcome.size));

        let mut out = BytesMut::new();
        encoder.begin(&mut out);
        for f in fields.iter() {
            let class = if f.secret { Class::Never } else { Class::of(f.name, f.value) };
            encoder.field(&mut out, f.name, f.value, class);
        }
        again.feed(&out, true, usize::MAX, &mut third).unwrap();
        assert!(fields.iter().map(|f| (f.name, f.value)).eq(third.iter().map(|f| (f.name, f.value))));
    }
});
