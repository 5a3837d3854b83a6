//! What would end routing for a connection: CONNECT, and upgrades. What follows either passes no route and no rule any more, so
//! nobody gets there but by the word of the route that the request itself matches.

use super::replay::Replay;
use super::{Account, Exchange};
use crate::config::Direct;
use crate::dialect::{End, LocalReply, Refusal};
use crate::plain;
use crate::seam::{Downstream, Version};
use crate::site::{Action, Route, Site};
use crate::watcher::Watcher;
use weir_codecs::http1::Method;
use weir_decide::exchange::{Fault, NameId, Outcome, Phase, Reason, Side};
use weir_drive::time;

/// The methods that an `Allow` names where a route takes all of them.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE";

impl<D: Downstream> Exchange<'_, D> {
    /// Whether the request asks for what `route` does not let a connection become; gives what would have to be set. An upgrade
    /// that a request can go without is taken off it instead.
    pub(super) fn closed(&mut self, route: Option<&Route>) -> Option<&'static str> {
        if self.request.method == Method::Connect {
            let open = route.is_some_and(|route| match &route.action {
                Action::Forward(_) => route.switches.connect,
                // Says by itself that there is no such thing.
                Action::Redirect(_) => true,
                Action::Direct(_) => route.methods.iter().any(|method| &**method == "CONNECT"),
            });
            return (!open).then_some("CONNECT is not allowed here: it takes `connect: true` on the route");
        }
        if self.request.upgrade.is_empty() {
            return None;
        }
        let open = match route.map(|route| (&route.action, route)) {
            Some((Action::Forward(_), route)) => route.switches.takes(&self.request.upgrade),
            // To a client of HTTP/2 any 2xx says that the tunnel is open (RFC 8441 section 5).
            Some((Action::Direct(direct), _)) => !(200..300).contains(&direct.status),
            Some((Action::Redirect(_), _)) | None => true,
        };
        if open {
            return None;
        }
        if self.request.version == Version::Http2 {
            return Some("this protocol is not allowed here: it takes an entry in `upgrades` of the route");
        }
        // Whoever is asked to switch may go on as before (RFC 9110 section 7.8).
        self.request.upgrade.clear();
        None
    }

    /// Answer 405 with what is allowed, and with `text`.
    pub(super) async fn refuse_switch(&mut self, site: &Site, route: Option<&Route>, text: &'static str) {
        let fault = Fault::new(Side::Proxy, Phase::Admitted, Reason::MethodNotAllowed);
        let mut reply = LocalReply::plain(&Refusal { fault: &fault, status: 405, text });
        reply.fields.push(b"allow", allowed(route).as_bytes());
        self.refuse_in_words(site, route, &fault, reply).await;
    }

    /// Whether the request is for a host that this connection is not for. (A CONNECT names another's host. A proxy in front that is
    /// trusted sends what it got, whatever name it asked for itself: of that the caller takes care.)
    pub(super) fn is_misdirected(&self) -> bool {
        let covered = self.peer.covered.as_ref().filter(|_| self.request.method != Method::Connect);
        covered.is_some_and(|covered| covered.is_misdirected(&self.request.authority))
    }

    /// Answer 421: the client may ask once more on another connection (RFC 9110 section 15.5.20).
    pub(super) async fn refuse_misdirected(&mut self, site: &Site) {
        let fault = Fault::new(Side::Proxy, Phase::Admitted, Reason::Misdirected);
        let (status, text) = plain::answer(&fault);
        let reply = LocalReply::plain(&Refusal { fault: &fault, status, text });
        self.refuse_in_words(site, None, &fault, reply).await;
    }

    /// What the dialect says cannot be served by its head alone, in its words.
    pub(super) async fn refuse_by_head(
        &mut self,
        site: &Site,
        watcher: Watcher,
        account: &mut Account,
        text: &str,
    ) -> Outcome {
        let fault = Fault::new(Side::Client, Phase::Admitted, Reason::Malformed);
        self.answer_in_dialect(site, watcher, account, &fault, (400, text)).await
    }

    /// A route's own denial, put into the words of the dialect that the request is of; `false`: it is of none, or the dialect leaves
    /// such answers alone.
    pub(super) async fn denied_in_dialect(&mut self, site: &Site, route: &Route, direct: &Direct) -> bool {
        let reason = match direct.status {
            ..400 => return false,
            404 => Reason::NoRoute,
            429 => Reason::Limited,
            400..=499 => Reason::Denied,
            500.. => Reason::Unready,
        };
        let Some(dialect) = route.dialect.as_ref().filter(|dialect| dialect.words_denials()) else {
            return false;
        };
        let watcher = self.watch(site, Some(dialect), route.label);
        if watcher.is_plain() {
            return false;
        }
        let head_bytes = self.request.head_bytes;
        let mut account = Account::new(site, route.dialect_place, &watcher, self.began, head_bytes);
        let fault = Fault::new(Side::Proxy, Phase::Admitted, reason);
        let text = match direct.body.trim() {
            "" => plain::answer(&fault).1,
            said => said,
        };
        let said = (direct.status, text);
        let outcome = self.answer_in_dialect(site, watcher, &mut account, &fault, said).await;
        account.close(&outcome);
        true
    }

    async fn answer_in_dialect(
        &mut self,
        site: &Site,
        mut watcher: Watcher,
        account: &mut Account,
        fault: &Fault,
        (status, text): (u16, &str),
    ) -> Outcome {
        let mut replay = Replay::new(0, self.request.end);
        self.read_rest(site, &mut watcher, &mut replay, fault).await;
        let end = End::Failed { fault, code: None, now: time::now() };
        let outcome = watcher.judge(&mut site.names(), &site.words, end);
        let mut reply = watcher.refuse(&Refusal { fault, status, text });
        reply.status = status;
        self.send(account, reply, Some(fault.reason.label())).await.ok();
        account.learn(&watcher, replay.bytes);
        watcher.finished(&outcome);
        outcome
    }

    /// It has come through this process too often: a cluster leads back to a listener.
    pub(super) async fn refuse_loop(&mut self, site: &Site, route: Option<&Route>) {
        let fault = Fault::new(Side::Proxy, Phase::Admitted, Reason::Loop);
        let (status, text) = plain::answer(&fault);
        let reply = LocalReply::plain(&Refusal { fault: &fault, status, text });
        self.refuse_in_words(site, route, &fault, reply).await;
    }

    /// Answer `reply` for `fault`, and count it.
    pub(super) async fn refuse_in_words(
        &mut self,
        site: &Site,
        route: Option<&Route>,
        fault: &Fault,
        reply: LocalReply,
    ) {
        let mut watcher = self.plain(site, route.map_or(NameId::NONE, |route| route.label));
        let place = route.map_or(site.plain_nowhere, |route| route.place);
        let mut account = Account::new(site, place, &watcher, self.began, self.request.head_bytes);
        let end = End::Failed { fault, code: None, now: time::now() };
        let outcome = watcher.judge(&mut site.names(), &site.words, end);
        self.send(&mut account, reply, Some(fault.reason.label())).await.ok();
        account.close(&outcome);
    }
}

/// What may be asked for instead.
pub(super) fn allowed(route: Option<&Route>) -> String {
    let named = route.map(|route| route.methods.iter().filter(|method| &***method != "CONNECT"));
    let named: Vec<&str> = named.into_iter().flatten().map(|method| &**method).collect();
    if named.is_empty() { METHODS.into() } else { named.join(", ") }
}
