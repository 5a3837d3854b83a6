//! What retries may cost.

use crate::common::*;
use std::{cell::RefCell, cmp::Reverse, collections::BinaryHeap, rc::Rc};
use weir_decide::{
    cluster::{Tries, Verdict, View},
    exchange::{Now, RetryOn},
    policy::RetryPolicy,
};

fn budget(percent: u32, floor: u32, max_retries: u32) -> weir_decide::cluster::Settings {
    limited(|l| {
        (l.retry_budget.percent, l.retry_budget.min_retries, l.max_retries) = (percent, floor, max_retries);
    })
}

/// Operations that fail, one after another, at this time; how many retries they were granted.
fn failing(view: &Rc<View>, operations: u32, now: u64) -> u32 {
    let policy = RetryPolicy { max_retries: 1, ..RetryPolicy::on(RetryOn::RESET) };
    let mut granted = 0;
    for _ in 0..operations {
        let mut tries = Tries::new();
        let ticket = view.admit(&idempotent(), &mut tries, Now(now)).unwrap();
        let verdict = ticket.finish(&failed(RetryOn::RESET), &policy, &known(true), &mut tries, Now(now));
        granted += u32::from(matches!(verdict, Verdict::Retry { .. }));
    }
    granted
}

#[test]
fn a_share_of_the_first_tries_and_so_many_a_second() {
    // (percent, a second, first tries at once, retries granted)
    for (percent, floor, firsts, granted) in [
        (20, 3, 10, 10),
        (20, 3, 100, 50),
        (20, 3, 1000, 230),
        (12, 0, 50, 6),
        (0, 0, 50, 0),
        (100, 0, 50, 50),
        (0, 1, 50, 10),
    ] {
        let cluster = cluster(budget(percent, floor, 1024), &[1, 1]);
        let view = View::new(&cluster, 1);
        let name = format!("{percent} % of {firsts}, {floor} a second");
        assert_eq!(failing(&view, firsts, 0), granted, "{name}");
        let stats = cluster.stats();
        assert_eq!((stats.retries, stats.overflows.retries), (granted.into(), 0), "{name}");
        assert_eq!(stats.overflows.retry_budget, u64::from(firsts - granted), "{name}");
        assert_eq!(stats.retry_budget_spent, granted, "{name}");
        let allowed = firsts * percent / 100 + 10 * floor;
        assert_eq!(stats.retry_budget, allowed, "{name}");
        assert_idle(&cluster);
    }
}

#[test]
fn what_is_under_way_has_a_limit_of_its_own() {
    let cluster = cluster(budget(100, 100, 2), &[1, 1]);
    let view = View::new(&cluster, 1);
    let policy = RetryPolicy::on(RetryOn::RESET);
    let mut waiting = Vec::new();
    for nth in 0..5 {
        let mut tries = Tries::new();
        let ticket = view.admit(&idempotent(), &mut tries, Now(0)).unwrap();
        ticket.finish(&failed(RetryOn::RESET), &policy, &known(true), &mut tries, Now(0));
        assert_eq!(tries.is_reserved(), nth < 2);
        waiting.push(tries);
    }
    let stats = cluster.stats();
    assert_eq!((stats.retries, stats.retrying), (2, 2));
    assert_eq!((stats.overflows.retries, stats.overflows.retry_budget), (3, 0));
    drop(waiting);
    assert_idle(&cluster);
}

#[test]
fn it_is_there_again_after_ten_seconds_and_not_before() {
    let cluster = cluster(budget(0, 1, 1024), &[1]);
    let view = View::new(&cluster, 1);
    assert_eq!(failing(&view, 30, 0), 10);
    for second in 1..=10 {
        assert_eq!(failing(&view, 3, second * SECOND), 0, "second {second}");
    }
    assert_eq!(failing(&view, 30, 11 * SECOND), 10);
    // A long time without anything, and one that goes backwards.
    assert_eq!(failing(&view, 30, 10 * SECOND), 0);
    assert_eq!(failing(&view, 30, 1_000_000 * SECOND), 10);
    assert_eq!(failing(&view, 30, 1_000_009 * SECOND), 0);
}

