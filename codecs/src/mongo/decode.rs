//! The decoders: a stream of bytes to pieces of messages, with what is known about each.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use bytes::{Buf, BytesMut};
use nom::number::complete::{le_i32, le_u8};
use nom::{IResult, Parser};

use super::direct;
use super::header::{HEADER_LENGTH, Header, MAX_MESSAGE_LENGTH, Malformed, OpCode};
use super::inflate::{Compressor, FRAME_HEADER, Inflate, Work};
use super::problem::Problem;
use super::reply::ReplyHead;
use super::request::RequestHead;
use super::walk::{Facts, Walker};
use crate::Piece;

/// Bytes of an `OP_COMPRESSED` before the compressed ones: header, original opcode, length, compressor.
const COMPRESSED_PREFIX: usize = HEADER_LENGTH + 9;

/// A head that grows while its message is walked.
#[allow(private_bounds)] // what a walk tells a head is nobody else's business
pub trait Head: Facts + Default + Clone {
    /// Whether it is that of a server's message.
    #[doc(hidden)]
    const IS_REPLY: bool;
    /// A new message begins.
    #[doc(hidden)]
    fn begin(&mut self, header: Header);
    /// The message is compressed: what is inside, and how long that is with its header.
    #[doc(hidden)]
    fn compressed(&mut self, compressor: Compressor, op_code: OpCode, length: u32);
    /// The message cannot be understood, or not wholly.
    #[doc(hidden)]
    fn problem(&mut self, problem: Problem);
    /// Whether enough is known to hand the head out.
    #[doc(hidden)]
    fn is_known(&self) -> bool;
    /// The message has ended.
    #[doc(hidden)]
    fn end(&mut self);
}

macro_rules! head {
    ($head:ty, $known:expr, $is_reply:expr) => {
        impl Head for $head {
            const IS_REPLY: bool = $is_reply;

            fn begin(&mut self, header: Header) {
                self.begin(header);
            }

            fn compressed(&mut self, compressor: Compressor, op_code: OpCode, length: u32) {
                self.compressor = Some(compressor);
                self.op_code = op_code;
                self.uncompressed_length = length;
            }

            fn problem(&mut self, problem: Problem) {
                self.problem.get_or_insert(problem);
            }

            fn is_known(&self) -> bool {
                $known(self)
            }

            fn end(&mut self) {
                self.end();
            }
        }
    };
}

head!(RequestHead, RequestHead::is_named, false);
head!(ReplyHead, ReplyHead::is_begun, true);

/// Cuts a client's bytes into requests.
pub type RequestDecoder = Decoder<RequestHead>;

/// Cuts a server's bytes into replies.
pub type ReplyDecoder = Decoder<ReplyHead>;

/// How the bytes of the current message are looked at.
#[derive(Debug)]
enum Body {
    /// As they are.
    Plain,
    /// As the prefix of an `OP_COMPRESSED` that is not there yet.
    Compressed,
    /// Decompressed.
    Inflated(Rc<Work>),
    /// Not at all.
    Opaque,
}

/// Where decoders of one worker put the head of a message that is there whole, one after the other: what is known of it is needed for
/// a moment only, and the next one is written to memory that is still at hand.
pub struct Heads<H>(Rc<Cell<Option<Rc<H>>>>);

impl<H> fmt::Debug for Heads<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heads").finish_non_exhaustive()
    }
}

impl<H> Default for Heads<H> {
    fn default() -> Heads<H> {
        Heads(Rc::default())
    }
}

impl<H> Clone for Heads<H> {
    fn clone(&self) -> Heads<H> {
        Heads(Rc::clone(&self.0))
    }
}

/// One direction of a connection, cut into messages, each handed out in pieces as its bytes arrive.
///
/// The head comes with the piece that makes it known (for a reply: that holds its flags), and once more, complete,
/// with the message's last piece; a message that is in the buffer whole is one piece with one complete head. Heads are large
/// and shared: the decoder writes the next one where the last one was, once whoever it was handed out to has let go of it.
/// Nothing is copied and, in the steady state, nothing is allocated.
#[derive(Debug)]
pub struct Decoder<H> {
    /// Bytes of the current message still to come.
    left: usize,
    heads: Heads<H>,
    /// The head of a message that came in pieces: most connections have none.
    head: Option<Rc<H>>,
    /// Where the head goes on while somebody still looks at what it was before.
    other: Option<Rc<H>>,
    /// The head has been handed out.
    shown: bool,
    walker: Walker,
    body: Body,
}

impl<H: Head> Default for Decoder<H> {
    fn default() -> Self {
        Decoder::sharing(&Heads::default())
    }
}

