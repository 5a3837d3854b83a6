//! Weir's own answers: refusals, redirects, direct responses.

use super::pump::put_off;
use super::replay::Replay;
use super::{Account, Exchange};
use crate::adds::Added;
use crate::config::{Direct, Redirect};
use crate::dialect::{End, LocalReply, Refusal};
use crate::plain;
use crate::seam::{Broken, Downstream, Length, Part, Version};
use crate::site::{Route, Site};
use crate::watcher::Watcher;
use std::borrow::Cow;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;
use weir_codecs::http1::Method;
use weir_decide::exchange::{Fault, NameId, Now, Outcome, Phase, Reason, Side};
use weir_drive::time;

/// A client that does not take a short answer within this long is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Before Weir answers by itself it reads what is left of a small body: no more than so much, for no longer than this.
const REST_BYTES: usize = 64 * 1024;
const REST_TIME: Duration = Duration::from_secs(1);

impl<D: Downstream> Exchange<'_, D> {
    /// Read what is left of a small body before `fault` is answered: a dialect may need it to name the operation, and an
    /// HTTP/1 connection is kept.
    pub(super) async fn read_rest(
        &mut self,
        site: &Site,
        watcher: &mut Watcher,
        replay: &mut Replay,
        fault: &Fault,
    ) {
        let small = matches!(self.request.length, Length::Exact(n) if n <= REST_BYTES as u64);
        let kept = small && self.request.version < Version::Http2;
        // A client that waits for a 100 may send its body or not: nothing is to be waited for.
        let comes = !replay.is_ended() && !self.request.expects_continue && fault.side != Side::Client;
        if !comes || !(kept || watcher.wants_body()) {
            return;
        }
        let patience = match fault.reason {
            Reason::Timeout | Reason::TryTimeout | Reason::Deadline | Reason::Idle => Duration::ZERO,
            _ => REST_TIME,
        };
        let until = time::now().after(patience);
        let mut left = REST_BYTES;
        poll_fn(|cx| {
            loop {
                if watcher.request_work() {
                    put_off(cx);
                    return Poll::Pending;
                }
                let part = match self.down.poll_part(cx) {
                    Poll::Ready(part) => part,
                    Poll::Pending => return self.timer.poll(cx, until).map(|_| ()),
                };
                let names = &mut site.names();
                match part {
                    Ok(Some(Part::Data(data))) => {
                        watcher.request_data(names, &data);
                        replay.bytes += data.len() as u64;
                        self.down.consumed(data.len());
                        match left.checked_sub(data.len()) {
                            Some(rest) => left = rest,
                            None => return Poll::Ready(()),
                        }
                    }
                    Ok(Some(Part::Trailers(trailers))) => {
                        watcher.request_end(names, Some(&trailers));
                        replay.end(Some(trailers));
                        return Poll::Ready(());
                    }
                    Ok(None) => {
                        watcher.request_end(names, None);
                        replay.end(None);
                        return Poll::Ready(());
                    }
                    // The answer will find out.
                    Err(_) => return Poll::Ready(()),
                }
            }
        })
        .await;
    }

    /// No route takes it: said, and counted, in the words of the listener's dialect.
    pub(super) async fn refuse_unrouted(&mut self, site: &Site) {
        let fault = Fault::new(Side::Proxy, Phase::Admitted, Reason::NoRoute);
        let mut watcher = self.watch(site, site.dialect.as_ref(), NameId::NONE);
        let place = if watcher.is_plain() { site.plain_nowhere } else { site.nowhere };
        let mut account = Account::new(site, place, &watcher, self.began, self.request.head_bytes);
        let mut replay = Replay::new(0, self.request.end);
        self.read_rest(site, &mut watcher, &mut replay, &fault).await;
        let outcome = self.refuse(site, &mut watcher, &mut account, &fault, None).await;
        account.learn(&watcher, replay.bytes);
        watcher.finished(&outcome);
        account.close(&outcome);
    }

    /// Its head could not be read: it is answered and counted all the same, in the words and under the name of its dialect where
    /// enough of it could be read to tell.
    pub async fn reject(
        &mut self,
        site: &Site,
        status: u16,
        text: &str,
        reason: Reason,
        place: weir_measure::Place,
    ) {
        let fault = Fault::new(Side::Client, Phase::Admitted, reason);
        let (mut watcher, place) = self.dialect_of(site).unwrap_or_else(|| {
            let operation = weir_decide::exchange::Operation::new(site.words.malformed, NameId::NONE);
            (Watcher::plain(operation, status), place)
        });
        let mut account = Account::new(site, place, &watcher, self.began, self.request.head_bytes);
        let end = End::Failed { fault: &fault, code: None, now: self.began };
        let outcome = watcher.judge(&mut site.names(), &site.words, end);
        let reply = watcher.refuse(&Refusal { fault: &fault, status, text });
        self.send(&mut account, reply, Some(text)).await.ok();
        watcher.finished(&outcome);
        account.close(&outcome);
    }

    /// The dialect of the route that the request would take if it could be read, and where its requests are counted; `None` where
    /// it is of none.
    fn dialect_of(&self, site: &Site) -> Option<(Watcher, weir_measure::Place)> {
        if self.request.method_text.is_empty() {
            return None;
        }
        let asked = weir_decide::route::Request {
            host: &self.request.authority,
            path: self.request.path(),
            method: &self.request.method_text,
            headers: &self.request.fields,
        };
        let route = site.table.find(&asked).and_then(|index| site.routes.get(index));
        let dialect = route.and_then(|route| route.dialect.as_ref()).or(site.dialect.as_ref());
        let watcher = self.watch(site, dialect, NameId::NONE);
        let place = route.map_or(site.nowhere, |route| route.dialect_place);
        (!watcher.is_plain()).then_some((watcher, place))
    }

    /// Refused without a try having failed.
    pub(super) async fn refuse(
        &mut self,
        site: &Site,
        watcher: &mut Watcher,
        account: &mut Account,
        fault: &Fault,
        code: Option<u32>,
    ) -> Outcome {
        let end = End::Failed { fault, code, now: time::now() };
        let outcome = watcher.judge(&mut site.names(), &site.words, end);
        self.answer_fault(site, watcher, account, fault, outcome).await
    }

    /// The client is told of `fault`, which has been judged as `outcome`.
    pub(super) async fn answer_fault(
        &mut self,
        site: &Site,
        watcher: &mut Watcher,
        account: &mut Account,
        fault: &Fault,
        outcome: Outcome,
    ) -> Outcome {
        if plain::has_gone(fault) {
            self.down.abort(None);
            return outcome;
        }
        let (status, text) = plain::answer(fault);
        let reply = watcher.refuse(&Refusal { fault, status, text });
        match self.send(account, reply, Some(fault.reason.label())).await {
            Ok(()) => outcome,
            Err(broken) => {
                let fault = Fault::new(Side::Client, Phase::Replying, super::gone(&broken));
                let end = End::Failed { fault: &fault, code: broken.code, now: time::now() };
                watcher.judge(&mut site.names(), &site.words, end)
            }
        }
    }

    pub(super) async fn redirect(&mut self, site: &Site, route: &Route, redirect: &Redirect) {
        let Some(location) = redirect.location(self.request) else {
            let fault = Fault::new(Side::Client, Phase::Admitted, Reason::Malformed);
            let text = "the request names no host and path that it could be redirected to";
            let reply = LocalReply::plain(&Refusal { fault: &fault, status: 400, text });
            return self.refuse_in_words(site, Some(route), &fault, reply).await;
        };
        let mut reply =
            LocalReply { status: redirect.status, fields: crate::Fields::new(), body: Cow::Borrowed(b"") };
        reply.fields.push(b"location", &location);
        self.local(site, route, reply).await;
    }

    pub(super) async fn direct(&mut self, site: &Site, route: &Route, direct: &Direct) {
        if self.denied_in_dialect(site, route, direct).await {
            return;
        }
        let mut reply = LocalReply {
            status: direct.status,
            fields: crate::Fields::new(),
            body: Cow::Owned(direct.body.as_bytes().to_vec()),
        };
        if !direct.body.is_empty() {
            reply.fields.push(b"content-type", b"text/plain; charset=utf-8");
        }
        self.local(site, route, reply).await;
    }

    /// An answer that the route asks for.
    pub(super) async fn local(&mut self, site: &Site, route: &Route, reply: LocalReply) {
        let mut watcher = self.plain(site, route.label);
        let mut account = Account::new(site, route.place, &watcher, self.began, self.request.head_bytes);
        if let Watcher::Plain { status, .. } = &mut watcher {
            *status = reply.status;
        }
        let names = &mut site.names();
        let mut outcome = watcher.judge(names, &site.words, End::Complete { trailers: None });
        if let Err(broken) = self.send(&mut account, reply, None).await {
            let fault = Fault::new(Side::Client, Phase::Replying, super::gone(&broken));
            let end = End::Failed { fault: &fault, code: broken.code, now: time::now() };
            outcome = watcher.judge(names, &site.words, end);
        }
        account.close(&outcome);
    }

    pub(super) async fn send(
        &mut self,
        account: &mut Account,
        local: LocalReply,
        reason: Option<&str>,
    ) -> crate::seam::Result<()> {
        let head_only = self.request.method == Method::Head;
        let reply = &mut *self.reply;
        reply.clear();
        reply.status = local.status;
        for (name, value) in local.fields.iter() {
            reply.fields.push(name, value);
        }
        let adds = self.site.said.adds;
        if let Some(reason) = reason.filter(|_| adds.has(Added::XWeirReason)) {
            reply.fields.push(Added::XWeirReason.name(), reason.as_bytes());
        }
        if adds.has(Added::Date) {
            reply.fields.push(Added::Date.name(), &http_date(time::wall()));
        }
        let body = local.into_body();
        reply.length = if body.is_empty() { Length::None } else { Length::Exact(body.len() as u64) };
        reply.end = body.is_empty() || head_only;
        let now = time::now();
        account.first_byte(now);
        self.down.abandon();
        let head = self.down.respond(self.reply)?;
        account.replied(head as u64);
        if !head_only && !body.is_empty() {
            account.replied(body.len() as u64);
            let mut body = body;
            self.patiently(now, |down, cx| {
                while !body.is_empty() {
                    let Poll::Ready(room) = down.poll_ready(cx, body.len())? else { return Poll::Pending };
                    down.send(body.split_to(room.min(body.len())))?;
                }
                Poll::Ready(Ok(()))
            })
            .await?;
            self.down.end(None)?;
        }
        self.patiently(now, |down, cx| down.poll_flush(cx)).await
    }

    /// Get what was sent on its way; whether that works is of no more interest.
    pub(super) async fn flush(&mut self) {
        self.patiently(time::now(), |down, cx| down.poll_flush(cx)).await.ok();
    }

    async fn patiently(
        &mut self,
        since: Now,
        mut poll: impl FnMut(&mut D, &mut std::task::Context<'_>) -> Poll<crate::seam::Result<()>>,
    ) -> crate::seam::Result<()> {
        let until = since.after(PATIENCE);
        poll_fn(|cx| match poll(self.down, cx) {
            Poll::Pending if self.timer.poll(cx, until).is_ready() => {
                Poll::Ready(Err(Broken::new(Reason::Idle)))
            }
            other => other,
        })
        .await
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7), `since` being the time since 1970.
pub fn http_date(since: Duration) -> [u8; 29] {
    const DAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed";
    const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let secs = since.as_secs();
    let days = secs / 86_400;
    // Days to civil date (Hinnant): eras of 400 years from 1 March 0000.
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    let mut out = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(slot) = out.get_mut(at..at + bytes.len()) {
            slot.copy_from_slice(bytes);
        }
    };
    let word = |table: &'static [u8], index: u64| {
        let at = index as usize * 3;
        table.get(at..at + 3).unwrap_or_default()
    };
    let two = |n: u64| [b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8];
    put(0, word(DAYS, days % 7));
    put(5, &two(day));
    put(8, word(MONTHS, month - 1));
    put(12, &two(year / 100));
    put(14, &two(year % 100));
    put(17, &two(secs / 3600 % 24));
    put(20, &two(secs / 60 % 60));
    put(23, &two(secs % 60));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_http_wants_them() {
        for (secs, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (4_102_444_799, "Thu, 31 Dec 2099 23:59:59 GMT"),
        ] {
            assert_eq!(std::str::from_utf8(&http_date(Duration::from_secs(secs))).unwrap(), text);
        }
    }
}
