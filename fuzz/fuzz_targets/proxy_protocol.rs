//! Any bytes as the beginning of a connection: a header is found wherever it is cut, and says the same when it is written again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_codecs::proxy_protocol::{Origin, encode, parse};

fuzz_target!(|data: &[u8]| {
    let whole = parse(data);
    if let Ok(Some(header)) = whole {
        assert_eq!(parse(&data[..header.length]), whole);
        assert!((0..header.length).all(|end| parse(&data[..end]) == Ok(None)));
        if let Origin::Client { .. } = header.origin {
            let mut again = Vec::new();
            encode(header.version, &header.origin, &mut again);
            assert_eq!(parse(&again).map(|again| again.map(|again| again.origin)), Ok(Some(header.origin)));
        }
    }
});
