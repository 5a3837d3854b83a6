//! CRC-32C (Castagnoli; RFC 3385): of MongoDB's messages and of PROXY protocol headers. For small things: a table, no more.

/// The checksum of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc32c_of([bytes])
}

/// The checksum of several pieces, one after the other.
pub fn crc32c_of<const N: usize>(pieces: [&[u8]; N]) -> u32 {
    !pieces.into_iter().flatten().fold(!0u32, |crc, &byte| {
        let entry = CRC_TABLE.get(usize::from(crc as u8 ^ byte)).copied().unwrap_or(0);
        crc >> 8 ^ entry
    })
}

static CRC_TABLE: [u32; 256] = crc_table();

#[allow(clippy::indexing_slicing)] // evaluated at compile time, where out of bounds is a compile error
const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}
