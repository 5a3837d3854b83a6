//! The codec's decoders as the message loop wants them.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use weir_codecs::Piece;
use weir_codecs::mongo::{Budget, Decoder, Head, Heads, Inflate, Problem, ReplyHead, RequestHead};
use weir_decide::protocol::{Decode, Malformed};

use crate::rules::Control;

/// What all decompressors of a worker may take together. It is met by many clients that send large zstd messages slowly; the one
/// then that has stood still for longest is not looked into any further (`weir_malformed_total{reason="over_budget"}`).
const INFLATE_BUDGET: usize = 12 << 20;

thread_local! {
    /// The worker's, for all of its listeners.
    static INFLATE: Rc<RefCell<Inflate>> = Rc::new(RefCell::new(Inflate::new(Budget::new(INFLATE_BUDGET))));
}

/// The decompressors of this worker, of all its listeners.
pub(crate) fn workers_inflate() -> Rc<RefCell<Inflate>> {
    INFLATE.with(Rc::clone)
}

/// What the decoders of a listener on one worker share.
pub(crate) struct Shared {
    pub listener: Arc<str>,
    /// Of all listeners.
    pub inflate: Rc<RefCell<Inflate>>,
    pub requests: Heads<RequestHead>,
    pub replies: Heads<ReplyHead>,
}

/// Cuts the client's bytes into requests.
pub type Requests = Direction<RequestHead>;

/// Cuts the server's bytes into replies.
pub type Replies = Direction<ReplyHead>;

/// One direction of a connection.
///
/// What cannot be understood ends the reading of messages, though its length is known: nobody can say any more how many
/// replies are due, and a count that may be wrong is worse than none. The message itself still goes on; the next call
/// reports the trouble, and the loop goes on with bytes.
pub struct Direction<H> {
    decoder: Decoder<H>,
    shared: Rc<Shared>,
    /// Which side's bytes these are.
    side: &'static str,
    failed: Option<Malformed>,
    /// While rules are in force nothing that cannot be understood goes on.
    control: Option<Rc<Control>>,
}

impl<H: Head> Direction<H> {
    fn new(shared: &Rc<Shared>, heads: &Heads<H>, side: &'static str) -> Direction<H> {
        Direction {
            decoder: Decoder::sharing(heads),
            shared: Rc::clone(shared),
            side,
            failed: None,
            control: None,
        }
    }

    /// Rules have to hold.
    fn is_guarded(&self) -> bool {
        self.control.as_ref().is_some_and(|control| control.is_enforced())
    }

    /// Rules look at what passes, though all of them may only run dry.
    fn is_watched(&self) -> bool {
        self.control.as_ref().is_some_and(|control| control.is_in_force())
    }

    #[cold]
    fn fail(&mut self, reason: &'static str, error: &dyn std::fmt::Display) -> Malformed {
        tracing::warn!(listener = %self.shared.listener, from = self.side, %error, "a message could not be understood");
        let failed = Malformed::Syntax(reason);
        self.failed = Some(failed);
        failed
    }
}

impl Requests {
    /// The client's direction, guarded by rules.
    pub(crate) fn guarded(shared: &Rc<Shared>, control: &Rc<Control>) -> Requests {
        Direction { control: Some(Rc::clone(control)), ..Direction::new(shared, &shared.requests, "client") }
    }
}

impl Replies {
    /// The server's direction.
    pub(crate) fn relayed(shared: &Rc<Shared>) -> Replies {
        Direction::new(shared, &shared.replies, "server")
    }
}

/// What a head says went wrong.
pub(crate) trait Troubled {
    fn problem(&self) -> Option<Problem>;
}

impl Troubled for RequestHead {
    fn problem(&self) -> Option<Problem> {
        self.problem
    }
}

impl Troubled for ReplyHead {
    fn problem(&self) -> Option<Problem> {
        self.problem
    }
}

#[allow(private_bounds)] // the two heads there are
impl<H: Head + Troubled> Decode for Direction<H> {
    type Head = Rc<H>;

    fn whole(&mut self, bytes: &[u8]) -> Option<Rc<H>> {
        if self.failed.is_some() { None } else { self.decoder.whole(bytes) }
    }

    fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    fn has_toiled(&mut self) -> bool {
        self.shared.inflate.borrow_mut().has_toiled()
    }

    fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Piece<Rc<H>>>, Malformed> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let decoded = self.decoder.decode(buf, &mut self.shared.inflate.borrow_mut());
        match decoded {
            Ok(mut piece) => {
                // Rules decide on what is known so far.
                if let Some(piece) = &mut piece
                    && piece.head.is_none()
                    && self.is_watched()
                {
                    piece.head = self.decoder.partial_head().cloned();
                }
                if let Some(problem) = piece.as_ref().and_then(|piece| piece.head.as_ref()?.problem()) {
                    let failed = self.fail(problem.word(), &problem);
                    if self.is_guarded() {
                        return Err(failed);
                    }
                }
                Ok(piece)
            }
            Err(malformed) => Err(self.fail(malformed.looks_like.word(), &malformed)),
        }
    }
}
