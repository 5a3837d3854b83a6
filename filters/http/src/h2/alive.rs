//! Whether the peer of a connection is still there. Where streams are open and nothing has come for a while, a PING asks (RFC 9113
//! section 6.7); a peer that says nothing to that either is taken for dead, and all its streams end.
//!
//! gRPC servers end connections whose client asks too often (`too_many_pings`): by default more than twice in five minutes while
//! they have sent nothing themselves, and ever without a stream. So towards servers the third and later ones wait.

use super::cork::Cork;
use crate::timer::{NEVER, Timer};
use h2::{Ping, PingPong};
use std::task::{Context, Poll};
use std::time::Duration;
use weir_decide::exchange::Now;
use weir_drive::time;

/// So many PINGs in a row go out at the usual pace while a server says nothing but their answers.
const QUICK: u32 = 2;
/// How long the next ones wait: longer than the five minutes of gRPC servers.
const PATIENT: Duration = Duration::from_secs(310);
/// A PING for cause (a try took too long) keeps this distance from the last one.
const APART: Duration = Duration::from_secs(10);

/// When a peer is asked, and how long it has to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// After so long a silence; `None`: never.
    pub silence: Option<Duration>,
    /// How long it has to say something.
    pub answer: Duration,
    /// Whether a peer that says nothing of its own is asked less often.
    pub polite: bool,
}

impl Pace {
    /// Towards servers. What the configuration asks for is done.
    pub fn server(keepalive: Option<Duration>) -> Pace {
        Pace {
            silence: Some(keepalive.unwrap_or(Duration::from_secs(10))).filter(|after| !after.is_zero()),
            answer: Duration::from_secs(5),
            polite: keepalive.is_none(),
        }
    }

    /// Towards clients, whose networks are slower.
    pub fn client(keepalive: Option<Duration>) -> Pace {
        Pace {
            silence: Some(keepalive.unwrap_or(Duration::from_secs(60))).filter(|after| !after.is_zero()),
            answer: Duration::from_secs(20),
            polite: false,
        }
    }
}

/// What is known of a connection's peer.
pub struct Alive {
    ping: Option<PingPong>,
    asked: Asked,
    timer: Timer,
}

impl Alive {
    /// A connection's; `ping` is its own.
    pub fn new(ping: Option<PingPong>) -> Alive {
        Alive { ping, asked: Asked::default(), timer: Timer::default() }
    }

    /// Something has happened that makes one doubt: ask at once.
    pub fn suspect(&mut self) {
        self.asked.suspected = true;
    }

    /// Ready when the peer is dead. `streams`: whether any are open. To be polled by the connection's task, whenever that is.
    pub fn poll(&mut self, cx: &mut Context<'_>, cork: &Cork, streams: bool, pace: &Pace) -> Poll<()> {
        let Some(ping) = &mut self.ping else { return Poll::Pending };
        self.asked.busy(streams);
        loop {
            let (heard, reads) = cork.heard();
            if self.asked.waits {
                match ping.poll_pong(cx) {
                    Poll::Ready(Ok(_)) => {
                        self.asked.answered(reads);
                        continue;
                    }
                    // The connection has ended, and says so itself.
                    Poll::Ready(Err(_)) => return Poll::Pending,
                    Poll::Pending => {}
                }
                let until = self.asked.at.max(heard).after(pace.answer);
                return self.timer.poll(cx, until).map(drop);
            }
            let at = self.asked.due(heard, reads, pace);
            let Poll::Ready(now) = self.timer.poll(cx, at) else { return Poll::Pending };
            if ping.send_ping(Ping::opaque()).is_err() {
                return Poll::Pending;
            }
            self.asked.asks(now, reads);
        }
    }
}

/// The questions, without the connection.
#[derive(Debug, Default)]
struct Asked {
    /// Since when streams have been open.
    busy_since: Option<Now>,
    /// The last one has no answer yet.
    waits: bool,
    /// When the last one was.
    at: Now,
    /// How many there were since the peer said anything else.
    in_a_row: u32,
    /// How often something had come when the last one was answered.
    reads: u64,
    suspected: bool,
}

impl Asked {
    fn busy(&mut self, streams: bool) {
        if streams != self.busy_since.is_some() {
            self.busy_since = streams.then(time::now);
        }
    }

    fn answered(&mut self, reads: u64) {
        self.waits = false;
        self.reads = reads;
    }

    fn asks(&mut self, now: Now, reads: u64) {
        let said_more = reads != self.reads;
        self.in_a_row = if said_more { 1 } else { self.in_a_row + 1 };
        (self.waits, self.at, self.suspected, self.reads) = (true, now, false, reads);
    }

    /// When to ask next.
    fn due(&self, heard: Now, reads: u64, pace: &Pace) -> Now {
        let (Some(busy), Some(silence)) = (self.busy_since, pace.silence) else { return NEVER };
        let in_a_row = if reads == self.reads { self.in_a_row } else { 0 };
        if self.suspected && (in_a_row <= QUICK || !pace.polite) {
            return if self.at == Now(0) { Now(1) } else { self.at.after(APART) };
        }
        let silence = if pace.polite && in_a_row >= QUICK { silence.max(PATIENT) } else { silence };
        heard.max(busy).after(silence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn who_says_nothing_but_answers_is_asked_less_often() {
        let (polite, strict) = (Pace::server(None), Pace::server(Some(Duration::from_secs(10))));
        let mut asked = Asked { busy_since: Some(Now(0)), ..Asked::default() };
        let mut reads = 1;
        let mut heard = Now(SECOND);
        for wait in [10, 10, 310, 310] {
            let due = asked.due(heard, reads, &polite);
            assert_eq!(due.since(heard), wait * SECOND);
            asked.asks(due, reads);
            // The answer, and nothing else.
            reads += 1;
            heard = due;
            asked.answered(reads);
            assert_eq!(asked.due(heard, reads, &strict).since(heard), 10 * SECOND, "as it was asked for");
        }
        reads += 1;
        assert_eq!(asked.due(heard, reads, &polite).since(heard), 10 * SECOND, "it has said something");
    }

    #[test]
    fn nobody_is_asked_without_a_stream_or_where_that_is_switched_off() {
        let idle = Asked::default();
        assert_eq!(idle.due(Now(0), 0, &Pace::server(None)), NEVER);
        let busy = || Asked { busy_since: Some(Now(7)), ..Asked::default() };
        assert_eq!(busy().due(Now(0), 0, &Pace::server(Some(Duration::ZERO))), NEVER);
        assert_eq!(
            busy().due(Now(0), 0, &Pace::client(None)),
            Now(7 + 60 * SECOND),
            "not before there was one"
        );
    }

    #[test]
    fn a_doubt_asks_at_once_but_not_too_often() {
        let pace = Pace::server(None);
        let mut asked = Asked { busy_since: Some(Now(0)), suspected: true, ..Asked::default() };
        assert_eq!(asked.due(Now(5), 1, &pace), Now(1));
        asked.asks(Now(10 * SECOND), 1);
        asked.answered(2);
        asked.suspected = true;
        assert_eq!(asked.due(Now(10 * SECOND), 2, &pace), Now(20 * SECOND));
        asked.in_a_row = QUICK + 1;
        assert_eq!(
            asked.due(Now(10 * SECOND), 2, &pace),
            Now(320 * SECOND),
            "a server's patience is used up"
        );
    }
}
