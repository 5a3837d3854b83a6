//! One call in passing.

use std::rc::Rc;
use std::time::Duration;

use weir_codecs::dynamodb::{ApiOperation, Coding, ErrorName, Inflater, Repeat, Target};
use weir_decide::exchange::{Class, Fault, NameId, NameKind, Names, Now, Operation, Outcome};
use weir_decide::policy::Hint;
use weir_http::{AtHead, End, Fields, LocalReply, Refusal, RequestHead, Watch};

use crate::asked::Asked;
use crate::{MULTIPLE, Scanners, Shared, UNPARSED, refusal, verdict};

/// The most of an error's body that is held back so that the call can be tried again: errors are short, unless they carry
/// the item that failed a condition.
const ERROR_BODY: usize = 16 << 10;

/// How long such a body may take to come.
const ERROR_TIME: Duration = Duration::from_secs(1);

/// One call: see the [crate].
#[derive(Debug)]
pub struct Call {
    shared: Rc<Shared>,
    target: Target,
    /// It names two.
    twice: bool,
    operation: Operation,
    /// `None` only while it is being dropped.
    scanners: Option<Box<Scanners>>,
    request: Body,
    /// The resource has been told by all of the request there is.
    settled: bool,
    reply: Body,
    status: u16,
    /// What `x-amzn-errortype` says.
    named: Option<ErrorName>,
    /// The reply came to its end.
    replied: bool,
    /// What the reply asks for.
    asked: Hint,
    began: Now,
}

/// How far a body has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    Reading,
    /// Read to its end.
    Whole,
    /// It cannot be read, or not further.
    Opaque,
}

impl Call {
    pub(crate) fn new(
        shared: Rc<Shared>,
        names: &mut dyn Names,
        head: &RequestHead<'_>,
        asked: Asked,
    ) -> Call {
        let Asked { target, cbor, twice } = asked;
        let mut scanners = shared.scanners();
        scanners.request.begin(target);
        scanners.request_left.clear();
        scanners.reply_left.clear();
        scanners.request_coding.begin(coding(head.fields));
        scanners.reply.begin();
        scanners.reply_coding.begin(Coding::Identity);
        let mut operation = Operation::new(shared.operation(names, target), NameId::NONE);
        // Of the others the body will tell.
        operation.idempotent = target.operation.is_some_and(|known| known.repeat() == Repeat::Always);
        if cbor {
            shared.numbers.opaque_request();
        }
        Call {
            shared,
            target,
            twice,
            operation,
            scanners: Some(scanners),
            request: if cbor { Body::Opaque } else { Body::Reading },
            settled: false,
            reply: Body::Reading,
            status: 0,
            named: None,
            replied: false,
            asked: Hint::Nothing,
            began: head.began,
        }
    }

    /// Tells the resource, by what has been read of the request: for good once it has been read to its end.
    fn settle(&mut self, names: &mut dyn Names) {
        if self.settled {
            return;
        }
        self.settled = self.request != Body::Reading;
        let Some(scanners) = &self.scanners else { return };
        let found = scanners.request.request();
        let told = self.request != Body::Opaque && !found.unparsed && !found.ambiguous;
        self.operation.resource = match found.tables.only() {
            _ if !told => names.fixed(NameKind::Resource, UNPARSED.as_bytes()),
            Some(only) => names.intern(NameKind::Resource, &[only.table.as_bytes()]),
            None if found.tables.is_empty() => NameId::NONE,
            None => names.fixed(NameKind::Resource, MULTIPLE.as_bytes()),
        };
    }

    fn end_request(&mut self) {
        // Whoever gives it turns has left nothing.
        while self.request_work() {}
        let Some(scanners) = &mut self.scanners else { return };
        if self.request != Body::Reading {
            return;
        }
        let decoded = scanners.request_coding.finish();
        let read = scanners.request.finish();
        self.request = match (decoded, read) {
            (Ok(()), Ok(_)) => Body::Whole,
            _ => Body::Opaque,
        };
        if self.request == Body::Opaque {
            self.shared.numbers.opaque_request();
            self.operation.idempotent = false;
            return;
        }
        self.operation.idempotent = scanners.request.request().repeatable(self.target);
    }