#[test]
fn first_tries_of_before_count_for_ten_seconds() {
    let cluster = cluster(budget(20, 0, 1024), &[1]);
    let view = View::new(&cluster, 1);
    for second in 100..110 {
        (0..50).for_each(|_| {
            once(&view, weir_decide::exchange::Class::Success, second * SECOND);
        });
    }
    assert_eq!(failing(&view, 200, 110 * SECOND), (500 + 200) / 5);
    assert_eq!(failing(&view, 5, 121 * SECOND), 1, "all that is forgotten");
}

/// Every endpoint answers 503 at once, sixteen clients go on for ten seconds and more, and the policy would try six times.
#[test]
fn no_storm_when_all_of_them_fail() {
    for seed in 0..8u64 {
        for speed in [200_000, 1_000_000, 10_000_000] {
            let cluster = cluster(budget(20, 3, 1024), &[1, 1, 1]);
            let views: Vec<_> = (0..4).map(|n| View::new(&cluster, seed * 4 + n)).collect();
            let policy = RetryPolicy { max_retries: 5, ..RetryPolicy::on(RetryOn::SERVER_ERROR) };
            let (mut operations, mut attempts) = (0u64, 0u64);
            let clients: Vec<_> = (0..16).map(|_| RefCell::new(Tries::new())).collect();
            // When which client makes its next attempt.
            let mut queue: BinaryHeap<_> = (0..16usize).map(|n| Reverse((n as u64 * 1000, n))).collect();
            while let Some(Reverse((now, client))) = queue.pop() {
                if now > 10 * SECOND {
                    continue;
                }
                let (view, tries) = (&views[client % 4], &mut *clients[client].borrow_mut());
                if !tries.is_reserved() {
                    *tries = Tries::new();
                    operations += 1;
                }
                attempts += 1;
                let ticket = view.admit(&idempotent(), tries, Now(now)).unwrap();
                let end = now + speed;
                let outcome = failed(RetryOn::SERVER_ERROR);
                let wait = match ticket.finish(&outcome, &policy, &known(true), tries, Now(end)) {
                    Verdict::Retry { after } => after.as_nanos() as u64,
                    Verdict::Done | Verdict::Elsewhere => 0,
                };
                queue.push(Reverse((end + wait, client)));
            }
            let tries = attempts as f64 / operations as f64;
            assert!(tries <= 1.25, "seed {seed}, {speed} ns: {tries} tries a request, {operations} of them");
            assert!(tries >= 1.19, "seed {seed}, {speed} ns: {tries}");
        }
    }
}

/// One of two endpoints refuses connections: none of the operations fails, and nothing of the budget is spent.
#[test]
fn a_refused_connection_costs_nothing() {
    let cluster = cluster(budget(0, 0, 0), &[1, 1]);
    let refuses = ids(&cluster)[0];
    let view = View::new(&cluster, 7);
    let mut repicks = 0;
    for round in 0..1000 {
        let mut tries = Tries::new();
        loop {
            let ticket = view.admit(&plain(), &mut tries, Now(round)).unwrap();
            if ticket.pick().id() != refuses {
                break finish(ticket, weir_decide::exchange::Class::Success, round);
            }
            let known = weir_decide::cluster::Known::unsent(weir_decide::cluster::Replay::Possible);
            let verdict =
                ticket.finish(&unreachable(), &RetryPolicy::UNASKED, &known, &mut tries, Now(round));
            assert_eq!(verdict, Verdict::Elsewhere);
            repicks += 1;
        }
        assert_eq!(tries.retries(), 0);
    }
    let stats = cluster.stats();
    assert_eq!((stats.totals.success, stats.repicks, stats.retries), (1000, repicks, 0));
    assert_eq!((stats.overflows.retry_budget, stats.overflows.retries), (0, 0));
    assert!(repicks >= 400);
    assert_idle(&cluster);
}
