//! The commands that Weir knows: canonical name, class, and where each keeps its namespace.
//!
//! The name is the first key of a command document. MongoDB never renames a command but has given some two
//! spellings; both count under one name. A command that is not in the table is [`Command::Other`]: an unbounded
//! set of names must not become an unbounded set of series.

/// What a command does, for rules. An unknown command counts as a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Reads user data, changes nothing.
    Read,
    /// May change user data, indexes or collections.
    Write,
    /// Looks at or changes the server, its users or its configuration.
    Admin,
    /// Belongs to the connection, the session or the transaction: handshakes, pings, cursors, commits.
    Session,
}

/// Where a command names what it works on. `$db` is the database unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Namespace {
    /// The command's own value is the collection when it is a string, and there is none when it is a number.
    Value,
    /// The field `collection` holds it (`getMore`).
    Field,
    /// The command's own value is `database.collection`, whatever `$db` says.
    Full,
    /// `nsInfo[].ns` (`bulkWrite`).
    NsInfo,
    /// That of the command inside (`explain`).
    Nested,
    /// No collection.
    None,
}

macro_rules! commands {
    ($($variant:ident $name:literal $class:ident $namespace:ident $(= $alias:literal)*;)+) => {
        /// A command by its canonical name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        #[repr(u16)]
        pub enum Command {
            /// Anything that is not in the table.
            #[default]
            Other,
            $(#[doc = concat!("`", $name, "`")] $variant,)+
        }

        impl Command {
            /// Every command, [`Command::Other`] first; the position is the command's [`Command::id`].
            pub const ALL: &[Command] = &[Command::Other, $(Command::$variant,)+];

            /// The canonical name, `_other` for what is not in the table.
            pub fn name(self) -> &'static str {
                match self {
                    Command::Other => "_other",
                    $(Command::$variant => $name,)+
                }
            }

            /// What the command does when nothing in it says otherwise (`aggregate` with `$out` writes).
            pub fn class(self) -> Class {
                match self {
                    Command::Other => Class::Write,
                    $(Command::$variant => Class::$class,)+
                }
            }

            /// Where the command names its collection.
            pub fn namespace(self) -> Namespace {
                match self {
                    Command::Other => Namespace::None,
                    $(Command::$variant => Namespace::$namespace,)+
                }
            }
        }

        const SPELLINGS: &[(&str, Command)] = &[
            $(($name, Command::$variant), $(($alias, Command::$variant),)*)+
        ];
    };
}

