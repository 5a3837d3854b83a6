//! Every operation of DynamoDB (62) and DynamoDB Streams (4), with what each does, where its tables are and when it may
//! be sent twice. Taken from the service model of November 2026; an operation that is not here is still passed and
//! counted, as [`Target::operation`] `None`.

use std::fmt;

/// Which of the two services behind the same signing name an operation belongs to; they have different host names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// `DynamoDB_20120810`
    Tables,
    /// `DynamoDBStreams_20120810`
    Streams,
}

/// What an operation does to the data, as far as its name tells. A PartiQL call is [`Access::Write`] here; its
/// statements may show that it only reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reads items, descriptions or lists.
    Read,
    /// Writes items.
    Write,
    /// Creates, changes or removes tables, backups, policies, tags and the like.
    Admin,
}

/// Where in the request body the tables of an operation are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Locate {
    /// Top level string `TableName`: a name or an ARN.
    TableName,
    /// The keys of the top level object `RequestItems`.
    RequestItems,
    /// `TransactItems[*].{Get,ConditionCheck,Put,Delete,Update}.TableName`.
    TransactItems,
    /// PartiQL in the top level string `Statement`.
    Statement,
    /// PartiQL in `Statements[*].Statement`.
    Statements,
    /// PartiQL in `TransactStatements[*].Statement`.
    TransactStatements,
    /// Top level string `GlobalTableName`.
    GlobalTableName,
    /// Top level string `ResourceArn`.
    ResourceArn,
    /// Top level string `TableArn`.
    TableArn,
    /// Top level string `BackupArn`: `table/NAME/backup/..`.
    BackupArn,
    /// Top level string `ExportArn`: `table/NAME/export/..`.
    ExportArn,
    /// Top level string `ImportArn`: `table/NAME/import/..`.
    ImportArn,
    /// Top level string `TargetTableName`: the table that a restore creates.
    TargetTableName,
    /// `TableCreationParameters.TableName`.
    TableCreationParameters,
    /// Top level string `StreamArn`: `table/NAME/stream/..`.
    StreamArn,
    /// Top level string `ShardIterator`, whose text before the first `|` is the stream's ARN.
    ShardIterator,
    /// The operation is about no table.
    Nowhere,
    /// An operation we do not know: `TableName`, `TableArn` or `ResourceArn` at the top level.
    Anywhere,
}

/// When a call that may have reached DynamoDB can be sent again without changing what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Repeat {
    /// It only reads, or repeats what is already so.
    Always,
    /// A put or delete of one item: when it has no condition and asks for no old values, else a second run answers
    /// differently from the first.
    Unconditional,
    /// When it carries a `ClientRequestToken`, which makes it idempotent for ten minutes.
    WithToken,
    /// PartiQL: when every statement only reads.
    ReadStatements,
    /// PartiQL in a transaction: when every statement only reads, or with a `ClientRequestToken`.
    ReadStatementsOrToken,
    /// Never by itself.
    Never,
}

macro_rules! operations {
    ($($name:ident $service:ident $access:ident $locate:ident $repeat:ident;)*) => {
        /// An operation of the API by name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs)] // the API's own words
        pub enum ApiOperation { $($name),* }

        impl ApiOperation {
            /// All of them, sorted by name.
            pub const ALL: &'static [ApiOperation] = &[$(ApiOperation::$name),*];

            /// The API's name of it.
            pub const fn name(self) -> &'static str {
                match self { $(ApiOperation::$name => stringify!($name)),* }
            }

            const fn facts(self) -> (Service, Access, Locate, Repeat) {
                match self {
                    $(ApiOperation::$name =>
                        (Service::$service, Access::$access, Locate::$locate, Repeat::$repeat)),*
                }
            }
        }
    };
}

