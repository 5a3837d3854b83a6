//! Conditions of rules that can match nothing a client can send, and actions that can refuse nothing that is matched. A rule that
//! never applies is worse than none, since somebody relies on it: each is an error that says what was probably meant.

use weir_codecs::mongo::{Class, Command};
use weir_config::{Fields, Kind, Node, Walk};
use weir_decide::rules::{OperationClass, Selector, glob};

/// The longest names (MongoDB's limits: 63 bytes of a database, 255 of a namespace, 128 of an `appName`).
const MAX_DATABASE: usize = 63;
const MAX_APPLICATION: usize = 128;

const PATTERN: Kind = Kind::Text { max: 255 };

/// What is written in a list, with the node that it stands in.
type Written<'n> = Vec<(&'n Node, String)>;

/// What `fields`, the `match` of a rule, asks for. `changes_only`: the rule is `read_only`.
pub(super) fn check(walk: &mut Walk<'_>, fields: &Fields<'_>, selector: &Selector, read_only: bool) {
    let databases = written(walk, fields, "database");
    for (node, name) in &databases {
        database(walk, node, name);
    }
    for (node, name) in &written(walk, fields, "collection") {
        collection(walk, node, name, &databases);
    }
    for (node, name) in &written(walk, fields, "application") {
        if letters(name) > MAX_APPLICATION {
            walk.error(node, "never matches: an `appName` has at most 128 bytes");
        }
    }
    for key in ["database", "collection", "application"] {
        excluded(walk, fields, key);
    }
    commands(walk, fields, selector, read_only);
}

fn written<'n>(walk: &mut Walk<'_>, fields: &Fields<'n>, key: &str) -> Written<'n> {
    let nodes = fields.items(walk, key).unwrap_or_default();
    let text = |node: &'n Node| Some((node, walk.text(node, &PATTERN)?.to_string()));
    nodes.iter().filter_map(text).collect()
}

/// A pattern without the `!` before it.
fn bare(pattern: &str) -> &str {
    pattern.strip_prefix('!').unwrap_or(pattern)
}

/// The bytes that a name which fits has at least.
fn letters(pattern: &str) -> usize {
    bare(pattern).bytes().filter(|b| *b != b'*').count()
}

fn database(walk: &mut Walk<'_>, node: &Node, pattern: &str) {
    let name = bare(pattern);
    if name.is_empty() {
        return walk.error(node, "never matches: a database has a name");
    }
    if let Some((database, collection)) = name.split_once('.') {
        let hint = format!("write `database: \"{database}\", collection: \"{collection}\"`");
        return walk.error(node, format!("never matches: a database's name has no `.` in it; {hint}"));
    }
    let odd = name.chars().find(|c| matches!(c, '/' | '\\' | '"' | ' ' | '\0'));
    if let Some(odd) = odd {
        return walk.error(node, format!("never matches: a database's name has no {odd:?} in it"));
    }
    if name.contains('$') && name != "$external" {
        return walk.error(node, "never matches: a database's name has no `$` in it, but for `$external`");
    }
    if letters(pattern) > MAX_DATABASE {
        walk.error(node, "never matches: a database's name has at most 63 bytes");
    }
}

fn collection(walk: &mut Walk<'_>, node: &Node, pattern: &str, databases: &Written<'_>) {
    let name = bare(pattern);
    let wanted =
        databases.iter().map(|(_, database)| &**database).filter(|database| !database.starts_with('!'));
    for database in wanted {
        if let Some(rest) = name.strip_prefix(database).and_then(|rest| rest.strip_prefix('.')) {
            let hint = format!("write `collection: \"{rest}\"`");
            return walk.error(node, format!("a collection is named without its database; {hint}"));
        }
    }
    if name.contains('\0') || name.starts_with('.') {
        return walk
            .error(node, "never matches: a collection's name does not begin with `.`, and has no NUL in it");
    }
    if name.contains('$') && !name.starts_with("$cmd") && name != "oplog.$main" {
        walk.error(node, "never matches: a collection's name has no `$` in it");
    }
}

/// Where all that is wanted is excluded again.
fn excluded(walk: &mut Walk<'_>, fields: &Fields<'_>, key: &str) {
    let all = written(walk, fields, key);
    let without: Vec<&str> = all.iter().filter_map(|(_, pattern)| pattern.strip_prefix('!')).collect();
    let wanted: Vec<&str> =
        all.iter().map(|(_, pattern)| &**pattern).filter(|pattern| !pattern.starts_with('!')).collect();
    // A pattern that stands among its own names is covered by what covers it as a name.
    let gone = |pattern: &&str| without.iter().any(|other| glob(other.as_bytes(), pattern.as_bytes()));
    let nothing = if wanted.is_empty() { without.contains(&"*") } else { wanted.iter().all(gone) };
    if let (true, Some(node)) = (nothing && !without.is_empty(), fields.child(key)) {
        walk.error(node, "never matches: all that is wanted is excluded again");
    }
}

/// The classes that a command may be of.
fn classes_of(command: Command) -> u8 {
    let both = OperationClass::Read as u8 | OperationClass::Write as u8;
    match command {
        // By what it explains; by its stages and its output.
        Command::Explain => both | OperationClass::Admin as u8 | OperationClass::Session as u8,
        Command::Aggregate | Command::MapReduce => both,
        command => match command.class() {
            Class::Read => OperationClass::Read as u8,
            Class::Write => OperationClass::Write as u8,
            Class::Admin => OperationClass::Admin as u8,
            Class::Session => OperationClass::Session as u8,
        },
    }
}

