//! DynamoDB's JSON protocol, looked at while it passes: which operation a request is, which tables it touches, whether
//! it may be sent twice, and what a reply says went wrong. Nothing here changes a byte, keeps a body, or trusts one:
//! every scanner takes slices as they arrive, holds a bounded amount of what it found, and answers "malformed" where
//! DynamoDB would.
//!
//! How a call passes through:
//!
//! 1. the value of `x-amz-target` is parsed to a [`Target`], which says what the operation does and where in the body
//!    its tables are ([`ApiOperation`], a table of all 66);
//! 2. [`RequestScanner`] is fed the request body slice by slice ([`json`] tokenises, [`table`] normalises names and
//!    ARNs, [`partiql`] reads statements) and answers with the tables, the index and what makes the call repeatable;
//! 3. [`ReplyScanner`] is fed the reply body (through [`Inflater`] if it is compressed) and answers with the error,
//!    partial failures, throttling reasons and consumed capacity;
//! 4. a refusal of our own is written by [`ErrorReply`].

mod error_reply;
mod errors;
mod inflate;
pub mod json;
mod operation;
pub mod partiql;
mod reply;
mod request;
pub mod table;

pub use error_reply::{CONTENT_TYPE, ErrorReply, MAX_MESSAGE, request_id};
pub use errors::{ErrorKind, ErrorName};
pub use inflate::{Coding, FUEL, INFLATE_LIMIT, Inflater, MAX_RATIO, Opaque, RATIO_FREE};
pub use operation::{Access, ApiOperation, Locate, Repeat, Service, Target};
pub use reply::{
    EntryError, MAX_ENTRY_ERRORS, MAX_THROTTLES, Reply, ReplyScanner, TableReply, Throttle, ThrottleAccess,
    ThrottleCause, ThrottleReason,
};
pub use request::{MAX_ITEMS, Request, RequestScanner};
pub use table::{MAX_TABLES, TableRef, Tables};
