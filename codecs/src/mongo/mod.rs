//! The MongoDB wire protocol: framing, what a message says about itself, and Weir's own replies.
//!
//! How a request passes through: [`RequestDecoder`] reads the sixteen-byte header ([`Header`]), then hands the bytes
//! on in pieces as they arrive while a walk passes over them: flags, sections, and the top level of the command
//! document, jumping over values by their length. On the way it notes the small facts of a [`RequestHead`] in fixed
//! storage: the command ([`Command`], a closed table), its namespace, session, transaction, cursor, how many
//! documents. A typical message is whole in the buffer and comes out as one piece with its head. An `OP_COMPRESSED`
//! is decompressed ([`Inflate`]) only for that walk, in a window; its bytes go on as they came. [`ReplyDecoder`] does
//! the same for replies, whose [`ReplyHead`] is complete at their end, because `ok` comes late.
//!
//! Two kinds of trouble are kept apart: [`Malformed`] bytes are no messages at all, and nothing can be said about
//! where the next one begins; a [`Problem`] is inside one message, which still passes by its length.
//!
//! | file | what it holds |
//! |---|---|
//! | `header` | header, opcodes, what a stranger's bytes look like |
//! | `decode` | the decoders: buffer to pieces |
//! | `direct` | the walk over a message that is all there |
//! | `walk`, `frame`, `bson` | the resumable walk over sections and documents |
//! | `request`, `reply`, `names` | what is learnt |
//! | `command` | the commands, their class and where their namespace is |
//! | `inflate`, `snappy` | looking into compressed messages in bounded memory |
//! | `encode` | error replies, CRC-32C |
//! | `comment` | what an application says of itself in a command |
//! | `shape` | a command without its values |
//! | `max_time` | a limit of time put into a command |
//! | `touches` | every namespace that a command states |
//! | `whole` | a whole message taken apart and put together again; the beginning of one in the clear |

mod bson;
mod command;
mod comment;
mod decode;
mod direct;
mod elements;
mod encode;
mod frame;
mod header;
mod inflate;
mod max_time;
mod names;
mod problem;
mod reply;
mod request;
mod shape;
mod snappy;
mod touches;
mod walk;
mod whole;

pub use crate::crc32c::crc32c;
pub use command::{Class, Command, Namespace};
pub use comment::Comment;
pub use decode::{Decoder, Head, Heads, ReplyDecoder, RequestDecoder};
pub use encode::{ErrorReply, ReplyTo, document_reply, error_reply, op_msg};
pub use header::{HEADER_LENGTH, Header, LooksLike, MAX_MESSAGE_LENGTH, Malformed, OpCode};
pub use inflate::{Budget, Compressor, FUEL, Inflate};
pub use max_time::with_max_time;
pub use names::Short;
pub use problem::Problem;
pub use reply::{Labels, ReplyHead};
pub use request::{ClientMetadata, Flags, MAX_CURSORS, Mechanism, RequestHead};
pub use shape::{MAX_SHAPE, Shape};
pub use touches::{Clear, Touch};
pub use whole::{Whole, opening};
