//! Who is taken out of rotation, when, and for how long.

use crate::common::*;
use std::time::Duration;
use weir_decide::{
    cluster::{Cluster, Ejection, EventKind, Tries, View, Why},
    exchange::{Affinity, Class, EndpointId, Fault, Now, Operation, Outcome, Phase, Reason, Side},
    policy::RetryPolicy,
};

fn out(cluster: &Cluster) -> Vec<bool> {
    cluster.stats().endpoints.iter().map(|e| e.ejected_until.is_some()).collect()
}

#[test]
fn failures_in_a_row_eject_at_once_and_successes_break_the_row() {
    let table: [(&[Class], bool); 6] = [
        (&[Class::Failed; 4], false),
        (&[Class::Failed; 5], true),
        (&[Class::Failed, Class::Failed, Class::Failed, Class::Failed, Class::Success, Class::Failed], false),
        (
            &[Class::Failed, Class::Failed, Class::Failed, Class::Failed, Class::Rejected, Class::Failed],
            false,
        ),
        (
            &[Class::Failed, Class::Failed, Class::Failed, Class::Failed, Class::Cancelled, Class::Failed],
            true,
        ),
        (&[Class::Failed, Class::Failed, Class::Failed, Class::Failed, Class::Refused, Class::Failed], true),
    ];
    for (classes, ejected) in table {
        let cluster = cluster(ejecting(ejection()), &[1, 1]);
        let view = View::new(&cluster, 1);
        let bad = ids(&cluster)[0];
        classes.iter().for_each(|class| once_at(&view, bad, *class, 0));
        assert_eq!(out(&cluster), [ejected, false], "{classes:?}");
        if ejected {
            assert!((0..100).all(|_| once(&view, Class::Success, 1) != bad));
        }
    }
}

#[test]
fn how_many_may_be_out() {
    // (endpoints, percent, out when all but the last fail)
    for (n, percent, expected) in [
        (1, 100, 0),
        (2, 1, 1),
        (2, 100, 1),
        (3, 50, 1),
        (3, 67, 2),
        (3, 10, 1),
        (4, 50, 2),
        (10, 50, 5),
        (10, 59, 5),
        (10, 100, 9),
        (10, 0, 0),
    ] {
        let settings = ejecting(Ejection { max_ejection_percent: percent, ..ejection() });
        let cluster = cluster(settings, &vec![1; n]);
        let view = View::new(&cluster, 1);
        let ids = ids(&cluster);
        for id in &ids[..n - 1] {
            (0..5).for_each(|_| once_at(&view, *id, Class::Failed, 0));
        }
        let stats = cluster.stats();
        assert_eq!(stats.ejected, expected, "{n} endpoints, {percent} percent");
        assert_eq!(stats.ejections_withheld, (n - 1 - expected) as u64);
        assert_eq!(stats.totals.ejections, expected as u64);
    }
}

#[test]
fn an_ejection_ends_on_time_and_the_next_lasts_longer() {
    let cluster = cluster(ejecting(ejection()), &[1, 1]);
    let view = View::new(&cluster, 1);
    let bad = ids(&cluster)[0];
    let mut now = 0;
    for nth in 1..=12u64 {
        (0..5).for_each(|_| once_at(&view, bad, Class::Failed, now));
        let lasts = (30 * nth).min(300) * SECOND;
        view.tick(Now(now + lasts - 1));
        assert_eq!(out(&cluster), [true, false], "ejection {nth}");
        now += lasts;
        view.tick(Now(now));
        assert_eq!(out(&cluster), [false, false], "ejection {nth}");
    }
    assert_eq!(cluster.stats().totals.ejections, 12);
}

#[test]
fn admission_ends_an_ejection_without_a_tick() {
    let cluster = cluster(ejecting(ejection()), &[1, 1]);
    let view = View::new(&cluster, 1);
    let bad = ids(&cluster)[0];
    (0..5).for_each(|_| once_at(&view, bad, Class::Failed, 0));
    assert!((0..10).all(|_| once(&view, Class::Success, 30 * SECOND - 1) != bad));
    assert!((0..2).any(|_| once(&view, Class::Success, 30 * SECOND) == bad));
}

