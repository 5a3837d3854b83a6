//! Signals: those that mean something, and those that are not to end the process.

use rustix::process::Signal as Number;
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Those that would end a process that does not know them, and that others send in good faith: to have logs reopened (there is nothing to
/// reopen: logs go to standard error), by a timer, because a file may not grow. Real-time signals are beside them.
const SURVIVED: [Number; 10] = [
    Number::USR1,
    Number::USR2,
    Number::ALARM,
    Number::VTALARM,
    Number::PROF,
    Number::IO,
    Number::POWER,
    Number::STKFLT,
    Number::XCPU,
    Number::XFSZ,
];

/// The first and the last real-time signal that are a program's own.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

/// Signals that are waited for.
pub struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl Signals {
    /// From now on signals are told here, or do nothing; a closed pipe is an error of whoever writes to it, as ever.
    pub fn catch() -> io::Result<Signals> {
        for number in SURVIVED.iter().map(|signal| signal.as_raw()).chain(REAL_TIME) {
            // What the system does not let us have does not end us by our fault. The handler stays when this is dropped.
            let _ = signal(SignalKind::from_raw(number));
        }
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// Until somebody wants it to end.
    pub async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.quit.recv() => {}
        }
    }

    /// Until the first of two: somebody wants it to end (`true`), or to read its configuration anew.
    pub async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.terminate.recv() => true,
            _ = self.interrupt.recv() => true,
            _ = self.quit.recv() => true,
            _ = self.hangup.recv() => false,
        }
    }
}