fn commands(walk: &mut Walk<'_>, fields: &Fields<'_>, selector: &Selector, read_only: bool) {
    let (mut wanted, mut without) = (Vec::new(), Vec::new());
    for (_, name) in written(walk, fields, "command") {
        let list = if name.starts_with('!') { &mut without } else { &mut wanted };
        list.push(Command::from_name(bare(&name).as_bytes()));
    }
    if let Some(node) = fields.child("command")
        && !wanted.is_empty()
        && wanted.iter().all(|command| without.contains(command))
    {
        return walk.error(node, "never matches: all that is wanted is excluded again");
    }
    let of_commands = wanted.iter().fold(0, |all, command| all | classes_of(*command));
    if let Some(node) = fields.child("class")
        && !wanted.is_empty()
        && of_commands & selector.classes == 0
    {
        let names: Vec<&str> = wanted.iter().map(|command| command.name()).collect();
        return walk.error(node, format!("never matches: no `{}` is of this class", names.join("`, `")));
    }
    let all = match (selector.classes, wanted.is_empty()) {
        (0, true) => return,
        (classes, true) => classes,
        (0, false) => of_commands,
        (classes, false) => classes & of_commands,
    };
    let harmless = OperationClass::Read as u8 | OperationClass::Session as u8;
    if read_only && all & !harmless == 0 {
        walk.error(fields.node(), "refuses nothing: `read_only` refuses what changes anything, and none of this does; `deny` refuses it");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use crate::Mongo;

    fn parsed(rule: &str) -> Result<(), String> {
        let text = format!(
            "listeners: {{ l: {{ bind: '127.0.0.1:1', mongo: {{ cluster: c, rules: [{{ name: r, {rule} }}] }} }} }}\n\
             clusters: {{ c: {{ endpoints: ['127.0.0.1:2'] }} }}"
        );
        weir_config::parse(&text, "weir.yaml", &[&Mongo]).map(drop).map_err(|errors| errors.to_string())
    }

    #[test]
    fn what_can_never_match_is_an_error() {
        for (rule, part) in [
            ("match: { database: a.b }, deny: {}", "write `database: \"a\", collection: \"b\"`"),
            ("match: { database: 'shop.*' }, deny: {}", "no `.` in it"),
            ("match: { database: '!a.b' }, deny: {}", "no `.` in it"),
            ("match: { database: 'a b' }, deny: {}", "in it"),
            ("match: { database: a/b }, deny: {}", "in it"),
            ("match: { database: 'a$b' }, deny: {}", "no `$` in it"),
            ("match: { database: '' }, deny: {}", "has a name"),
            (
                "match: { database: 0123456789012345678901234567890123456789012345678901234567890123x }, deny: {}",
                "63 bytes",
            ),
            (
                "match: { database: shop, collection: shop.secrets }, deny: {}",
                "write `collection: \"secrets\"`",
            ),
            ("match: { database: [a, shop], collection: ['!shop.x'] }, deny: {}", "without its database"),
            ("match: { collection: .a }, deny: {}", "does not begin"),
            ("match: { collection: 'a$b' }, deny: {}", "no `$` in it"),
            ("match: { collection: [a, '!a'] }, deny: {}", "excluded again"),
            ("match: { database: [ab, ac, '!a*'] }, deny: {}", "excluded again"),
            ("match: { application: ['!*'] }, deny: {}", "excluded again"),
            ("match: { command: [find, '!find'] }, deny: {}", "excluded again"),
            ("match: { command: finde }, deny: {}", "did you mean `find`?"),
            (
                "match: { class: read, command: [insert, drop] }, deny: {}",
                "no `insert`, `drop` is of this class",
            ),
            ("match: { class: session, command: find }, deny: {}", "of this class"),
            ("match: { class: read }, read_only: {}", "refuses nothing"),
            ("match: { class: [read, session] }, read_only: {}", "refuses nothing"),
            ("match: { command: [find, count] }, read_only: {}", "refuses nothing"),
            ("match: { class: read, command: aggregate }, read_only: {}", "refuses nothing"),
        ] {
            let error = parsed(rule).expect_err(rule);
            assert!(error.contains(part), "{rule}: {error}");
        }
    }

    #[test]
    fn what_can_match_passes() {
        for rule in [
            "deny: {}",
            "match: { database: ['shop*', '!shop_tmp', $external, admin] }, deny: {}",
            "match: { collection: [fs.files, 'system.*', '$cmd.aggregate', ''] }, deny: {}",
            "match: { database: shop, collection: [shopping.list, shops] }, deny: {}",
            "match: { database: ['!shop'], collection: shop.secrets }, deny: {}",
            "match: { collection: ['*', '!scratch'] }, read_only: {}",
            "match: { class: read, command: [aggregate, insert] }, deny: {}",
            "match: { class: write, command: [aggregate, mapReduce, _other] }, deny: {}",
            "match: { class: admin, command: explain }, deny: {}",
            "match: { class: [read, write] }, read_only: {}",
            "match: { command: aggregate }, read_only: {}",
            "match: { command: ['!find'] }, read_only: {}",
            "match: { class: session, command: ping }, rate: { count: 1 }",
            "match: { application: ['', 'report*'] }, deny: {}",
        ] {
            assert_eq!(parsed(rule), Ok(()), "{rule}");
        }
    }
}
