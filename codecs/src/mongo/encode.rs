//! Weir's own words: error replies in the form that the request asks for, and messages around a document.

use bytes::{BufMut, BytesMut};

use super::header::{HEADER_LENGTH, Header, OpCode};
use super::reply::Labels;
use super::request::RequestHead;
use crate::crc32c::crc32c;

/// What a reply has to mirror of the request that it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyTo {
    request_id: i32,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Msg { checksum: bool },
    CommandReply,
    QueryFailure,
}

impl ReplyTo {
    /// How to answer this request; `None` where no reply is due, or where none can be understood.
    pub fn request(head: &RequestHead) -> Option<ReplyTo> {
        if !head.expects_reply() {
            return None;
        }
        let form = match head.op_code {
            OpCode::MSG => Form::Msg { checksum: head.flags.checksum_present() },
            OpCode::QUERY if head.is_query_command => Form::CommandReply,
            OpCode::QUERY | OpCode::GET_MORE => Form::QueryFailure,
            _ => return None,
        };
        Some(ReplyTo { request_id: head.header.request_id, form })
    }
}

impl ReplyTo {
    /// How to go on after a reply of the server's that said more would come: the next one answers that one.
    #[must_use]
    pub fn after(self, request_id: i32) -> ReplyTo {
        ReplyTo { request_id, ..self }
    }
}

/// An error as a server would report it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorReply<'a> {
    /// The error's number.
    pub code: i32,
    /// Its name.
    pub code_name: &'a str,
    /// What to tell a person.
    pub message: &'a str,
    /// What to tell a driver.
    pub labels: Labels,
    /// `baseBackoffMS`: how long a driver should wait at first, in milliseconds.
    pub base_backoff_ms: Option<i32>,
}

/// Appends the error to `out` as the answer to `to`, itself numbered `request_id`.
pub fn error_reply(out: &mut BytesMut, to: ReplyTo, request_id: i32, error: &ErrorReply<'_>) {
    let message = Message::begin(out, to, request_id);
    let document = begin_document(out);
    element(out, 0x01, "ok");
    out.put_f64_le(0.0);
    element(out, 0x02, if to.form == Form::QueryFailure { "$err" } else { "errmsg" });
    string(out, error.message);
    element(out, 0x10, "code");
    out.put_i32_le(error.code);
    element(out, 0x02, "codeName");
    string(out, error.code_name);
    if let Some(base) = error.base_backoff_ms {
        element(out, 0x10, "baseBackoffMS");
        out.put_i32_le(base);
    }
    if error.labels != Labels::NONE {
        element(out, 0x04, "errorLabels");
        let array = begin_document(out);
        // There are fewer than ten labels.
        for (label, key) in error.labels.names().zip(b'0'..=b'9') {
            out.put_slice(&[0x02, key, 0]);
            string(out, label);
        }
        end_document(out, array);
    }
    end_document(out, document);
    message.end(out);
}

/// Appends a reply whose body is `document`, as the answer to `to`, itself numbered `request_id`.
pub fn document_reply(out: &mut BytesMut, to: ReplyTo, request_id: i32, document: &[u8]) {
    let message = Message::begin(out, to, request_id);
    out.put_slice(document);
    message.end(out);
}

/// Appends an `OP_MSG` of one body, with no flags and without a checksum.
pub fn op_msg(out: &mut BytesMut, request_id: i32, response_to: i32, document: &[u8]) {
    let to = ReplyTo { request_id: response_to, form: Form::Msg { checksum: false } };
    document_reply(out, to, request_id, document);
}

/// A message under construction.
struct Message {
    start: usize,
    header: Header,
    checksum: bool,
}

impl Message {
    fn begin(out: &mut BytesMut, to: ReplyTo, request_id: i32) -> Message {
        let start = out.len();
        out.put_bytes(0, HEADER_LENGTH);
        let (op_code, checksum) = match to.form {
            Form::Msg { checksum } => {
                out.put_u32_le(u32::from(checksum));
                out.put_u8(0);
                (OpCode::MSG, checksum)
            }
            Form::CommandReply | Form::QueryFailure => {
                // 8: AwaitCapable, which every server since 1.6 says; 2: QueryFailure.
                out.put_u32_le(if to.form == Form::QueryFailure { 8 | 2 } else { 8 });
                out.put_i64_le(0);
                out.put_i32_le(0);
                out.put_i32_le(1);
                (OpCode::REPLY, false)
            }
        };
        let header = Header { length: 0, request_id, response_to: to.request_id, op_code };
        Message { start, header, checksum }
    }

    fn end(self, out: &mut BytesMut) {
        let length = out.len() - self.start + if self.checksum { 4 } else { 0 };
        let header = Header { length: u32::try_from(length).unwrap_or(u32::MAX), ..self.header };
        overwrite(out, self.start, &header.to_bytes());
        if self.checksum {
            let sum = crc32c(out.get(self.start..).unwrap_or_default());
            out.put_u32_le(sum);
        }
    }
}

fn begin_document(out: &mut BytesMut) -> usize {
    let start = out.len();
    out.put_i32_le(0);
    start
}

fn end_document(out: &mut BytesMut, start: usize) {
    out.put_u8(0);
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    overwrite(out, start, &length.to_le_bytes());
}

fn overwrite(out: &mut BytesMut, start: usize, bytes: &[u8]) {
    if let Some(slot) = out.get_mut(start..start + bytes.len()) {
        slot.copy_from_slice(bytes);
    }
}

fn element(out: &mut BytesMut, kind: u8, name: &str) {
    out.put_u8(kind);
    out.put_slice(name.as_bytes());
    out.put_u8(0);
}

fn string(out: &mut BytesMut, text: &str) {
    out.put_u32_le(u32::try_from(text.len() + 1).unwrap_or(u32::MAX));
    out.put_slice(text.as_bytes());
    out.put_u8(0);
}