#[test]
fn old_ejections_are_forgotten_one_an_interval_and_an_answer() {
    // (seconds in rotation after two ejections, answers in that time, length of the next)
    let table = [(0, 9, 90), (9, 9, 90), (10, 1, 60), (19, 9, 60), (20, 1, 60), (20, 2, 30), (1000, 9, 30)];
    for (stays, answers, length) in table.into_iter().chain([(10, 0, 90), (1000, 0, 90)]) {
        let cluster = cluster(ejecting(ejection()), &[1, 1]);
        let view = View::new(&cluster, 1);
        let bad = ids(&cluster)[0];
        (0..5).for_each(|_| once_at(&view, bad, Class::Failed, 0));
        (0..5).for_each(|_| once_at(&view, bad, Class::Failed, 30 * SECOND));
        let now = (90 + stays) * SECOND;
        view.tick(Now(90 * SECOND));
        once_at(&view, bad, Class::Success, 90 * SECOND);
        (0..answers).for_each(|_| once_at(&view, bad, Class::Success, 90 * SECOND));
        view.tick(Now(now));
        (0..5).for_each(|_| once_at(&view, bad, Class::Failed, now));
        let until = cluster.stats().endpoints[0].ejected_until;
        assert_eq!(until, Some(Now(now + length * SECOND)), "{answers} answers in {stays} s");
    }
}

fn on_probation(classes: &[Class]) -> (std::sync::Arc<Cluster>, std::rc::Rc<View>) {
    let cluster = cluster(ejecting(ejection()), &[1, 1, 1]);
    let view = View::new(&cluster, 1);
    let bad = ids(&cluster)[0];
    (0..5).for_each(|_| once_at(&view, bad, Class::Failed, 0));
    view.tick(Now(30 * SECOND));
    assert!(cluster.stats().endpoints[0].on_probation);
    classes.iter().for_each(|class| assert_eq!(once(&view, *class, 30 * SECOND), bad));
    (cluster, view)
}

#[test]
fn one_operation_decides_about_who_comes_back() {
    use Class::*;
    // (how the operations end that it gets, ejected again, still on probation)
    let table: [(&[Class], bool, bool); 6] = [
        (&[Failed], true, false),
        (&[Success], false, false),
        (&[Rejected], false, false),
        (&[Cancelled], false, true),
        (&[Refused, Cancelled, Failed], true, false),
        (&[Cancelled, Refused, Success], false, false),
    ];
    for (classes, ejected, waits) in table {
        let (cluster, _view) = on_probation(classes);
        let endpoint = &cluster.stats().endpoints[0];
        assert_eq!(
            (endpoint.ejected_until.is_some(), endpoint.on_probation),
            (ejected, waits),
            "{classes:?}"
        );
        if ejected {
            assert_eq!(endpoint.ejected_until, Some(Now(90 * SECOND)), "for longer than before");
        }
    }
}

#[test]
fn the_probe_is_alone_while_it_lasts() {
    let (cluster, view) = on_probation(&[]);
    let bad = ids(&cluster)[0];
    let at = |second: u64| admit(&view, second * SECOND).unwrap();
    let probe = at(30);
    assert_eq!(probe.pick().id(), bad);
    assert!((0..20).all(|_| once(&view, Class::Success, 39 * SECOND) != bad), "nobody else goes there");
    // One that takes long makes room for another; a reply that has begun is an answer.
    let second = at(40);
    assert_eq!(second.pick().id(), bad);
    second.answered();
    assert!((0..20).all(|_| once(&view, Class::Success, 49 * SECOND) != bad));
    assert!((0..3).any(|_| once(&view, Class::Success, 50 * SECOND) == bad), "it is back");
    assert!(!cluster.stats().endpoints[0].on_probation);
    drop((probe, second));
}

#[test]
fn a_retry_is_no_probe_of_the_endpoint_that_has_just_failed() {
    let (cluster, view) = on_probation(&[]);
    let bad = ids(&cluster)[0];
    let mut tries = Tries::new();
    drop(view.admit(&plain(), &mut tries, Now(30 * SECOND)).unwrap());
    assert_eq!(tries.last(), Some(bad));
    assert_ne!(view.admit(&plain(), &mut tries, Now(30 * SECOND)).unwrap().pick().id(), bad);
}

