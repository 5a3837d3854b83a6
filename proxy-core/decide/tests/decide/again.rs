//! The one decision about another try, as a table of everything that it goes by.

use crate::common::*;
use std::time::Duration;
use weir_decide::{
    cluster::{Known, Replay, Tries, Verdict, View},
    exchange::{Affinity, Now, Operation, Outcome, Phase, Reason, RetryOn, Side},
    policy::{Again, Hint, Lost, MAX_ASKED, RetryPolicy, Sent},
};

use {Again::*, Phase::*, Reason::*, Side::*};

/// What is known of an attempt of which so much was sent.
fn sent(sent: Sent, idempotent: bool) -> Known {
    Known { sent, ..known(idempotent) }
}

#[test]
fn what_is_repeated_unasked() {
    let (nothing, part, head) = (Sent::Nothing, Sent::Part, Sent::Head);
    let table = [
        // No connection: elsewhere, whatever it is.
        (Network, Connecting, ConnectFailed, nothing, false, Elsewhere),
        (Network, Connecting, ConnectTimeout, nothing, false, Elsewhere),
        (Network, Connecting, TlsFailed, nothing, false, Elsewhere),
        (Network, Connecting, Closed, nothing, false, Elsewhere),
        (Network, Connecting, Reason::Reset, nothing, false, Elsewhere),
        (Network, Connecting, TryTimeout, nothing, false, Elsewhere),
        // Weir's own limits and the operation's time are no failure of the endpoint.
        (Proxy, Connecting, MaxConnections, nothing, true, No),
        (Proxy, Connecting, MaxPending, nothing, true, No),
        (Network, Connecting, Timeout, nothing, true, No),
        (Client, Connecting, Closed, nothing, true, No),
        // Nothing whole was written.
        (Network, Sending, Reason::Reset, nothing, false, Elsewhere),
        (Network, Waiting, Closed, part, false, Elsewhere),
        (Upstream, Sending, TryTimeout, part, true, No),
        // The server may have seen it.
        (Network, Sending, Reason::Reset, head, true, Retry),
        (Network, Waiting, Closed, head, true, Retry),
        (Network, Waiting, TlsFailed, head, true, Retry),
        (Upstream, Waiting, Reason::Reset, head, true, Retry),
        (Network, Waiting, Closed, head, false, No),
        (Network, Waiting, TlsFailed, head, false, No),
        (Upstream, Waiting, Reason::Reset, head, false, No),
        // The reply has begun, time is over, or the server's bytes are broken.
        (Network, Replying, Closed, head, true, No),
        (Upstream, Waiting, Timeout, head, true, No),
        (Upstream, Waiting, Deadline, head, true, No),
        (Upstream, Waiting, TryTimeout, head, true, No),
        (Upstream, Waiting, Malformed, head, true, No),
        (Upstream, Waiting, RefusedStream, head, true, No),
        (Client, Waiting, Closed, head, true, No),
    ];
    for (side, phase, reason, so_far, idempotent, expected) in table {
        let outcome = fault(side, phase, reason);
        let again = |known: &Known| RetryPolicy::UNASKED.again(&outcome, known, 0);
        let name = format!("{:?} {so_far:?} {idempotent}", outcome.fault);
        assert_eq!(again(&sent(so_far, idempotent)), expected, "{name}");
        let gone = Known { replay: Replay::Impossible, ..sent(so_far, idempotent) };
        assert_eq!(again(&gone), No, "{name}, gone by");
        // A client that repeats by itself is left to do so; a connection that was not made is no try of anybody's.
        let own = Known { client_repeats: true, ..sent(so_far, idempotent) };
        assert_eq!(again(&own), if expected == Retry { No } else { expected }, "{name}, client repeats");
        let last = RetryPolicy::UNASKED.again(&outcome, &sent(so_far, idempotent), 2);
        assert_eq!(last, if expected == Retry { No } else { expected }, "{name}, twice before");
        let off = RetryPolicy::NONE.again(&outcome, &sent(so_far, idempotent), 0);
        assert_eq!(off, if expected == Retry { No } else { expected }, "{name}, nothing wanted");
    }
    // A status is never repeated unasked.
    for on in [RetryOn::SERVER_ERROR, RetryOn::GRPC_UNAVAILABLE, RetryOn::THROTTLED, RetryOn::GATEWAY_ERROR] {
        assert_eq!(RetryPolicy::UNASKED.again(&failed(on), &known(true), 0), No, "{on:?}");
    }
}

