//! As much of PartiQL as DynamoDB speaks, read while the text arrives: which table and index a statement is about, and
//! whether it only reads.
//!
//! ```text
//! SELECT .. FROM T[.I] ..    INSERT INTO T VALUE ..    UPDATE T ..    DELETE FROM T ..    EXISTS(SELECT ..)
//! ```
//!
//! Names are bare or in double quotes (then possibly an ARN), keywords are of any case. Whatever does not have exactly
//! this shape (joins, sub-queries, a second statement, Ion literals) is "not parsed" rather than guessed at, so that a
//! rule about tables cannot be led past by a clever text.

use super::table::{MAX_ARN, TableRef, cleared, name};

/// What one statement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement<'a> {
    /// The table, and the index if it reads one.
    pub table: TableRef<'a>,
    /// Whether it only reads.
    pub reads: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lex {
    Between,
    Word,
    Quoted,
    /// After a `"` inside a quoted name: its end, or the first of two.
    QuotedEnd,
    Literal,
    Dash,
    LineComment,
    Slash,
    BlockComment,
    BlockStar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Start,
    ExistsOpen,
    ExistsSelect,
    SelectList,
    Into,
    From,
    Table,
    AfterTable,
    Index,
    /// After the table of a SELECT, where an alias may stand, and before WHERE.
    Alias,
    Tail,
    Ended,
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Select,
    Insert,
    Update,
    Delete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keyword {
    Select,
    Insert,
    Update,
    Delete,
    Exists,
    From,
    Into,
    Where,
    Order,
    /// A word that only appears in statements we do not follow, or that can never be a table's bare name.
    Foreign,
}

impl Keyword {
    fn of(word: &[u8]) -> Option<Keyword> {
        const WORDS: &[(&[u8], Keyword)] = &[
            (b"SELECT", Keyword::Select),
            (b"INSERT", Keyword::Insert),
            (b"UPDATE", Keyword::Update),
            (b"DELETE", Keyword::Delete),
            (b"EXISTS", Keyword::Exists),
            (b"FROM", Keyword::From),
            (b"INTO", Keyword::Into),
            (b"WHERE", Keyword::Where),
            (b"ORDER", Keyword::Order),
            (b"JOIN", Keyword::Foreign),
            (b"UNION", Keyword::Foreign),
            (b"INTERSECT", Keyword::Foreign),
            (b"EXCEPT", Keyword::Foreign),
            (b"UNPIVOT", Keyword::Foreign),
            (b"REPLACE", Keyword::Foreign),
            (b"UPSERT", Keyword::Foreign),
        ];
        WORDS.iter().find(|(text, _)| text.eq_ignore_ascii_case(word)).map(|&(_, keyword)| keyword)
    }
}

/// Reads one statement at a time; [`clear`](Self::clear) makes it ready for the next. Its buffers keep their memory,
/// at most three times 1 KiB.
#[derive(Debug, Clone)]
pub struct StatementScanner {
    lex: Lex,
    phase: Phase,
    verb: Verb,
    /// Open parentheses, brackets and braces.
    nesting: u32,
    /// The nesting at which the statement itself stands: 1 inside `EXISTS(`.
    base: u32,
    token: Vec<u8>,
    /// The token is longer than any name.
    overlong: bool,
    table: Vec<u8>,
    index: Vec<u8>,
    has_index: bool,
}

impl Default for StatementScanner {
    fn default() -> Self {
        Self::new()
    }
}

impl StatementScanner {
    /// One that expects a statement.
    pub const fn new() -> Self {
        StatementScanner {
            lex: Lex::Between,
            phase: Phase::Start,
            verb: Verb::Select,
            nesting: 0,
            base: 0,
            token: Vec::new(),
            overlong: false,
            table: Vec::new(),
            index: Vec::new(),
            has_index: false,
        }
    }

    /// Forgets the statement.
    pub fn clear(&mut self) {
        let StatementScanner { token, table, index, .. } = std::mem::take(self);
        let (token, table, index) = (cleared(token), cleared(table), cleared(index));
        *self = StatementScanner { token, table, index, ..StatementScanner::new() };
    }

    /// Reads the next part of the text.
    pub fn feed(&mut self, text: &[u8]) {
        for &byte in text {
            if self.phase == Phase::Failed {
                return;
            }
            self.byte(byte);
        }
    }

    /// The text has ended. `None`: not a statement that can be followed.
    pub fn finish(&mut self) -> Option<Statement<'_>> {
        match self.lex {
            Lex::Word | Lex::QuotedEnd => self.end_token(),
            Lex::Dash => self.punctuation(b'-'),
            Lex::Slash => self.punctuation(b'/'),
            Lex::Between | Lex::LineComment => {}
            Lex::Quoted | Lex::Literal | Lex::BlockComment | Lex::BlockStar => self.phase = Phase::Failed,
        }
        self.lex = Lex::Between;
        // An INSERT without a value, an UPDATE without an assignment are refused by DynamoDB; their table is clear.
        let ended = matches!(self.phase, Phase::AfterTable | Phase::Alias | Phase::Tail | Phase::Ended);
        if !ended || self.nesting != 0 {
            return None;
        }
        let mut table = TableRef::parse(&self.table)?;
        if self.has_index {
            table.index = Some(name(&self.index)?);
        }
        Some(Statement { table, reads: self.verb == Verb::Select })
    }

    fn byte(&mut self, byte: u8) {
        match (self.lex, byte) {
            (Lex::Word, _) if is_word(byte) => self.push(byte),
            (Lex::Word, _) => {
                self.end_token();
                self.between(byte);
            }
            (Lex::Quoted, b'"') => self.lex = Lex::QuotedEnd,
            (Lex::Quoted, _) => self.push(byte),
            (Lex::QuotedEnd, b'"') => {
                self.push(byte);
                self.lex = Lex::Quoted;
            }
            (Lex::QuotedEnd, _) => {
                self.end_token();
                self.between(byte);
            }
            // A doubled quote ends and begins a literal, which comes to the same.
            (Lex::Literal, b'\'') => self.lex = Lex::Between,
            (Lex::Literal, _) => {}
            (Lex::Dash, b'-') => self.lex = Lex::LineComment,
            (Lex::Slash, b'*') => self.lex = Lex::BlockComment,
            (Lex::Dash | Lex::Slash, _) => {
                self.punctuation(if self.lex == Lex::Dash { b'-' } else { b'/' });
                self.between(byte);
            }
            (Lex::LineComment, b'\n' | b'\r') => self.lex = Lex::Between,
            (Lex::LineComment, _) => {}
            (Lex::BlockComment | Lex::BlockStar, b'*') => self.lex = Lex::BlockStar,
            (Lex::BlockStar, b'/') => self.lex = Lex::Between,
            (Lex::BlockComment | Lex::BlockStar, _) => self.lex = Lex::BlockComment,
            (Lex::Between, _) => self.between(byte),
        }
    }

    fn between(&mut self, byte: u8) {
        self.lex = match byte {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0c => Lex::Between,
            b'"' => Lex::Quoted,
            b'\'' => {
                self.literal();
                Lex::Literal
            }
            b'-' => Lex::Dash,
            b'/' => Lex::Slash,
            _ if is_word(byte) => {
                self.push(byte);
                Lex::Word
            }
            _ => {
                self.punctuation(byte);
                Lex::Between
            }
        };
    }

    fn push(&mut self, byte: u8) {
        if self.token.len() < MAX_ARN {
            self.token.push(byte);
        } else {
            self.overlong = true;
        }
    }

    /// A bare word or a quoted name is complete in `token`.
    fn end_token(&mut self) {
        let bare = self.lex == Lex::Word;
        let keyword = if bare && !self.overlong { Keyword::of(&self.token) } else { None };
        self.phase = match keyword {
            Some(keyword) => self.keyword(keyword),
            None => self.identifier(bare),
        };
        self.token.clear();
        self.overlong = false;
    }

    fn keyword(&mut self, keyword: Keyword) -> Phase {
        let at_base = self.nesting == self.base;
        match (self.phase, keyword) {
            (Phase::Start | Phase::ExistsSelect, Keyword::Select) => {
                self.begin(Verb::Select, Phase::SelectList)
            }
            (Phase::Start, Keyword::Insert) => self.begin(Verb::Insert, Phase::Into),
            (Phase::Start, Keyword::Update) => self.begin(Verb::Update, Phase::Table),
            (Phase::Start, Keyword::Delete) => self.begin(Verb::Delete, Phase::From),
            (Phase::Start, Keyword::Exists) => Phase::ExistsOpen,
            (Phase::Into, Keyword::Into) => Phase::Table,
            (Phase::From, Keyword::From) => Phase::Table,
            (Phase::SelectList, Keyword::From) if at_base => Phase::Table,
            (Phase::AfterTable | Phase::Alias, Keyword::Where | Keyword::Order) => Phase::Tail,
            (Phase::Tail, Keyword::Where | Keyword::Order) => Phase::Tail,
            _ => Phase::Failed,
        }
    }

    fn begin(&mut self, verb: Verb, phase: Phase) -> Phase {
        self.verb = verb;
        phase
    }

    /// A name, or a word that is no keyword of ours (a function, an alias, a number).
    fn identifier(&mut self, bare: bool) -> Phase {
        match self.phase {
            Phase::Table | Phase::Index if self.overlong => Phase::Failed,
            Phase::Table | Phase::Index if bare && self.token.first().is_some_and(u8::is_ascii_digit) => {
                Phase::Failed
            }
            Phase::Table => {
                self.table.extend_from_slice(&self.token);
                Phase::AfterTable
            }
            Phase::Index => {
                self.index.extend_from_slice(&self.token);
                self.has_index = true;
                Phase::Alias
            }
            Phase::AfterTable if self.verb != Verb::Select => Phase::Tail,
            Phase::AfterTable | Phase::Alias => Phase::Alias,
            Phase::SelectList | Phase::Tail => self.phase,
            _ => Phase::Failed,
        }
    }

    fn literal(&mut self) {
        if !matches!(self.phase, Phase::SelectList | Phase::Tail) {
            self.phase = Phase::Failed;
        }
    }

    fn punctuation(&mut self, byte: u8) {
        self.phase = match (self.phase, byte) {
            (_, b'`') => Phase::Failed,
            (Phase::ExistsOpen, b'(') => {
                self.nesting = 1;
                self.base = 1;
                Phase::ExistsSelect
            }
            (Phase::AfterTable, b'.') if self.verb == Verb::Select => Phase::Index,
            (Phase::SelectList | Phase::Tail, b'(' | b'[' | b'{') => {
                self.nesting = self.nesting.saturating_add(1);
                self.phase
            }
            // Closes the parenthesis of EXISTS.
            (Phase::AfterTable | Phase::Alias | Phase::Tail, b')') if self.base == 1 && self.nesting == 1 => {
                self.nesting = 0;
                Phase::Ended
            }
            (Phase::SelectList | Phase::Tail, b')' | b']' | b'}') if self.nesting > self.base => {
                self.nesting -= 1;
                self.phase
            }
            (Phase::AfterTable | Phase::Alias | Phase::Tail, b';') if self.nesting == 0 => Phase::Ended,
            (Phase::Ended, b';') => Phase::Ended,
            (Phase::SelectList | Phase::Tail, b';' | b')' | b']' | b'}') => Phase::Failed,
            (Phase::SelectList | Phase::Tail, _) => self.phase,
            _ => Phase::Failed,
        };
    }
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Expected = Option<(&'static str, Option<&'static str>, bool)>;

    const CASES: &[(&str, Expected)] = &[
        ("SELECT * FROM Music", Some(("Music", None, true))),
        ("select * from \"Music\" where Artist='x'", Some(("Music", None, true))),
        ("SELECT * FROM \"Music\".\"ByYear\" WHERE y = ?", Some(("Music", Some("ByYear"), true))),
        ("SELECT * FROM Music.ByYear", Some(("Music", Some("ByYear"), true))),
        ("SELECT * FROM Music . ByYear ORDER BY a, b DESC;", Some(("Music", Some("ByYear"), true))),
        (
            "SELECT a, b.c[0], {'k': v} FROM \"a-b.c\" AS m WHERE m.x IN ['a','b']",
            Some(("a-b.c", None, true)),
        ),
        ("SELECT \"from\", size(a) FROM Music WHERE contains(a, 'FROM Other')", Some(("Music", None, true))),
        (
            "SELECT * FROM \"arn:aws:dynamodb:x:1:table/Music\".\"ByYear\"",
            Some(("Music", Some("ByYear"), true)),
        ),
        ("SELECT * FROM \"arn:aws:dynamodb:x:1:table/Music/index/I_1\"", Some(("Music", Some("I_1"), true))),
        (
            "INSERT INTO \"Music\" VALUE {'Artist':'a','Title':'SELECT x FROM y'}",
            Some(("Music", None, false)),
        ),
        ("insert into Music value ?", Some(("Music", None, false))),
        (
            "UPDATE \"Music\" SET n = n + 1 REMOVE b WHERE pk='1' RETURNING ALL OLD *",
            Some(("Music", None, false)),
        ),
        ("UPDATE Music SET a='it''s' SET b = 2 WHERE pk = 'x'", Some(("Music", None, false))),
        ("DELETE FROM \"Music\" WHERE pk = ? AND sk = ?", Some(("Music", None, false))),
        ("EXISTS(SELECT * FROM \"Music\" WHERE pk = '1')", Some(("Music", None, true))),
        ("EXISTS ( SELECT * FROM Music.Idx )", Some(("Music", Some("Idx"), true))),
        ("-- a comment FROM Other\nSELECT * /* FROM x */ FROM Music", Some(("Music", None, true))),
        ("SELECT a - b / c FROM Music", Some(("Music", None, true))),
        ("\n\tSELECT\n*\nFROM\nMusic\nWHERE a=1\n", Some(("Music", None, true))),
        ("SELECT * FROM Music;;", Some(("Music", None, true))),
        ("", None),
        ("   ", None),
        ("SELECT", None),
        ("SELECT *", None),
        ("SELECT * FROM", None),
        ("SELECT * FROM WHERE a = 1", None),
        ("SELECT * FROM ab", None),
        ("SELECT * FROM 'Music'", None),
        ("SELECT * FROM \"Music", None),
        ("SELECT * FROM \"Mu\"\"sic\"", None),
        ("SELECT * FROM 1Music", None),
        ("SELECT * FROM Müsic", None),
        ("SELECT * FROM Music.a.b", None),
        ("SELECT * FROM Music[0]", None),
        ("SELECT * FROM Music, Books", None),
        ("SELECT * FROM Music AS m, Books AS b", None),
        ("SELECT * FROM Music JOIN Books ON 1 = 1", None),
        ("SELECT * FROM (SELECT * FROM Music)", None),
        ("SELECT * FROM Music WHERE a IN (SELECT b FROM Books)", None),
        ("SELECT * FROM Music; DELETE FROM Books", None),
        ("SELECT * FROM Music; x", None),
        ("SELECT EXTRACT(YEAR FROM t) FROM Music", None),
        ("SELECT `x` FROM Music", None),
        ("SELECT * FROM Music WHERE a = 'x", None),
        ("SELECT * FROM Music /* open", None),
        ("SELECT * FROM Music WHERE (a = 1", None),
        ("SELECT * FROM Music WHERE a = 1)", None),
        ("SELECT a) FROM Music", None),
        ("EXISTS(SELECT * FROM Music", None),
        ("EXISTS(DELETE FROM Music)", None),
        ("EXISTS SELECT * FROM Music", None),
        ("INSERT Music VALUE ?", None),
        ("UPDATE Music.Idx SET a = 1", None),
        ("DELETE Music", None),
        ("REPLACE INTO Music VALUE ?", None),
        ("DROP TABLE Music", None),
        ("UPDATE SELECT SET a=1", None),
    ];

    fn statement(scanner: &mut StatementScanner) -> Option<(String, Option<String>, bool)> {
        scanner
            .finish()
            .map(|found| (found.table.table.to_owned(), found.table.index.map(str::to_owned), found.reads))
    }

    #[test]
    fn statements_whole_and_byte_by_byte() {
        let mut scanner = StatementScanner::new();
        for (text, expected) in CASES {
            let expected =
                expected.map(|(table, index, reads)| (table.to_owned(), index.map(str::to_owned), reads));
            scanner.clear();
            scanner.feed(text.as_bytes());
            assert_eq!(statement(&mut scanner), expected, "{text}");
            scanner.clear();
            text.as_bytes().chunks(1).for_each(|byte| scanner.feed(byte));
            assert_eq!(statement(&mut scanner), expected, "byte by byte: {text}");
        }
    }

    #[test]
    fn endless_tokens_hold_no_memory() {
        let mut scanner = StatementScanner::new();
        scanner.feed(b"SELECT * FROM \"");
        for _ in 0..10_000 {
            scanner.feed(b"tttttttt");
        }
        scanner.feed(b"\"");
        assert_eq!(scanner.finish(), None);
        assert!(scanner.token.capacity() <= 2 * MAX_ARN && scanner.table.is_empty());
    }
}
