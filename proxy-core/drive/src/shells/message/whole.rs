//! Messages that came alone and whole, as nearly all do: they are looked at and passed on where they were read, in room that all
//! connections of a worker share, and nothing of them is kept unless a rule or a full socket holds them up.

use super::exchange::Exchange;
use super::requests::{Held, Inbound};
use std::task::Context;
use weir_decide::protocol::{Decode, Protocol};

impl<P: Protocol> Exchange<P> {
    /// Passes on the request that `room` is, if it is one and nothing else. Says whether it was.
    pub(super) fn pass_whole_request(&mut self, room: &[u8], cx: &mut Context<'_>) -> bool {
        let alone = matches!(self.inbound, Inbound::Boundary)
            && self.opaque.is_none()
            && self.upstream.as_ref().is_some_and(|upstream| !upstream.broken);
        if !alone {
            return false;
        }
        let Some(head) = self.requests.whole(room) else { return false };
        let goes_on = self.decide(Held::<P>::in_room(room.len(), head, self.now), room);
        match &mut self.upstream {
            Some(upstream) if goes_on => {
                // What nothing answers ends when it has been written.
                let answered = self.pending.only().is_some_and(|only| !only.is_unanswered());
                if answered
                    && self.to_upstream.lay(room, &upstream.io, self.context.worker.outbox(), self.now, cx)
                {
                    return true;
                }
                let written = self.to_upstream.poll_write_bytes(room, &mut upstream.io, cx);
                self.told_upstream(written);
            }
            // Something else may go in its place.
            _ => {
                self.flush_upstream(cx);
            }
        }
        self.release_local();
        true
    }

    /// The same for a reply.
    pub(super) fn pass_whole_reply(&mut self, room: &[u8], cx: &mut Context<'_>) -> bool {
        if !self.outbound.is_boundary() || self.opaque.is_some() {
            return false;
        }
        let Some(head) = self.replies.whole(room) else { return false };
        if !self.whole_reply(head, room) {
            self.flush_client(cx);
        } else if !self.to_client.lay(room, &self.client, self.context.worker.outbox(), self.now, cx) {
            let written = self.to_client.poll_write_bytes(room, &mut self.client, cx);
            self.told_client(written);
        }
        self.release_local();
        true
    }
}
