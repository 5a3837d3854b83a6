//! The `rules` of a listener's `mongo` section.

use std::sync::Arc;
use std::time::Duration;

use super::sense;
use weir_codecs::mongo::{Command, Labels};
use weir_config::{Field, Fields, Kind, Node, Table, Walk, words};
use weir_decide::rules::{Action, Disturbance, Globs, OperationClass, Operations, Rate, Rule, Selector};

/// One rule as the file has it. A fault refuses with an error of this number and these labels.
pub type RuleSettings = weir_measure::rules::RuleSettings<(i32, Labels)>;

/// The most rules of a listener.
const MOST: usize = 256;
const NAME: Kind = Kind::Text { max: 64 };
const PATTERN: Kind = Kind::Text { max: 255 };
const SHAPE: Kind = Kind::Text { max: 64 };
const PATTERNS: Kind = Kind::OneOrMany(&PATTERN);

words! {
    enum ClassWord {
        /// Reads data, changes nothing.
        Read = "read",
        /// May change data, collections or indexes; every command that is not known.
        Write = "write",
        /// Looks at or changes the server, its users, replication or sharding.
        Admin = "admin",
        /// Handshakes, authentication, sessions, transactions, ends of cursors.
        Session = "session",
    }
}

words! {
    enum LabelWord {
        /// Drivers send a retryable write once more.
        RetryableWrite = "RetryableWriteError",
        /// Nothing was written, says the server.
        NoWrites = "NoWritesPerformed",
        /// The whole transaction may be tried again.
        TransientTransaction = "TransientTransactionError",
        /// The commit may be tried again.
        UnknownCommit = "UnknownTransactionCommitResult",
        /// A change stream goes on with a new cursor.
        Resumable = "ResumableChangeStreamError",
        /// Drivers of 2026 wait before they try again.
        Overloaded = "SystemOverloadedError",
        /// With the one before: any command may be tried again.
        Retryable = "RetryableError",
    }
}

impl LabelWord {
    fn labels(self) -> Labels {
        match self {
            LabelWord::RetryableWrite => Labels::RETRYABLE_WRITE,
            LabelWord::NoWrites => Labels::NO_WRITES_PERFORMED,
            LabelWord::TransientTransaction => Labels::TRANSIENT_TRANSACTION,
            LabelWord::UnknownCommit => Labels::UNKNOWN_COMMIT_RESULT,
            LabelWord::Resumable => Labels::RESUMABLE_CHANGE_STREAM,
            LabelWord::Overloaded => Labels::SYSTEM_OVERLOADED,
            LabelWord::Retryable => Labels::RETRYABLE,
        }
    }
}

const CLASS: Kind = Kind::OneOf(ClassWord::CHOICES);
const LABEL: Kind = Kind::OneOf(LabelWord::CHOICES);

static MATCH: Table = Table {
    name: "mongo match",
    doc: "What a rule applies to: everything that is given has to fit. In names `*` stands for any characters and `?` for one; \
          an entry after `!` excludes. Commands of the class `session` are touched only by rules that name their command or \
          their class.",
    fields: &[
        Field::optional("database", PATTERNS, "The database."),
        Field::optional(
            "collection",
            PATTERNS,
            "The collection. `deny` and `read_only` go by all that a command states (`$lookup`, `$out`, views, renames, several \
             namespaces); what cannot be read is refused where it may be meant. The others go by the collection that the \
             command is about.",
        ),
        Field::optional(
            "command",
            PATTERNS,
            "The command by its name, without patterns; `_other` is every command that Weir does not know. An `explain` \
             counts as what it explains too.",
        ),
        Field::optional("class", Kind::OneOrMany(&CLASS), "What kind of command it is."),
        Field::optional(
            "application",
            PATTERNS,
            "What the application calls itself (`appName`), empty if it does not. It may call itself as it likes.",
        ),
        Field::optional(
            "shape",
            Kind::OneOrMany(&SHAPE),
            "The hash of the query's shape, as the slow operations show it. Compressed commands of more than 320 KiB are not \
             looked into, and denied where they might be of that shape.",
        ),
    ],
    rules: &[],
};

static DENY: Table = Table {
    name: "mongo deny",
    doc: "Refuses with error 13 (Unauthorized), which drivers report and do not retry.",
    fields: &[Field::optional("message", Kind::Text { max: 200 }, "What to tell the application.")],
    rules: &[],
};

static READ_ONLY: Table = Table {
    name: "mongo read_only",
    doc: "Refuses what changes data or the server, with error 13 (Unauthorized).",
    fields: &[Field::optional("message", Kind::Text { max: 200 }, "What to tell the application.")],
    rules: &[],
};

static RATE: Table = Table {
    name: "mongo rate",
    doc: "Refuses beyond a rate, with error 462 and the labels `SystemOverloadedError` and `RetryableError`: drivers of 2026 wait \
          and try again, older ones report it. The count is exact over all workers.",
    fields: &[
        Field::required(
            "count",
            Kind::Integer { min: 1, max: 1_000_000 },
            "How many in the long run, in each `per`.",
        ),
        Field::with_default("per", Kind::Duration { min: 1, max: 86_400_000 }, "1s", "In how long a time."),
        Field::optional(
            "burst",
            Kind::Integer { min: 1, max: 1_000_000 },
            "How many at once after a pause. Without it as many as `count`.",
        ),
    ],
    rules: &[],
};

