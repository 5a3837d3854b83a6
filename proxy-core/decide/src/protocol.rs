//! What a message protocol (MongoDB) is to the core: bytes in, steps and judgements out. An implementation never sees a
//! socket, a clock or a random number, so its tests are tables. The message loop of the drive crate is its only caller.

use crate::exchange::{EndpointId, Fault, Names, Now, Operation, Outcome};
use bytes::{Bytes, BytesMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
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

/// Why a message that was to be rewritten is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unwritten {
    /// Who sent it has not kept to the protocol.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// There is nothing wrong with it: it is not known yet, or not any more, what it should say.
    #[error("it is not known what it should say")]
    Unready,
    /// The same, and worth a little time: a reply is held, and the protocol is asked again.
    #[error("it is not known yet what it should say")]
    Later,
}

/// One direction of a connection, cut into messages. Fed a buffer of what has arrived; takes pieces off its front.
pub trait Decode {
    /// What is learnt about a message, once it is known.
    type Head;

    /// The next piece of exact wire bytes, `None` when more bytes are needed. Takes as much as it can, or as is work for one turn: with
    /// `None` bytes stay in the buffer only when a decision needs what follows them, and never more than a small, fixed number.
    fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Piece<Self::Head>>, Malformed>;

    /// The head of the message that `bytes` are, if they are just one, whole and as it should be, and none is under way: it may then
    /// go on as it is. `None` says nothing, and leaves everything to [`decode`](Decode::decode).
    fn whole(&mut self, _bytes: &[u8]) -> Option<Self::Head> {
        None
    }

    /// Whether the next call reports trouble, whatever it is given.
    fn has_failed(&self) -> bool {
        false
    }

    /// Whether what it has done since this last said so is as much work as one turn should have: others go first, and what is in
    /// the buffer is for the next turn.
    fn has_toiled(&mut self) -> bool {
        false
    }
}

/// What the loop does with a request whose head became known, or with a piece that brought no head.
#[derive(Debug)]
pub enum Step {
    /// Hold the pieces so far, `limit` bytes at most: the operation is not known yet and a rule waits for it. Beyond the
    /// limit, or where there is no memory for more, the loop calls `request` again with `end` set.
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

/// What a ruling may depend on beside the request.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    /// When it is.
    pub now: Now,
    /// 64 random bits.
    pub random: u64,
    /// What has come of the request, as it came.
    pub bytes: &'a [u8],
    /// Nothing more of the request will be shown: it ends here, or a bound of [`Step::More`] is met.
    pub end: bool,
}

/// What rules say of a request.
#[derive(Debug, Default)]
pub struct Ruling {
    /// What is done instead of what [`Protocol::request`] said.
    pub instead: Option<Step>,
    /// It is held back so long before anything is done with it.
    pub delay: Option<Duration>,
    /// Counted from its first byte: after so long it fails with [`Reason::Timeout`](crate::exchange::Reason::Timeout), and the
    /// upstream connection is closed so that the server stops. Each reply of a stream has so long.
    pub time_limit: Option<Duration>,
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

/// What a connection that is to come to its end (Weir is going away, or its listener) still stays for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stays {
    /// For nothing, if it has been quiet for so long. Closed earlier, it would cost a client that has just sent its next request
    /// that request.
    Quiet(Duration),
    /// For something that is open on it and that the client has to go on with.
    Open,
    /// For the others: it goes when all of its listener have gone but those that stay for the others. Closed earlier, it would have
    /// a client believe that the server is gone, and give up what is open.
    Others,
}

/// An operation that has ended, as it is counted.
#[derive(Debug, Clone, Copy)]
pub struct Ending<'a> {
    /// How it went.
    pub outcome: &'a Outcome,
    /// When the first byte of the request had come.
    pub began: Now,
    /// When the last byte of the request had; `None` if it never did.
    pub complete: Option<Now>,
    /// When the first byte of the reply had; `None` where there was none.
    pub first_byte: Option<Now>,
    /// Now: the last byte of the reply has been written.
    pub ended: Now,
    /// Bytes of the request.
    pub request_bytes: u64,
    /// Bytes of the reply.
    pub reply_bytes: u64,
    /// Where it went; `None` if it did not get that far.
    pub endpoint: Option<&'a str>,
}

/// What a client says of itself, for people to see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// Whose software it is.
    pub software: Option<Arc<Software>>,
    /// What its messages are compressed with.
    pub compressor: Option<&'static str>,
    /// How somebody has authenticated.
    pub mechanism: Option<&'static str>,
}

/// Whose software a client is: shared by its connections.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Software {
    /// What the application calls itself.
    pub application: Box<str>,
    /// The driver or library.
    pub driver: Box<str>,
    /// Its version.
    pub version: Box<str>,
    /// What is built upon it, if anything.
    pub framework: Box<str>,
}

