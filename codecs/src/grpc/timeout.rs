//! `grpc-timeout`: one to eight digits and a unit.

use std::time::Duration;

/// The longest value: eight digits and the unit.
pub const TIMEOUT_LENGTH: usize = 9;

/// How long a call may take, as its client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeout(pub Duration);

impl Timeout {
    /// Reads a value such as `100m` (units `H M S m u n`). `None`: not a timeout. The longest, `99999999H`, is eleven
    /// thousand years.
    pub fn parse(value: &[u8]) -> Option<Timeout> {
        let (&unit, digits) = value.split_last()?;
        if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let count = digits.iter().fold(0u64, |count, digit| count * 10 + u64::from(digit - b'0'));
        Some(Timeout(match unit {
            b'H' => Duration::from_secs(count * 3600),
            b'M' => Duration::from_secs(count * 60),
            b'S' => Duration::from_secs(count),
            b'm' => Duration::from_millis(count),
            b'u' => Duration::from_micros(count),
            b'n' => Duration::from_nanos(count),
            _ => return None,
        }))
    }

    /// Writes it in the finest unit that eight digits can hold, rounded up so that a server never gives up before its
    /// client; more than `99999999H` is cut to that.
    pub fn format(self, buffer: &mut [u8; TIMEOUT_LENGTH]) -> &[u8] {
        const LIMIT: u128 = 100_000_000;
        const UNITS: [(u128, u8); 6] = [
            (1, b'n'),
            (1_000, b'u'),
            (1_000_000, b'm'),
            (1_000_000_000, b'S'),
            (60_000_000_000, b'M'),
            (3_600_000_000_000, b'H'),
        ];
        let nanos = self.0.as_nanos();
        let (mut count, unit) = UNITS
            .iter()
            .map(|&(size, unit)| (nanos.div_ceil(size), unit))
            .find(|&(count, _)| count < LIMIT)
            .unwrap_or((LIMIT - 1, b'H'));
        let mut start = TIMEOUT_LENGTH;
        let mut put = |byte: u8| {
            start -= 1;
            if let Some(place) = buffer.get_mut(start) {
                *place = byte;
            }
        };
        put(unit);
        loop {
            put(b'0' + (count % 10) as u8);
            count /= 10;
            if count == 0 {
                break;
            }
        }
        buffer.get(start..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses() {
        let cases: &[(&str, Option<Duration>)] = &[
            ("1S", Some(Duration::from_secs(1))),
            ("100m", Some(Duration::from_millis(100))),
            ("00000001H", Some(Duration::from_secs(3600))),
            ("5M", Some(Duration::from_secs(300))),
            ("7u", Some(Duration::from_micros(7))),
            ("0n", Some(Duration::ZERO)),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("100000000n", None),
            ("S", None),
            ("1", None),
            ("1s", None),
            ("-1S", None),
            ("+1S", None),
            ("1.5S", None),
            (" 1S", None),
            ("1 S", None),
            ("", None),
        ];
        for (value, expected) in cases {
            assert_eq!(Timeout::parse(value.as_bytes()).map(|timeout| timeout.0), *expected, "{value}");
        }
    }

    #[test]
    fn formats() {
        let cases = [
            (Duration::ZERO, "0n"),
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_nanos(100_000_000), "100000u"),
            (Duration::from_nanos(100_000_001), "100001u"),
            (Duration::from_secs(1), "1000000u"),
            (Duration::from_secs(1000), "1000000m"),
            (Duration::from_secs(86_400 * 365), "31536000S"),
            (Duration::from_secs(86_400 * 365 * 10), "5256000M"),
            (Duration::MAX, "99999999H"),
        ];
        for (timeout, expected) in cases {
            let mut buffer = [0; TIMEOUT_LENGTH];
            let text = Timeout(timeout).format(&mut buffer);
            assert_eq!(std::str::from_utf8(text), Ok(expected));
            assert!(Timeout::parse(text).is_some_and(|again| again.0 >= timeout || timeout == Duration::MAX));
        }
    }
}
