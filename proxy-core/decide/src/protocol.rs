//! What a message protocol (MongoDB) is to the core: bytes in, steps and judgements out. An implementation never sees a
//! socket, a clock or a random number, so its tests are tables. The message loop of the drive crate is its only caller.

use crate::exchange::{EndpointId, Fault, Names, Operation, Outcome};
use bytes::{Bytes, BytesMut};
use std::net::SocketAddr;
use weir_codecs::Piece;

/// Why a stream of bytes can no longer be read as messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A length or count is beyond its cap.
    #[error("{0} is beyond its cap")]
    TooLarge(&'static str),
    /// The bytes do not follow the protocol. The word is a stable label value.
    #[error("malformed: {0}")]
    Syntax(&'static str),
}

impl Malformed {
    /// The label value: which rule was broken.
    pub fn label(self) -> &'static str {
        match self {
            Malformed::TooLarge(what) | Malformed::Syntax(what) => what,
        }
    }
}

/// One direction of a connection, cut into messages. Fed a buffer of what has arrived; takes pieces off its front.
pub trait Decode {
    /// What is learnt about a message, once it is known.
    type Head;

    /// The next piece of exact wire bytes, `None` when more bytes are needed. Always takes as much as it can: bytes stay in
    /// the buffer only when a decision needs what follows them, and never more than a small, fixed number.
    fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Piece<Self::Head>>, Malformed>;
}

/// What the loop does with a request whose head became known, or with a piece that brought no head.
#[derive(Debug)]
pub enum Step {
    /// Hold the pieces so far, `limit` bytes at most: the operation is not known yet and a rule waits for it. Beyond the
    /// limit the loop calls `request` again with `end` set.
    More {
        /// The most to hold.
        limit: usize,
    },
    /// Send it on, streaming.
    Forward,
    /// Collect the whole message, `limit` bytes at most, then ask for `rewrite`.
    Rewrite {
        /// The most to collect.
        limit: usize,
    },
    /// Swallow the rest of the request and answer with these bytes (none, where no reply is due).
    Respond(Bytes, Outcome),
    /// Close both connections.
    Close(Fault),
}

/// What the loop does with a reply's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Send it on, streaming.
    Relay {
        /// More replies to the same operation follow this one.
        more: bool,
        /// Hold this one back until its operation has been judged.
        hold: bool,
    },
    /// Collect the whole message, `limit` bytes at most, then ask for `rewrite`.
    Rewrite {
        /// The most to collect.
        limit: usize,
        /// More replies to the same operation follow this one.
        more: bool,
    },
}

/// A message protocol. `Session` is what it remembers of one pair of connections, bounded; `Op` is its own record of one
/// operation, which carries the shared [`Operation`].
pub trait Protocol {
    /// The protocol's label value.
    const NAME: &'static str;
    /// What is remembered of one pair of connections.
    type Session;
    /// Cuts the client's bytes into messages.
    type Request: Decode;
    /// Cuts the server's bytes into messages.
    type Reply: Decode;
    /// One operation under way.
    type Op: AsRef<Operation> + AsMut<Operation>;

    /// A fresh session and its two decoders.
    fn session(&self) -> (Self::Session, Self::Request, Self::Reply);

    /// The session is one of a client that connected to `local`. For protocols to which the listener's addresses are not
    /// all the same.
    fn connected(&self, session: &mut Self::Session, local: SocketAddr) {
        let _ = (session, local);
    }

    /// A request's message has begun (or its head has become known): which operation is it? Called once per message, with
    /// the head if it is known; if `end` is false and the head is `None` the implementation may ask for [`Step::More`] or
    /// return a provisional operation with [`Step::Forward`], which `learn` completes when the head comes with a later piece.
    fn request(
        &self,
        session: &mut Self::Session,
        names: &mut dyn Names,
        head: Option<&<Self::Request as Decode>::Head>,
        end: bool,
    ) -> (Self::Op, Step);

    /// The head of a request already being forwarded has become known.
    fn learn(
        &self,
        session: &mut Self::Session,
        names: &mut dyn Names,
        op: &mut Self::Op,
        head: &<Self::Request as Decode>::Head,
    );

    /// Which of the pending operations does this reply answer? `None`: the head is not known yet, or it answers the oldest.
    /// Returns the tag to look for.
    fn answers(&self, session: &Self::Session, head: &<Self::Reply as Decode>::Head) -> Option<u64>;

    /// A reply's head is known: what is to be done with the message?
    fn reply(
        &self,
        session: &mut Self::Session,
        op: &mut Self::Op,
        from: EndpointId,
        head: &<Self::Reply as Decode>::Head,
    ) -> Answer;

    /// Write the message `whole` to `out` as it shall go on.
    fn rewrite(
        &self,
        session: &mut Self::Session,
        op: &Self::Op,
        whole: &[u8],
        out: &mut BytesMut,
    ) -> Result<(), Malformed>;

    /// A reply has ended, `tail` being what its decoder knows by then: how did the operation go? Called for each reply of a
    /// stream, and each counts as an operation of its own; the judgement of the last one ends it.
    fn judge(
        &self,
        session: &mut Self::Session,
        names: &mut dyn Names,
        op: &mut Self::Op,
        tail: &<Self::Reply as Decode>::Head,
    ) -> Outcome;

    /// The operation failed with `fault`: append an error in the protocol's own words to `out` (nothing where no reply is
    /// due, or where a reply has begun), and say how it counts.
    fn refuse(
        &self,
        session: &mut Self::Session,
        names: &mut dyn Names,
        op: &mut Self::Op,
        fault: &Fault,
        out: &mut BytesMut,
    ) -> Outcome;

    /// Whether a listener that only observes may go on as bytes after a message could not be read. Never true while a rule is
    /// in force.
    fn degrades(&self, session: &Self::Session) -> bool;
}