#[test]
fn the_conditions_that_a_fault_meets() {
    let seen = RetryOn::SERVER_ERROR;
    let (connect, reset, refused) = (RetryOn::CONNECT_FAILURE, RetryOn::RESET, RetryOn::REFUSED_STREAM);
    for (side, phase, reason, met) in [
        (Network, Connecting, ConnectFailed, seen.and(connect)),
        (Network, Connecting, ConnectTimeout, seen.and(connect)),
        (Network, Connecting, TlsFailed, seen.and(connect)),
        (Network, Connecting, Closed, seen.and(connect)),
        (Network, Connecting, TryTimeout, seen.and(connect).and(reset)),
        // In the middle of a stream it is a lost connection.
        (Network, Waiting, TlsFailed, seen.and(reset)),
        (Network, Sending, ConnectFailed, RetryOn::NONE),
        (Network, Waiting, Reason::Reset, seen.and(reset)),
        (Upstream, Waiting, TryTimeout, seen.and(reset)),
        (Upstream, Waiting, RefusedStream, seen.and(refused)),
        (Upstream, Sending, GoAway, seen.and(refused)),
        (Upstream, Waiting, Malformed, seen),
        (Upstream, Waiting, Timeout, RetryOn::NONE),
        (Network, Connecting, Timeout, RetryOn::NONE),
        (Proxy, Connecting, MaxConnections, RetryOn::NONE),
        (Client, Waiting, Closed, RetryOn::NONE),
        (Network, Replying, Reason::Reset, RetryOn::NONE),
    ] {
        let outcome = fault(side, phase, reason);
        assert_eq!(outcome.retryable, met, "{:?}", outcome.fault);
    }
}

#[test]
fn what_the_client_and_the_server_say() {
    let policy =
        RetryPolicy { max_retries: 2, ..RetryPolicy::on(RetryOn::SERVER_ERROR.and(RetryOn::THROTTLED)) };
    let (server, throttled) = (failed(RetryOn::SERVER_ERROR), failed(RetryOn::THROTTLED));
    let refused = RetryPolicy { on: RetryOn::REFUSED_STREAM, ..policy.clone() };
    let own = Known { client_repeats: true, ..known(true) };
    for (policy, outcome, known, expected) in [
        (&policy, &server, known(true), Retry),
        (&policy, &throttled, known(false), Retry),
        (&policy, &server, own, No),
        (&policy, &throttled, own, No),
        // No server has processed it.
        (&refused, &failed(RetryOn::REFUSED_STREAM), own, Retry),
        (&policy, &server, Known { asked: Hint::Never, ..known(true) }, No),
        (&policy, &server, Known { asked: Hint::Wait(Duration::from_secs(1)), ..known(true) }, Retry),
    ] {
        assert_eq!(policy.again(outcome, &known, 0), expected, "{known:?}");
    }
    let second = Duration::from_secs(1);
    let wait = |asked, deadline| {
        policy.wait(1, u64::MAX, &Known { asked, deadline, ..known(true) }, Now(5 * SECOND))
    };
    let own = Duration::from_millis(25) - Duration::from_nanos(1);
    for (asked, deadline, expected) in [
        (Hint::Nothing, None, Some(own)),
        (Hint::Wait(Duration::ZERO), None, Some(own)),
        (Hint::Wait(second), None, Some(second)),
        (Hint::Wait(MAX_ASKED), None, Some(MAX_ASKED)),
        (Hint::Wait(MAX_ASKED + second), None, None),
        (Hint::Wait(second), Some(Now(7 * SECOND)), Some(second)),
        (Hint::Wait(second), Some(Now(6 * SECOND)), None),
        (Hint::Nothing, Some(Now(5 * SECOND + 1)), None),
    ] {
        assert_eq!(wait(asked, deadline), expected, "{asked:?} {deadline:?}");
    }
}

#[test]
fn once_more_at_the_same_endpoint() {
    let (refused, stale, fresh) = (
        Lost { unprocessed: true, stale: false },
        Lost { unprocessed: false, stale: true },
        Lost { unprocessed: false, stale: false },
    );
    let own = Known { client_repeats: true, ..known(true) };
    let policy = RetryPolicy::on(RetryOn::SERVER_ERROR);
    for (policy, lost, known, again, expected) in [
        (&RetryPolicy::UNASKED, refused, known(false), false, true),
        (&RetryPolicy::UNASKED, refused, own, false, true),
        (&RetryPolicy::UNASKED, refused, known(false), true, false),
        (&RetryPolicy::NONE, refused, known(false), false, true),
        (&RetryPolicy::on(RetryOn::REFUSED_STREAM), refused, known(false), false, false),
        (&RetryPolicy::UNASKED, stale, known(true), false, true),
        (&policy, stale, known(true), false, true),
        (&RetryPolicy::UNASKED, stale, known(false), false, false),
        (&RetryPolicy::UNASKED, stale, own, false, false),
        (&RetryPolicy::NONE, stale, known(true), false, false),
        (&RetryPolicy::NONE, stale, sent(Sent::Part, false), false, true),
        (&RetryPolicy::UNASKED, stale, sent(Sent::Nothing, false), true, false),
        (&RetryPolicy::UNASKED, fresh, known(true), false, false),
        (&RetryPolicy::UNASKED, fresh, sent(Sent::Nothing, true), false, false),
    ] {
        assert_eq!(policy.once_more(lost, &known, again), expected, "{policy:?} {lost:?} {known:?} {again}");
        let gone = Known { replay: Replay::Impossible, ..known };
        assert!(!policy.once_more(lost, &gone, again));
    }
}

