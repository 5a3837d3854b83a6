//! Threads that hammer one cluster: exact in the end, and never beyond a limit on the way.

use crate::common::*;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::{sync::Arc, thread, time::Duration};
use weir_decide::{
    cluster::{Cluster, Ejection, Tries, Verdict, View},
    exchange::{Class, Now, RetryOn},
    policy::RetryPolicy,
};

const THREADS: u64 = 4;
const ROUNDS: u64 = 20_000;

fn hammer(cluster: &Arc<Cluster>, work: impl Fn(&Arc<Cluster>, u64) + Sync) {
    thread::scope(|scope| {
        for worker in 0..THREADS {
            let work = &work;
            scope.spawn(move || work(cluster, worker));
        }
    });
    assert_idle(cluster);
}

#[test]
fn as_many_as_there_is_room_for_are_never_refused() {
    let cluster = cluster(limited(|l| l.max_requests = THREADS as u32), &[1; 3]);
    hammer(&cluster, |cluster, worker| {
        let view = View::new(cluster, worker);
        for round in 0..ROUNDS {
            finish(admit(&view, round).expect("there is room"), Class::Success, round);
        }
    });
    let stats = cluster.stats();
    assert_eq!((stats.totals.success, stats.overflows.requests), (THREADS * ROUNDS, 0));
}

#[test]
fn never_more_than_the_limit() {
    let cluster = cluster(limited(|l| l.max_requests = 2), &[1; 3]);
    let (under_way, refused) = (AtomicI64::new(0), AtomicU64::new(0));
    hammer(&cluster, |cluster, worker| {
        let view = View::new(cluster, worker);
        for round in 0..ROUNDS {
            match admit(&view, round) {
                Ok(ticket) => {
                    assert!(under_way.fetch_add(1, SeqCst) < 2);
                    under_way.fetch_sub(1, SeqCst);
                    drop(ticket);
                }
                Err(_) => {
                    refused.fetch_add(1, SeqCst);
                }
            }
        }
    });
    let stats = cluster.stats();
    assert_eq!(stats.overflows.requests, refused.load(SeqCst));
    assert_eq!(stats.totals.cancelled + stats.overflows.requests, THREADS * ROUNDS);
}

#[test]
fn retries_stay_within_their_limit() {
    let cluster = cluster(limited(|l| (l.max_retries, l.retry_budget.min_retries) = (2, 2)), &[1; 3]);
    let (retrying, granted) = (AtomicI64::new(0), AtomicU64::new(0));
    let policy = RetryPolicy { max_retries: 3, ..RetryPolicy::on(RetryOn::RESET) };
    hammer(&cluster, |cluster, worker| {
        let view = View::new(cluster, worker);
        for round in 0..ROUNDS {
            let mut tries = Tries::new();
            loop {
                let ticket = view.admit(&idempotent(), &mut tries, Now(round)).unwrap();
                if tries.retries() > 0 {
                    retrying.fetch_sub(1, SeqCst);
                }
                let outcome = failed(RetryOn::RESET);
                match ticket.finish(&outcome, &policy, &known(true), &mut tries, Now(round)) {
                    Verdict::Done | Verdict::Elsewhere => break,
                    Verdict::Retry { .. } => {
                        assert!(retrying.fetch_add(1, SeqCst) < 2);
                        granted.fetch_add(1, SeqCst);
                    }
                }
            }
        }
    });
    let stats = cluster.stats();
    assert_eq!(stats.retries, granted.load(SeqCst));
    assert_eq!(stats.totals.failed, THREADS * ROUNDS + stats.retries);
}

#[test]
fn the_budget_is_exact_whatever_the_speed() {
    let cluster = cluster(
        limited(|l| (l.retry_budget.percent, l.retry_budget.min_retries, l.max_retries) = (20, 3, 1024)),
        &[1; 3],
    );
    let policy = RetryPolicy { max_retries: 100, ..RetryPolicy::on(RetryOn::RESET) };
    hammer(&cluster, |cluster, worker| {
        let view = View::new(cluster, worker);
        for _ in 0..ROUNDS {
            let mut tries = Tries::new();
            loop {
                let ticket = view.admit(&idempotent(), &mut tries, Now(1)).unwrap();
                let outcome = failed(RetryOn::RESET);
                match ticket.finish(&outcome, &policy, &known(true), &mut tries, Now(1)) {
                    Verdict::Retry { .. } => {}
                    Verdict::Done | Verdict::Elsewhere => break,
                }
            }
        }
    });
    let stats = cluster.stats();
    assert_eq!(stats.retries, THREADS * ROUNDS / 5 + 30, "not one more, and not one less");
}

#[test]
fn connections_stay_within_their_limit() {
    let cluster = cluster(limited(|l| (l.max_connections, l.max_pending) = (2, 2)), &[1; 3]);
    let (open, pending) = (AtomicI64::new(0), AtomicI64::new(0));
    hammer(&cluster, |cluster, worker| {
        let pick = admit(&View::new(cluster, worker), 0).unwrap().pick().clone();
        let hold = |permit| {
            assert!(open.fetch_add(1, SeqCst) < 2);
            open.fetch_sub(1, SeqCst);
            drop(permit);
        };
        for _ in 0..ROUNDS {
            if let Ok(permit) = cluster.connection(&pick) {
                hold(permit);
            } else if let Ok(waiting) = cluster.pend() {
                assert!(pending.fetch_add(1, SeqCst) < 2);
                pending.fetch_sub(1, SeqCst);
                if let Ok(permit) = waiting.connect(&pick) {
                    hold(permit);
                }
            }
        }
    });
}

#[test]
fn there_is_always_an_endpoint_however_all_of_them_fail() {
    let settings = ejecting(Ejection {
        consecutive_errors: 1,
        base_ejection_time: Duration::from_nanos(50),
        max_ejection_time: Duration::from_nanos(500),
        max_ejection_percent: 100,
        ..ejection()
    });
    let cluster = cluster(settings, &[1; 4]);
    hammer(&cluster, |cluster, worker| {
        let view = View::new(cluster, worker);
        for round in 0..ROUNDS {
            once(&view, Class::Failed, round);
            if round % 64 == worker {
                cluster.set_endpoints(&specs(&vec![1; 1 + (round as usize / 64) % 4]), Now(round));
            }
        }
    });
    let stats = cluster.stats();
    assert_eq!((stats.no_endpoint, stats.totals.failed), (0, THREADS * ROUNDS));
    assert!(stats.ejected < stats.endpoints.len());
    assert!(stats.totals.ejections > 0);
}
