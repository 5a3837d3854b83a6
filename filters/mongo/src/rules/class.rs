//! A request as rules see it: what it does, and what it may touch besides.
//!
//! | class | which |
//! |---|---|
//! | read | find, getMore, count, distinct, aggregate; the lists and sizes of collections |
//! | write | inserts, updates, deletes, bulkWrite, findAndModify; collections and indexes; aggregate with `$out` or `$merge`, mapReduce with output; what nobody knows |
//! | admin | the server, its users, replication and sharding; `killAllSessions` |
//! | session | handshakes, authentication, sessions, transactions, killCursors, ping |
//!
//! `explain` is of the class of what it explains. The whole table is `weir_codecs::mongo::Command`.

use std::time::Duration;

use weir_codecs::mongo::{Class, Clear, Command, Namespace, OpCode, RequestHead};
use weir_decide::rules::{Foreseen, OperationClass, Subject, Touch};

use super::copies;

/// How long a server makes a getMore wait that does not say how long.
const AWAITS: Duration = Duration::from_secs(1);

/// What rules look at, but for what it touches; `None` for what nobody can class.
pub(super) fn subject<'a>(head: &'a RequestHead, application: &'a [u8], parked: bool) -> Option<Subject<'a>> {
    let command = head.command;
    let class = match head.op_code {
        OpCode::KILL_CURSORS => OperationClass::Session,
        _ if !head.has_command() => return None,
        _ => match head.class() {
            Class::Read => OperationClass::Read,
            Class::Write => OperationClass::Write,
            Class::Admin => OperationClass::Admin,
            Class::Session => OperationClass::Session,
        },
    };
    let inner = head.explained.unwrap_or(command);
    Some(Subject {
        database: head.database.as_bytes(),
        collection: head.collection.as_bytes(),
        touches: &[],
        operation: command.id(),
        inner: inner.id(),
        class,
        changes: match class {
            OperationClass::Write => true,
            OperationClass::Admin => !only_looks(inner),
            OperationClass::Read | OperationClass::Session => false,
        },
        application,
        shape: None,
        parked,
        waits: (parked && command == Command::GetMore).then(|| waits(head)),
    })
}

/// How long a server makes a getMore wait for data.
fn waits(head: &RequestHead) -> Duration {
    let own = head.max_time_ms.and_then(|own| u64::try_from(own).ok()).filter(|own| *own > 0);
    own.map_or(AWAITS, Duration::from_millis)
}

/// What is certain of a request before its end has come; `None` where too much is not.
pub(super) fn foreseen<'a>(head: &'a RequestHead, application: &'a [u8]) -> Option<Foreseen<'a>> {
    if head.op_code != OpCode::MSG || !head.has_command() {
        return None;
    }
    let command = head.command;
    // An aggregation may still write, and read other collections.
    let class = match command {
        Command::Find | Command::Count | Command::Distinct | Command::Aggregate => OperationClass::Read,
        Command::Insert | Command::Update | Command::Delete | Command::FindAndModify => OperationClass::Write,
        _ => return None,
    };
    let piped = command == Command::Aggregate;
    let named = !piped && !head.collection.is_empty() && !copies::may_be(head.collection.as_bytes());
    let collection = named.then(|| head.collection.as_bytes());
    let writes = piped || class == OperationClass::Write;
    Some(Foreseen { collection, operation: command.id(), class, writes, application })
}

/// All that a request touches or may touch that may name more than its head says. `clear` is the request, if that could be read.
pub(super) fn touches<'a>(
    head: &'a RequestHead,
    subject: &Subject<'a>,
    clear: Option<&'a Clear<'_>>,
) -> Vec<Touch<'a>> {
    let command = head.explained.unwrap_or(head.command);
    let mut touches = vec![own(head, subject)];
    match clear {
        Some(clear) => touches.extend(clear.touches(head).iter().map(|touch| Touch {
            database: touch.database,
            collection: touch.collection,
            changed: touch.changed && subject.changes,
        })),
        None => touches.push(Touch::ANY),
    }
    if command == Command::Other {
        touches.push(Touch::ANY);
    }
    copies::widen(&mut touches);
    touches
}

/// What its head says that it is about.
pub(super) fn own<'a>(head: &'a RequestHead, subject: &Subject<'a>) -> Touch<'a> {
    let command = head.explained.unwrap_or(head.command);
    let (database, collection) = (head.database.as_bytes(), head.collection.as_bytes());
    let by_value = matches!(
        command.namespace(),
        Namespace::Value | Namespace::Full | Namespace::Field | Namespace::NsInfo
    );
    let any_collection = match command {
        // Of a whole database; the stages of others say what they touch.
        Command::Aggregate => collection.is_empty() && (head.change_stream || head.collection.is_overlong()),
        // A collection can be named by its UUID.
        _ => collection.is_empty() && by_value,
    };
    // A change stream of the database `admin` is one of the whole server.
    let any_database = database.is_empty() || (any_collection && head.change_stream && database == b"admin");
    let only_reads =
        matches!(command, Command::Aggregate | Command::MapReduce | Command::CloneCollectionAsCapped);
    Touch {
        database: (!any_database).then_some(database),
        collection: (!any_collection && !database.is_empty()).then_some(collection),
        changed: subject.changes && !only_reads,
    }
}

/// Whether the request may name more than its head says.
pub(super) fn names_more(head: &RequestHead) -> bool {
    match head.command {
        Command::Find
        | Command::GetMore
        | Command::Count
        | Command::Distinct
        | Command::Insert
        | Command::Update
        | Command::Delete
        | Command::FindAndModify => false,
        command => head.has_command() && command.class() != Class::Session,
    }
}

/// Commands of the class admin that change nothing.
fn only_looks(command: Command) -> bool {
    matches!(
        command,
        Command::ServerStatus
            | Command::HostInfo
            | Command::GetCmdLineOpts
            | Command::GetLog
            | Command::GetParameter
            | Command::GetDefaultRwConcern
            | Command::ListCommands
            | Command::CurrentOp
            | Command::LockInfo
            | Command::Top
            | Command::ConnPoolStats
            | Command::ShardConnPoolStats
            | Command::PlanCacheListFilters
            | Command::PlanCacheListPlans
            | Command::PlanCacheListQueryShapes
            | Command::GetFreeMonitoringStatus
            | Command::GetDiagnosticData
            | Command::GetClusterParameter
            | Command::GetAuditConfig
            | Command::GetShardMap
            | Command::GetShardVersion
            | Command::GetChangeStreamState
            | Command::FileMd5
            | Command::UsersInfo
            | Command::RolesInfo
            | Command::ReplSetGetStatus
            | Command::ReplSetGetConfig
            | Command::ListShards
            | Command::ShardingState
            | Command::BalancerStatus
            | Command::BalancerCollectionStatus
            | Command::CheckShardingIndex
            | Command::CheckMetadataConsistency
            | Command::SplitVector
    )
}
