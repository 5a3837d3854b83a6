//! Accepting from one socket.

use super::Listening;
use super::sockets::Listener;
use crate::address::Address;
use crate::worker::Worker;
use std::io;
use std::rc::Rc;
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
    mut stopped: oneshot::Receiver<()>,
) {
    let mut rest = REST;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = &mut stopped => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                rest = REST;
                listening.place(&worker, socket, peer, bound);
            }
            Err(error) if is_the_connections(&error) => {}
            Err(error) => {
                listening.shared.numbers.accept_errors.inc();
                tracing::warn!(listener = %listening.shared.name, %error, ?rest, "accepting failed, resting");
                tokio::select! {
                    _ = &mut stopped => break,
                    () = tokio::time::sleep(rest) => {}
                }
                rest = (rest * 2).min(LONGEST_REST);
            }
        }
    }
    // The system is asked, not the reactor: it may not have heard yet of what came last.
    let Ok(listener) = listener.direct() else { return };
    while let Ok((socket, peer)) = listener.accept() {
        let Ok(socket) = socket.attach() else { continue };
        listening.place(&worker, socket, peer, bound);
    }
}

/// Errors of the connection that was to be accepted, not of the listener: it was gone before it was looked at.
fn is_the_connections(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | WouldBlock)
}