/// Attempts of one operation that find no connection anywhere; the endpoints that it went to, and how it ended.
fn unreachable_everywhere(view: &std::rc::Rc<View>, op: &Operation, policy: &RetryPolicy) -> (usize, Tries) {
    let mut tries = Tries::new();
    let mut went = Vec::new();
    loop {
        let ticket = view.admit(op, &mut tries, Now(0)).unwrap();
        went.push(ticket.pick().id());
        let known = Known::unsent(Replay::Possible);
        match ticket.finish(&unreachable(), policy, &known, &mut tries, Now(0)) {
            Verdict::Elsewhere => {}
            Verdict::Retry { .. } | Verdict::Done => break,
        }
    }
    let count = went.len();
    went.sort_unstable();
    went.dedup();
    assert_eq!(went.len(), count, "each at most once");
    (count, tries)
}

#[test]
fn every_endpoint_is_picked_once_where_none_can_be_reached() {
    for settings in [settings(), least_request()] {
        for endpoints in [1usize, 2, 5, 8, 9, 40] {
            let cluster = cluster(settings.clone(), &vec![1; endpoints]);
            let view = View::new(&cluster, 3);
            for op in [plain(), idempotent(), to(Affinity::Hash(9)), to(Affinity::Connection), parked()] {
                let (went, tries) = unreachable_everywhere(&view, &op, &RetryPolicy::UNASKED);
                assert_eq!((went, tries.repicks() as usize, tries.retries()), (endpoints, endpoints - 1, 0));
                assert!(!tries.is_reserved());
            }
            let (here, pick) = (ids(&cluster)[0], view.endpoint(ids(&cluster)[0]).unwrap());
            let (went, _) =
                unreachable_everywhere(&view, &to(Affinity::Endpoint(here)), &RetryPolicy::UNASKED);
            assert_eq!(went, 1, "this one and no other");
            let mut tries = Tries::pinned(pick);
            let ticket = view.admit(&to(Affinity::Connection), &mut tries, Now(0)).unwrap();
            let known = Known::unsent(Replay::Possible);
            let verdict = ticket.finish(&unreachable(), &RetryPolicy::UNASKED, &known, &mut tries, Now(0));
            assert_eq!(verdict, Verdict::Done);
            let stats = cluster.stats();
            assert_eq!(stats.repicks as usize, 5 * (endpoints - 1));
            assert_eq!(stats.totals.failed as usize, 5 * endpoints + 2, "each counts against its endpoint");
            assert_eq!((stats.retries, stats.overflows.retry_budget), (0, 0));
            drop(tries);
            assert_idle(&cluster);
        }
    }
}

#[test]
fn a_policy_for_failed_connections_comes_after_all_others() {
    let cluster = cluster(settings(), &[1, 1, 1]);
    let view = View::new(&cluster, 3);
    let policy = RetryPolicy::on(RetryOn::CONNECT_FAILURE);
    let (went, tries) = unreachable_everywhere(&view, &plain(), &policy);
    assert_eq!((went, tries.repicks(), tries.is_reserved()), (3, 2, true));
    assert_eq!(cluster.stats().retries, 1);
    drop(tries);
    assert_idle(&cluster);
}

#[test]
fn no_connection_and_no_time() {
    let cluster = cluster(settings(), &[1, 1]);
    let view = View::new(&cluster, 3);
    for (deadline, expected) in [(Now(10), Verdict::Done), (Now(11), Verdict::Elsewhere)] {
        let mut tries = Tries::new();
        let ticket = view.admit(&plain(), &mut tries, Now(0)).unwrap();
        let known = Known { deadline: Some(deadline), ..Known::unsent(Replay::Possible) };
        let verdict = ticket.finish(&unreachable(), &RetryPolicy::UNASKED, &known, &mut tries, Now(10));
        assert_eq!(verdict, expected);
    }
    assert_idle(&cluster);
}

#[test]
fn repicks_are_not_retries() {
    let cluster = cluster(settings(), &[1, 1, 1]);
    let view = View::new(&cluster, 3);
    let policy = RetryPolicy { max_retries: 1, ..RetryPolicy::on(RetryOn::SERVER_ERROR) };
    let mut tries = Tries::new();
    let mut next = |outcome: &Outcome, known: Known| {
        let ticket = view.admit(&idempotent(), &mut tries, Now(0)).unwrap();
        let verdict = ticket.finish(outcome, &policy, &known, &mut tries, Now(0));
        (verdict, tries.retries(), tries.repicks())
    };
    let unsent = Known::unsent(Replay::Possible);
    assert_eq!(next(&unreachable(), unsent), (Verdict::Elsewhere, 0, 1));
    assert!(matches!(next(&failed(RetryOn::SERVER_ERROR), known(true)), (Verdict::Retry { .. }, 0, 1)));
    assert_eq!(next(&failed(RetryOn::SERVER_ERROR), known(true)), (Verdict::Done, 1, 1));
    drop(tries);
    assert_idle(&cluster);
}
