//! Any bytes as a certificate whose end is looked for.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_codecs::certificate::not_after;

fuzz_target!(|data: &[u8]| {
    if let Some(end) = not_after(data) {
        // The year 9999 is the last that can be written.
        assert!(end <= 253_402_300_799 + 3 * 86_400);
        let mut longer = data.to_vec();
        longer.push(0);
        assert_eq!(not_after(&longer), Some(end), "what follows is not of the certificate");
        assert_eq!(not_after(&data[..data.len().min(20)]), None, "it is not in the first bytes");
    }
});
