//! From when and until when certificates are valid, and what is said of those that are not, or soon will not be.

use rustls::sign::CertifiedKey;
use std::path::PathBuf;
use std::time::Duration;
use weir_config::{File, Identity};

/// Within so much of its end a certificate is told of.
const SOON: u64 = 14 * DAY;
const DAY: u64 = 86_400;

/// From when and until when all certificates of a file are valid, in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Term {
    pub(crate) file: PathBuf,
    pub(crate) begins: u64,
    pub(crate) ends: u64,
}

/// That of a certificate and those between it and the root.
pub(crate) fn term(files: &Identity, certified: &CertifiedKey) -> Option<Term> {
    let of = certified.cert.iter().filter_map(|der| weir_codecs::certificate::validity(der));
    let (begins, ends) = of.reduce(|(begins, ends), (from, until)| (begins.max(from), ends.min(until)))?;
    Some(Term { file: files.certificate.path.clone(), begins, ends })
}

/// What is to be said at `now` (since 1970) of those of `files` that have `terms`.
pub(crate) fn of<'f>(
    files: impl Iterator<Item = &'f File>,
    terms: &[Term],
    now: Duration,
) -> Vec<(&'f File, String)> {
    let mut told = Vec::new();
    for file in files {
        let Some(term) = terms.iter().find(|term| term.file == file.path) else { continue };
        if let Some(what) = said(term, now.as_secs()) {
            told.push((file, format!("{}: {what}", file.path.display())));
        }
    }
    told
}

fn said(term: &Term, now: u64) -> Option<String> {
    let Term { begins, ends, .. } = *term;
    if ends <= now {
        return Some(format!("the certificate has expired, on {}: clients refuse it", date(ends)));
    }
    if begins > now {
        return Some(format!(
            "the certificate is not valid yet, but from {} on: clients refuse it",
            date(begins)
        ));
    }
    // One that is made for a few days is renewed in good time by whoever made it.
    let soon = SOON.min((ends - begins) / 3);
    let left = ends - now;
    let days = left / DAY;
    (left < soon).then(|| match days {
        0 => format!("the certificate expires within a day, on {}", date(ends)),
        1 => format!("the certificate expires in a day, on {}", date(ends)),
        _ => format!("the certificate expires in {days} days, on {}", date(ends)),
    })
}

/// `YYYY-MM-DD`, of seconds since 1970 (Hinnant's civil_from_days).
fn date(seconds: u64) -> String {
    let days = seconds / DAY + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year_of_era = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_of_no_use_are_told_of() {
        let at = 20_000 * DAY;
        // (begins, ends, what is said), in days from now
        let table: &[(i64, i64, Option<&str>)] = &[
            (-300, 65, None),
            (-300, 13, Some("expires in 13 days, on 2024-10-17")),
            (-300, 1, Some("expires in a day")),
            (-300, 0, Some("has expired, on 2024-10-04")),
            (-300, -1, Some("has expired, on 2024-10-03")),
            (2, 300, Some("is not valid yet, but from 2024-10-06 on")),
            (-1, 6, None),
            (-5, 1, Some("expires in a day")),
        ];
        for (begins, ends, expected) in table {
            let day = |days: &i64| at.checked_add_signed(days * DAY as i64).unwrap();
            let term = Term { file: PathBuf::new(), begins: day(begins), ends: day(ends) };
            let said = said(&term, at);
            assert_eq!(said.is_some(), expected.is_some(), "{said:?}");
            assert!(said.unwrap_or_default().contains(expected.unwrap_or_default()), "{begins} {ends}");
        }
        for (seconds, shown) in
            [(0, "1970-01-01"), (951_782_400, "2000-02-29"), (4_107_542_399, "2100-02-28")]
        {
            assert_eq!(date(seconds), shown);
        }
    }
}