static FAULT: Table = Table {
    name: "mongo fault",
    doc: "Disturbs operations on purpose, to see how an application takes it: at least one of `delay` and `code`.",
    fields: &[
        Field::with_default(
            "percent",
            Kind::Integer { min: 1, max: 100 },
            "100",
            "Of how many in a hundred.",
        ),
        Field::optional("delay", Kind::Duration { min: 1, max: 60_000 }, "Holds them back so long."),
        Field::optional(
            "code",
            Kind::Integer { min: 1, max: 2_147_483_647 },
            "Then answers with the error of this number, and the server never sees them.",
        ),
        Field::optional("labels", Kind::OneOrMany(&LABEL), "The error's labels; needs `code`."),
    ],
    rules: &[],
};

static RULE: Table = Table {
    name: "mongo rule",
    doc: "A rule. The first `deny` or `read_only` that applies refuses; otherwise every `rate` and `concurrency` that applies has \
          to have room; otherwise the shortest `deadline` holds.",
    fields: &[
        Field::required(
            "name",
            NAME,
            "Unique on its listener; what is told to who is refused, and under which it is counted. Its limits keep their \
             count over a reload by it.",
        ),
        Field::optional(
            "match",
            Kind::Table(&MATCH),
            "What it applies to; without it every command but those of the class `session`.",
        ),
        Field::optional("deny", Kind::Table(&DENY), "Refuses."),
        Field::optional("read_only", Kind::Table(&READ_ONLY), "Refuses what changes anything."),
        Field::optional("rate", Kind::Table(&RATE), "Refuses what is too often."),
        Field::optional(
            "concurrency",
            Kind::Integer { min: 1, max: 1_000_000 },
            "Refuses, like `rate`, while so many are under way already; long polls are not counted.",
        ),
        Field::optional(
            "deadline",
            Kind::Duration { min: 1, max: 3_600_000 },
            "After so long the application gets error 50 (MaxTimeMSExpired), and the connection to the server is closed so that \
             the server stops. A client that had authenticated has to connect anew. Writes of up to 320 KiB are sent on with the \
             deadline as their `maxTimeMS`, so that the server ends them itself. A getMore that waits for data has it beside its own `maxTimeMS` \
             (1 s where there is none), each reply of a stream has it anew, hellos that wait for news are exempt.",
        ),
        Field::optional("fault", Kind::Table(&FAULT), "Disturbs."),
        Field::with_default(
            "dry_run",
            Kind::Bool,
            "false",
            "Refuses, ends and disturbs nothing: what the rule would do is counted, of what the others let through.",
        ),
    ],
    rules: &[weir_config::Rule::ExactlyOne(&[
        "deny",
        "read_only",
        "rate",
        "concurrency",
        "deadline",
        "fault",
    ])],
};

const ITEM: Kind = Kind::Table(&RULE);

/// The field of the `mongo` section.
pub(crate) const FIELD: Field = Field::optional(
    "rules",
    Kind::List { item: &ITEM, min: 0, max: MOST },
    "Who may do what, how often and for how long. With any rule, what cannot be understood is refused or its connection closed, \
     and what a rule may be about waits until that is certain: all of it, where it says its database last.",
);

/// Reads the rules; `None` only when an error was recorded.
pub(crate) fn read(walk: &mut Walk<'_>, fields: &Fields<'_>) -> Option<Arc<[RuleSettings]>> {
    let Some(items) = fields.items(walk, "rules") else {
        // Not there, or wrong, which has been recorded.
        return Some(Arc::default());
    };
    let mut rules: Vec<RuleSettings> = Vec::new();
    let mut good = true;
    for node in items {
        match rule(walk, node) {
            Some(rule) if rules.iter().any(|other| other.rule.name == rule.rule.name) => {
                walk.error(node.child("name").unwrap_or(node), "another rule of this listener has this name");
                good = false;
            }
            Some(rule) => rules.push(rule),
            None => good = false,
        }
    }
    good.then(|| rules.into())
}

