//! The names DynamoDB gives its errors: a closed list, so that whatever a server says cannot make a new label.

/// What an error means for the one who counts it, tries again, or takes a server out of rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A table, an index or the account was asked for more than it may give.
    Throttled,
    /// A condition did not hold: an answer that applications plan for.
    ConditionalFailed,
    /// The request is not well-formed or not allowed by the schema.
    Validation,
    /// Who asks is not known or may not.
    Denied,
    /// What is asked for does not exist.
    NotFound,
    /// Another writer was faster, or what is asked for is being changed.
    Conflict,
    /// A transaction was cancelled; the reasons are in the body.
    Cancelled,
    /// Any other fault of the request.
    Client,
    /// DynamoDB's own fault.
    Server,
}

macro_rules! errors {
    ($($variant:ident $text:literal $kind:ident;)*) => {
        /// An error of DynamoDB by name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs)] // the API's own words
        pub enum ErrorName { $($variant,)*
            /// A name that is not in the list, or an error body that names none.
            Other,
        }

        impl ErrorName {
            /// All of the list, sorted by text; [`ErrorName::Other`] is not among them.
            pub const ALL: &'static [ErrorName] = &[$(ErrorName::$variant),*];

            /// The name as DynamoDB spells it; `_other` for [`ErrorName::Other`].
            pub const fn as_str(self) -> &'static str {
                match self { $(ErrorName::$variant => $text,)* ErrorName::Other => "_other" }
            }

            const fn known_kind(self) -> Option<ErrorKind> {
                match self { $(ErrorName::$variant => Some(ErrorKind::$kind),)* ErrorName::Other => None }
            }
        }
    };
}

errors! {
    AccessDenied "AccessDeniedException" Denied;
    BackupInUse "BackupInUseException" Conflict;
    BackupNotFound "BackupNotFoundException" NotFound;
    ConditionalCheckFailed "ConditionalCheckFailedException" ConditionalFailed;
    ContinuousBackupsUnavailable "ContinuousBackupsUnavailableException" Client;
    DuplicateItem "DuplicateItemException" ConditionalFailed;
    ExpiredIterator "ExpiredIteratorException" Client;
    ExpiredToken "ExpiredTokenException" Denied;
    ExportConflict "ExportConflictException" Conflict;
    ExportNotFound "ExportNotFoundException" NotFound;
    GlobalTableAlreadyExists "GlobalTableAlreadyExistsException" Conflict;
    GlobalTableNotFound "GlobalTableNotFoundException" NotFound;
    IdempotentParameterMismatch "IdempotentParameterMismatchException" Client;
    ImportConflict "ImportConflictException" Conflict;
    ImportNotFound "ImportNotFoundException" NotFound;
    IncompleteSignature "IncompleteSignatureException" Denied;
    IndexNotFound "IndexNotFoundException" NotFound;
    InternalFailure "InternalFailure" Server;
    InternalServerError "InternalServerError" Server;
    InternalServerErrorException "InternalServerErrorException" Server;
    InvalidClientTokenId "InvalidClientTokenId" Denied;
    InvalidEndpoint "InvalidEndpointException" Client;
    InvalidExportTime "InvalidExportTimeException" Validation;
    InvalidRestoreTime "InvalidRestoreTimeException" Validation;
    InvalidSignature "InvalidSignatureException" Denied;
    ItemCollectionSizeLimitExceeded "ItemCollectionSizeLimitExceededException" Client;
    LimitExceeded "LimitExceededException" Client;
    MissingAuthenticationToken "MissingAuthenticationTokenException" Denied;
    NotAuthorized "NotAuthorized" Denied;
    OptInRequired "OptInRequired" Denied;
    PointInTimeRecoveryUnavailable "PointInTimeRecoveryUnavailableException" Client;
    PolicyNotFound "PolicyNotFoundException" NotFound;
    ProvisionedThroughputExceeded "ProvisionedThroughputExceededException" Throttled;
    ReplicaAlreadyExists "ReplicaAlreadyExistsException" Conflict;
    ReplicaNotFound "ReplicaNotFoundException" NotFound;
    ReplicatedWriteConflict "ReplicatedWriteConflictException" Conflict;
    RequestExpired "RequestExpired" Denied;
    RequestLimitExceeded "RequestLimitExceeded" Throttled;
    ResourceInUse "ResourceInUseException" Conflict;
    ResourceNotFound "ResourceNotFoundException" NotFound;
    Serialization "SerializationException" Validation;
    ServiceUnavailable "ServiceUnavailable" Server;
    ServiceUnavailableException "ServiceUnavailableException" Server;
    SignatureDoesNotMatch "SignatureDoesNotMatch" Denied;
    TableAlreadyExists "TableAlreadyExistsException" Conflict;
    TableInUse "TableInUseException" Conflict;
    TableNotFound "TableNotFoundException" NotFound;
    Throttling "ThrottlingException" Throttled;
    TransactionCanceled "TransactionCanceledException" Cancelled;
    TransactionConflict "TransactionConflictException" Conflict;
    TransactionInProgress "TransactionInProgressException" Conflict;
    TrimmedDataAccess "TrimmedDataAccessException" Client;
    UnknownOperation "UnknownOperationException" Validation;
    UnrecognizedClient "UnrecognizedClientException" Denied;
    Validation "ValidationException" Validation;
}

