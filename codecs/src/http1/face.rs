//! The codec as a `tokio_util` decoder, for tests, demo servers and anybody else who has a `Framed`. The proxy itself
//! does not go this way: a frame costs a reference count, and the head is moved.

use bytes::{Bytes, BytesMut};
use tokio_util::codec::Decoder;

use super::Limits;
use super::body::{Body, Part};
use super::head::Parsed;
use super::reject::Reject;
use super::request::{RequestHead, parse_request};

/// A piece of a request: one `Head`, any number of `Data`, perhaps `Trailers`, one `End`.
#[derive(Debug, Clone)]
pub enum Frame {
    /// A head and its bytes, to be joined by [`RequestHead::view`].
    Head(RequestHead, Bytes),
    /// A run of the body.
    Data(Bytes),
    /// The trailer section, for [`trailers`](super::body::trailers).
    Trailers(Bytes),
    /// The request has ended. After CONNECT, or where [`RequestHead::keep_alive`] is false, nothing more is to be
    /// decoded.
    End,
}

/// What ends a stream of requests early.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The client broke a rule: answer [`Reject::status`] and close.
    #[error("{0}")]
    Reject(#[from] Reject),
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Decodes the requests of one connection.
#[derive(Debug, Default)]
pub struct RequestDecoder {
    limits: Limits,
    head: RequestHead,
    body: Option<Body>,
}

impl RequestDecoder {
    /// A decoder with these caps.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }
}

impl Decoder for RequestDecoder {
    type Item = Frame;
    type Error = Broken;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, Broken> {
        let Some(body) = &mut self.body else {
            let Parsed::Complete { len } = parse_request(src, &self.limits, &mut self.head)? else {
                return Ok(None);
            };
            self.body = Some(Body::new(self.head.framing(), &self.limits));
            return Ok(Some(Frame::Head(std::mem::take(&mut self.head), src.split_to(len).freeze())));
        };
        Ok(match body.take(src)? {
            Part::More => None,
            Part::Data(data) => Some(Frame::Data(data)),
            Part::Trailers(section) => Some(Frame::Trailers(section)),
            Part::End => {
                self.body = None;
                Some(Frame::End)
            }
        })
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, Broken> {
        if let Some(frame) = self.decode(src)? {
            return Ok(Some(frame));
        }
        if let Some(body) = &mut self.body {
            body.eof()?;
        }
        if src.is_empty() {
            Ok(None)
        } else {
            Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into())
        }
    }
}