fn rule(walk: &mut Walk<'_>, node: &Node) -> Option<RuleSettings> {
    let fields = walk.fields(node, &RULE)?;
    let name = fields.text(walk, "name");
    let selector = match fields.child("match") {
        Some(_) => fields.table(walk, "match").and_then(|matched| {
            let selector = selector(walk, &matched)?;
            sense::check(walk, &matched, &selector, fields.child("read_only").is_some());
            Some(selector)
        }),
        None => Some(Selector::default()),
    };
    let (mut message, mut error) = (None, None);
    let mut action = None;
    if let Some(deny) = fields.table(walk, "deny") {
        message = deny.text(walk, "message");
        action = Some(Action::Deny);
    }
    if let Some(read_only) = fields.table(walk, "read_only") {
        message = read_only.text(walk, "message");
        action = Some(Action::ReadOnly);
    }
    if let Some(rate) = fields.table(walk, "rate") {
        let count = rate.number(walk, "count");
        let per: Option<Duration> = rate.duration(walk, "per");
        let burst = rate.number(walk, "burst");
        let rate = count.zip(per).map(|(count, per)| Rate::new(count, per, burst.unwrap_or(count)));
        action = rate.map(Action::Rate);
    }
    if let Some(limit) = fields.number(walk, "concurrency") {
        action = Some(Action::Concurrency(limit));
    }
    if let Some(limit) = fields.duration(walk, "deadline") {
        action = Some(Action::Deadline(limit));
    }
    if let Some(fault) = fields.table(walk, "fault") {
        let disturbance;
        (disturbance, error) = self::fault(walk, &fault)?;
        action = Some(Action::Fault(disturbance));
    }
    let dry_run = fields.flag(walk, "dry_run");
    let rule = Rule { name: name?, selector: selector?, action: action?, dry_run: dry_run? };
    Some(RuleSettings { rule, message, error })
}

fn fault(walk: &mut Walk<'_>, fields: &Fields<'_>) -> Option<(Disturbance, Option<(i32, Labels)>)> {
    let percent = fields.number(walk, "percent");
    let delay = fields.duration(walk, "delay");
    let code: Option<i32> = fields.number(walk, "code");
    let mut labels = Labels::NONE;
    let mut good = true;
    for node in fields.items(walk, "labels").unwrap_or_default() {
        match walk.word::<LabelWord>(node, &LABEL) {
            Some(word) => labels = labels.and(word.labels()),
            None => good = false,
        }
    }
    if fields.child("delay").is_none() && fields.child("code").is_none() {
        walk.error(fields.node(), "expected `delay` or `code` or both");
        return None;
    }
    if let Some(labels) = fields.child("labels")
        && fields.child("code").is_none()
    {
        walk.error(labels, "needs `code` beside it");
        return None;
    }
    let disturbance = Disturbance { percent: percent?, delay, refuse: code.is_some() };
    good.then_some((disturbance, code.map(|code| (code, labels))))
}

fn selector(walk: &mut Walk<'_>, fields: &Fields<'_>) -> Option<Selector> {
    let databases = globs(walk, fields, "database");
    let collections = globs(walk, fields, "collection");
    let applications = globs(walk, fields, "application");
    let operations = operations(walk, fields);
    let shapes = shapes(walk, fields);
    let mut classes = Some(0);
    for node in fields.items(walk, "class").unwrap_or_default() {
        let class = walk.word(node, &CLASS).map(|word| match word {
            ClassWord::Read => OperationClass::Read,
            ClassWord::Write => OperationClass::Write,
            ClassWord::Admin => OperationClass::Admin,
            ClassWord::Session => OperationClass::Session,
        });
        classes = classes.zip(class).map(|(classes, class)| classes | class as u8);
    }
    Some(Selector {
        databases: databases?,
        collections: collections?,
        applications: applications?,
        operations: operations?,
        classes: classes?,
        shapes: shapes?,
    })
}

/// Hashes as the slow operations show them.
fn shapes(walk: &mut Walk<'_>, fields: &Fields<'_>) -> Option<Arc<[u64]>> {
    let (mut shapes, mut good) = (Vec::new(), true);
    for node in fields.items(walk, "shape").unwrap_or_default() {
        let Some(text) = walk.text(node, &SHAPE) else {
            good = false;
            continue;
        };
        match u64::from_str_radix(&text, 16) {
            Ok(hash) if text.len() == 16 => shapes.push(hash),
            _ => {
                walk.error(node, "expected the 16 hexadecimal digits of a shape's hash, in quotes");
                good = false;
            }
        }
    }
    good.then(|| shapes.into())
}

fn globs(walk: &mut Walk<'_>, fields: &Fields<'_>, key: &str) -> Option<Globs> {
    let nodes = fields.items(walk, key).unwrap_or_default();
    let texts: Vec<_> = nodes.iter().map(|node| walk.text(node, &PATTERN)).collect();
    let texts: Option<Vec<Arc<str>>> = texts.into_iter().collect();
    Some(Globs::new(texts?.iter().map(|text| &**text)))
}

fn operations(walk: &mut Walk<'_>, fields: &Fields<'_>) -> Option<Operations> {
    let (mut wanted, mut excluded, mut good) = (Vec::new(), Vec::new(), true);
    for node in fields.items(walk, "command").unwrap_or_default() {
        let Some(text) = walk.text(node, &PATTERN) else {
            good = false;
            continue;
        };
        let (list, name) = match text.strip_prefix('!') {
            Some(name) => (&mut excluded, name),
            None => (&mut wanted, &*text),
        };
        match Command::from_name(name.as_bytes()) {
            Command::Other if name != Command::Other.name() => {
                let known = Command::ALL.iter().map(|command| command.name());
                walk.unlisted(node, name, "a command, or `_other` for all that Weir does not know", known);
                good = false;
            }
            command => list.push(command.id()),
        }
    }
    good.then(|| Operations::new(&wanted, &excluded))
}