#[test]
fn who_is_on_probation_counts_as_out() {
    let (cluster, view) = on_probation(&[]);
    let ids = ids(&cluster);
    (0..5).for_each(|_| once_at(&view, ids[1], Class::Failed, 31 * SECOND));
    let stats = cluster.stats();
    assert_eq!((stats.ejected, stats.ejections_withheld), (0, 1));
}

#[test]
fn what_fails_in_common_brings_all_back_until_one_has_answered() {
    let cluster = cluster(ejecting(ejection()), &[1; 4]);
    let view = View::new(&cluster, 1);
    let ids = ids(&cluster);
    let fail = |at: usize| (0..5).for_each(|_| once_at(&view, ids[at], Class::Failed, 0));
    (0..3).for_each(fail);
    assert_eq!(out(&cluster), [true, true, false, false], "the third would be one too many");
    fail(3);
    assert_eq!(out(&cluster), [false; 4], "it is not the endpoints");
    (0..4).chain(0..4).for_each(fail);
    assert_eq!(out(&cluster), [false; 4], "nobody has answered yet");
    once_at(&view, ids[3], Class::Success, 1);
    once_at(&view, ids[2], Class::Failed, 1);
    assert_eq!(out(&cluster), [false; 4], "what was in common counts for nothing");
    fail(0);
    assert_eq!(out(&cluster), [true, false, false, false]);
    let until = cluster.stats().endpoints[0].ejected_until;
    assert_eq!(until, Some(Now(30 * SECOND)), "the first in a row again");
}

#[test]
fn a_shorter_base_time_shortens_what_is_in_force() {
    let cluster = cluster(ejecting(ejection()), &[1, 1]);
    let view = View::new(&cluster, 1);
    let bad = ids(&cluster)[0];
    (0..5).for_each(|_| once_at(&view, bad, Class::Failed, SECOND));
    let base = |seconds| Ejection { base_ejection_time: Duration::from_secs(seconds), ..ejection() };
    cluster.configure(ejecting(base(60)), Now(2 * SECOND));
    assert_eq!(cluster.stats().endpoints[0].ejected_until, Some(Now(31 * SECOND)), "never longer");
    cluster.configure(ejecting(base(5)), Now(2 * SECOND));
    assert_eq!(cluster.stats().endpoints[0].ejected_until, Some(Now(6 * SECOND)));
    view.tick(Now(6 * SECOND));
    assert_eq!(out(&cluster), [false, false]);
}

/// The client leaves after `waited` milliseconds, in this phase.
fn left_at(view: &std::rc::Rc<View>, id: EndpointId, phase: Phase, waited: u64) {
    let ticket = view.admit(&to(Affinity::Endpoint(id)), &mut Tries::new(), Now(SECOND)).unwrap();
    let fault = Some(Fault::new(Side::Client, phase, Reason::Closed));
    let outcome = Outcome { fault, latency: waited * 1_000_000, ..outcome(Class::Cancelled) };
    ticket.finish(&outcome, &RetryPolicy::NONE, &known(false), &mut Tries::new(), Now(SECOND));
}

#[test]
fn who_never_answers_is_ejected_though_clients_give_up_first() {
    // (phase, milliseconds each, how many, ejected)
    for (phase, waited, times, ejected) in [
        (Phase::Waiting, 100, 5, true),
        (Phase::Waiting, 100, 4, false),
        (Phase::Waiting, 99, 50, false),
        (Phase::Sending, 500, 50, false),
        (Phase::Connecting, 500, 50, false),
        (Phase::Replying, 500, 50, false),
    ] {
        let cluster = cluster(ejecting(ejection()), &[1, 1]);
        let view = View::new(&cluster, 1);
        let bad = ids(&cluster)[0];
        (0..times).for_each(|_| left_at(&view, bad, phase, waited));
        assert_eq!(out(&cluster), [ejected, false], "{phase:?} {waited} ms, {times} times");
    }
}

