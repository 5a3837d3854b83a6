//! One call in passing.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use weir_codecs::grpc::{
    Code, MAX_MESSAGE, MessageCounter, Protocol, Pushback, TIMEOUT_LENGTH, Timeout, encode_message,
};
use weir_decide::exchange::{Fault, Names, Now, Operation, Outcome, Reason, Side};
use weir_decide::policy::Hint;
use weir_http::{AtHead, End, Fields, LocalReply, Refusal, RequestHead, Watch};

use crate::{Shared, verdict};

/// Less than this of a call's time may pass in Weir without the server being told.
const UNTOLD: u64 = 1_000_000;

/// How long a reply's head is held for the first message or the trailers to come.
const HOLD: Duration = Duration::from_millis(10);

/// One call: see the [crate].
#[derive(Debug)]
pub struct Call {
    shared: Rc<Shared>,
    operation: Operation,
    began: Now,
    /// What the client allows.
    timeout: Option<Duration>,
    /// Tries that the client made before, by its own account.
    previous: u32,
    request: MessageCounter,
    request_ended: bool,
    reply: MessageCounter,
    http_status: u16,
    /// `grpc-status` in the reply's head.
    head: Option<Code>,
    pushback: Option<Pushback>,
    /// What the last try, or the refusal, was judged to be.
    decided: Option<Code>,
    complete: bool,
}

impl Call {
    pub(crate) fn new(shared: Rc<Shared>, head: &RequestHead<'_>, operation: Operation) -> Call {
        let number = |name: &[u8]| {
            let text = head.fields.value(name).and_then(|value| std::str::from_utf8(value).ok());
            text.and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        Call {
            shared,
            operation,
            began: head.began,
            timeout: head.fields.value(b"grpc-timeout").and_then(Timeout::parse).map(|timeout| timeout.0),
            previous: number(b"grpc-previous-rpc-attempts"),
            request: MessageCounter::new(MAX_MESSAGE),
            request_ended: false,
            reply: MessageCounter::new(MAX_MESSAGE),
            http_status: 0,
            head: None,
            pushback: None,
            decided: None,
            complete: false,
        }
    }

    /// What the server's reply comes to, by its fields.
    fn of_reply(&mut self, names: &mut dyn Names, code: Code) -> Outcome {
        self.decided = Some(code);
        verdict::of_status(code, self.http_status, self.shared.code(names, code))
    }

    /// The status of a reply that has ended, given the `grpc-status` where trailers would have it.
    fn final_code(&self, trailer: Option<Code>) -> Code {
        let otherwise =
            if self.http_status == 200 { Code::Unknown } else { Code::from_http(self.http_status) };
        trailer.or(self.head).unwrap_or(otherwise)
    }

    fn status_fields(code: Code, text: &str) -> Fields {
        let mut message = BytesMut::with_capacity(text.len() + 8);
        message.extend_from_slice(b"weir: ");
        encode_message(text, &mut message);
        let mut fields = Fields::new();
        fields.push(b"grpc-status", code.decimal().as_bytes());
        fields.push(b"grpc-message", &message);
        fields
    }
}

fn status(fields: &Fields) -> Option<Code> {
    fields.value(b"grpc-status").map(Code::parse)
}

fn pushback(fields: &Fields) -> Option<Pushback> {
    fields.value(b"grpc-retry-pushback-ms").map(Pushback::parse)
}

impl Watch for Call {
    fn operation(&self) -> &Operation {
        &self.operation
    }

    fn timeout(&self, route: Option<Duration>) -> Option<Duration> {
        match (self.timeout, route) {
            (Some(client), Some(route)) => Some(client.min(route)),
            (client, route) => client.or(route),
        }
    }

    fn may_idle_out(&self) -> bool {
        false
    }

    /// A client that has tried before, by its own account, goes on by itself.
    fn client_repeats(&self) -> bool {
        self.previous > 0
    }

    fn attempt(&mut self, number: u32, now: Now, fields: &mut Fields) {
        self.reply = MessageCounter::new(MAX_MESSAGE);
        self.http_status = 0;
        self.head = None;
        self.pushback = None;
        self.decided = None;
        self.complete = false;
        let spent = now.since(self.began);
        if let Some(timeout) = self.timeout
            && (number > 0 || spent >= UNTOLD)
        {
            let left = Timeout(timeout.saturating_sub(Duration::from_nanos(spent)));
            fields.set(b"grpc-timeout", left.format(&mut [0; TIMEOUT_LENGTH]));
        }
        if number > 0 {
            let attempts = self.previous.saturating_add(number).to_string();
            fields.set(b"grpc-previous-rpc-attempts", attempts.as_bytes());
        }
    }

