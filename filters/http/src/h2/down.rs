//! The client's side of an exchange on an HTTP/2 stream.

use super::{Due, In, Out, broken, head};
use crate::fields::Fields;
use crate::seam::{Broken, Downstream, Part, Recv, Reply, Result, Sink};
use crate::timer::Timer;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason as Code, RecvStream};
use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use weir_decide::exchange::Reason;
use weir_drive::time;

/// How long the end of a request of a kind that has no body is waited for, which was not announced with its head.
const ALONE: Duration = Duration::from_millis(100);

/// One stream of a client's.
pub struct Down {
    respond: SendResponse<Bytes>,
    incoming: In,
    outgoing: Out,
    /// The reply has ended.
    ended: bool,
    due: Due,
    /// The client reset it.
    pub reset: bool,
    /// To be reset, once the connection's task has had its turn: a reset discards what has not been written.
    aborting: Option<(Code, u8)>,
}

impl Down {
    pub fn new(body: RecvStream, respond: SendResponse<Bytes>) -> Down {
        Down {
            respond,
            incoming: In::new(body),
            outgoing: Out::none(),
            ended: false,
            due: Due::Unknown,
            reset: false,
            aborting: None,
        }
    }

    /// Whether the request has no body after all: its end comes alone, at once (as an empty DATA frame, which some clients send).
    pub async fn ends_alone(&mut self, timer: &mut Timer) -> bool {
        let until = time::now().after(ALONE);
        poll_fn(|cx| match self.incoming.poll_ends(cx) {
            Poll::Pending => timer.poll(cx, until).map(|_| false),
            ends => ends,
        })
        .await
    }

    /// The client gave it up, or its connection has ended.
    fn gone(&mut self, result: std::result::Result<Code, h2::Error>) -> Broken {
        match result {
            Ok(code) => {
                self.reset = true;
                Broken { code: Some(code.into()), ..Broken::new(Reason::Reset) }
            }
            Err(e) => {
                let broken = broken(&e);
                self.reset |= broken.code.is_some() && e.is_remote();
                Broken { unprocessed: false, ..broken }
            }
        }
    }
}

impl Recv for Down {
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Part>>> {
        let part = ready!(self.incoming.poll_part(cx));
        match &part {
            Err(broken) => self.reset |= broken.reason == Reason::Reset && broken.code.is_some(),
            Ok(Some(Part::Trailers(trailers))) if head::has_forbidden_trailer(trailers) => {
                let rule = Some(head::trailer_forbidden());
                return Poll::Ready(Err(Broken { rule, ..Broken::new(Reason::Malformed) }));
            }
            Ok(_) => {}
        }
        Poll::Ready(part)
    }

    fn consumed(&mut self, n: usize) {
        self.incoming.consumed(n);
    }
}

impl Sink for Down {
    fn poll_ready(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Result<usize>> {
        self.outgoing.poll_ready(cx, wanted)
    }

    fn send(&mut self, data: Bytes) -> Result<()> {
        self.due.send(data.len() as u64)?;
        self.outgoing.send(data)
    }

    fn end(&mut self, trailers: Option<&Fields>) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        self.due.end()?;
        self.ended = true;
        self.outgoing.end(trailers)
    }

    // The connection's own task writes.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.outgoing.settle(cx)?;
        if let Some((code, turns)) = self.aborting.take() {
            if turns > 0 {
                self.aborting = Some((code, turns - 1));
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Some(stream) = self.outgoing.stream() {
                stream.send_reset(code);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Downstream for Down {
    fn inform(&mut self, reply: &Reply) -> Result<()> {
        let (response, _) = head::write_reply(reply)?;
        self.respond.send_informational(response).map_err(|e| broken(&e))
    }

    fn respond(&mut self, reply: &Reply) -> Result<usize> {
        let (response, bytes) = head::write_reply(reply)?;
        self.ended = reply.end;
        self.due = if reply.end { Due::Unknown } else { Due::of(reply.length) };
        let stream = self.respond.send_response(response, reply.end).map_err(|e| broken(&e))?;
        self.outgoing = Out::new(stream);
        Ok(bytes)
    }

    // Dropping the handles ends the stream in the gentlest way there is.
    fn abandon(&mut self) {}

    // DATA frames either way, as before.
    fn tunnel(&mut self) {
        self.ended = false;
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        let reset = match self.outgoing.stream() {
            Some(stream) => ready!(stream.poll_reset(cx)),
            None => ready!(self.respond.poll_reset(cx)),
        };
        Poll::Ready(self.gone(reset))
    }

    fn abort(&mut self, code: Option<u32>) {
        match self.outgoing.has_stream() {
            true if self.ended => {}
            true => self.aborting = Some((code.map_or(Code::INTERNAL_ERROR, Code::from), 2)),
            false => self.respond.send_reset(Code::CANCEL),
        }
    }
}
