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

use weir_codecs::mongo::{Class, Command, Namespace, OpCode, RequestHead};
use weir_decide::rules::{Foreseen, OperationClass, Subject};

/// What rules look at; `None` for what nobody can class.
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
    let (more_collections, more_databases) = beyond(head, inner);
    Some(Subject {
        database: head.database.as_bytes(),
        collection: head.collection.as_bytes(),
        more_collections,
        more_databases,
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
    })
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
    let named = !piped && !head.collection.is_empty() && !stands_for_another(head.collection.as_bytes());
    let collection = named.then(|| head.collection.as_bytes());
    let writes = piped || class == OperationClass::Write;
    Some(Foreseen { collection, operation: command.id(), class, writes, application })
}

/// Whether it may touch other collections, and other databases, than the one that it names.
fn beyond(head: &RequestHead, command: Command) -> (bool, bool) {
    let unnamed = head.database.is_empty();
    let whole = head.collection.is_empty();
    let (collections, databases) = match command {
        // An aggregation of a whole database, or of the server.
        Command::Aggregate if whole => (true, head.database.as_bytes() == b"admin"),
        Command::Aggregate => {
            (head.joins || head.writes_result || !head.complete, head.writes_result || !head.complete)
        }
        Command::MapReduce => (head.writes_result || !head.complete, head.writes_result || !head.complete),
        Command::BulkWrite => {
            let more = head.more_namespaces || !head.complete;
            (more, more)
        }
        Command::DropDatabase | Command::DbHash | Command::Group | Command::Eval => (true, false),
        // Views are of other collections.
        Command::Create | Command::CollMod => (true, false),
        Command::Other
        | Command::RenameCollection
        | Command::ApplyOps
        | Command::Clone
        | Command::CloneCollection
        | Command::CloneCollectionAsCapped
        | Command::Copydb => (true, true),
        // A collection can be named by its UUID.
        _ => match command.namespace() {
            Namespace::Value | Namespace::Full | Namespace::Field | Namespace::NsInfo => (whole, false),
            Namespace::Nested | Namespace::None => (false, false),
        },
    };
    let another = stands_for_another(head.collection.as_bytes());
    (collections || unnamed || another, databases || unnamed)
}

/// Whether what is done to a collection of this name is done to another one: measurements of a time series lie in buckets, and a view
/// is what stands among the views.
fn stands_for_another(collection: &[u8]) -> bool {
    collection.starts_with(b"system.buckets.") || collection == b"system.views"
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
