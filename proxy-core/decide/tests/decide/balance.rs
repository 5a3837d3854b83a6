//! Who is chosen.

use crate::common::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use weir_decide::{
    cluster::{EndpointSpec, Tries, View},
    exchange::{Affinity, Class, EndpointId, Now},
};

fn count(picks: impl Iterator<Item = EndpointId>) -> BTreeMap<EndpointId, usize> {
    let mut counts = BTreeMap::new();
    picks.for_each(|id| *counts.entry(id).or_default() += 1);
    counts
}

#[test]
fn in_turn_every_round_takes_each_once_in_the_same_order() {
    for (n, seed) in [(1usize, 1), (2, 2), (3, 3), (10, 4), (1000, 5)] {
        let cluster = cluster(settings(), &vec![1; n]);
        let view = View::new(&cluster, seed);
        let round = || (0..n).map(|_| once(&view, Class::Success, 0)).collect::<Vec<_>>();
        let first = round();
        assert_eq!(count(first.iter().copied()).len(), n, "each once");
        assert_eq!(first, round());
    }
}

#[test]
fn workers_do_not_march_in_step() {
    let cluster = cluster(settings(), &[1; 16]);
    let first = |seed| once(&View::new(&cluster, seed), Class::Success, 0);
    let starts = count((0..64).map(first));
    assert!(starts.len() > 8, "64 workers begin at {} of 16 endpoints", starts.len());
    let cluster = crate::common::cluster(settings(), &[4, 3, 2, 1]);
    let starts = count((0..64).map(|seed| once(&View::new(&cluster, seed), Class::Success, 0)));
    assert_eq!(starts.len(), 4, "with weights too");
}

#[test]
fn weighted_turns_are_spread_out() {
    let cluster = cluster(settings(), &[5, 1, 1]);
    let view = View::new(&cluster, 1);
    let heavy = ids(&cluster)[0];
    let picks: Vec<bool> = (0..700).map(|_| once(&view, Class::Success, 0) == heavy).collect();
    assert_eq!(picks.iter().filter(|h| **h).count(), 500);
    assert!(!picks.windows(3).any(|w| w == [false; 3]), "the light ones are not served in a bunch");
    assert!(!picks.windows(6).any(|w| w == [true; 6]), "nor the heavy one");
}

proptest! {
    #[test]
    fn in_turn_every_cycle_is_exactly_proportional(
        weights in prop::collection::vec(1u32..40, 1..12), seed in any::<u64>(), skip in 0usize..50,
    ) {
        let cluster = cluster(settings(), &weights);
        let view = View::new(&cluster, seed);
        (0..skip).for_each(|_| { once(&view, Class::Success, 0); });
        let cycle: u32 = weights.iter().sum();
        let counts = count((0..cycle).map(|_| once(&view, Class::Success, 0)));
        for (id, weight) in ids(&cluster).iter().zip(&weights) {
            prop_assert_eq!(counts.get(id).copied().unwrap_or(0), *weight as usize);
        }
    }

    #[test]
    fn the_same_key_goes_to_the_same_endpoint_from_every_worker(key in any::<u64>(), n in 1usize..50) {
        let cluster = cluster(least_request(), &vec![1; n]);
        let at = |seed| {
            let view = View::new(&cluster, seed);
            view.admit(&to(Affinity::Hash(key)), &mut Tries::new(), Now(0)).unwrap().pick().id()
        };
        prop_assert_eq!(at(1), at(2));
    }
}

#[test]
fn keys_spread_by_weight_and_stay_when_an_endpoint_is_added() {
    let cluster = cluster(settings(), &[1, 3]);
    let view = View::new(&cluster, 1);
    let at = |key: u64| view.admit(&to(Affinity::Hash(key)), &mut Tries::new(), Now(0)).unwrap().pick().id();
    let before: Vec<_> = (0..4000).map(at).collect();
    let heavy = count(before.iter().copied())[&ids(&cluster)[1]];
    assert!((2850..3150).contains(&heavy), "{heavy} of 4000");
    cluster.set_endpoints(&specs(&[1, 3, 1]), Now(0));
    let after: Vec<_> = (0..4000).map(at).collect();
    let new = ids(&cluster)[2];
    assert!(before.iter().zip(&after).all(|(before, after)| before == after || *after == new));
    let moved = after.iter().filter(|id| **id == new).count();
    assert!((700..900).contains(&moved), "{moved} of 4000");
}

