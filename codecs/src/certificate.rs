//! The one thing that is read of a certificate itself: from when and until when it is valid. Everything else about certificates is rustls'.

/// Until when a certificate in DER (RFC 5280 section 4.1) is valid, in whole seconds since 1970. `None`: that is no
/// certificate, or its end lies before.
pub fn not_after(der: &[u8]) -> Option<u64> {
    validity(der).map(|(_, end)| end)
}

/// From when and until when it is valid; likewise.
pub fn validity(der: &[u8]) -> Option<(u64, u64)> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (mut rest, _) = element(certificate, SEQUENCE)?;
    // The version is there in all but the first.
    if let Some((_, after)) = element(rest, VERSION) {
        rest = after;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        // Serial number, signature algorithm, issuer.
        (_, rest) = element(rest, tag)?;
    }
    let (validity, _) = element(rest, SEQUENCE)?;
    let (_, not_before, end) = any_element(validity)?;
    let begin = time(not_before)?;
    let (tag, digits, after) = any_element(end)?;
    if !after.is_empty() {
        return None;
    }
    let length = match tag {
        UTC_TIME => 13,
        GENERALIZED_TIME => 15,
        _ => return None,
    };
    time(digits).filter(|_| digits.len() == length).map(|end| (begin, end))
}

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0] EXPLICIT`
const VERSION: u8 = 0xa0;

/// What is in the first element of `bytes`, which has to be a `tag`, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    any_element(bytes).filter(|(found, ..)| *found == tag).map(|(_, content, rest)| (content, rest))
}

/// The tag of the first element of `bytes`, what is in it, and what follows it (X.690 sections 8.1 and 10.1).
fn any_element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, bytes) = bytes.split_first()?;
    let (&first, bytes) = bytes.split_first()?;
    let (length, bytes) = match first {
        0..=0x7f => (usize::from(first), bytes),
        // Two bytes of length at the most hold 64 KiB, more than any certificate has.
        0x81 | 0x82 => {
            let (length, bytes) = bytes.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |all, byte| all << 8 | usize::from(*byte)), bytes)
        }
        _ => return None,
    };
    let (content, rest) = bytes.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// `YYMMDDHHMMSSZ` (1950 to 2049) or `YYYYMMDDHHMMSSZ` (RFC 5280 section 4.1.2.5), in seconds since 1970.
fn time(text: &[u8]) -> Option<u64> {
    let digits = text.strip_suffix(b"Z")?;
    let mut pairs = digits.chunks(2).map(|pair| match pair {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
            Some(u64::from(tens - b'0') * 10 + u64::from(ones - b'0'))
        }
        _ => None,
    });
    let mut next = || pairs.next().flatten();
    let year = match digits.len() {
        12 => next().map(|year| if year < 50 { 2000 + year } else { 1900 + year })?,
        14 => next()? * 100 + next()?,
        _ => return None,
    };
    let (month, day, hour, minute, second) = (next()?, next()?, next()?, next()?, next()?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days since 0000-03-01: the year begins in March, so that the leap day is its last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    let days = days.checked_sub(DAYS_TO_1970)?;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// From 0000-03-01 to 1970-01-01.
const DAYS_TO_1970: u64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_from_1970() {
        // By `date -u -d .. +%s`.
        let table: &[(&[u8], Option<u64>)] = &[
            (b"700101000000Z", Some(0)),
            (b"19700101000001Z", Some(1)),
            (b"700301000000Z", Some(5_097_600)),
            (b"000229235959Z", Some(951_868_799)),
            (b"491231235959Z", Some(2_524_607_999)),
            (b"20500101000000Z", Some(2_524_608_000)),
            (b"21000301000000Z", Some(4_107_542_400)),
            (b"99991231235959Z", Some(253_402_300_799)),
            (b"691231235959Z", None),
            (b"500101000000Z", None),
            (b"701301000000Z", None),
            (b"700132000000Z", None),
            (b"700101240000Z", None),
            (b"700101006000Z", None),
            (b"700101000060Z", None),
            (b"7001010000Z", None),
            (b"700101000000", None),
            (b"700101000000+0100", None),
            (b"7001010000 0Z", None),
            (b"", None),
        ];
        for (text, seconds) in table {
            assert_eq!(time(text), *seconds, "{}", String::from_utf8_lossy(text));
        }
    }
}