#[test]
fn an_answer_makes_up_for_who_has_left() {
    let cluster = cluster(ejecting(Ejection { consecutive_errors: 1, ..ejection() }), &[1, 1]);
    let view = View::new(&cluster, 1);
    let bad = ids(&cluster)[0];
    for _ in 0..10 {
        (0..4).for_each(|_| left_at(&view, bad, Phase::Waiting, 1000));
        once_at(&view, bad, Class::Success, SECOND);
    }
    assert_eq!(out(&cluster), [false, false]);
    // Who seems to have left counts when that is seen, once, however it ends.
    let op = to(Affinity::Endpoint(bad));
    for _ in 0..4 {
        let mut ticket = view.admit(&op, &mut Tries::new(), Now(0)).unwrap();
        ticket.left(99_999_999, Now(0));
        ticket.left(SECOND, Now(0));
        ticket.left(SECOND, Now(0));
        drop(ticket);
    }
    assert_eq!(out(&cluster), [false, false]);
    let mut parked =
        view.admit(&Operation { parked: true, ..op.clone() }, &mut Tries::new(), Now(0)).unwrap();
    parked.left(SECOND, Now(0));
    assert_eq!(out(&cluster), [false, false], "a long poll waits for as long as it takes");
    view.admit(&op, &mut Tries::new(), Now(0)).unwrap().left(SECOND, Now(0));
    assert_eq!(out(&cluster), [true, false]);
}

#[test]
fn the_last_one_stays_whatever_happens_to_the_others() {
    let cluster = cluster(ejecting(Ejection { max_ejection_percent: 100, ..ejection() }), &[1, 1, 1]);
    let view = View::new(&cluster, 1);
    for id in ids(&cluster) {
        (0..5).for_each(|_| once_at(&view, id, Class::Failed, 0));
    }
    assert_eq!(out(&cluster), [false; 3], "it failed as well: all are back");
    once(&view, Class::Success, 0);
    for id in ids(&cluster).into_iter().take(2) {
        (0..5).for_each(|_| once_at(&view, id, Class::Failed, 0));
    }
    assert_eq!(out(&cluster), [true, true, false]);
    cluster.set_endpoints(&specs(&[1, 1]), Now(1));
    assert_eq!(out(&cluster).iter().filter(|out| !**out).count(), 1, "one is put back");
    cluster.configure(settings(), Now(2));
    assert_eq!(out(&cluster), [false, false], "ejection was switched off");
    (0..20).for_each(|_| {
        once(&view, Class::Failed, 3);
    });
    assert_eq!(out(&cluster), [false, false]);
}

#[test]
fn events_tell_what_happened_and_are_bounded() {
    let quick = Ejection {
        consecutive_errors: 1,
        base_ejection_time: Duration::from_secs(1),
        max_ejection_time: Duration::from_secs(1),
        ..ejection()
    };
    let cluster = cluster(ejecting(quick), &[1, 1]);
    let view = View::new(&cluster, 1);
    let bad = ids(&cluster)[0];
    once_at(&view, bad, Class::Failed, SECOND);
    view.tick(Now(2 * SECOND));
    once_at(&view, bad, Class::Success, 3 * SECOND);
    let events = cluster.take_events();
    let kinds: Vec<_> = events.iter().map(|e| (e.at.0, &*e.address, e.kind)).collect();
    let ejected = EventKind::Ejected { until: Now(2 * SECOND), nth: 1, why: Why::Errors };
    assert_eq!(kinds, [(SECOND, "e0:80", ejected), (3 * SECOND, "e0:80", EventKind::PutBack)]);
    assert!(cluster.take_events().is_empty());
    let last = || cluster.stats().endpoints[0].last_ejection;
    assert_eq!(last(), Some((Now(SECOND), Why::Errors)), "though it is over");
    once_at(&view, bad, Class::Failed, 4 * SECOND);
    view.tick(Now(5 * SECOND));
    once_at(&view, bad, Class::Failed, 6 * SECOND);
    assert_eq!(last(), Some((Now(6 * SECOND), Why::Probe)));
    view.tick(Now(7 * SECOND));
    once_at(&view, bad, Class::Success, 8 * SECOND);
    assert_eq!(cluster.take_events().len(), 3);
    for second in 5..305 {
        once_at(&view, bad, Class::Failed, 2 * second * SECOND);
        once_at(&view, bad, Class::Success, (2 * second + 1) * SECOND);
    }
    let dropped = cluster.stats().events_dropped;
    let kept = cluster.take_events().len();
    assert_eq!((kept, dropped), (256, 600 - 256));
}