commands! {
    // Reads.
    Find "find" Read Value;
    Aggregate "aggregate" Read Value;
    Count "count" Read Value;
    Distinct "distinct" Read Value;
    GetMore "getMore" Read Field;
    Explain "explain" Read Nested;
    ListCollections "listCollections" Read None;
    ListIndexes "listIndexes" Read Value;
    ListDatabases "listDatabases" Read None;
    CollStats "collStats" Read Value = "collstats";
    DbStats "dbStats" Read None = "dbstats";
    DataSize "dataSize" Read Full = "datasize";
    DbHash "dbHash" Read None = "dbhash";
    ParallelCollectionScan "parallelCollectionScan" Read Value;
    GeoNear "geoNear" Read Value;
    GeoSearch "geoSearch" Read Value;
    Group "group" Read None;
    ListSearchIndexes "listSearchIndexes" Read Value;

    // Writes.
    Insert "insert" Write Value;
    Update "update" Write Value;
    Delete "delete" Write Value;
    FindAndModify "findAndModify" Write Value = "findandmodify";
    BulkWrite "bulkWrite" Write NsInfo;
    MapReduce "mapReduce" Write Value = "mapreduce";
    Create "create" Write Value;
    Drop "drop" Write Value;
    DropDatabase "dropDatabase" Write None;
    CreateIndexes "createIndexes" Write Value;
    DropIndexes "dropIndexes" Write Value = "deleteIndexes";
    CollMod "collMod" Write Value;
    RenameCollection "renameCollection" Write Full;
    ReIndex "reIndex" Write Value;
    Compact "compact" Write Value;
    ConvertToCapped "convertToCapped" Write Value;
    CloneCollectionAsCapped "cloneCollectionAsCapped" Write None;
    CloneCollection "cloneCollection" Write Full;
    Clone "clone" Write None;
    Copydb "copydb" Write None;
    CopydbGetNonce "copydbgetnonce" Write None;
    CopydbSaslStart "copydbsaslstart" Write None;
    EmptyCapped "emptycapped" Write Value;
    GodInsert "godinsert" Write Value;
    CapTrunc "captrunc" Write Value;
    ApplyOps "applyOps" Write None;
    CreateSearchIndexes "createSearchIndexes" Write Value;
    UpdateSearchIndex "updateSearchIndex" Write Value;
    DropSearchIndex "dropSearchIndex" Write Value;
    Analyze "analyze" Write Value;
    RepairDatabase "repairDatabase" Write None;
    CompactStructuredEncryptionData "compactStructuredEncryptionData" Write Value;
    CleanupStructuredEncryptionData "cleanupStructuredEncryptionData" Write Value;

    // The connection, the session, the transaction, the cursor.
    Hello "hello" Session None;
    IsMaster "isMaster" Session None = "ismaster";
    Ping "ping" Session None;
    BuildInfo "buildInfo" Session None = "buildinfo";
    SaslStart "saslStart" Session None;
    SaslContinue "saslContinue" Session None;
    Authenticate "authenticate" Session None;
    GetNonce "getnonce" Session None;
    Logout "logout" Session None;
    StartSession "startSession" Session None;
    EndSessions "endSessions" Session None;
    RefreshSessions "refreshSessions" Session None;
    KillSessions "killSessions" Session None;
    CommitTransaction "commitTransaction" Session None;
    AbortTransaction "abortTransaction" Session None;
    CoordinateCommitTransaction "coordinateCommitTransaction" Session None;
    PrepareTransaction "prepareTransaction" Session None;
    KillCursors "killCursors" Session Value;
    ConnectionStatus "connectionStatus" Session None;
    WhatsMyUri "whatsmyuri" Session None;
    AvailableQueryOptions "availableQueryOptions" Session None = "availablequeryoptions";
    GetLastError "getLastError" Session None = "getlasterror";
    GetPrevError "getPrevError" Session None = "getpreverror";
    ResetError "resetError" Session None = "reseterror";
    ForceError "forceerror" Session None;
    IsDbGrid "isdbgrid" Session None;
    Features "features" Session None;

    // The server.
    ServerStatus "serverStatus" Admin None;
    HostInfo "hostInfo" Admin None = "hostinfo";
    GetCmdLineOpts "getCmdLineOpts" Admin None;
    GetLog "getLog" Admin None;
    GetParameter "getParameter" Admin None = "getparameter";
    SetParameter "setParameter" Admin None = "setparameter";
    GetDefaultRwConcern "getDefaultRWConcern" Admin None;
    SetDefaultRwConcern "setDefaultRWConcern" Admin None;
    ListCommands "listCommands" Admin None;
    CurrentOp "currentOp" Admin None;
    KillOp "killOp" Admin None;
    // Everybody's, with their transactions.
    KillAllSessions "killAllSessions" Admin None;
    KillAllSessionsByPattern "killAllSessionsByPattern" Admin None;
    LockInfo "lockInfo" Admin None;
    Top "top" Admin None;
    Validate "validate" Admin Value;
    Profile "profile" Admin None;
    ConnPoolStats "connPoolStats" Admin None;
    ConnPoolSync "connPoolSync" Admin None = "connpoolsync";
    ShardConnPoolStats "shardConnPoolStats" Admin None;
    DropConnections "dropConnections" Admin None;
    Fsync "fsync" Admin None;
    FsyncUnlock "fsyncUnlock" Admin None;
    LogRotate "logRotate" Admin None;
    LogMessage "logMessage" Admin None;
    LogApplicationMessage "logApplicationMessage" Admin None;
    Shutdown "shutdown" Admin None;
    RotateCertificates "rotateCertificates" Admin None;
    ConfigureFailPoint "configureFailPoint" Admin None;
    WaitForFailPoint "waitForFailPoint" Admin None;
    Sleep "sleep" Admin None;
    PlanCacheClear "planCacheClear" Admin Value;
    PlanCacheListFilters "planCacheListFilters" Admin Value;
    PlanCacheSetFilter "planCacheSetFilter" Admin Value;
    PlanCacheClearFilters "planCacheClearFilters" Admin Value;
    PlanCacheListPlans "planCacheListPlans" Admin Value;
    PlanCacheListQueryShapes "planCacheListQueryShapes" Admin Value;
    SetQuerySettings "setQuerySettings" Admin None;
    RemoveQuerySettings "removeQuerySettings" Admin None;
    SetFeatureCompatibilityVersion "setFeatureCompatibilityVersion" Admin None;
    SetFreeMonitoring "setFreeMonitoring" Admin None;
    GetFreeMonitoringStatus "getFreeMonitoringStatus" Admin None;
    GetDiagnosticData "getDiagnosticData" Admin None;
    GetClusterParameter "getClusterParameter" Admin None;
    SetClusterParameter "setClusterParameter" Admin None;
    GetAuditConfig "getAuditConfig" Admin None;
    SetAuditConfig "setAuditConfig" Admin None;
    GetShardMap "getShardMap" Admin None;
    GetShardVersion "getShardVersion" Admin Full;
    GetChangeStreamState "getChangeStreamState" Admin None;
    SetChangeStreamState "setChangeStreamState" Admin None;
    ValidateDbMetadata "validateDBMetadata" Admin None;
    FileMd5 "filemd5" Admin None;
    Touch "touch" Admin Value;
    Eval "eval" Write None = "$eval";

    // Users and roles.
    CreateUser "createUser" Admin None;
    UpdateUser "updateUser" Admin None;
    DropUser "dropUser" Admin None;
    DropAllUsersFromDatabase "dropAllUsersFromDatabase" Admin None;
    GrantRolesToUser "grantRolesToUser" Admin None;
    RevokeRolesFromUser "revokeRolesFromUser" Admin None;
    UsersInfo "usersInfo" Admin None;
    CreateRole "createRole" Admin None;
    UpdateRole "updateRole" Admin None;
    DropRole "dropRole" Admin None;
    DropAllRolesFromDatabase "dropAllRolesFromDatabase" Admin None;
    GrantPrivilegesToRole "grantPrivilegesToRole" Admin None;
    RevokePrivilegesFromRole "revokePrivilegesFromRole" Admin None;
    GrantRolesToRole "grantRolesToRole" Admin None;
    RevokeRolesFromRole "revokeRolesFromRole" Admin None;
    RolesInfo "rolesInfo" Admin None;
    InvalidateUserCache "invalidateUserCache" Admin None;

    // Replica sets.
    ReplSetGetStatus "replSetGetStatus" Admin None;
    ReplSetGetConfig "replSetGetConfig" Admin None;
    ReplSetInitiate "replSetInitiate" Admin None;
    ReplSetReconfig "replSetReconfig" Admin None;
    ReplSetStepDown "replSetStepDown" Admin None;
    ReplSetStepUp "replSetStepUp" Admin None;
    ReplSetFreeze "replSetFreeze" Admin None;
    ReplSetMaintenance "replSetMaintenance" Admin None;
    ReplSetSyncFrom "replSetSyncFrom" Admin None;
    ReplSetResizeOplog "replSetResizeOplog" Admin None;
    ReplSetAbortPrimaryCatchUp "replSetAbortPrimaryCatchUp" Admin None;
    ReplSetHeartbeat "replSetHeartbeat" Admin None;
    ReplSetUpdatePosition "replSetUpdatePosition" Admin None;
    ReplSetRequestVotes "replSetRequestVotes" Admin None;
    AppendOplogNote "appendOplogNote" Admin None;

    // Sharding.
    AddShard "addShard" Admin None = "addshard";
    AddShardToZone "addShardToZone" Admin None;
    RemoveShard "removeShard" Admin None = "removeshard";
    RemoveShardFromZone "removeShardFromZone" Admin None;
    ListShards "listShards" Admin None;
    ShardingState "shardingState" Admin None;
    EnableSharding "enableSharding" Admin None = "enablesharding";
    ShardCollection "shardCollection" Admin Full = "shardcollection";
    UnshardCollection "unshardCollection" Admin Full;
    ReshardCollection "reshardCollection" Admin Full;
    AbortReshardCollection "abortReshardCollection" Admin Full;
    CommitReshardCollection "commitReshardCollection" Admin Full;
    RefineCollectionShardKey "refineCollectionShardKey" Admin Full;
    MoveCollection "moveCollection" Admin Full;
    MoveChunk "moveChunk" Admin Full = "movechunk";
    MoveRange "moveRange" Admin Full;
    MovePrimary "movePrimary" Admin None = "moveprimary";
    MergeChunks "mergeChunks" Admin Full;
    MergeAllChunksOnShard "mergeAllChunksOnShard" Admin Full;
    Split "split" Admin Full;
    SplitVector "splitVector" Admin Full;
    CheckShardingIndex "checkShardingIndex" Admin Full;
    CleanupOrphaned "cleanupOrphaned" Admin Full;
    CleanupReshardCollection "cleanupReshardCollection" Admin Full;
    ClearJumboFlag "clearJumboFlag" Admin Full;
    ConfigureCollectionBalancing "configureCollectionBalancing" Admin Full;
    BalancerCollectionStatus "balancerCollectionStatus" Admin Full;
    BalancerStart "balancerStart" Admin None;
    BalancerStop "balancerStop" Admin None;
    BalancerStatus "balancerStatus" Admin None;
    CheckMetadataConsistency "checkMetadataConsistency" Admin Value;
    FlushRouterConfig "flushRouterConfig" Admin None;
    UpdateZoneKeyRange "updateZoneKeyRange" Admin Full;
    TransitionFromDedicatedConfigServer "transitionFromDedicatedConfigServer" Admin None;
    TransitionToDedicatedConfigServer "transitionToDedicatedConfigServer" Admin None;
}

