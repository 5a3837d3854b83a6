//! What workers share, under every interleaving that loom can think of (up to two preemptions):
//! `RUSTFLAGS="--cfg loom" cargo test -p weir-decide --release --lib`.

use crate::common::*;
use loom::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::{sync::Arc, time::Duration};
use weir_decide::{
    cluster::{Cluster, Ejection, Tries, Verdict, View},
    exchange::{Class, Now, RetryOn},
    policy::RetryPolicy,
};

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(check);
}

/// Runs `work` on two threads, which know which of them they are.
fn both(cluster: &Arc<Cluster>, work: impl Fn(&Arc<Cluster>, usize) + Clone + Send + 'static) {
    let (theirs, shared) = (work.clone(), cluster.clone());
    let other = loom::thread::spawn(move || theirs(&shared, 1));
    work(cluster, 0);
    other.join().unwrap();
    assert_idle(cluster);
}

#[test]
fn room_for_both_is_given_to_both() {
    model(|| {
        let cluster = cluster(limited(|l| l.max_requests = 2), &[1]);
        both(&cluster, |cluster, _| drop(admit(&View::new(cluster, 1), 0).expect("there is room")));
    });
}

#[test]
fn room_for_one_is_never_given_to_both() {
    model(|| {
        let cluster = cluster(limited(|l| l.max_requests = 1), &[1]);
        let inside = Arc::new(AtomicU32::new(0));
        both(&cluster, move |cluster, _| {
            if let Ok(ticket) = admit(&View::new(cluster, 1), 0) {
                assert_eq!(inside.fetch_add(1, SeqCst), 0);
                inside.fetch_sub(1, SeqCst);
                drop(ticket);
            }
        });
        let stats = cluster.stats();
        assert_eq!(stats.totals.cancelled + stats.overflows.requests, 2);
        assert!(stats.totals.cancelled >= 1);
    });
}

#[test]
fn one_retry_at_a_time() {
    model(|| {
        let settings = limited(|l| (l.max_retries, l.retry_budget.min_retries) = (1, 1));
        let cluster = cluster(settings, &[1]);
        let waiting = Arc::new(AtomicU32::new(0));
        both(&cluster, move |cluster, _| {
            let view = View::new(cluster, 1);
            let mut tries = Tries::new();
            let ticket = view.admit(&idempotent(), &mut tries, Now(0)).unwrap();
            let policy = RetryPolicy::on(RetryOn::RESET);
            let verdict = ticket.finish(&failed(RetryOn::RESET), &policy, &known(true), &mut tries, Now(0));
            if verdict != Verdict::Done {
                assert_eq!(waiting.fetch_add(1, SeqCst), 0);
                waiting.fetch_sub(1, SeqCst);
            }
        });
        let stats = cluster.stats();
        assert_eq!(stats.retries + stats.overflows.retries + stats.overflows.retry_budget, 2);
        assert!(stats.retries >= 1);
    });
}

#[test]
fn the_last_of_the_budget_goes_to_one() {
    model(|| {
        // Ten in ten seconds, of which nine are spent before.
        let cluster =
            cluster(limited(|l| (l.retry_budget.percent, l.retry_budget.min_retries) = (0, 1)), &[1]);
        let policy = RetryPolicy::on(RetryOn::RESET);
        let retry = move |cluster: &Arc<Cluster>, now| {
            let (view, mut tries) = (View::new(cluster, 1), Tries::new());
            let ticket = view.admit(&idempotent(), &mut tries, Now(now)).unwrap();
            ticket.finish(&failed(RetryOn::RESET), &policy, &known(true), &mut tries, Now(now));
        };
        (0..9).for_each(|_| retry(&cluster, 0));
        // The one of them sees the next second first, and marks it.
        both(&cluster, move |cluster, _| retry(cluster, SECOND));
        let stats = cluster.stats();
        assert_eq!((stats.retries, stats.overflows.retry_budget), (10, 1));
    });
}