    fn request_data(&mut self, _: &mut dyn Names, data: &[u8]) {
        // What is wrong with the messages is between client and server; it is counted at the end.
        let _ = self.request.feed(data);
    }

    fn request_end(&mut self, _: &mut dyn Names, _: Option<&Fields>) {
        self.request_ended = true;
    }

    fn reply_head(&mut self, names: &mut dyn Names, http_status: u16, fields: &Fields, end: bool) -> AtHead {
        self.http_status = http_status;
        self.head = status(fields);
        self.pushback = pushback(fields);
        let foreign = http_status != 200
            || fields.value(b"content-type").and_then(Protocol::of) != Some(Protocol::Grpc);
        if end || (http_status != 200 && self.head.is_none()) {
            let code = self.final_code(None);
            return match code {
                Code::Ok => AtHead::Pass,
                _ => AtHead::Judged(self.of_reply(names, code)),
            };
        }
        // With one message at most the client has nothing to wait for but the reply.
        if !foreign && self.request_ended && self.request.messages() <= 1 {
            return AtHead::Hold { limit: 0 };
        }
        AtHead::Pass
    }

    /// Trailing metadata is the application's, whatever it is called.
    fn keeps_trailer(&self, name: &[u8]) -> bool {
        !weir_http::is_framing(name)
    }

    /// A server that sends its head early and then nothing says by it that it is ready: pass that on.
    fn hold_for(&self) -> Option<Duration> {
        Some(HOLD)
    }

    fn reply_data(&mut self, data: &[u8]) {
        if self.http_status == 200 {
            let _ = self.reply.feed(data);
        }
    }

    fn judge(&mut self, names: &mut dyn Names, end: End<'_>) -> Outcome {
        match end {
            End::Complete { trailers } => {
                self.complete = true;
                if let Some(trailers) = trailers {
                    self.pushback = pushback(trailers).or(self.pushback);
                }
                let code = self.final_code(trailers.and_then(status));
                self.of_reply(names, code)
            }
            End::Failed { fault, code, now } => {
                let mut status = verdict::status_of(fault, code);
                let mut fault = *fault;
                if fault.side == Side::Client
                    && status == Code::Cancelled
                    && verdict::is_late(self.began, self.timeout, now)
                {
                    // The client's clock or Weir's, whichever was first: it is the same cause, so it has the same name.
                    status = Code::DeadlineExceeded;
                    fault = Fault::new(Side::Upstream, fault.phase, Reason::Deadline);
                }
                self.complete = false;
                self.decided = Some(status);
                verdict::of_fault(&fault, status, self.shared.code(names, status))
            }
        }
    }

    fn asked(&self) -> Hint {
        match self.pushback {
            Some(Pushback::After(millis)) => Hint::Wait(Duration::from_millis(millis.into())),
            Some(Pushback::Never) => Hint::Never,
            None => Hint::Nothing,
        }
    }

    fn refuse(&mut self, refusal: &Refusal<'_>) -> LocalReply {
        let code = self.decided.unwrap_or_else(|| verdict::status_of(refusal.fault, None));
        let mut fields = Call::status_fields(code, refusal.text);
        fields.push(b"content-type", b"application/grpc");
        if refusal.fault.is_shed() {
            // Half a second to one and a half, so that those who were turned away together do not come back together.
            let millis = 500 + self.began.0 / 1000 % 1000;
            fields.push(b"grpc-retry-pushback-ms", millis.to_string().as_bytes());
        }
        LocalReply { status: 200, fields, body: Cow::Borrowed(b"") }
    }

    fn abort(&mut self, fault: &Fault) -> Option<Fields> {
        let code = self.decided.unwrap_or_else(|| verdict::status_of(fault, None));
        Some(Call::status_fields(code, &fault.to_string()))
    }

    fn finished(&mut self, _: &Outcome) {
        self.shared.numbers.request.add(&self.request, self.request_ended);
        self.shared.numbers.reply.add(&self.reply, self.complete);
    }
}
