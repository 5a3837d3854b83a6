//! What clients and servers say in fields about trying again.

use crate::fields::Fields;
use std::time::Duration;
use weir_decide::policy::Hint;

/// Whether the client tries again by itself: an AWS SDK says so in each of its requests, `amz-sdk-request: attempt=1; max=4`.
/// One that is told to try once leaves it to others.
pub fn client_repeats(fields: &Fields) -> bool {
    let Some(value) = fields.value(b"amz-sdk-request") else { return false };
    let number = |name: &[u8]| {
        let mut parts = value.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let digits = parts.find_map(|part| part.strip_prefix(name));
        digits.and_then(|digits| std::str::from_utf8(digits).ok()).and_then(|text| text.parse::<u32>().ok())
    };
    number(b"attempt=").is_some_and(|attempt| attempt > 1 || number(b"max=") != Some(1))
}

/// What a server asks for: `x-amz-retry-after` in milliseconds, `retry-after` in seconds (RFC 9110 section 10.2.3). How long it is
/// until a date is not for us to say, who see no clock: its client will know.
pub fn asked(fields: &Fields) -> Hint {
    let number = |name: &[u8]| {
        let text = std::str::from_utf8(fields.value(name)?).ok()?;
        Some(text.trim().parse::<u32>().ok())
    };
    match (number(b"x-amz-retry-after"), number(b"retry-after")) {
        (Some(Some(millis)), _) => Hint::Wait(Duration::from_millis(millis.into())),
        (_, Some(Some(seconds))) => Hint::Wait(Duration::from_secs(seconds.into())),
        (_, Some(None)) => Hint::Never,
        (_, None) => Hint::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[(&str, &str)]) -> Fields {
        let mut all = Fields::new();
        fields.iter().for_each(|(name, value)| all.push(name.as_bytes(), value.as_bytes()));
        all
    }

    #[test]
    fn sdks_say_that_they_try_again() {
        for (value, repeats) in [
            ("attempt=1; max=4", true),
            ("attempt=2; max=4", true),
            ("attempt=4; max=4", true),
            ("attempt=1", true),
            ("ttl=20260101T000000Z; attempt=1; max=3", true),
            ("attempt=1;max=3", true),
            ("attempt=1; max=1", false),
            ("attempt=2; max=1", true),
            ("attempt=x; max=3", false),
            ("", false),
        ] {
            assert_eq!(client_repeats(&of(&[("amz-sdk-request", value)])), repeats, "{value}");
        }
        assert!(!client_repeats(&of(&[("host", "a")])));
    }

    #[test]
    fn servers_say_when() {
        let wait = |millis| Hint::Wait(Duration::from_millis(millis));
        for (fields, expected) in [
            (&[][..], Hint::Nothing),
            (&[("retry-after", "2")], wait(2000)),
            (&[("Retry-After", " 0 ")], wait(0)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")], Hint::Never),
            (&[("retry-after", "-1")], Hint::Never),
            (&[("x-amz-retry-after", "250")], wait(250)),
            (&[("x-amz-retry-after", "250"), ("retry-after", "9")], wait(250)),
            (&[("x-amz-retry-after", "soon"), ("retry-after", "9")], wait(9000)),
            (&[("x-amz-retry-after", "soon")], Hint::Nothing),
        ] {
            assert_eq!(asked(&of(fields)), expected, "{fields:?}");
        }
    }
}
