//! Who is taken out of rotation, when, and for how long.

use crate::common::*;
use std::time::Duration;
use weir_decide::{
    cluster::{Cluster, Ejection, EventKind, View},
    exchange::{Class, Now},
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
    // (endpoints, percent, out when all fail)
    for (n, percent, expected) in
        [(1, 100, 0), (2, 1, 1), (2, 100, 1), (3, 50, 2), (3, 10, 1), (10, 50, 5), (10, 100, 9), (10, 0, 0)]
    {
        let settings = ejecting(Ejection { max_ejection_percent: percent, ..ejection() });
        let cluster = cluster(settings, &vec![1; n]);
        let view = View::new(&cluster, 1);
        for id in ids(&cluster) {
            (0..5).for_each(|_| once_at(&view, id, Class::Failed, 0));
        }
        let stats = cluster.stats();
        assert_eq!(stats.ejected, expected, "{n} endpoints, {percent} percent");
        assert_eq!(stats.ejections_withheld, (n - expected) as u64);
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
fn old_ejections_are_forgotten_one_an_interval() {
    // (seconds in rotation after two ejections, length of the next)
    for (stays, length) in [(0, 90), (9, 90), (10, 60), (19, 60), (20, 30), (1000, 30)] {
        let cluster = cluster(ejecting(ejection()), &[1, 1]);
        let view = View::new(&cluster, 1);
        let bad = ids(&cluster)[0];
        (0..5).for_each(|_| once_at(&view, bad, Class::Failed, 0));
        (0..5).for_each(|_| once_at(&view, bad, Class::Failed, 30 * SECOND));
        let now = (90 + stays) * SECOND;
        view.tick(Now(90 * SECOND));
        view.tick(Now(now));
        (0..5).for_each(|_| once_at(&view, bad, Class::Failed, now));
        let until = cluster.stats().endpoints[0].ejected_until;
        assert_eq!(until, Some(Now(now + length * SECOND)), "after {stays} s");
    }
}

#[test]
fn failures_of_one_who_is_out_do_not_count_when_it_is_back() {
    let cluster = cluster(ejecting(ejection()), &[1, 1]);
    let view = View::new(&cluster, 1);
    let bad = ids(&cluster)[0];
    (0..9).for_each(|_| once_at(&view, bad, Class::Failed, 0));
    view.tick(Now(30 * SECOND));
    once_at(&view, bad, Class::Failed, 30 * SECOND);
    assert_eq!(out(&cluster), [false, false]);
    assert_eq!(cluster.stats().endpoints[0].consecutive_errors, 1);
}

#[test]
fn the_last_one_stays_whatever_happens_to_the_others() {
    let cluster = cluster(ejecting(Ejection { max_ejection_percent: 100, ..ejection() }), &[1, 1, 1]);
    let view = View::new(&cluster, 1);
    for id in ids(&cluster) {
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
    let events = cluster.take_events();
    let kinds: Vec<_> = events.iter().map(|e| (e.at.0, &*e.address, e.kind)).collect();
    let ejected = EventKind::Ejected { until: Now(2 * SECOND), nth: 1 };
    assert_eq!(kinds, [(SECOND, "e0:80", ejected), (2 * SECOND, "e0:80", EventKind::PutBack)]);
    assert!(cluster.take_events().is_empty());
    for second in 3..303 {
        once_at(&view, bad, Class::Failed, second * SECOND);
    }
    let dropped = cluster.stats().events_dropped;
    let kept = cluster.take_events().len();
    assert_eq!((kept, dropped), (256, 599 - 256));
}