impl<H: Head> Decoder<H> {
    /// One that shares its heads with others.
    pub fn sharing(heads: &Heads<H>) -> Decoder<H> {
        Decoder {
            left: 0,
            heads: heads.clone(),
            head: None,
            other: None,
            shown: false,
            walker: Walker::idle(),
            body: Body::Opaque,
        }
    }

    /// Whether the next byte begins a message.
    pub fn is_between_messages(&self) -> bool {
        self.left == 0
    }

    /// What is known of the message under way so far, as long as its head has not been handed out.
    pub fn partial_head(&self) -> Option<&Rc<H>> {
        self.head.as_ref().filter(|_| self.left > 0 && !self.shown)
    }

    /// Takes the next piece off the front of `buf`; `None` when more bytes are needed. At most 1 KiB is left in the
    /// buffer meanwhile.
    ///
    /// # Errors
    /// [`Malformed`] when the bytes are no message; nothing is taken, and no later call will go better. What is wrong
    /// inside a message is no error but the head's `problem`: the message passes by its length.
    pub fn decode(
        &mut self,
        buf: &mut BytesMut,
        inflate: &mut Inflate,
    ) -> Result<Option<Piece<Rc<H>>>, Malformed> {
        if self.left == 0 {
            let Some(header) = Header::parse(buf)? else { return Ok(None) };
            let length = header.length as usize;
            if let Some(head) = buf.get(..length).and_then(|message| self.understand(header, message)) {
                return Ok(Some(Piece {
                    bytes: buf.split_to(length).freeze(),
                    head: Some(head),
                    last: true,
                }));
            }
            self.begin(header);
        }
        Ok(self.part(buf, inflate))
    }

    /// The next piece of the message under way.
    #[inline(never)]
    fn part(&mut self, buf: &mut BytesMut, inflate: &mut Inflate) -> Option<Piece<Rc<H>>> {
        let size = buf.len().min(self.left);
        let bytes = buf.chunk().get(..size).unwrap_or_default();
        let whole = size == self.left;
        let done = self.look(bytes, whole, inflate);
        if done == 0 {
            return None;
        }
        self.left -= done;
        let last = self.left == 0;
        if last {
            self.end(inflate);
        }
        let head = self.show(last);
        Some(Piece { bytes: buf.split_to(done).freeze(), head, last })
    }

    /// The head, complete, of the message that `bytes` are, if they are just one, and as it should be, and none is under way. `None` says
    /// nothing: [`decode`](Decoder::decode) tells what they are.
    pub fn whole(&mut self, bytes: &[u8]) -> Option<Rc<H>> {
        let header = Header::parse(bytes).ok().flatten()?;
        if self.left > 0 || header.length as usize != bytes.len() {
            return None;
        }
        self.understand(header, bytes)
    }

    /// The head of a message that is all there, if it is as it should be.
    fn understand(&mut self, header: Header, message: &[u8]) -> Option<Rc<H>> {
        if !matches!(header.op_code, OpCode::MSG | OpCode::QUERY | OpCode::REPLY) {
            return None;
        }
        let mut head = self.heads.0.take().unwrap_or_default();
        if Rc::get_mut(&mut head).is_none() {
            // Somebody looks at the last one for longer.
            head = Rc::default();
        }
        let understood = Rc::get_mut(&mut head).and_then(|head| {
            head.begin(header);
            direct::walk(head, header.op_code, message)?;
            head.end();
            Some(())
        });
        let shown = understood.map(|()| Rc::clone(&head));
        self.heads.0.set(Some(head));
        self.shown = true;
        shown
    }

    #[inline(never)]
    fn begin(&mut self, header: Header) {
        self.left = header.length as usize;
        head(&mut self.head, &mut self.other).begin(header);
        self.shown = false;
        self.body = match header.op_code {
            OpCode::COMPRESSED => Body::Compressed,
            _ => Body::Plain,
        };
        self.walker.begin(header.op_code, 0, header.length);
    }

    fn show(&mut self, last: bool) -> Option<Rc<H>> {
        let head = self.head.as_ref()?;
        if !last && (self.shown || !head.is_known()) {
            return None;
        }
        self.shown = true;
        Some(Rc::clone(head))
    }

