//! Whoever watches an exchange: a dialect, or nobody in particular.

use crate::again;
use crate::dialect::{AtHead, End, LocalReply, Refusal, Watch};
use crate::fields::Fields;
use crate::plain::{self, Vocabulary};
use std::time::Duration;
use weir_decide::exchange::{Fault, NameId, Names, Now, Operation, Outcome};
use weir_decide::policy::Hint;

/// Who names, watches and judges an exchange.
pub enum Watcher {
    /// Plain HTTP, without an allocation.
    Plain {
        /// What it is.
        operation: Operation,
        /// The status of the reply by now.
        status: u16,
        /// What the reply asks for.
        asked: Hint,
    },
    /// A dialect.
    Dialect(Box<dyn Watch>),
}

impl Watcher {
    pub fn is_plain(&self) -> bool {
        matches!(self, Watcher::Plain { .. })
    }

    pub fn operation(&self) -> &Operation {
        match self {
            Watcher::Plain { operation, .. } => operation,
            Watcher::Dialect(watch) => watch.operation(),
        }
    }

    pub fn timeout(&self, route: Option<Duration>) -> Option<Duration> {
        match self {
            Watcher::Plain { .. } => route,
            Watcher::Dialect(watch) => watch.timeout(route),
        }
    }

    pub fn refused(&self) -> Option<&'static str> {
        match self {
            Watcher::Plain { .. } => None,
            Watcher::Dialect(watch) => watch.refused(),
        }
    }

    pub fn may_idle_out(&self) -> bool {
        match self {
            Watcher::Plain { .. } => true,
            Watcher::Dialect(watch) => watch.may_idle_out(),
        }
    }

    /// Nobody has replied yet.
    pub fn plain(operation: Operation, status: u16) -> Watcher {
        Watcher::Plain { operation, status, asked: Hint::Nothing }
    }

    pub fn may_be_idempotent(&self) -> bool {
        match self {
            Watcher::Plain { operation, .. } => operation.idempotent,
            Watcher::Dialect(watch) => watch.may_be_idempotent(),
        }
    }

    pub fn client_repeats(&self) -> bool {
        match self {
            Watcher::Plain { .. } => false,
            Watcher::Dialect(watch) => watch.client_repeats(),
        }
    }

    pub fn attempt(&mut self, number: u32, now: Now, fields: &mut Fields) {
        match self {
            Watcher::Plain { status, asked, .. } => (*status, *asked) = (0, Hint::Nothing),
            Watcher::Dialect(watch) => watch.attempt(number, now, fields),
        }
    }

    pub fn request_data(&mut self, names: &mut dyn Names, data: &[u8]) {
        if let Watcher::Dialect(watch) = self {
            watch.request_data(names, data);
        }
    }

    pub fn request_work(&mut self) -> bool {
        match self {
            Watcher::Plain { .. } => false,
            Watcher::Dialect(watch) => watch.request_work(),
        }
    }

    pub fn reply_work(&mut self) -> bool {
        match self {
            Watcher::Plain { .. } => false,
            Watcher::Dialect(watch) => watch.reply_work(),
        }
    }

    pub fn wants_body(&self) -> bool {
        match self {
            Watcher::Plain { .. } => false,
            Watcher::Dialect(watch) => watch.wants_body(),
        }
    }

    pub fn request_end(&mut self, names: &mut dyn Names, trailers: Option<&Fields>) {
        if let Watcher::Dialect(watch) = self {
            watch.request_end(names, trailers);
        }
    }

    pub fn reply_head(
        &mut self,
        names: &mut dyn Names,
        words: &Vocabulary,
        status: u16,
        fields: &Fields,
        end: bool,
    ) -> AtHead {
        match self {
            Watcher::Plain { status: known, asked, .. } => {
                *known = status;
                if status >= 500 || status == 429 {
                    *asked = again::asked(fields);
                    AtHead::Judged(plain::judge_status(status, words.status(names, status)))
                } else {
                    AtHead::Pass
                }
            }
            Watcher::Dialect(watch) => watch.reply_head(names, status, fields, end),
        }
    }

    pub fn keeps_trailer(&self, name: &[u8]) -> bool {
        match self {
            Watcher::Plain { .. } => !crate::h2::head::is_forbidden_trailer(name),
            Watcher::Dialect(watch) => watch.keeps_trailer(name),
        }
    }

    pub fn hold_for(&self) -> Option<Duration> {
        match self {
            Watcher::Plain { .. } => None,
            Watcher::Dialect(watch) => watch.hold_for(),
        }
    }

    pub fn reply_data(&mut self, data: &[u8]) {
        if let Watcher::Dialect(watch) = self {
            watch.reply_data(data);
        }
    }

    pub fn judge(&mut self, names: &mut dyn Names, words: &Vocabulary, end: End<'_>) -> Outcome {
        match (self, end) {
            (Watcher::Plain { status, .. }, End::Complete { .. }) => {
                plain::judge_status(*status, words.status(names, *status))
            }
            (Watcher::Plain { status, .. }, End::Failed { fault, .. }) => {
                let gone = plain::has_gone(fault);
                let code = match *status {
                    0 if gone => NameId::NONE,
                    0 => words.status(names, plain::answer(fault).0),
                    seen => words.status(names, seen),
                };
                plain::judge_fault(fault, code)
            }
            (Watcher::Dialect(watch), end) => {
                let mut outcome = watch.judge(names, end);
                if let End::Failed { fault, .. } = end {
                    outcome.fault.get_or_insert(*fault);
                }
                outcome
            }
        }
    }

    pub fn asked(&self) -> Hint {
        match self {
            Watcher::Plain { asked, .. } => *asked,
            Watcher::Dialect(watch) => watch.asked(),
        }
    }

    pub fn refuse(&mut self, refusal: &Refusal<'_>) -> LocalReply {
        match self {
            Watcher::Plain { status, .. } => {
                *status = refusal.status;
                LocalReply::plain(refusal)
            }
            Watcher::Dialect(watch) => watch.refuse(refusal),
        }
    }

    pub fn abort(&mut self, fault: &Fault) -> Option<Fields> {
        match self {
            Watcher::Plain { .. } => None,
            Watcher::Dialect(watch) => watch.abort(fault),
        }
    }

    pub fn finished(&mut self, outcome: &Outcome) {
        if let Watcher::Dialect(watch) = self {
            watch.finished(outcome);
        }
    }
}
