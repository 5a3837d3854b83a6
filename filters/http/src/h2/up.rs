//! One try on an HTTP/2 server: a stream of a shared connection.

use super::pool::{Pool, Shared};
use super::{Due, In, Out, broken, head};
use crate::exchange::{Open, Opening, WEBSOCKET_ACCEPT, WEBSOCKET_KEY};
use crate::fields::Fields;
use crate::seam::{Broken, Length, Part, Recv, Reply, Request, Result, Sink, Upstream};
use crate::site::Site;
use crate::websocket;
use bytes::Bytes;
use h2::client::ResponseFuture;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use weir_codecs::http1::Method;
use weir_decide::cluster::Pick;
use weir_decide::exchange::{Fault, Now, Phase, Reason, Side};
use weir_decide::policy::Sent;

/// A stream while it serves one exchange. Dropping it before its end resets it, which cancels the server's work.
pub struct Up {
    response: ResponseFuture,
    incoming: In,
    outgoing: Out,
    /// Our direction has ended.
    ended: bool,
    due: Due,
    /// The request was an extended CONNECT for this protocol: 200 means what 101 does in HTTP/1.
    extended: Option<Box<Extended>>,
    head_only: bool,
    _shared: Held,
}

/// What an HTTP/1 client is owed when its upgrade has become an extended CONNECT.
struct Extended {
    protocol: Vec<u8>,
    /// The answer to its key.
    accept: Option<Vec<u8>>,
}

/// Counts a stream on its connection for as long as it lives.
struct Held(Rc<Shared>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Open for Rc<Pool> {
    type Up = Up;

    async fn open(
        &self,
        pick: &Pick,
        request: &Request,
        _fresh: bool,
        _deadline: Option<Now>,
        site: &Site,
    ) -> std::result::Result<Up, Opening> {
        let shared = self.connection(pick, site).await.map_err(Opening::Failed)?;
        let held = Held(Rc::clone(&shared));
        let extended = (!request.upgrade.is_empty()).then(|| {
            let accept = request.fields.value(WEBSOCKET_KEY).map(websocket::accept);
            Box::new(Extended { protocol: request.upgrade.clone(), accept })
        });
        if extended.is_some() && !shared.send.borrow().is_extended_connect_protocol_enabled() {
            let fault = Fault::new(Side::Upstream, Phase::Connecting, Reason::RefusedStream);
            return Err(Opening::Unfit(fault));
        }
        let hop = shared.leads_here.then(|| site.worker.hop(request.hops + 1));
        let hop = hop.as_ref().map(|hop| &hop[..]);
        let head = head::write_request(request, shared.secure, hop).map_err(Opening::unfit)?;
        let end = request.end && extended.is_none() && request.method != Method::Connect;
        let sent = shared.send.borrow_mut().send_request(head, end);
        let (response, stream) = sent.map_err(|e| {
            // Nothing of it has been sent: another connection may take it.
            shared.close();
            Opening::Broken(Broken { unprocessed: true, ..broken(&e) })
        })?;
        Ok(Up {
            response,
            incoming: In::none(),
            outgoing: Out::new(stream),
            ended: end,
            due: if end || extended.is_some() { Due::Unknown } else { Due::of(request.length) },
            extended,
            head_only: request.method == Method::Head,
            _shared: held,
        })
    }
}

impl Recv for Up {
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Part>>> {
        self.incoming.poll_part(cx)
    }

    fn consumed(&mut self, n: usize) {
        self.incoming.consumed(n);
    }
}

impl Sink for Up {
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
        // What is not whole is never ended: dropped, the stream is reset.
        self.due.end()?;
        self.ended = true;
        self.outgoing.end(trailers)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(self.outgoing.settle(cx))
    }
}

impl Upstream for Up {
    fn poll_head(&mut self, cx: &mut Context<'_>, reply: &mut Reply) -> Poll<Result<()>> {
        if let Poll::Ready(Some(interim)) = self.response.poll_informational(cx) {
            let (parts, ()) = interim.map_err(|e| broken(&e))?.into_parts();
            return Poll::Ready(head::read_reply(&parts, false, false, reply));
        }
        let response = ready!(Pin::new(&mut self.response).poll(cx)).map_err(|e| broken(&e))?;
        let (parts, body) = response.into_parts();
        let end = body.is_end_stream();
        head::read_reply(&parts, end, self.head_only, reply)?;
        if let Some(extended) = &self.extended
            && (200..300).contains(&reply.status)
        {
            reply.status = 101;
            reply.end = false;
            reply.length = Length::Unknown;
            reply.upgrade.extend_from_slice(&extended.protocol);
            if let Some(accept) = &extended.accept {
                reply.fields.set(WEBSOCKET_ACCEPT, accept);
            }
        }
        self.incoming = In::new(body);
        Poll::Ready(Ok(()))
    }

    fn tunnel(&mut self) {
        self.ended = false;
    }

    // A stream that was refused says so; one that was lost may have been seen.
    fn stale(&self) -> bool {
        false
    }

    fn suspect(&mut self) {
        self._shared.0.suspect();
    }

    // h2 does not tell: it may have been sent.
    fn sent(&self) -> Sent {
        Sent::Head
    }

    fn release(self, _clean: bool) {}
}
