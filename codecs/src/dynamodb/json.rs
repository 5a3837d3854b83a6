//! A JSON tokeniser that is fed slices as they arrive (RFC 8259). It keeps no text, needs a fixed 40 bytes whatever the
//! input, does not recurse, and accepts exactly what a strict parser accepts: bad escapes, broken UTF-8,
//! control characters and numbers with a leading zero are malformed, so that a lenient reading here can never
//! differ from a strict one behind us. The escape of a lone surrogate is in the grammar (section 8.2), and DynamoDB takes it: it is
//! read as U+FFFD. Duplicate keys are passed on as they come: what they mean is the visitor's.

use thiserror::Error;

/// How deep arrays and objects may nest. DynamoDB allows 32 levels in an item, each of which is two in JSON, and some
/// more around them.
pub const MAX_DEPTH: u8 = 128;

/// An object or an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// `{..}`
    Object,
    /// `[..]`
    Array,
}

/// Whether a string is the key of a member or a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The key of an object's member.
    Key,
    /// A value.
    Value,
}

/// A value that is neither a string nor a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar {
    /// A number; its text came through [`Visitor::text`].
    Number,
    /// `true`
    True,
    /// `false`
    False,
    /// `null`
    Null,
}

/// What is wrong with the input, and at which byte (counted from 0 over all slices).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    /// A byte that cannot stand where it does.
    #[error("unexpected byte at {0}")]
    Unexpected(u64),
    /// A string holds a control character, a bad escape or broken UTF-8.
    #[error("bad string at {0}")]
    BadString(u64),
    /// A number that JSON does not allow.
    #[error("bad number at {0}")]
    BadNumber(u64),
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested too deep at {0}")]
    TooDeep(u64),
    /// The input ended inside a value.
    #[error("input ended at {0}, inside a value")]
    Truncated(u64),
}

