//! Patterns that take a part out of a text: `*` stands for any run of bytes, as short as it can be, `?` for one, and what stands
//! between parentheses is taken. A backslash takes its meaning from the character after it.

/// One pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(Box<[Token]>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Byte(u8),
    One,
    Run,
    Open,
    Close,
}

impl Pattern {
    /// Reads a pattern; an error says what is wrong with it.
    pub(crate) fn new(text: &str) -> Result<Pattern, &'static str> {
        let mut tokens = Vec::with_capacity(text.len());
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            tokens.push(match byte {
                b'*' => Token::Run,
                b'?' => Token::One,
                b'(' => Token::Open,
                b')' => Token::Close,
                b'\\' => Token::Byte(bytes.next().ok_or("a backslash has to stand before something")?),
                byte => Token::Byte(byte),
            });
        }
        let at = |wanted: Token| tokens.iter().position(|token| *token == wanted);
        let count = |wanted: Token| tokens.iter().filter(|token| **token == wanted).count();
        let is_one =
            count(Token::Open) == 1 && count(Token::Close) == 1 && at(Token::Open) < at(Token::Close);
        if !is_one {
            return Err("expected one pair of parentheses around what is to be taken");
        }
        Ok(Pattern(tokens.into()))
    }

    /// What the pattern takes out of `text`; `None` where it does not fit all of it. Linear in the text for each `*`.
    pub(crate) fn take<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        let (mut at, mut n, mut taken) = (0, 0, (0, 0));
        // Where to go on when what follows the last `*` does not fit: one byte further.
        let mut retry = None;
        loop {
            let here = text.get(n);
            match self.0.get(at) {
                None if here.is_none() => return text.get(taken.0..taken.1),
                Some(Token::Open) => taken.0 = n,
                Some(Token::Close) => taken.1 = n,
                Some(Token::Run) => retry = Some((at, n, taken)),
                Some(Token::One) if here.is_some() => n += 1,
                Some(Token::Byte(byte)) if here == Some(byte) => n += 1,
                _ => {
                    let (run, from, before) = retry?;
                    if from >= text.len() {
                        return None;
                    }
                    retry = Some((run, from + 1, before));
                    (at, n, taken) = (run, from + 1, before);
                }
            }
            at += 1;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn patterns_take_what_stands_between_their_parentheses() {
        for (pattern, text, expected) in [
            ("(*)", "all of it", Some("all of it")),
            ("(*)", "", Some("")),
            ("at=(*) *", "at=orders.load id=5 x=1", Some("orders.load")),
            ("at=(*) *", "at=orders.load", None),
            ("*at=(*) *", "x=1 at=a at=b c", Some("a")),
            ("*/(*).py:*", "/srv/app/orders.py:17", Some("srv/app/orders")),
            ("*(*.py):*", "a b.py:17", Some("a b.py")),
            ("*[(*)]*", "take [this] not [that]", Some("this")),
            ("(????)*", "abcdef", Some("abcd")),
            ("(????)*", "abc", None),
            ("*-(*)-*-end", "a-b-c-end", Some("b")),
            ("*-(*)-end", "a-b-c-end", Some("b-c")),
            ("f\\((*)\\)", "f(x)", Some("x")),
            ("\\*(*)", "*x", Some("x")),
            ("\\*(*)", "yx", None),
            ("()x", "x", Some("")),
        ] {
            let taken = Pattern::new(pattern).unwrap().take(text.as_bytes());
            assert_eq!(taken, expected.map(str::as_bytes), "{pattern} {text}");
        }
    }

    #[test]
    fn patterns_without_one_pair_of_parentheses_are_none() {
        for pattern in ["", "*", "(", ")(", "((*))", "(a)(b)", "(a", "\\(a)", "(a)\\"] {
            assert!(Pattern::new(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn many_stars_do_not_take_long() {
        let pattern = Pattern::new(&"*a".repeat(60).replacen("*a", "(*a)", 1)).unwrap();
        assert_eq!(pattern.take("a".repeat(59).as_bytes()), None);
        assert!(pattern.take("a".repeat(4000).as_bytes()).is_some());
    }
}
