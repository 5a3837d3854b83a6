//! When an operation is tried again, where, and after how long.

use crate::common::*;
use proptest::prelude::*;
use std::{collections::BTreeSet, time::Duration};
use weir_decide::{
    cluster::{Known, Replay, Tries, Verdict, View},
    exchange::{Affinity, Class, Now, Operation, Outcome, RetryOn},
    policy::RetryPolicy,
};

fn policy(on: RetryOn, max_retries: u32) -> RetryPolicy {
    RetryPolicy { on, max_retries, ..RetryPolicy::NONE }
}

#[test]
fn what_is_tried_again() {
    let any_method = |on| RetryPolicy { any_method: true, ..policy(on, 1) };
    let (reset, server, connect) = (RetryOn::RESET, RetryOn::SERVER_ERROR, RetryOn::CONNECT_FAILURE);
    let grpc = RetryOn::GRPC_UNAVAILABLE;
    let pinned = Operation { idempotent: true, ..to(Affinity::Connection) };
    let poll = Operation { idempotent: true, ..parked() };
    let table: [(&str, Operation, RetryPolicy, Outcome, Replay, bool); 14] = [
        ("named and idempotent", idempotent(), policy(reset, 1), failed(reset), Replay::Possible, true),
        ("not named", idempotent(), policy(server, 1), failed(reset), Replay::Possible, false),
        ("one of several", idempotent(), policy(server.and(reset), 1), failed(reset), Replay::Possible, true),
        ("gone by", idempotent(), policy(reset, 1), failed(reset), Replay::Impossible, false),
        ("no retries", idempotent(), policy(reset, 0), failed(reset), Replay::Possible, false),
        ("not idempotent", plain(), policy(server, 1), failed(server), Replay::Possible, false),
        ("not idempotent, any method", plain(), any_method(server), failed(server), Replay::Possible, true),
        ("never sent", plain(), policy(connect, 1), failed(connect), Replay::Possible, true),
        (
            "never sent, as a 5xx",
            plain(),
            policy(server, 1),
            failed(server.and(connect)),
            Replay::Possible,
            true,
        ),
        (
            "refused",
            plain(),
            policy(RetryOn::REFUSED_STREAM, 1),
            failed(RetryOn::REFUSED_STREAM),
            Replay::Possible,
            true,
        ),
        ("gRPC status", plain(), policy(grpc, 1), failed(grpc), Replay::Possible, true),
        (
            "gRPC status not named",
            plain(),
            policy(server, 1),
            failed(grpc.and(server)),
            Replay::Possible,
            false,
        ),
        ("pinned", pinned, policy(reset, 1), failed(reset), Replay::Possible, false),
        ("long poll", poll, policy(reset, 1), failed(reset), Replay::Possible, false),
    ];
    for (name, op, policy, outcome, replay, expected) in table {
        let cluster = cluster(settings(), &[1, 1]);
        let view = View::new(&cluster, 1);
        let mut tries = Tries::new();
        let ticket = view.admit(&op, &mut tries, Now(0)).unwrap();
        let verdict =
            ticket.finish(&outcome, &policy, &Known { replay, ..known(op.idempotent) }, &mut tries, Now(0));
        assert_eq!(matches!(verdict, Verdict::Retry { .. }), expected, "{name}");
        assert_eq!(tries.is_reserved(), expected, "{name}");
        let stats = cluster.stats();
        assert_eq!((stats.active, stats.retrying), (u32::from(expected), u32::from(expected)), "{name}");
        drop(tries);
        assert_idle(&cluster);
    }
}

#[test]
fn every_endpoint_is_tried_before_any_is_tried_twice() {
    for settings in [settings(), least_request()] {
        for (n, weights) in [(2usize, vec![1, 1]), (3, vec![100, 1, 1]), (5, vec![1; 5]), (12, vec![1; 12])] {
            let cluster = cluster(settings.clone(), &weights);
            let view = View::new(&cluster, 4);
            let policy = policy(RetryOn::RESET, 2 * n as u32);
            let mut tries = Tries::new();
            let mut went = Vec::new();
            loop {
                let ticket = view.admit(&idempotent(), &mut tries, Now(0)).unwrap();
                went.push(ticket.pick().id());
                let outcome = failed(RetryOn::RESET);
                match ticket.finish(&outcome, &policy, &known(true), &mut tries, Now(0)) {
                    Verdict::Retry { .. } => {}
                    Verdict::Done | Verdict::Elsewhere => break,
                }
            }
            assert_eq!(went.len(), 2 * n + 1);
            assert_eq!(went[..n].iter().collect::<BTreeSet<_>>().len(), n, "{went:?}");
            assert!(went.windows(2).all(|w| w[0] != w[1]), "never twice running: {went:?}");
            assert_eq!((tries.attempts(), tries.retries()), (2 * n as u32 + 1, 2 * n as u32));
            drop(tries);
            assert_idle(&cluster);
        }
    }
}