#[test]
fn a_key_whose_endpoint_is_out_goes_elsewhere_and_comes_back() {
    let cluster = cluster(ejecting(ejection()), &[1; 8]);
    let view = View::new(&cluster, 1);
    let at = |key: u64, now| {
        view.admit(&to(Affinity::Hash(key)), &mut Tries::new(), Now(now)).unwrap().pick().id()
    };
    let home = at(7, 0);
    (0..5).for_each(|_| once_at(&view, home, Class::Failed, 0));
    let away = at(7, 1);
    assert_ne!(away, home);
    assert_eq!(away, at(7, 2));
    assert_eq!(home, at(7, 31 * SECOND));
}

#[test]
fn the_less_busy_is_chosen() {
    for n in [2usize, 3, 4, 5, 50] {
        let cluster = cluster(least_request(), &vec![1; n]);
        let view = View::new(&cluster, 9);
        let tickets: Vec<_> = (0..10 * n).map(|_| admit(&view, 0).unwrap()).collect();
        let most = cluster.stats().endpoints.iter().map(|e| e.active).max().unwrap();
        let bound = if n <= 4 { 10 } else { 13 };
        assert!(most <= bound, "{n} endpoints: one has {most} of {}", 10 * n);
        drop(tickets);
        assert_idle(&cluster);
    }
}

#[test]
fn least_request_keeps_to_the_weights_busy_or_idle() {
    let cluster = cluster(least_request(), &[3, 1]);
    let view = View::new(&cluster, 3);
    let tickets: Vec<_> = (0..40).map(|_| admit(&view, 0).unwrap()).collect();
    let active: Vec<u32> = cluster.stats().endpoints.iter().map(|e| e.active).collect();
    assert_eq!(active, [30, 10]);
    drop(tickets);
    let heavy = ids(&cluster)[0];
    let share = (0..4000).filter(|_| once(&view, Class::Success, 0) == heavy).count();
    assert!((2850..3150).contains(&share), "{share} of 4000");
}

#[test]
fn endpoints_keep_their_state_across_changes() {
    let cluster = cluster(ejecting(ejection()), &[1, 1, 1]);
    let view = View::new(&cluster, 1);
    let before = ids(&cluster);
    (0..5).for_each(|_| once_at(&view, before[1], Class::Failed, 0));
    let spec = |address: &str, weight| EndpointSpec { address: address.into(), weight };
    let changed = [spec("e2:80", 2), spec("new:80", 1), spec("e1:80", 1), spec("e0:80", 1), spec("e0:80", 9)];
    cluster.set_endpoints(&changed, Now(1));
    let stats = cluster.stats();
    assert_eq!(ids(&cluster)[..3], before[..], "who stays keeps number and place");
    assert_eq!(stats.endpoints.iter().map(|e| e.weight).collect::<Vec<_>>(), [1, 1, 2, 1]);
    assert!(stats.endpoints[1].ejected_until.is_some());
    assert_eq!(stats.endpoints[1].totals.failed, 5);
    // Gone while somebody still holds it, and back: still the same.
    let pick = view.endpoint(before[1]).unwrap();
    cluster.set_endpoints(&changed[..2], Now(2));
    cluster.stats();
    cluster.set_endpoints(&changed, Now(3));
    let stats = cluster.stats();
    let back = stats.endpoints.iter().find(|e| &*e.address == "e1:80").unwrap();
    assert_eq!((back.id, back.totals.failed), (pick.id(), 5));
}
