//! Accepting from one socket.

use super::sockets::Listener;
use super::{Listening, Moved};
use crate::ground::address::Address;
use crate::ground::socket::Socket;
use crate::ground::time;
use crate::shells::worker::Worker;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// After an error such as "no descriptors left", accepting rests this long, then twice as long, and so on.
const REST: Duration = Duration::from_millis(10);
const LONGEST_REST: Duration = Duration::from_secs(1);

/// Accepts until `stopped`, then what is still queued.
pub(super) async fn accept(
    listening: Rc<Listening>,
    worker: Rc<Worker>,
    listener: Listener,
    bound: Address,
    mut stopped: oneshot::Receiver<Moved>,
) {
    let mut rest = REST;
    let stopped = loop {
        let accepted = tokio::select! {
            biased;
            stopped = &mut stopped => break stopped,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                rest = REST;
                let stopped = turn(&listening, &socket, peer, &mut stopped).await;
                listening.place(&worker, socket, peer, bound);
                if let Some(stopped) = stopped {
                    break stopped;
                }
            }
            Err(error) if is_the_connections(&error) => {}
            Err(error) => {
                listening.shared.numbers.accept_errors.inc();
                tracing::warn!(listener = %listening.shared.name, %error, ?rest, "accepting failed, resting");
                tokio::select! {
                    stopped = &mut stopped => break stopped,
                    () = tokio::time::sleep(rest) => {}
                }
                rest = (rest * 2).min(LONGEST_REST);
            }
        }
    };
    if let Ok(Moved) = stopped {
        return;
    }
    // The system is asked, not the reactor: it may not have heard yet of what came last.
    let Ok(listener) = listener.direct() else { return };
    while let Ok((socket, peer)) = listener.accept() {
        let Ok(socket) = socket.attach() else { continue };
        listening.place(&worker, socket, peer, bound);
    }
}

/// Waits for the turn of a connection from `peer`, where there is an `accept_rate`: what comes after it stays in the system's queue
/// meanwhile. When it is all over it does not wait any longer.
async fn turn(
    listening: &Listening,
    socket: &Socket,
    peer: Address,
    stopped: &mut oneshot::Receiver<Moved>,
) -> Option<Result<Moved, oneshot::error::RecvError>> {
    let mut delayed = false;
    loop {
        let admission = Arc::clone(&listening.current.borrow().admission);
        // Who is turned away, or has left again, takes nobody's turn.
        let is_futile = || {
            let is_refused = admission.expects_header(peer).is_none()
                && (!admission.admits(peer) || listening.shared.is_full_of(peer, admission.per_address));
            is_refused || socket.is_over()
        };
        let turns = admission.turns.as_ref().filter(|_| !is_futile())?;
        let now = time::now();
        let due = turns.bucket.book(turns.rate, now);
        // Timers tick in milliseconds.
        if due <= now.after(Duration::from_millis(1)) {
            return None;
        }
        if !std::mem::replace(&mut delayed, true) {
            listening.shared.numbers.delayed.inc();
        }
        tokio::select! {
            biased;
            stopped = &mut *stopped => return Some(stopped),
            () = listening.changed.notified() => turns.bucket.give_back(turns.rate),
            () = tokio::time::sleep_until(time::deadline(due)) => return None,
        }
    }
}

/// Errors of the connection that was to be accepted, not of the listener: it was gone before it was looked at.
fn is_the_connections(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | WouldBlock)
}
