//! The circuit breaker, seen from one thread.

use crate::common::*;
use weir_decide::{
    cluster::{Tries, View},
    exchange::{Affinity, Class, Now, Phase, Reason, Side},
};

#[test]
fn requests_are_refused_at_the_limit_and_only_there() {
    let cluster = cluster(limited(|l| l.max_requests = 2), &[1]);
    let view = View::new(&cluster, 1);
    let (a, b) = (admit(&view, 0).unwrap(), admit(&view, 0).unwrap());
    let fault = admit(&view, 0).unwrap_err();
    assert_eq!((fault.side, fault.phase, fault.reason), (Side::Proxy, Phase::Admitted, Reason::MaxRequests));
    finish(a, Class::Success, 0);
    let c = admit(&view, 0).unwrap();
    assert_eq!(admit(&view, 0).unwrap_err().reason, Reason::MaxRequests);
    drop((b, c));
    assert_idle(&cluster);
    let stats = cluster.stats();
    assert_eq!(stats.overflows.requests, 2);
    assert_eq!((stats.totals.success, stats.totals.cancelled, stats.totals.attempts()), (1, 2, 3));
}

#[test]
fn long_polls_have_a_cap_of_their_own() {
    let cluster = cluster(limited(|l| (l.max_requests, l.max_parked) = (1, 1)), &[1]);
    let view = View::new(&cluster, 1);
    let request = admit(&view, 0).unwrap();
    let poll = view.admit(&parked(), &mut Tries::new(), Now(0)).unwrap();
    let fault = view.admit(&parked(), &mut Tries::new(), Now(0)).unwrap_err();
    assert_eq!(fault.reason, Reason::MaxParked);
    let stats = cluster.stats();
    assert_eq!((stats.active, stats.parked, stats.overflows.parked), (1, 1, 1));
    assert_eq!((stats.endpoints[0].active, stats.endpoints[0].parked), (1, 1));
    drop((request, poll));
    assert_idle(&cluster);
}

#[test]
fn a_request_that_turns_out_to_be_a_long_poll_gives_its_place_back() {
    let cluster = cluster(limited(|l| (l.max_requests, l.max_parked) = (1, 1)), &[1]);
    let view = View::new(&cluster, 1);
    let mut poll = admit(&view, 0).unwrap();
    assert!(poll.park());
    assert!(poll.park(), "twice is once");
    let mut second = admit(&view, 0).unwrap();
    assert!(!second.park(), "no more may be parked: it stays a request");
    assert_eq!(admit(&view, 0).unwrap_err().reason, Reason::MaxRequests);
    let stats = cluster.stats();
    assert_eq!((stats.active, stats.parked, stats.overflows.parked), (1, 1, 1));
    assert_eq!((stats.endpoints[0].active, stats.endpoints[0].parked), (1, 1));
    finish(poll, Class::Success, 0);
    drop(second);
    assert_idle(&cluster);
}

#[test]
fn without_endpoints_nothing_is_admitted_and_nothing_kept() {
    let cluster = cluster(settings(), &[]);
    let view = View::new(&cluster, 1);
    let fault = admit(&view, 0).unwrap_err();
    assert_eq!((fault.side, fault.reason), (Side::Network, Reason::NoEndpoint));
    assert_eq!(cluster.stats().no_endpoint, 1);
    assert_idle(&cluster);
    cluster.set_endpoints(&specs(&[1]), Now(0));
    let pick = admit(&view, 0).unwrap().pick().clone();
    cluster.set_endpoints(&[], Now(0));
    let gone = view.admit(&to(Affinity::Endpoint(pick.id())), &mut Tries::new(), Now(0)).unwrap_err();
    assert_eq!(gone.reason, Reason::NoEndpoint);
    let pinned = view.admit(&to(Affinity::Connection), &mut Tries::pinned(pick.clone()), Now(0)).unwrap();
    assert_eq!(pinned.pick(), &pick, "a pinned connection outlives its endpoint's place in the list");
    drop(pinned);
    assert_idle(&cluster);
}

#[test]
fn connections_and_those_who_wait_for_one() {
    let cluster = cluster(limited(|l| (l.max_connections, l.max_pending) = (1, 1)), &[1]);
    let view = View::new(&cluster, 1);
    let pick = admit(&view, 0).unwrap().pick().clone();
    let permit = cluster.connection(&pick).unwrap();
    assert!(cluster.connection(&pick).is_err());
    let waiting = cluster.pend().unwrap();
    let fault = cluster.pend().unwrap_err();
    assert_eq!((fault.phase, fault.reason), (Phase::Connecting, Reason::MaxPending));
    let waiting = waiting.connect(&pick).unwrap_err();
    cluster.stands_behind();
    assert_eq!((cluster.stats().connections, cluster.stats().pending), (1, 1));
    permit.failed();
    // There is room: whoever stands behind the one that is about to take it has met no limit.
    cluster.stands_behind();
    let permit = waiting.connect(&pick).unwrap();
    let stats = cluster.stats();
    assert_eq!((stats.connections, stats.pending, stats.endpoints[0].connections), (1, 0, 1));
    assert_eq!((stats.overflows.connections, stats.overflows.pending), (2, 1));
    assert_eq!((stats.totals.connections, stats.totals.connect_failures), (2, 1));
    drop(permit);
    drop(cluster.pend().unwrap());
    assert_idle(&cluster);
}

#[test]
fn limits_follow_a_reload_and_what_is_under_way_stays() {
    let cluster = cluster(limited(|l| l.max_requests = 2), &[1]);
    let view = View::new(&cluster, 1);
    let held = [admit(&view, 0).unwrap(), admit(&view, 0).unwrap()];
    cluster.configure(limited(|l| l.max_requests = 1), Now(0));
    assert!(admit(&view, 0).is_err());
    let [a, b] = held;
    drop(a);
    assert!(admit(&view, 0).is_err());
    drop(b);
    assert!(admit(&view, 0).is_ok());
    assert_idle(&cluster);
}

#[test]
fn counters_never_fall_when_endpoints_go() {
    let cluster = cluster(settings(), &[1, 1]);
    let view = View::new(&cluster, 1);
    for _ in 0..10 {
        once(&view, Class::Success, 0);
    }
    let held = admit(&view, 0).unwrap();
    cluster.set_endpoints(&[], Now(0));
    assert_eq!(cluster.stats().totals.success, 10);
    finish(held, Class::Success, 0);
    view.tick(Now(0));
    assert_eq!(cluster.stats().totals.success, 11);
    cluster.set_endpoints(&specs(&[1, 1]), Now(0));
    once(&view, Class::Success, 0);
    assert_eq!(cluster.stats().totals.success, 12);
}