operations! {
    BatchExecuteStatement Tables Write Statements ReadStatements;
    BatchGetItem Tables Read RequestItems Always;
    BatchWriteItem Tables Write RequestItems Always;
    CancelBulkOperation Tables Admin Nowhere Never;
    CreateBackup Tables Admin TableName Never;
    CreateGlobalTable Tables Admin GlobalTableName Never;
    CreateTable Tables Admin TableName Never;
    DeleteBackup Tables Admin BackupArn Never;
    DeleteItem Tables Write TableName Unconditional;
    DeleteResourcePolicy Tables Admin ResourceArn Never;
    DeleteTable Tables Admin TableName Never;
    DescribeBackup Tables Read BackupArn Always;
    DescribeBulkOperation Tables Read Nowhere Always;
    DescribeContinuousBackups Tables Read TableName Always;
    DescribeContributorInsights Tables Read TableName Always;
    DescribeEndpoints Tables Read Nowhere Always;
    DescribeExport Tables Read ExportArn Always;
    DescribeGlobalTable Tables Read GlobalTableName Always;
    DescribeGlobalTableSettings Tables Read GlobalTableName Always;
    DescribeImport Tables Read ImportArn Always;
    DescribeKinesisStreamingDestination Tables Read TableName Always;
    DescribeLimits Tables Read Nowhere Always;
    DescribeStream Streams Read StreamArn Always;
    DescribeTable Tables Read TableName Always;
    DescribeTableReplicaAutoScaling Tables Read TableName Always;
    DescribeTimeToLive Tables Read TableName Always;
    DisableKinesisStreamingDestination Tables Admin TableName Never;
    EnableKinesisStreamingDestination Tables Admin TableName Never;
    ExecuteStatement Tables Write Statement ReadStatements;
    ExecuteTransaction Tables Write TransactStatements ReadStatementsOrToken;
    ExportTableToPointInTime Tables Admin TableArn Never;
    GetItem Tables Read TableName Always;
    GetRecords Streams Read ShardIterator Always;
    GetResourcePolicy Tables Read ResourceArn Always;
    GetShardIterator Streams Read StreamArn Always;
    ImportTable Tables Admin TableCreationParameters Never;
    ListBackups Tables Read TableName Always;
    ListBulkOperations Tables Read Nowhere Always;
    ListContributorInsights Tables Read TableName Always;
    ListExports Tables Read TableArn Always;
    ListGlobalTables Tables Read Nowhere Always;
    ListImports Tables Read TableArn Always;
    ListStreams Streams Read TableName Always;
    ListTables Tables Read Nowhere Always;
    ListTagsOfResource Tables Read ResourceArn Always;
    PutItem Tables Write TableName Unconditional;
    PutResourcePolicy Tables Admin ResourceArn Never;
    Query Tables Read TableName Always;
    RestoreTableFromBackup Tables Admin TargetTableName Never;
    RestoreTableToPointInTime Tables Admin TargetTableName Never;
    Scan Tables Read TableName Always;
    SearchVectors Tables Read TableName Always;
    StartBulkPutItems Tables Write TableName Never;
    TagResource Tables Admin ResourceArn Never;
    TransactGetItems Tables Read TransactItems Always;
    TransactWriteItems Tables Write TransactItems WithToken;
    UntagResource Tables Admin ResourceArn Never;
    UpdateContinuousBackups Tables Admin TableName Never;
    UpdateContributorInsights Tables Admin TableName Never;
    UpdateGlobalTable Tables Admin GlobalTableName Never;
    UpdateGlobalTableSettings Tables Admin GlobalTableName Never;
    UpdateItem Tables Write TableName Never;
    UpdateKinesisStreamingDestination Tables Admin TableName Never;
    UpdateTable Tables Admin TableName Never;
    UpdateTableReplicaAutoScaling Tables Admin TableName Never;
    UpdateTimeToLive Tables Admin TableName Never;
}

impl ApiOperation {
    /// The operation of exactly this name (names are case-sensitive).
    pub fn from_name(name: &[u8]) -> Option<ApiOperation> {
        let found = Self::ALL.binary_search_by(|operation| operation.name().as_bytes().cmp(name)).ok()?;
        Self::ALL.get(found).copied()
    }

    /// Which service it belongs to.
    pub const fn service(self) -> Service {
        self.facts().0
    }

    /// What it does to the data.
    pub const fn access(self) -> Access {
        self.facts().1
    }

    /// Where its tables are named.
    pub const fn locate(self) -> Locate {
        self.facts().2
    }

    /// When it may be sent twice.
    pub const fn repeat(self) -> Repeat {
        self.facts().3
    }
}

impl fmt::Display for ApiOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a request says it is, by `x-amz-target` or by an rpc-v2-cbor path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The service that the prefix names.
    pub service: Service,
    /// The operation, `None` if it is not one of [`ApiOperation::ALL`] or belongs to the other service.
    pub operation: Option<ApiOperation>,
}

impl Target {
    /// An operation of which nothing is known.
    pub const UNKNOWN: Target = Target { service: Service::Tables, operation: None };

    /// What it does to the data: of an operation that is not known the worst has to be thought.
    pub fn access(self) -> Access {
        self.operation.map_or(Access::Admin, ApiOperation::access)
    }

