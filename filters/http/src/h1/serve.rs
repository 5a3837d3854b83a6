//! A client's HTTP/1 connection: one request after another, each read strictly, served by the exchange loop, and answered in
//! order. What is pipelined waits in the read buffer, which nothing is added to beyond its cap.
//!
//! An idle connection keeps no buffer and no state of an exchange: [`serve`] waits in a small future, and [`burst`] holds
//! everything else for as long as requests come.

use super::{Down, Wire, head};
use crate::exchange::Exchange;
use crate::seam::{Reply, Request};
use crate::service::HttpService;
use crate::site::Peer;
use crate::timer::{LINGER, LINGER_BYTES, Timer, given_up};
use crate::times::HalfClose;
use bytes::BytesMut;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use weir_codecs::http1::{Parsed, Reject, RequestHead, parse_request};
use weir_decide::exchange::{Now, Reason};
use weir_drive::{Drain, Io, time};

/// A connection without a request for so long gives back what it holds for the next one. Short, so that many quiet connections
/// cost little; long enough that a busy one never does it.
const REST: Duration = Duration::from_millis(50);

/// Why a burst of requests is over.
enum Pause {
    /// None has come since then.
    Idle { since: Now },
    /// The connection is.
    Close,
}

/// What came of waiting for a request.
enum Next {
    /// Its head is parsed.
    Request { began: Now },
    /// It broke a rule.
    Reject { reject: Reject, began: Now },
    /// Its head did not come in time.
    Late { began: Now },
    /// None came for a while.
    Idle,
    /// The connection has ended, or is to.
    Close,
}

/// Serve a connection to its end. `read`: bytes that were read to find out that it is HTTP/1.
pub async fn serve(service: Rc<HttpService>, io: Io, read: BytesMut, peer: Peer, drain: Rc<Drain>) {
    let site = service.site();
    let wire = Wire::new(io, Rc::clone(&site.worker)).with_read(read);
    let mut down = Down::new(wire, site.limits, Rc::clone(&drain), site.half_closed == HalfClose::Abort);
    drop(site);
    loop {
        match Box::pin(burst(&service, &mut down, &peer)).await {
            Pause::Idle { since } if wait(&service, &mut down, &drain, since).await => {}
            _ => return,
        }
    }
}

/// Wait for the first byte of the next request; `false`: none will be served. A drain waits for a burst to end, which takes
/// little longer than [`REST`] and answers what still comes with `connection: close`.
async fn wait(service: &HttpService, down: &mut Down, drain: &Drain, since: Now) -> bool {
    let until = since.after(service.site().keep_alive);
    let readable = poll_fn(|cx| down.wire.io.poll_readable(cx));
    tokio::select! {
        biased;
        readable = readable => readable.is_ok(),
        () = given_up(drain, since, until) => false,
    }
}

/// Serve requests for as long as they come.
async fn burst(service: &HttpService, down: &mut Down, peer: &Peer) -> Pause {
    let mut parsed = RequestHead::new();
    let mut request = Request::default();
    let mut reply = Reply::default();
    let mut timer = Timer::default();
    let mut scratch = Vec::new();
    loop {
        let waiting = service.site();
        let idle_from = time::now();
        let (rest, head_timeout) = (REST.min(waiting.keep_alive), waiting.head_timeout);
        let mut began = None;
        let next = poll_fn(|cx| {
            loop {
                if !down.wire.buf.is_empty() {
                    let began = *began.get_or_insert_with(time::now);
                    match parse_request(&down.wire.buf, &waiting.limits, &mut parsed) {
                        Ok(Parsed::Complete { .. }) => return Poll::Ready(Next::Request { began }),
                        Ok(Parsed::Partial) => {}
                        Err(reject) => return Poll::Ready(Next::Reject { reject, began }),
                    }
                }
                match down.wire.fill(cx) {
                    Poll::Ready(Ok(1..)) => continue,
                    Poll::Ready(_) => return Poll::Ready(Next::Close),
                    Poll::Pending => {}
                }
                let until = began.map_or(idle_from.after(rest), |began| began.after(head_timeout));
                return match (timer.poll(cx, until), began) {
                    (Poll::Pending, _) => Poll::Pending,
                    (Poll::Ready(_), Some(began)) => Poll::Ready(Next::Late { began }),
                    (Poll::Ready(_), None) if rest < waiting.keep_alive => Poll::Ready(Next::Idle),
                    (Poll::Ready(_), None) => Poll::Ready(Next::Close),
                };
            }
        })
        .await;
        // The settings by now: they may have changed while we waited.
        let site = service.site();
        let (began, rejected) = match next {
            Next::Idle => return Pause::Idle { since: idle_from },
            Next::Close => return Pause::Close,
            Next::Late { began } => (began, Some((408, "request_timeout", Reason::Timeout))),
            Next::Reject { reject, began } => (began, Some(refusal(service, &reject))),
            Next::Request { began } => {
                let len = parsed.len();
                let bytes = down.wire.buf.get(..len).unwrap_or_default();
                match head::read_request(&parsed, bytes, peer.secure, &mut scratch, &mut request) {
                    Ok(()) => {
                        down.wire.skip(len);
                        down.wire.relax();
                        down.begin(&parsed, &request);
                        (began, None)
                    }
                    Err(reject) => (began, Some(refusal(service, &reject))),
                }
            }
        };
        if rejected.is_some() {
            request.clear();
            request.head_bytes = down.wire.buf.len().min(parsed.len().max(1)) as u64;
            down.begin_broken();
        }
        let mut exchange = Exchange {
            site: &site,
            peer,
            down: &mut *down,
            request: &mut request,
            reply: &mut reply,
            timer: &mut timer,
            began,
        };
        match rejected {
            None => exchange.run().await,
            Some((status, rule, reason)) => exchange.reject(&site, status, rule, reason, site.nowhere).await,
        }
        parsed.clear();
        if !down.is_reusable() {
            linger(down, &mut timer).await;
            return Pause::Close;
        }
    }
}

/// How a head that broke a rule is answered.
fn refusal(service: &HttpService, reject: &Reject) -> (u16, &'static str, Reason) {
    service.site().numbers.rejected(reject.rule());
    let reason = match reject.status() {
        413 | 414 | 431 => Reason::TooLarge,
        _ => Reason::Malformed,
    };
    (reject.status(), reject.rule(), reason)
}

/// Close in such a way that what was sent arrives.
async fn linger(down: &mut Down, timer: &mut Timer) {
    if !down.may_linger() {
        return;
    }
    down.wire.shutdown();
    let until = time::now().after(LINGER);
    let mut left = LINGER_BYTES;
    poll_fn(|cx| {
        if let Poll::Ready(Err(_)) = down.wire.poll_write(cx) {
            return Poll::Ready(());
        }
        loop {
            let unread = down.wire.buf.len();
            down.wire.skip(unread);
            left = left.saturating_sub(unread);
            match down.wire.fill(cx) {
                Poll::Ready(Ok(1..)) if left > 0 => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return timer.poll(cx, until).map(|_| ()),
            }
        }
    })
    .await;
}