/// Takes what the tokeniser finds. Texts come decoded, in as many parts as the slices and escapes make; a part may end
/// inside a character.
pub trait Visitor {
    /// A container begins.
    fn open(&mut self, container: Container);
    /// The innermost container ends.
    fn close(&mut self);
    /// A string begins; `true` asks for its text.
    fn string(&mut self, role: Role) -> bool;
    /// A number begins; `true` asks for its text.
    fn number(&mut self) -> bool;
    /// A part of the text asked for.
    fn text(&mut self, part: &[u8]);
    /// The string ends.
    fn string_end(&mut self, role: Role);
    /// A number, a literal has been read.
    fn scalar(&mut self, scalar: Scalar);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Value,
    FirstElement,
    FirstKey,
    Key,
    Colon,
    AfterValue,
    Text,
    Escape,
    /// Reading the four digits of `\u`; `high` is the surrogate before it, 0 if none.
    Unicode {
        left: u8,
        value: u16,
        high: u16,
    },
    /// After a high surrogate: is it alone?
    LowBackslash {
        high: u16,
    },
    LowU {
        high: u16,
    },
    Number(Digits),
    Literal {
        rest: &'static [u8],
        scalar: Scalar,
    },
    Done,
    Failed(Malformed),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Digits {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

/// The tokeniser: see the module.
#[derive(Debug, Clone)]
pub struct Tokeniser {
    state: State,
    /// One bit per open container, the innermost lowest: 1 for an object.
    kinds: u128,
    depth: u8,
    role: Role,
    wanted: bool,
    utf8: Utf8,
    consumed: u64,
}

impl Default for Tokeniser {
    fn default() -> Self {
        Self::new()
    }
}

impl Tokeniser {
    /// One that expects a document.
    pub const fn new() -> Self {
        Tokeniser {
            state: State::Value,
            kinds: 0,
            depth: 0,
            role: Role::Value,
            wanted: false,
            utf8: Utf8::START,
            consumed: 0,
        }
    }

    /// How many containers are open.
    pub const fn depth(&self) -> u8 {
        self.depth
    }

    /// Bytes seen so far.
    pub const fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Reads the next slice. After an error every call gives the same error.
    pub fn feed<V: Visitor>(&mut self, input: &[u8], visitor: &mut V) -> Result<(), Malformed> {
        let mut rest = input;
        while let Some((&byte, tail)) = rest.split_first() {
            let at = self.consumed + (input.len() - rest.len()) as u64;
            let next = match self.state {
                State::Text => {
                    let run = text_run(rest);
                    let (text, after) = rest.split_at_checked(run).unwrap_or((rest, &[]));
                    self.text(text, at, visitor).map(|()| after)
                }
                // A surrogate that is alone stands for itself; what comes after it is read as ever.
                State::LowBackslash { .. } if byte != b'\\' => {
                    self.alone(visitor);
                    self.state = State::Text;
                    Ok(rest)
                }
                State::LowU { .. } if byte != b'u' => {
                    self.alone(visitor);
                    self.state = State::Escape;
                    Ok(rest)
                }
                State::Number(digits) => {
                    self.digit(digits, byte, at, visitor).map(|used| if used { tail } else { rest })
                }
                _ => self.step(byte, at, visitor).map(|()| tail),
            };
            match next {
                Ok(next) => rest = next,
                Err(error) => {
                    self.state = State::Failed(error);
                    return Err(error);
                }
            }
        }
        self.consumed += input.len() as u64;
        Ok(())
    }

    /// The input has ended. `Ok(false)`: there was nothing but white space.
    pub fn finish<V: Visitor>(&mut self, visitor: &mut V) -> Result<bool, Malformed> {
        match self.state {
            State::Done => Ok(true),
            State::Failed(error) => Err(error),
            State::Number(digits) if self.depth == 0 => {
                self.end_number(digits, self.consumed, visitor)?;
                Ok(true)
            }
            State::Value if self.depth == 0 => Ok(false),
            _ => Err(Malformed::Truncated(self.consumed)),
        }
    }

    /// A run without quotes, backslashes and control characters, or one of those.
    fn text<V: Visitor>(&mut self, run: &[u8], at: u64, visitor: &mut V) -> Result<(), Malformed> {
        match run {
            b"\"" => {
                if !self.utf8.whole() {
                    return Err(Malformed::BadString(at));
                }
                visitor.string_end(self.role);
                self.state = match self.role {
                    Role::Key => State::Colon,
                    Role::Value => self.after_value(),
                };
            }
            b"\\" if self.utf8.whole() => self.state = State::Escape,
            [0..0x20, ..] | b"\\" => return Err(Malformed::BadString(at)),
            _ => {
                if !self.utf8.whole() || !run.is_ascii() {
                    self.utf8.check(run).map_err(|offset| Malformed::BadString(at + offset as u64))?;
                }
                if self.wanted {
                    visitor.text(run);
                }
            }
        }
        Ok(())
    }

    fn step<V: Visitor>(&mut self, byte: u8, at: u64, visitor: &mut V) -> Result<(), Malformed> {
        let blank = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        self.state = match (self.state, byte) {
            (
                State::Value
                | State::FirstElement
                | State::FirstKey
                | State::Key
                | State::Colon
                | State::AfterValue
                | State::Done,
                _,
            ) if blank => return Ok(()),
            (State::FirstElement, b']') | (State::FirstKey, b'}') => return self.close(visitor),
            (State::Value | State::FirstElement, _) => return self.begin(byte, at, visitor),
            (State::FirstKey | State::Key, b'"') => self.begin_text(Role::Key, visitor),
            (State::Colon, b':') => State::Value,
            (State::AfterValue, b',') => match self.innermost() {
                Container::Object => State::Key,
                Container::Array => State::Value,
            },
            (State::AfterValue, b'}') if self.innermost() == Container::Object => return self.close(visitor),
            (State::AfterValue, b']') if self.innermost() == Container::Array => return self.close(visitor),
            (State::Escape, _) => self.escape(byte, at, visitor)?,
            (State::LowBackslash { high }, b'\\') => State::LowU { high },
            (State::LowU { high }, b'u') => State::Unicode { left: 4, value: 0, high },
            // `feed` has taken the others.
            (State::LowBackslash { .. } | State::LowU { .. }, _) => return Err(Malformed::BadString(at)),
            (State::Unicode { left, value, high }, _) => {
                self.unicode(left, value, high, byte, at, visitor)?
            }
            (State::Literal { rest, scalar }, _) => match rest.split_first() {
                Some((&expected, rest)) if expected == byte => {
                    if rest.is_empty() {
                        visitor.scalar(scalar);
                        self.after_value()
                    } else {
                        State::Literal { rest, scalar }
                    }
                }
                _ => return Err(Malformed::Unexpected(at)),
            },
            (State::Failed(error), _) => return Err(error),
            _ => return Err(Malformed::Unexpected(at)),
        };
        Ok(())
    }

    fn begin<V: Visitor>(&mut self, byte: u8, at: u64, visitor: &mut V) -> Result<(), Malformed> {
        self.state = match byte {
            b'"' => self.begin_text(Role::Value, visitor),
            b'{' | b'[' => {
                if self.depth == MAX_DEPTH {
                    return Err(Malformed::TooDeep(at));
                }
                self.depth += 1;
                self.kinds = self.kinds << 1 | u128::from(byte == b'{');
                let (container, state) = match byte {
                    b'{' => (Container::Object, State::FirstKey),
                    _ => (Container::Array, State::FirstElement),
                };
                visitor.open(container);
                state
            }
            b't' => State::Literal { rest: b"rue", scalar: Scalar::True },
            b'f' => State::Literal { rest: b"alse", scalar: Scalar::False },
            b'n' => State::Literal { rest: b"ull", scalar: Scalar::Null },
            b'-' | b'0'..=b'9' => {
                self.wanted = visitor.number();
                if self.wanted {
                    visitor.text(&[byte]);
                }
                State::Number(match byte {
                    b'-' => Digits::Minus,
                    b'0' => Digits::Zero,
                    _ => Digits::Whole,
                })
            }
            _ => return Err(Malformed::Unexpected(at)),
        };
        Ok(())
    }

    fn begin_text<V: Visitor>(&mut self, role: Role, visitor: &mut V) -> State {
        self.role = role;
        self.wanted = visitor.string(role);
        self.utf8 = Utf8::START;
        State::Text
    }

    fn close<V: Visitor>(&mut self, visitor: &mut V) -> Result<(), Malformed> {
        self.depth = self.depth.saturating_sub(1);
        self.kinds >>= 1;
        visitor.close();
        self.state = self.after_value();
        Ok(())
    }

    const fn innermost(&self) -> Container {
        if self.kinds & 1 == 1 { Container::Object } else { Container::Array }
    }

    const fn after_value(&self) -> State {
        if self.depth == 0 { State::Done } else { State::AfterValue }
    }

    fn escape<V: Visitor>(&mut self, byte: u8, at: u64, visitor: &mut V) -> Result<State, Malformed> {
        let decoded = match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => return Ok(State::Unicode { left: 4, value: 0, high: 0 }),
            _ => return Err(Malformed::BadString(at)),
        };
        if self.wanted {
            visitor.text(&[decoded]);
        }
        Ok(State::Text)
    }

    fn unicode<V: Visitor>(
        &mut self,
        left: u8,
        value: u16,
        high: u16,
        byte: u8,
        at: u64,
        visitor: &mut V,
    ) -> Result<State, Malformed> {
        let bad = Malformed::BadString(at);
        let digit = (byte as char).to_digit(16).ok_or(bad)? as u16;
        let value = value << 4 | digit;
        if left > 1 {
            return Ok(State::Unicode { left: left - 1, value, high });
        }
        let paired = high != 0 && matches!(value, 0xdc00..=0xdfff);
        if high != 0 && !paired {
            self.alone(visitor);
        }
        let point = match value {
            _ if paired => 0x10000 + (u32::from(high - 0xd800) << 10) + u32::from(value - 0xdc00),
            0xd800..=0xdbff => return Ok(State::LowBackslash { high: value }),
            0xdc00..=0xdfff => u32::from(char::REPLACEMENT_CHARACTER),
            _ => u32::from(value),
        };
        let character = char::from_u32(point).ok_or(bad)?;
        if self.wanted {
            visitor.text(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        Ok(State::Text)
    }

    /// A surrogate without its other half.
    fn alone<V: Visitor>(&self, visitor: &mut V) {
        if self.wanted {
            visitor.text(char::REPLACEMENT_CHARACTER.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }

    /// Whether the byte belonged to the number.
    fn digit<V: Visitor>(
        &mut self,
        digits: Digits,
        byte: u8,
        at: u64,
        visitor: &mut V,
    ) -> Result<bool, Malformed> {
        let next = match (digits, byte) {
            (Digits::Minus, b'0') => Digits::Zero,
            (Digits::Minus | Digits::Whole, b'0'..=b'9') => Digits::Whole,
            (Digits::Zero | Digits::Whole, b'.') => Digits::Point,
            (Digits::Point | Digits::Fraction, b'0'..=b'9') => Digits::Fraction,
            (Digits::Zero | Digits::Whole | Digits::Fraction, b'e' | b'E') => Digits::E,
            (Digits::E, b'+' | b'-') => Digits::Sign,
            (Digits::E | Digits::Sign | Digits::Exponent, b'0'..=b'9') => Digits::Exponent,
            _ => {
                self.end_number(digits, at, visitor)?;
                return Ok(false);
            }
        };
        if self.wanted {
            visitor.text(&[byte]);
        }
        self.state = State::Number(next);
        Ok(true)
    }

    fn end_number<V: Visitor>(&mut self, digits: Digits, at: u64, visitor: &mut V) -> Result<(), Malformed> {
        match digits {
            Digits::Zero | Digits::Whole | Digits::Fraction | Digits::Exponent => {
                visitor.scalar(Scalar::Number);
                self.state = self.after_value();
                Ok(())
            }
            Digits::Minus | Digits::Point | Digits::E | Digits::Sign => Err(Malformed::BadNumber(at)),
        }
    }
}

/// The length of the longest start of `text` without `"`, `\` and control characters; 1 if it starts with one of them.
/// Eight bytes at a time: nearly every byte of a large body is inside a string.
fn text_run(text: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let mut length = 0;
    let mut rest = text;
    while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        // A high bit in `found` marks a byte below 0x20, a quote or a backslash. Borrows can mark a byte too many
        // after a true one, never before it, so the lowest mark is exact.
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let quote = word ^ (ONES * b'"' as u64);
        let quote = quote.wrapping_sub(ONES) & !quote;
        let backslash = word ^ (ONES * b'\\' as u64);
        let backslash = backslash.wrapping_sub(ONES) & !backslash;
        let found = (control | quote | backslash) & HIGHS;
        if found != 0 {
            return (length + (found.trailing_zeros() / 8) as usize).max(1);
        }
        length += 8;
        rest = tail;
    }
    let tail =
        rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\').unwrap_or(rest.len());
    (length + tail).max(1)
}

/// UTF-8 checked across slices: how many continuation bytes are due, and between which bounds the next one must lie
/// (Unicode 15, table 3-7).
#[derive(Debug, Clone, Copy)]
struct Utf8 {
    due: u8,
    low: u8,
    high: u8,
}

impl Utf8 {
    const START: Utf8 = Utf8 { due: 0, low: 0x80, high: 0xbf };

    const fn whole(&self) -> bool {
        self.due == 0
    }

    /// The offset of the first byte that cannot follow, if any.
    fn check(&mut self, bytes: &[u8]) -> Result<(), usize> {
        for (offset, &byte) in bytes.iter().enumerate() {
            if self.due > 0 {
                if byte < self.low || byte > self.high {
                    return Err(offset);
                }
                *self = Utf8 { due: self.due - 1, ..Utf8::START };
                continue;
            }
            let (due, low, high) = match byte {
                0..=0x7f => (0, 0x80, 0xbf),
                0xc2..=0xdf => (1, 0x80, 0xbf),
                0xe0 => (2, 0xa0, 0xbf),
                0xe1..=0xec | 0xee..=0xef => (2, 0x80, 0xbf),
                0xed => (2, 0x80, 0x9f),
                0xf0 => (3, 0x90, 0xbf),
                0xf1..=0xf3 => (3, 0x80, 0xbf),
                0xf4 => (3, 0x80, 0x8f),
                _ => return Err(offset),
            };
            *self = Utf8 { due, low, high };
        }
        Ok(())
    }
}