    /// The error that the reply is, by now.
    fn error(&self) -> ErrorName {
        let said = self.scanners.as_ref().and_then(|scanners| scanners.reply.reply().error);
        self.named.or(said).unwrap_or(ErrorName::Other)
    }

    fn judge_reply(&mut self, names: &mut dyn Names) -> Outcome {
        while self.reply_work() {}
        if let Some(scanners) = &mut self.scanners
            && self.reply == Body::Reading
        {
            let whole = scanners.reply_coding.finish().is_ok() && scanners.reply.finish().is_ok();
            self.reply = if whole { Body::Whole } else { Body::Opaque };
        }
        if self.reply == Body::Opaque {
            self.shared.numbers.opaque_reply();
        }
        if self.status >= 300 {
            let error = self.error();
            return verdict::of_error(error, self.status, self.shared.error(names, error));
        }
        let code = self.partial(names);
        verdict::of_success(code != NameId::NONE, code)
    }

    /// Why a call that succeeded was done in part only.
    fn partial(&self, names: &mut dyn Names) -> NameId {
        let Some(scanners) = &self.scanners else { return NameId::NONE };
        let reply = scanners.reply.reply();
        if let Some(first) = reply.entry_errors.first() {
            return self.shared.error(names, first.name);
        }
        let word: &[u8] = match self.target.operation {
            Some(ApiOperation::BatchGetItem) => b"UnprocessedKeys",
            _ => b"UnprocessedItems",
        };
        if reply.unprocessed > 0 { names.fixed(NameKind::Code, word) } else { NameId::NONE }
    }
}

impl Watch for Call {
    fn operation(&self) -> &Operation {
        &self.operation
    }

    fn refused(&self) -> Option<&'static str> {
        self.twice.then_some("the request names two targets in x-amz-target")
    }

    fn may_be_idempotent(&self) -> bool {
        let never = || self.target.operation.is_none_or(|known| known.repeat() == Repeat::Never);
        self.operation.idempotent || (self.request == Body::Reading && !never())
    }

    fn attempt(&mut self, _: u32, _: Now, _: &mut Fields) {
        if let Some(scanners) = &mut self.scanners {
            scanners.reply.begin();
            scanners.reply_left.clear();
        }
        self.reply = Body::Reading;
        self.status = 0;
        self.named = None;
        self.asked = Hint::Nothing;
        self.replied = false;
    }

    fn request_data(&mut self, _: &mut dyn Names, data: &[u8]) {
        self.look_at_request(data);
    }

    fn request_work(&mut self) -> bool {
        if self.scanners.as_ref().is_none_or(|scanners| scanners.request_left.is_empty()) {
            return false;
        }
        self.look_at_request(&[]);
        self.scanners.as_ref().is_some_and(|scanners| !scanners.request_left.is_empty())
    }

    fn wants_body(&self) -> bool {
        self.request == Body::Reading
    }

    fn request_end(&mut self, names: &mut dyn Names, _: Option<&Fields>) {
        self.end_request();
        self.settle(names);
    }

    fn reply_head(&mut self, names: &mut dyn Names, status: u16, fields: &Fields, end: bool) -> AtHead {
        self.status = status;
        self.asked = if status >= 400 { weir_http::asked(fields) } else { Hint::Nothing };
        self.named = fields.value(b"x-amzn-errortype").map(ErrorName::parse);
        let Some(scanners) = &mut self.scanners else { return AtHead::Pass };
        scanners.reply_coding.begin(match end {
            true => Coding::Identity,
            false => coding(fields),
        });
        let cbor = fields.value(b"smithy-protocol").is_some_and(|value| value == b"rpc-v2-cbor");
        self.reply = if cbor && !end { Body::Opaque } else { Body::Reading };
        match self.named {
            Some(name) if status >= 400 => {
                AtHead::Judged(verdict::of_error(name, status, self.shared.error(names, name)))
            }
            None if status >= 400 && !end => AtHead::Hold { limit: ERROR_BODY },
            None if status >= 400 => {
                AtHead::Judged(verdict::of_error(ErrorName::Other, status, NameId::OTHER))
            }
            _ => AtHead::Pass,
        }
    }

    fn hold_for(&self) -> Option<Duration> {
        Some(ERROR_TIME)
    }

    fn reply_data(&mut self, data: &[u8]) {
        self.look_at_reply(data);
    }

    fn reply_work(&mut self) -> bool {
        if self.scanners.as_ref().is_none_or(|scanners| scanners.reply_left.is_empty()) {
            return false;
        }
        self.look_at_reply(&[]);
        self.scanners.as_ref().is_some_and(|scanners| !scanners.reply_left.is_empty())
    }

    fn judge(&mut self, names: &mut dyn Names, end: End<'_>) -> Outcome {
        self.settle(names);
        match end {
            End::Complete { .. } => {
                self.replied = true;
                self.judge_reply(names)
            }
            End::Failed { fault, .. } => {
                let code = if verdict::is_gone(fault) { NameId::NONE } else { self.own_code(names, fault) };
                verdict::of_fault(fault, code)
            }
        }
    }

    fn asked(&self) -> Hint {
        self.asked
    }

    fn refuse(&mut self, refusal: &Refusal<'_>) -> LocalReply {
        let (name, status) = refusal::error_of(refusal.fault, refusal.status);
        let nth = self.shared.replies.get();
        self.shared.replies.set(nth + 1);
        refusal::reply(
            name,
            status,
            refusal.text,
            [self.shared.seed, nth, self.began.0, self.shared.seed ^ nth].map(mix),
        )
    }

    fn finished(&mut self, outcome: &Outcome) {
        let Some(scanners) = &self.scanners else { return };
        let request = scanners.request.request();
        self.shared.numbers.charge(request, self.target, outcome.class == Class::Success);
        if self.replied {
            self.shared.numbers.learn(request, scanners.reply.reply(), self.target);
        }
    }
}

