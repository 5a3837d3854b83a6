//! Any text as a PartiQL statement: cut anywhere, the same table; and a table is found only where the text names it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_codecs::dynamodb::partiql::StatementScanner;

fuzz_target!(|text: &[u8]| {
    let mut scanner = StatementScanner::new();
    scanner.feed(text);
    let whole = format!("{:?}", scanner.finish());
    if let Some(statement) = scanner.finish() {
        let named = |name: &str| text.windows(name.len()).any(|window| window == name.as_bytes());
        assert!(named(statement.table.table));
        assert!(statement.table.index.is_none_or(named));
    }
    scanner.clear();
    text.chunks(1).for_each(|byte| scanner.feed(byte));
    assert_eq!(format!("{:?}", scanner.finish()), whole);
});
