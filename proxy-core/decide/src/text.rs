//! Text that came over a wire, made fit for people to read: what a terminal or a log would take for something else is escaped.

use std::borrow::Cow;

/// The text, with every character that a terminal may act on, or that makes other text look like something else, written as
/// `\u{..}`: controls (escape sequences begin with one), line separators, marks that turn or hide text.
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(is_foul) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_foul(c) {
            clean.extend(c.escape_unicode());
        } else {
            clean.push(c);
        }
    }
    Cow::Owned(clean)
}

/// The same for text of several lines, which stay.
pub fn clean_lines(text: &str) -> String {
    text.split('\n').map(clean).collect::<Vec<_>>().join("\n")
}

/// Whether [`clean`] leaves the text as it is.
pub fn is_clean(text: &str) -> bool {
    !text.contains(is_foul)
}

fn is_foul(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_acts_on_is_escaped() {
        for (text, expected) in [
            ("shop.orders", "shop.orders"),
            ("Läden.заказы 注文 🛒", "Läden.заказы 注文 🛒"),
            ("\x1b[2J\x07a", "\\u{1b}[2J\\u{7}a"),
            ("a\nlevel=error", "a\\u{a}level=error"),
            ("a\u{9b}2J", "a\\u{9b}2J"),
            ("\u{202e}txt.exe", "\\u{202e}txt.exe"),
            ("\x7f\r\0", "\\u{7f}\\u{d}\\u{0}"),
        ] {
            assert_eq!(clean(text), expected);
            assert_eq!(is_clean(text), text == expected, "{expected}");
            assert!(is_clean(&clean(text)), "once is enough");
        }
        assert_eq!(clean_lines("a\n\x1b[2J\nb\n"), "a\n\\u{1b}[2J\nb\n");
    }
}