impl Call {
    /// Looks at as much of what has come as is work for one turn; the rest is left for the next one.
    fn look_at_request(&mut self, data: &[u8]) {
        let Some(scanners) = &mut self.scanners else { return };
        if self.request != Body::Reading {
            return;
        }
        let Scanners { request, request_coding, request_left, .. } = &mut **scanners;
        match step(request_coding, request_left, data, |plain| request.feed(plain)) {
            Ok(()) => {}
            Err(_) => {
                self.request = Body::Opaque;
                self.operation.idempotent = false;
                self.shared.numbers.opaque_request();
            }
        }
    }

    fn look_at_reply(&mut self, data: &[u8]) {
        let Some(scanners) = &mut self.scanners else { return };
        if self.reply != Body::Reading {
            return;
        }
        let Scanners { reply, reply_coding, reply_left, .. } = &mut **scanners;
        if step(reply_coding, reply_left, data, |plain| reply.feed(plain)).is_err() {
            self.reply = Body::Opaque;
        }
    }

    /// The code of a failure that the client is told of in Weir's own words.
    fn own_code(&self, names: &mut dyn Names, fault: &Fault) -> NameId {
        self.shared.error(names, refusal::error_of(fault, 0).0)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(scanners) = self.scanners.take() {
            self.shared.give_back(scanners);
        }
    }
}

/// Decompresses as much of what is left and of `data` behind it as is work for one turn; the rest stays.
fn step(
    coding: &mut Inflater,
    left: &mut Vec<u8>,
    data: &[u8],
    to: impl FnMut(&[u8]),
) -> Result<(), weir_codecs::dynamodb::Opaque> {
    if left.is_empty() {
        let used = coding.step(data, to)?;
        left.extend_from_slice(data.get(used..).unwrap_or_default());
        return Ok(());
    }
    left.extend_from_slice(data);
    match coding.step(left, to) {
        Ok(used) => {
            left.drain(..used);
            Ok(())
        }
        Err(opaque) => {
            left.clear();
            Err(opaque)
        }
    }
}

/// How a body is coded, by all lines of its `content-encoding` (RFC 9110 section 5.3). What is coded twice is not looked into.
fn coding(fields: &Fields) -> Coding {
    let all = fields.values(b"content-encoding").flat_map(|line| line.split(|b| *b == b','));
    let mut codings =
        all.map(<[u8]>::trim_ascii).filter(|one| !one.is_empty() && !one.eq_ignore_ascii_case(b"identity"));
    match (codings.next(), codings.next()) {
        (only, None) => Coding::parse(only),
        (_, Some(_)) => Coding::Other,
    }
}

/// Spreads a number's bits (the finaliser of SplitMix64).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