impl ErrorName {
    /// The name in a `__type` or `x-amzn-errortype` value: what is after the last `#` and before the first `:` that
    /// follows it, e.g. `com.amazonaws.dynamodb.v20120810#ResourceNotFoundException`.
    pub fn parse(value: &[u8]) -> ErrorName {
        let name = memchr::memrchr(b'#', value).and_then(|at| value.get(at + 1..)).unwrap_or(value);
        let name = memchr::memchr(b':', name).and_then(|at| name.get(..at)).unwrap_or(name);
        Self::lookup(name.trim_ascii()).unwrap_or(ErrorName::Other)
    }

    /// The name behind the short code that a single statement of a batch or a single item of a cancelled transaction
    /// bears (`ThrottlingError`, `ConditionalCheckFailed`, ..). `None` for the code `None`: that item did not fail.
    pub fn parse_entry(code: &[u8]) -> Option<ErrorName> {
        Some(match code {
            b"None" => return None,
            b"AccessDenied" => ErrorName::AccessDenied,
            b"ConditionalCheckFailed" => ErrorName::ConditionalCheckFailed,
            b"DuplicateItem" => ErrorName::DuplicateItem,
            b"ItemCollectionSizeLimitExceeded" => ErrorName::ItemCollectionSizeLimitExceeded,
            b"ProvisionedThroughputExceeded" => ErrorName::ProvisionedThroughputExceeded,
            b"ResourceNotFound" => ErrorName::ResourceNotFound,
            b"ThrottlingError" => ErrorName::Throttling,
            b"TransactionConflict" => ErrorName::TransactionConflict,
            b"ValidationError" => ErrorName::Validation,
            name => Self::parse(name),
        })
    }

    /// What it means; an unlisted name is judged by the HTTP status it came with.
    pub const fn kind(self, status: u16) -> ErrorKind {
        match self.known_kind() {
            Some(kind) => kind,
            None => match status {
                429 => ErrorKind::Throttled,
                401 | 403 => ErrorKind::Denied,
                500..=599 => ErrorKind::Server,
                _ => ErrorKind::Client,
            },
        }
    }

    fn lookup(name: &[u8]) -> Option<ErrorName> {
        let found = Self::ALL.binary_search_by(|error| error.as_str().as_bytes().cmp(name)).ok()?;
        Self::ALL.get(found).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted() {
        assert!(ErrorName::ALL.windows(2).all(|pair| pair[0].as_str() < pair[1].as_str()));
        for error in ErrorName::ALL {
            assert_eq!(ErrorName::parse(error.as_str().as_bytes()), *error);
        }
    }

    #[test]
    fn names() {
        let cases: &[(&str, ErrorName)] = &[
            ("com.amazonaws.dynamodb.v20120810#ResourceNotFoundException", ErrorName::ResourceNotFound),
            ("com.amazon.coral.service#UnknownOperationException", ErrorName::UnknownOperation),
            ("com.amazon.coral.availability#ThrottlingException", ErrorName::Throttling),
            ("ValidationException:http://internal.amazon.com/coral/x", ErrorName::Validation),
            ("a#b#ValidationException:x:y", ErrorName::Validation),
            ("ValidationException", ErrorName::Validation),
            ("validationexception", ErrorName::Other),
            ("#", ErrorName::Other),
            ("", ErrorName::Other),
            ("aws.protocoltests#FooException", ErrorName::Other),
        ];
        for (value, expected) in cases {
            assert_eq!(ErrorName::parse(value.as_bytes()), *expected, "{value}");
        }
    }

    #[test]
    fn entry_codes() {
        let cases: &[(&str, Option<ErrorName>)] = &[
            ("None", None),
            ("ThrottlingError", Some(ErrorName::Throttling)),
            ("ValidationError", Some(ErrorName::Validation)),
            ("InternalServerError", Some(ErrorName::InternalServerError)),
            ("RequestLimitExceeded", Some(ErrorName::RequestLimitExceeded)),
            ("TransactionConflict", Some(ErrorName::TransactionConflict)),
            ("Surprise", Some(ErrorName::Other)),
        ];
        for (code, expected) in cases {
            assert_eq!(ErrorName::parse_entry(code.as_bytes()), *expected, "{code}");
        }
    }

    #[test]
    fn kinds() {
        assert_eq!(ErrorName::Validation.kind(500), ErrorKind::Validation);
        assert_eq!(ErrorName::Other.kind(400), ErrorKind::Client);
        assert_eq!(ErrorName::Other.kind(403), ErrorKind::Denied);
        assert_eq!(ErrorName::Other.kind(429), ErrorKind::Throttled);
        assert_eq!(ErrorName::Other.kind(503), ErrorKind::Server);
    }
}