#[test]
fn the_last_connection_goes_to_one() {
    model(|| {
        let cluster = cluster(limited(|l| (l.max_connections, l.max_pending) = (1, 1)), &[1]);
        let open = Arc::new(AtomicU32::new(0));
        both(&cluster, move |cluster, worker| {
            let pick = View::new(cluster, 1).endpoint(ids(cluster)[0]).unwrap();
            let permit = if worker == 0 {
                cluster.connection(&pick).ok()
            } else {
                cluster.pend().unwrap().connect(&pick).ok()
            };
            if permit.is_some() {
                assert_eq!(open.fetch_add(1, SeqCst), 0);
                open.fetch_sub(1, SeqCst);
            }
        });
    });
}

fn at_the_first_error() -> Ejection {
    Ejection {
        consecutive_errors: 1,
        base_ejection_time: Duration::from_nanos(10),
        max_ejection_percent: 100,
        ..ejection()
    }
}

#[test]
fn two_that_fail_together_are_not_both_ejected() {
    model(|| {
        let cluster = cluster(ejecting(at_the_first_error()), &[1, 1]);
        both(&cluster, |cluster, worker| {
            let view = View::new(cluster, 1);
            let id = ids(cluster)[worker];
            once_at(&view, id, Class::Failed, 1);
            once(&view, Class::Cancelled, 1);
        });
        let stats = cluster.stats();
        // Whoever comes second finds that everything fails: the first is back.
        assert_eq!((stats.ejected, stats.totals.ejections, stats.ejections_withheld), (0, 1, 1));
        assert_eq!(stats.no_endpoint, 0);
    });
}

#[test]
fn what_is_published_is_seen() {
    model(|| {
        let cluster = cluster(ejecting(at_the_first_error()), &[1, 1]);
        let bad = ids(&cluster)[0];
        let view = View::new(&cluster, 1);
        let shared = cluster.clone();
        let other = loom::thread::spawn(move || {
            let view = View::new(&shared, 2);
            once_at(&view, bad, Class::Failed, 1);
            assert_ne!(once(&view, Class::Success, 1), bad, "who ejected it sees it at once");
        });
        once(&view, Class::Success, 1);
        other.join().unwrap();
        assert_ne!(once(&view, Class::Success, 1), bad);
        assert_ne!(once(&view, Class::Success, 1), bad);
        view.tick(Now(11));
        assert_eq!(once(&view, Class::Success, 11), bad, "and that it may prove itself");
        assert!((0..2).any(|_| once(&view, Class::Success, 11) == bad), "and that it is back");
    });
}

#[test]
fn an_ejection_that_ends_ends_once() {
    model(|| {
        let cluster = cluster(ejecting(at_the_first_error()), &[1, 1]);
        once_at(&View::new(&cluster, 1), ids(&cluster)[0], Class::Failed, 1);
        both(&cluster, |cluster, _| cluster.tick(Now(11)));
        assert_eq!(cluster.stats().ejected, 0);
        assert_eq!(cluster.take_events().len(), 1);
        once(&View::new(&cluster, 1), Class::Success, 11);
        assert_eq!(cluster.take_events().len(), 1);
    });
}

#[test]
fn one_of_two_is_the_probe() {
    model(|| {
        let cluster = cluster(ejecting(at_the_first_error()), &[1, 1]);
        let bad = ids(&cluster)[0];
        once_at(&View::new(&cluster, 1), bad, Class::Failed, 1);
        cluster.tick(Now(11));
        let probes = Arc::new(AtomicU32::new(0));
        both(&cluster, move |cluster, worker| {
            let view = View::new(cluster, 1);
            let ticket = admit(&view, 11).unwrap();
            if ticket.pick().id() == bad {
                assert_eq!(probes.fetch_add(1, SeqCst), 0);
                probes.fetch_sub(1, SeqCst);
            }
            finish(ticket, if worker == 0 { Class::Failed } else { Class::Cancelled }, 11);
        });
        let stats = cluster.stats();
        assert!(stats.totals.ejections <= 3);
        assert_eq!(stats.no_endpoint, 0);
    });
}