#[test]
fn a_lone_endpoint_is_tried_again() {
    let cluster = cluster(settings(), &[1]);
    let view = View::new(&cluster, 4);
    let mut tries = Tries::new();
    let ticket = view.admit(&idempotent(), &mut tries, Now(0)).unwrap();
    let verdict =
        ticket.finish(&failed(RetryOn::RESET), &policy(RetryOn::RESET, 1), &known(true), &mut tries, Now(0));
    assert!(matches!(verdict, Verdict::Retry { .. }));
    assert_eq!(view.admit(&idempotent(), &mut tries, Now(0)).unwrap().pick().id(), ids(&cluster)[0]);
}

#[test]
fn a_granted_retry_is_not_refused_and_takes_no_second_place() {
    let cluster = cluster(limited(|l| l.max_requests = 1), &[1, 1]);
    let view = View::new(&cluster, 1);
    let mut tries = Tries::new();
    let ticket = view.admit(&idempotent(), &mut tries, Now(0)).unwrap();
    ticket.finish(&failed(RetryOn::RESET), &policy(RetryOn::RESET, 1), &known(true), &mut tries, Now(0));
    assert!(admit(&view, 0).is_err(), "its place among the requests is kept");
    let ticket = view.admit(&idempotent(), &mut tries, Now(0)).unwrap();
    assert!(!tries.is_reserved());
    assert_eq!((cluster.stats().active, cluster.stats().retrying), (1, 1));
    drop(ticket);
    assert_idle(&cluster);
}

#[test]
fn a_slot_reserved_in_one_cluster_is_given_back_by_another() {
    let (a, b) = (cluster(settings(), &[1]), cluster(settings(), &[1]));
    let (at_a, at_b) = (View::new(&a, 1), View::new(&b, 1));
    let mut tries = Tries::new();
    let ticket = at_a.admit(&idempotent(), &mut tries, Now(0)).unwrap();
    ticket.finish(&failed(RetryOn::RESET), &policy(RetryOn::RESET, 1), &known(true), &mut tries, Now(0));
    let ticket = at_b.admit(&idempotent(), &mut tries, Now(0)).unwrap();
    assert_idle(&a);
    assert_eq!((b.stats().active, b.stats().retrying), (1, 0));
    drop(ticket);
    assert_idle(&b);
}

#[test]
fn back_off_doubles_up_to_its_maximum() {
    let policy = RetryPolicy::NONE;
    for (nth, ceiling) in [(1, 25), (2, 75), (3, 175), (4, 250), (64, 250), (u32::MAX, 250)] {
        assert_eq!(policy.back_off(nth, 0), Duration::ZERO);
        let longest = policy.back_off(nth, u64::MAX);
        assert_eq!(longest, Duration::from_millis(ceiling) - Duration::from_nanos(1), "retry {nth}");
        assert_eq!(policy.back_off(nth, 1 << 63), Duration::from_millis(ceiling) / 2);
    }
}

proptest! {
    #[test]
    fn back_off_is_below_its_ceiling(
        base in 0u64..10_000_000_000, max in 0u64..10_000_000_000, nth in any::<u32>(), random in any::<u64>(),
    ) {
        let (base, max) = (Duration::from_nanos(base), Duration::from_nanos(max));
        let wait = RetryPolicy { base, max, ..RetryPolicy::NONE }.back_off(nth, random);
        prop_assert!(wait <= max);
        prop_assert!(nth != 1 || wait <= base);
    }
}

#[test]
fn outcomes_are_counted_by_class() {
    let cluster = cluster(settings(), &[1]);
    let view = View::new(&cluster, 1);
    let classes = [Class::Success, Class::Rejected, Class::Failed, Class::Cancelled, Class::Refused];
    for (times, class) in classes.into_iter().enumerate() {
        (0..=times).for_each(|_| {
            once(&view, class, 0);
        });
    }
    let t = cluster.stats().endpoints[0].totals;
    assert_eq!((t.success, t.rejected, t.failed, t.cancelled, t.refused, t.attempts()), (1, 2, 3, 4, 5, 15));
}