    /// Looks at the message's next bytes and returns how many may go on.
    fn look(&mut self, bytes: &[u8], whole: bool, inflate: &mut Inflate) -> usize {
        let looked = match &mut self.body {
            Body::Plain => self.walker.feed(head(&mut self.head, &mut self.other), bytes),
            Body::Compressed => return self.open(bytes, whole, inflate),
            Body::Inflated(work) => {
                let (head, walker) = (head(&mut self.head, &mut self.other), &mut self.walker);
                match inflate.run(work, bytes, |clear| walker.feed(head, clear)) {
                    // The rest is for the next turn.
                    Ok(used) => return used,
                    Err(problem) => Err(problem),
                }
            }
            Body::Opaque => Ok(bytes.len()),
        };
        match looked {
            // All of the message is there: there is nothing to wait for.
            Ok(done) if whole && done < bytes.len() => self.fail(Problem::Truncated, inflate),
            Ok(done) => return done,
            Err(problem) => self.fail(problem, inflate),
        }
        bytes.len()
    }

    /// Begins to look into a compressed message, once enough of it is there.
    fn open(&mut self, bytes: &[u8], whole: bool, inflate: &mut Inflate) -> usize {
        if !whole && bytes.len() < COMPRESSED_PREFIX + FRAME_HEADER {
            return 0;
        }
        match self.prefix(bytes, inflate) {
            Ok(()) => {
                let rest = bytes.get(COMPRESSED_PREFIX..).unwrap_or_default();
                COMPRESSED_PREFIX + self.look(rest, whole, inflate)
            }
            Err(problem) => {
                self.fail(problem, inflate);
                bytes.len()
            }
        }
    }

    fn prefix(&mut self, bytes: &[u8], inflate: &mut Inflate) -> Result<(), Problem> {
        let (rest, (op_code, length, id)) =
            bytes.get(HEADER_LENGTH..).and_then(|b| compressed_prefix(b).ok()).ok_or(Problem::Compressed)?;
        let inner = u32::try_from(length).map_err(|_| Problem::Compressed)?;
        let length = inner.saturating_add(HEADER_LENGTH as u32);
        if length > MAX_MESSAGE_LENGTH {
            return Err(Problem::Inflated);
        }
        if op_code == OpCode::COMPRESSED {
            return Err(Problem::Compressed);
        }
        let compressor = Compressor::from_id(id).ok_or(Problem::Compressor)?;
        head(&mut self.head, &mut self.other).compressed(compressor, op_code, length);
        if compressor != Compressor::Noop
            && !compressor.can_make(self.left - COMPRESSED_PREFIX, inner as usize)
        {
            return Err(Problem::InflatedLength);
        }
        self.walker.begin(op_code, HEADER_LENGTH as u32, length);
        self.body = if compressor == Compressor::Noop {
            if inner as usize != self.left - COMPRESSED_PREFIX {
                return Err(Problem::InflatedLength);
            }
            Body::Plain
        } else {
            Body::Inflated(inflate.take(compressor, inner, rest, H::IS_REPLY)?)
        };
        Ok(())
    }

    /// Looks no further into this message.
    fn fail(&mut self, problem: Problem, inflate: &mut Inflate) {
        head(&mut self.head, &mut self.other).problem(problem);
        self.walker.give_up();
        self.close(inflate);
    }

    fn close(&mut self, inflate: &mut Inflate) {
        if let Body::Inflated(work) = std::mem::replace(&mut self.body, Body::Opaque) {
            inflate.give_back(work);
        }
    }

    fn end(&mut self, inflate: &mut Inflate) {
        let ended = match &self.body {
            Body::Opaque => Ok(()),
            Body::Inflated(work) => work.finish(),
            Body::Plain | Body::Compressed => Ok(()),
        };
        let head = head(&mut self.head, &mut self.other);
        let ended = ended.and_then(|()| match self.body {
            Body::Opaque => Ok(()),
            _ => self.walker.finish(head),
        });
        if let Err(problem) = ended {
            head.problem(problem);
        }
        head.end();
        self.close(inflate);
    }
}

/// The head, to be written to: where it is if nobody looks at it, else in the other place.
fn head<'a, H: Head>(head: &'a mut Option<Rc<H>>, other: &mut Option<Rc<H>>) -> &'a mut H {
    let head = head.get_or_insert_default();
    if Rc::get_mut(head).is_none() {
        let mut next = other.take().unwrap_or_default();
        match Rc::get_mut(&mut next) {
            Some(next) => next.clone_from(head),
            None => next = Rc::new(H::clone(head)),
        }
        *other = Some(std::mem::replace(head, next));
    }
    // Nobody looks at it.
    Rc::make_mut(head)
}

fn compressed_prefix(input: &[u8]) -> IResult<&[u8], (OpCode, i32, u8)> {
    (le_i32.map(OpCode), le_i32, le_u8).parse(input)
}