    /// The name of the operation as a label: the API's word, or `_other` for one we do not know.
    pub fn label(self) -> &'static str {
        self.operation.map_or("_other", ApiOperation::name)
    }

    /// Where the tables of it are named.
    pub fn locate(self) -> Locate {
        self.operation.map_or(Locate::Anywhere, ApiOperation::locate)
    }

    /// Parses the value of `x-amz-target`, e.g. `DynamoDB_20120810.GetItem`: split at the last dot, both halves exact.
    /// `None`: it names no operation of DynamoDB, so the request is not one.
    pub fn parse(value: &[u8]) -> Option<Target> {
        let dot = memchr::memrchr(b'.', value)?;
        let (prefix, name) = (value.get(..dot)?, value.get(dot + 1..)?);
        let service = match prefix {
            b"DynamoDB_20120810" => Service::Tables,
            b"DynamoDBStreams_20120810" => Service::Streams,
            _ => return None,
        };
        Some(Target::of(service, name))
    }

    /// Parses the path of a Smithy rpc-v2-cbor request, `/service/NAME/operation/OPERATION` (with `smithy-protocol:
    /// rpc-v2-cbor`), whatever stands before that. Its body is CBOR: not for [`RequestScanner`](super::RequestScanner).
    /// `None`: no path of the kind.
    pub fn parse_rpc_path(path: &[u8]) -> Option<Target> {
        const SERVICE: &[u8] = b"/service/";
        let at = memchr::memmem::rfind(path, SERVICE)?;
        let rest = path.get(at + SERVICE.len()..)?;
        let slash = memchr::memchr(b'/', rest)?;
        let name = rest.get(slash..)?.strip_prefix(b"/operation/")?;
        Some(match rest.get(..slash)? {
            b"DynamoDB_20120810" => Target::of(Service::Tables, name),
            b"DynamoDBStreams_20120810" => Target::of(Service::Streams, name),
            _ => Target::UNKNOWN,
        })
    }

    fn of(service: Service, name: &[u8]) -> Target {
        let operation = ApiOperation::from_name(name).filter(|operation| operation.service() == service);
        Target { service, operation }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_complete() {
        assert_eq!(ApiOperation::ALL.len(), 66);
        assert!(ApiOperation::ALL.windows(2).all(|pair| pair[0].name() < pair[1].name()));
        for operation in ApiOperation::ALL {
            assert_eq!(ApiOperation::from_name(operation.name().as_bytes()), Some(*operation));
        }
        let streams = ApiOperation::ALL.iter().filter(|operation| operation.service() == Service::Streams);
        assert_eq!(
            streams.map(|operation| operation.name()).collect::<Vec<_>>(),
            ["DescribeStream", "GetRecords", "GetShardIterator", "ListStreams"]
        );
    }

    #[test]
    fn repeatability_follows_access() {
        for operation in ApiOperation::ALL {
            match operation.access() {
                Access::Read => assert_eq!(operation.repeat(), Repeat::Always, "{operation}"),
                Access::Admin => assert_eq!(operation.repeat(), Repeat::Never, "{operation}"),
                Access::Write => {}
            }
        }
        assert_eq!(ApiOperation::UpdateItem.repeat(), Repeat::Never);
        assert_eq!(ApiOperation::StartBulkPutItems.repeat(), Repeat::Never);
    }

    #[test]
    fn what_is_not_known_is_of_the_worst_class() {
        assert_eq!(Target::UNKNOWN.access(), Access::Admin);
        assert_eq!(Target::of(Service::Tables, b"GetItem").access(), Access::Read);
        assert_eq!(Target::of(Service::Streams, b"GetItem").access(), Access::Admin);
    }

    #[test]
    fn targets() {
        let tables: &[(&str, Option<(Service, &str)>)] = &[
            ("DynamoDB_20120810.GetItem", Some((Service::Tables, "GetItem"))),
            ("DynamoDB_20120810.getItem", Some((Service::Tables, "_other"))),
            ("DynamoDB_20120810.GetItemX", Some((Service::Tables, "_other"))),
            ("DynamoDB_20120810.", Some((Service::Tables, "_other"))),
            ("DynamoDB_20120810.GetRecords", Some((Service::Tables, "_other"))),
            ("DynamoDBStreams_20120810.GetRecords", Some((Service::Streams, "GetRecords"))),
            ("DynamoDBStreams_20120810.GetItem", Some((Service::Streams, "_other"))),
            ("DynamoDB_20111205.GetItem", None),
            ("DynamoDB_20120810.x.GetItem", None),
            ("dynamodb_20120810.GetItem", None),
            ("Kinesis_20131202.GetRecords", None),
            ("GetItem", None),
            (".GetItem", None),
            (" DynamoDB_20120810.GetItem", None),
            ("", None),
        ];
        for (value, expected) in tables {
            let target = Target::parse(value.as_bytes()).map(|target| (target.service, target.label()));
            assert_eq!(target, *expected, "{value}");
        }
        let paths: &[(&str, Option<&str>)] = &[
            ("/service/DynamoDB_20120810/operation/PutItem", Some("PutItem")),
            ("/service/DynamoDB_20120810/operation/Put", Some("_other")),
            ("/service/DynamoDB_20120810/PutItem", None),
            ("/service/Other/operation/PutItem", Some("_other")),
            ("/stage/service/DynamoDB_20120810/operation/PutItem", Some("PutItem")),
            ("/service/DynamoDB_20120810/operation/", Some("_other")),
            ("/service/DynamoDB_20120810", None),
            ("/", None),
        ];
        for (path, expected) in paths {
            assert_eq!(Target::parse_rpc_path(path.as_bytes()).map(Target::label), *expected, "{path}");
        }
    }
}