/// How well a client is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has not authenticated, where clients do. Memory that all share is not for it.
    Stranger,
    /// Nobody has to authenticate, as far as is known.
    Unknown,
    /// Somebody has authenticated on its connection.
    Known,
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
    /// One operation under way; by default one of which nothing is known yet.
    type Op: AsRef<Operation> + AsMut<Operation> + Default;

    /// A fresh session and its two decoders.
    fn session(&self) -> (Self::Session, Self::Request, Self::Reply);

    /// The session is one of a client that connected to `local`. For protocols to which the listener's addresses are not
    /// all the same.
    fn connected(&self, session: &mut Self::Session, local: SocketAddr) {
        let _ = (session, local);
    }

    /// A request's message has begun (or its head has become known): which operation is it? Completes `op`, of which nothing is
    /// known yet, and says what is to be done. Called once per message, with the head if it is known; if `end` is false and the
    /// head is `None` the implementation may ask for [`Step::More`] (and is asked anew with the next piece), or leave the operation
    /// provisional with [`Step::Forward`], which `learn` completes when the head comes with a later piece.
    fn request(
        &self,
        session: &mut Self::Session,
        names: &mut dyn Names,
        op: &mut Self::Op,
        head: Option<&<Self::Request as Decode>::Head>,
        end: bool,
    ) -> Step;

    /// What the rules in force say of `op`, which `request` would send on. Called each time that `request` is for the same message.
    /// As long as [`Step::More`] is asked for nothing may be counted against a limit.
    fn govern(
        &self,
        _session: &mut Self::Session,
        _names: &mut dyn Names,
        _op: &mut Self::Op,
        _head: Option<&<Self::Request as Decode>::Head>,
        _at: At<'_>,
    ) -> Ruling {
        Ruling::default()
    }

    /// How well the client is known by now.
    fn standing(&self, session: &Self::Session) -> Standing {
        let _ = session;
        Standing::Unknown
    }

    /// Whether the client's connection can go on over another upstream connection to the same endpoint: nothing that was said on
    /// the one that was closed is missing on the next.
    fn survives(&self, _session: &Self::Session) -> bool {
        false
    }

    /// Whether the server is to decide what becomes of what is under way when the client has sent its last byte: it is told so, and what
    /// it still says goes on. Otherwise the connection to it is closed at once.
    fn half_closes(&self) -> bool {
        false
    }

    /// Whether the client only watches the server over this connection. When the server goes, such connections end a moment after
    /// the others: a client that gives the server up before it hears what became of its operations may not try those again.
    fn watches(&self, session: &Self::Session) -> bool {
        let _ = session;
        false
    }

    /// What a connection that is to come to its end stays for, when nothing is under way on it but the long poll `parked`. Asked
    /// again and again; it ends at the latest with the time that it is given.
    fn stays(&self, session: &mut Self::Session, parked: Option<&Self::Op>) -> Stays {
        let _ = (session, parked);
        Stays::Quiet(Duration::ZERO)
    }

    /// Whether the client does `op` anew, elsewhere and by itself, when its connection is closed instead. Asked in the second half
    /// of the time that a connection is given to come to its end, if it does not stay for anything.
    fn repeats(&self, session: &Self::Session, op: &Self::Op) -> bool {
        let _ = (session, op);
        false
    }

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

    /// Write the message `whole` to `out` as it shall go on. It has waited for so long because of [`Unwritten::Later`].
    ///
    /// # Errors
    /// Why it does not go on.
    fn rewrite(
        &self,
        session: &mut Self::Session,
        op: &Self::Op,
        whole: &[u8],
        waited: Duration,
        out: &mut BytesMut,
    ) -> Result<(), Unwritten>;

    /// A reply has ended, `tail` being what its decoder knows by then: how did the operation go? Called for each reply of a
    /// stream, and each counts as an operation of its own; the judgement of the last one ends it.
    fn judge(
        &self,
        session: &mut Self::Session,
        names: &mut dyn Names,
        op: &mut Self::Op,
        tail: &<Self::Reply as Decode>::Head,
    ) -> Outcome;

    /// A reply of a stream has been judged, and the next one, which counts as an operation of its own, begins. Says until when it is
    /// to be left unread.
    fn further(&self, session: &mut Self::Session, op: &mut Self::Op, now: Now) -> Option<Now> {
        let _ = (session, op, now);
        None
    }

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

    /// An operation has begun, and these are the first bytes of its request: all of them if `whole`. For what is to be known
    /// later of an operation that turns out to be remarkable.
    fn begun(&self, session: &mut Self::Session, op: &mut Self::Op, bytes: &[u8], whole: bool) {
        let _ = (session, op, bytes, whole);
    }

    /// An operation, or one reply of a stream, is being counted: once for each, whatever became of it.
    fn ended(&self, session: &mut Self::Session, op: &mut Self::Op, ending: &Ending<'_>) {
        let _ = (session, op, ending);
    }

    /// What the client says of itself, if that is not what was told last.
    fn news(&self, session: &mut Self::Session) -> Option<About> {
        let _ = session;
        None
    }

    /// Whether a listener that only observes may go on as bytes after a message could not be read. Never true while a rule is
    /// in force.
    fn degrades(&self, session: &Self::Session) -> bool;
}
