//! The message loop: serves one client connection of a message protocol (`weir_decide::protocol::Protocol`) over one upstream
//! connection that it is pinned to.
//!
//! The life of an operation:
//!
//! 1. Bytes come from the client ([`queue`]); the protocol's decoder cuts them into pieces of messages ([`requests`]).
//! 2. With a message's head the protocol names the operation and says what is to be done. It is admitted by the cluster, joins the
//!    operations under way ([`pending`]), and its pieces go on as they come. The first one makes the upstream connection
//!    ([`serve`]); until there is one nothing has been sent, so another endpoint may be tried.
//! 3. Bytes come from the upstream; the reply's head says which operation it answers, by tag or else the oldest ([`replies`]).
//!    Its pieces go to the client as they come. With its last piece the protocol judges how it went.
//! 4. When the reply's last byte has been written the operation is counted and its place in the cluster given back.
//!
//! Both directions run in one poll loop ([`exchange`]), without tasks or channels between them. Nothing is read from one side
//! while something waits to be written to the other, so what is in hand is bounded by one read buffer per direction.
//! The client is watched all the while: when it goes, the upstream connection is closed at once, which is how a server learns that
//! nobody wants the answer. (While its requests wait to be written, or too many operations are under way, nothing is read from the
//! client; that it has gone is then noticed when things move again, or by the idle timeout.) How things end otherwise is in
//! [`ending`].
//!
//! Rules may hold a request back until it is known ([`held`], in memory that all share, [`room`]) or for a time, or limit the time of
//! an operation ([`alarm`]). A message that has begun has to come on ([`pace`]). A
//! drain brings connections to their end one by one ([`leaving`]).

mod alarm;
mod ending;
mod exchange;
mod held;
mod leaving;
mod limits;
mod pace;
mod pending;
pub(crate) mod queue;
mod replies;
mod requests;
mod room;
mod whole;

pub use crate::shells::context::Context;
pub use crate::shells::context::MESSAGE_TIMEOUT;
pub use limits::{MAX_HELD_REPLY, MAX_PENDING};
pub use pace::LEAST_RATE;
pub use room::{HELD_ANYWAY, MAX_HELD_REQUESTS};

use crate::shells::filter::Accepted;
use crate::upstream::cluster::Connected;
use exchange::{Event, Exchange};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use weir_decide::cluster::{Ticket, Tries};
use weir_decide::exchange::{Affinity, Fault, NameId, Operation};
use weir_decide::protocol::Protocol;

/// Serves one connection to its end. Not an `async fn`: that would keep its arguments, whole, beside what it makes of them.
pub fn serve<P: Protocol>(
    protocol: Rc<P>,
    context: Rc<Context>,
    connection: Accepted,
) -> impl Future<Output = ()> {
    let client = connection.client();
    let Accepted { io, local, drain, held, .. } = connection;
    let mut exchange = Exchange::new(protocol, context, (io, held), (client, local));
    async move {
        let mut draining = pin!(drain.wait());
        let mut watched = false;
        let mut draining = |cx: &mut std::task::Context<'_>| {
            // Polled once, it wakes this task when the time has come; after that a look at the flag is enough.
            if !watched {
                watched = true;
                return draining.as_mut().poll(cx).is_ready().then_some(&drain);
            }
            drain.is_draining().then_some(&drain)
        };
        // What lasts only a short while is boxed, so that its size is not needed all the time.
        while let Event::Connect = poll_fn(|cx| exchange.poll(cx, &mut draining)).await {
            let made = Box::pin(connect(&mut exchange)).await;
            exchange.connected(made);
        }
        Box::pin(exchange.close()).await;
    }
}

/// How the upstream connection came about, or why not; and how many times it was tried again.
pub(crate) struct Made {
    pub(crate) result: Result<(Ticket, Connected), Fault>,
    pub(crate) retries: u32,
}

/// Makes the upstream connection for the operation that waits for it; `None` when the client went away meanwhile.
async fn connect<P: Protocol>(exchange: &mut Exchange<P>) -> Option<Made> {
    let context = Rc::clone(exchange.context());
    let mut op = exchange.waiting_operation().unwrap_or(Operation::new(NameId::NONE, NameId::NONE));
    let pinned = exchange.pinned();
    // There is no connection to be pinned to yet: whatever the protocol says of later operations, this one may go anywhere.
    // (Unless there was one, which an overdue operation took with it: the client knows that endpoint.)
    if op.affinity == Affinity::Connection {
        op.affinity = pinned.map_or(Affinity::Any, Affinity::Endpoint);
    }
    let mut tries = Tries::new();
    let client = exchange.from;
    let result = {
        let mut connecting = pin!(context.connect(&op, &mut tries, &client));
        poll_fn(|cx| {
            if let Poll::Ready(made) = connecting.as_mut().poll(cx) {
                return Poll::Ready(Some(made));
            }
            if let Poll::Ready(fault) = exchange.poll_overdue_connect(cx) {
                return Poll::Ready(Some(Err(fault)));
            }
            exchange.poll_client_gone(cx).map(|()| None)
        })
        .await?
    };
    Some(Made { result, retries: tries.retries() })
}