impl Command {
    /// The command's number, dense from 0 ([`Command::Other`]): its position in [`Command::ALL`].
    pub fn id(self) -> u16 {
        self as u16
    }

    /// The command with that number, [`Command::Other`] if there is none.
    pub fn from_id(id: u16) -> Command {
        Command::ALL.get(usize::from(id)).copied().unwrap_or_default()
    }

    /// Looks up a command document's first key, whichever of its spellings it is.
    pub fn from_name(name: &[u8]) -> Command {
        let mut slot = hash(name);
        while let Some(&entry) = INDEX.get(slot & (SLOTS - 1)) {
            match SPELLINGS.get(usize::from(entry)) {
                Some((spelling, command)) if spelling.as_bytes() == name => return *command,
                Some(_) => slot += 1,
                None => break,
            }
        }
        Command::Other
    }

    /// Whether the command may carry secrets: its body is never logged, sampled or shaped.
    pub fn is_sensitive(self) -> bool {
        matches!(
            self,
            Command::Authenticate
                | Command::SaslStart
                | Command::SaslContinue
                | Command::GetNonce
                | Command::CreateUser
                | Command::UpdateUser
                | Command::Copydb
                | Command::CopydbGetNonce
                | Command::CopydbSaslStart
        )
    }

    /// Whether this is a handshake or a heartbeat.
    pub fn is_hello(self) -> bool {
        matches!(self, Command::Hello | Command::IsMaster)
    }
}

// An open-addressed index over the spellings, made at compile time: a look-up is a hash of four bytes and, nearly
// always, one comparison.
const SLOTS: usize = 1024;
const EMPTY: u16 = u16::MAX;
static INDEX: [u16; SLOTS] = index();

#[allow(clippy::indexing_slicing)] // evaluated at compile time, where out of bounds is a compile error
const fn index() -> [u16; SLOTS] {
    let mut slots = [EMPTY; SLOTS];
    let mut entry = 0;
    while entry < SPELLINGS.len() {
        let mut slot = hash(SPELLINGS[entry].0.as_bytes()) & (SLOTS - 1);
        while slots[slot] != EMPTY {
            slot = (slot + 1) & (SLOTS - 1);
        }
        slots[slot] = entry as u16;
        entry += 1;
    }
    slots
}

const fn hash(name: &[u8]) -> usize {
    let (Some(first), Some(last)) = (name.first(), name.last()) else { return 0 };
    let (_, second_half) = name.split_at(name.len() / 2);
    let middle = match second_half.first() {
        Some(middle) => *middle as usize,
        None => 0,
    };
    (*first as usize) * 37 + (*last as usize) * 101 + middle * 577 + name.len() * 7919
}
