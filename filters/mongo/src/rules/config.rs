//! The `rules` of a listener's `mongo` section.

use std::sync::Arc;

use super::sense;
use weir_codecs::mongo::{Command, Labels};
use weir_config::{Field, Fields, Kind, Node, Table, Walk, words};
use weir_decide::rules::file::{self, Does, Named};
use weir_decide::rules::{Action, Disturbance, Rule, Selector};

/// One rule as the file has it. A fault refuses with an error of this number and these labels.
pub type RuleSettings = weir_measure::rules::RuleSettings<(i32, Labels)>;

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

const LABEL: Kind = Kind::OneOf(LabelWord::CHOICES);

static MATCH: Table = Table {
    name: "mongo match",
    doc: "What a rule applies to: everything that is given has to fit. In names `*` stands for any characters and `?` for one; \
          an entry after `!` excludes. Commands of the class `session` are touched only by rules that name their command or \
          their class.",
    fields: &[
        Field::optional("database", file::PATTERNS, "The database."),
        Field::optional(
            "collection",
            file::PATTERNS,
            "The collection. `deny` and `read_only` go by all that a command states (`$lookup`, `$out`, views, renames, several \
             namespaces); what cannot be read is refused where it may be meant. The others go by the collection that the \
             command is about.",
        ),
        Field::optional(
            "command",
            file::PATTERNS,
            "The command by its name, without patterns; `_other` is every command that Weir does not know. An `explain` \
             counts as what it explains too.",
        ),
        Field::optional("class", file::CLASSES, "What kind of command it is."),
        Field::optional(
            "application",
            file::PATTERNS,
            "What the application calls itself (`appName`), empty if it does not. It may call itself as it likes.",
        ),
        Field::optional(
            "shape",
            file::SHAPES,
            "The hash of the query's shape, as the slow operations show it. Compressed commands of more than 320 KiB are not \
             looked into, and denied where they might be of that shape.",
        ),
    ],
    rules: &[],
};

static DENY: Table = Table {
    name: "mongo deny",
    doc: "Refuses with error 13 (Unauthorized), which drivers report and do not retry.",
    fields: &[file::MESSAGE],
    rules: &[],
};

static READ_ONLY: Table = Table {
    name: "mongo read_only",
    doc: "Refuses what changes data or the server, with error 13 (Unauthorized).",
    fields: &[file::MESSAGE],
    rules: &[],
};

static RATE: Table = Table {
    name: "mongo rate",
    doc: "Refuses beyond a rate, with error 462 and the labels `SystemOverloadedError` and `RetryableError`: drivers of 2026 wait \
          and try again, older ones report it. The count is exact over all workers.",
    fields: &[file::COUNT, file::PER, file::BURST],
    rules: &[],
};

static FAULT: Table = Table {
    name: "mongo fault",
    doc: "Disturbs operations on purpose, to see how an application takes it: at least one of `delay` and `code`.",
    fields: &[
        file::PERCENT,
        file::DELAY,
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
            file::NAME,
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
    Kind::List { item: &ITEM, min: 0, max: file::MOST },
    "Who may do what, how often and for how long. With any rule, what cannot be understood is refused or its connection closed, \
     and what a rule may be about waits until that is certain: all of it, where it says its database last.",
);

/// Reads the rules; `None` only when an error was recorded.
pub(crate) fn read(walk: &mut Walk<'_>, fields: &Fields<'_>) -> Option<Arc<[RuleSettings]>> {
    file::list(walk, fields, "rules", rule, |rule| &rule.rule.name)
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
    let Does { mut action, message } = file::action(walk, &fields);
    let mut error = None;
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
    let databases = file::globs(walk, fields, "database");
    let collections = file::globs(walk, fields, "collection");
    let applications = file::globs(walk, fields, "application");
    let operations = file::operations(walk, fields, "command", &COMMANDS);
    let shapes = file::shapes(walk, fields, "shape");
    let classes = file::classes(walk, fields, "class");
    Some(Selector {
        databases: databases?,
        collections: collections?,
        applications: applications?,
        operations: operations?,
        classes: classes?,
        shapes: shapes?,
    })
}

/// The commands by name.
static COMMANDS: Named = Named {
    expected: "a command, or `_other` for all that Weir does not know",
    number: |name| match Command::from_name(name.as_bytes()) {
        Command::Other if name != Command::Other.name() => None,
        command => Some(command.id()),
    },
    known: || Box::new(Command::ALL.iter().map(|command| command.name())),
};
