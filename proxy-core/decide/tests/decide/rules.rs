//! Rules: tables, a naive bucket as the oracle of the real one, threads that want more than there is.

use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use weir_decide::exchange::Now;
use weir_decide::rules::{
    Action, Cause, Disturbance, Globs, OperationClass, Operations, Rate, Rule, Rules, Selector, States,
    Subject, Touch,
};

const FIND: u16 = 1;
const DROP: u16 = 2;
const EXPLAIN: u16 = 3;
const HELLO: u16 = 4;

fn find() -> Subject<'static> {
    Subject {
        database: b"shop",
        collection: b"orders",
        touches: &[],
        operation: FIND,
        inner: FIND,
        class: OperationClass::Read,
        changes: false,
        application: b"web",
        shape: None,
        parked: false,
        waits: None,
    }
}

const ORDERS: Touch<'static> = Touch { database: Some(b"shop"), collection: Some(b"orders"), changed: false };

fn drop() -> Subject<'static> {
    Subject { operation: DROP, inner: DROP, class: OperationClass::Write, changes: true, ..find() }
}

fn hello() -> Subject<'static> {
    Subject {
        database: b"admin",
        collection: b"",
        operation: HELLO,
        inner: HELLO,
        class: OperationClass::Session,
        ..find()
    }
}

fn globs(patterns: &[&str]) -> Globs {
    Globs::new(patterns.iter().copied())
}

fn rules(rules: &[(Selector, Action)]) -> Rules {
    let rules: Vec<Rule> = rules
        .iter()
        .enumerate()
        .map(|(n, (selector, action))| Rule {
            name: format!("r{n}").into(),
            selector: selector.clone(),
            action: *action,
            dry_run: false,
        })
        .collect();
    Rules::new(&rules, "listener", &States::default())
}

fn refused(rules: &Rules, subject: &Subject<'_>) -> Option<(usize, Cause)> {
    rules.judge(subject, Now(0), 0).refused
}

#[test]
fn every_list_of_a_selector_has_to_match() {
    let all = Selector::default();
    let denied = Some((0, Cause::Denied));
    for (selector, subject, expected) in [
        (all.clone(), find(), denied),
        // The session is left alone unless it is named.
        (all.clone(), hello(), None),
        (Selector { databases: globs(&["admin"]), ..all.clone() }, hello(), None),
        (Selector { operations: Operations::new(&[], &[FIND]), ..all.clone() }, hello(), None),
        (Selector { operations: Operations::new(&[HELLO], &[]), ..all.clone() }, hello(), denied),
        (Selector { classes: OperationClass::Session as u8, ..all.clone() }, hello(), denied),
        (Selector { classes: OperationClass::Read as u8, ..all.clone() }, find(), denied),
        (Selector { classes: OperationClass::Read as u8, ..all.clone() }, drop(), None),
        (Selector { databases: globs(&["shop"]), ..all.clone() }, find(), denied),
        (Selector { databases: globs(&["shop2"]), ..all.clone() }, find(), None),
        (Selector { collections: globs(&["ord*"]), ..all.clone() }, find(), denied),
        (Selector { collections: globs(&["!orders"]), ..all.clone() }, find(), None),
        (Selector { applications: globs(&["!admin"]), ..all.clone() }, find(), denied),
        (Selector { applications: globs(&["!web"]), ..all.clone() }, find(), None),
        (
            Selector { databases: globs(&["shop"]), collections: globs(&["carts"]), ..all.clone() },
            find(),
            None,
        ),
        // What is explained counts like what explains.
        (
            Selector { operations: Operations::new(&[DROP], &[]), ..all.clone() },
            Subject { operation: EXPLAIN, inner: DROP, ..find() },
            denied,
        ),
        (
            Selector { operations: Operations::new(&[], &[DROP]), ..all.clone() },
            Subject { operation: EXPLAIN, inner: DROP, ..find() },
            None,
        ),
        // What it touches counts, and what cannot be told is forbidden.
        (
            Selector { collections: globs(&["carts"]), ..all.clone() },
            Subject { touches: &[ORDERS, Touch { collection: Some(b"carts"), ..ORDERS }], ..find() },
            denied,
        ),
        (
            Selector { collections: globs(&["carts"]), ..all.clone() },
            Subject { touches: &[ORDERS, Touch { collection: Some(b"users"), ..ORDERS }], ..find() },
            None,
        ),
        (
            Selector { databases: globs(&["shop"]), collections: globs(&["carts"]), ..all.clone() },
            Subject {
                touches: &[ORDERS, Touch { database: Some(b"x"), collection: Some(b"carts"), ..ORDERS }],
                ..find()
            },
            None,
        ),
        (
            Selector { collections: globs(&["carts"]), ..all.clone() },
            Subject { touches: &[ORDERS, Touch { collection: None, ..ORDERS }], ..find() },
            denied,
        ),
        (
            Selector { databases: globs(&["other"]), ..all.clone() },
            Subject { touches: &[Touch { collection: None, ..ORDERS }], ..find() },
            None,
        ),
        (
            Selector { databases: globs(&["other"]), collections: globs(&["x"]), ..all.clone() },
            Subject { touches: &[ORDERS, Touch::ANY], ..find() },
            denied,
        ),
        (Selector { shapes: Arc::from([7]), ..all.clone() }, Subject { shape: Some(7), ..find() }, denied),
        (Selector { shapes: Arc::from([7]), ..all.clone() }, Subject { shape: Some(8), ..find() }, None),
        (Selector { shapes: Arc::from([7]), ..all.clone() }, find(), denied),
    ] {
        assert_eq!(refused(&rules(&[(selector.clone(), Action::Deny)]), &subject), expected, "{selector:?}");
    }
}

#[test]
fn doubt_is_no_reason_to_limit() {
    let selector = Selector { collections: globs(&["carts"]), ..Selector::default() };
    let rules = rules(&[(selector, Action::Concurrency(0))]);
    assert_eq!(refused(&rules, &Subject { touches: &[Touch::ANY], ..find() }), None);
}

#[test]
fn the_first_refusal_wins_and_costs_no_tokens() {
    let any = Selector::default;
    let one = Rate::new(1, Duration::from_secs(1), 1);
    let rules = rules(&[
        (any(), Action::Rate(one)),
        (Selector { operations: Operations::new(&[DROP], &[]), ..any() }, Action::Deny),
        (any(), Action::ReadOnly),
    ]);
    assert_eq!(refused(&rules, &drop()), Some((1, Cause::Denied)));
    let other = Subject { operation: 9, inner: 9, ..drop() };
    assert_eq!(refused(&rules, &other), Some((2, Cause::ReadOnly)));
    assert_eq!(refused(&rules, &find()), None);
    assert_eq!(refused(&rules, &find()), Some((0, Cause::Rate)));
}

#[test]
fn all_limits_apply_and_what_one_gave_goes_back() {
    let any = Selector::default;
    let rate = |burst| Action::Rate(Rate::new(1, Duration::from_secs(1), burst));
    let rules = rules(&[
        (any(), Action::Concurrency(3)),
        (any(), rate(3)),
        (Selector { databases: globs(&["shop"]), ..any() }, rate(1)),
        (any(), Action::Concurrency(2)),
    ]);
    let elsewhere = Subject { database: b"blog", ..find() };
    let first = rules.judge(&find(), Now(0), 0);
    assert_eq!((first.refused, first.permits.count()), (None, 2));
    let second = rules.judge(&find(), Now(0), 0);
    assert_eq!((second.refused, second.permits.count()), (Some((2, Cause::Rate)), 0));
    // Neither the second's token of rule 1 nor its places are lost.
    let kept = [rules.judge(&elsewhere, Now(0), 0)];
    assert_eq!(kept[0].refused, None);
    assert_eq!(refused(&rules, &elsewhere), Some((3, Cause::Concurrency)));
    std::mem::drop(kept);
    assert_eq!(refused(&rules, &elsewhere), None);
    assert_eq!(refused(&rules, &elsewhere), Some((1, Cause::Rate)));
}

#[test]
fn deadlines_and_disturbances() {
    let any = Selector::default;
    let seconds = Duration::from_secs;
    let fault = |percent, delay, refuse| Action::Fault(Disturbance { percent, delay, refuse });
    let calm = rules(&[(any(), Action::Deadline(seconds(5))), (any(), Action::Deadline(seconds(2)))]);
    assert_eq!(calm.judge(&find(), Now(0), 0).deadline, Some((1, seconds(2))));
    assert_eq!(calm.judge(&Subject { parked: true, ..find() }, Now(0), 0).deadline, None);
    // What says how long it may wait has that, and the time of the rule besides.
    let waits = Subject { parked: true, waits: Some(seconds(10)), ..find() };
    assert_eq!(calm.judge(&waits, Now(0), 0).deadline, Some((1, seconds(12))));
    let sure = rules(&[
        (any(), fault(100, Some(seconds(1)), false)),
        (any(), fault(100, Some(seconds(3)), false)),
        (any(), fault(100, None, true)),
    ]);
    let judged = sure.judge(&find(), Now(0), 12345);
    assert_eq!((judged.delay, judged.refused), (Some((1, seconds(3))), Some((2, Cause::Fault))));
    let some = rules(&[(any(), fault(30, None, true))]);
    let mut random = 1u64;
    let hits = (0..10_000)
        .filter(|_| {
            random = random.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (random ^ (random >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            some.judge(&find(), Now(0), mixed).refused.is_some()
        })
        .count();
    assert!((2_700..3_300).contains(&hits), "{hits} of 10000 for 30 percent");
}

#[test]
fn read_only_is_about_what_is_changed() {
    let still = |collection| {
        let selector = Selector { collections: globs(&[collection]), ..Selector::default() };
        rules(&[(selector, Action::ReadOnly)])
    };
    let report = Touch { collection: Some(b"report"), changed: true, ..ORDERS };
    let copies = Subject { touches: &[ORDERS, report], ..drop() };
    assert_eq!(refused(&still("report"), &copies), Some((0, Cause::ReadOnly)));
    assert_eq!(refused(&still("orders"), &copies), None, "it is only read");
    assert_eq!(refused(&still("orders"), &drop()), Some((0, Cause::ReadOnly)));
    assert_eq!(refused(&still("orders"), &Subject { touches: &[Touch::ANY], ..find() }), None);
}

#[test]
fn a_dry_run_says_what_it_would_do_and_does_nothing() {
    let seconds = Duration::from_secs;
    let one = Rate::new(1, seconds(1), 1);
    let fault = Action::Fault(Disturbance { percent: 100, delay: Some(seconds(1)), refuse: true });
    let actions = [
        Action::Deny,
        Action::ReadOnly,
        Action::Rate(one),
        Action::Concurrency(1),
        Action::Deadline(seconds(1)),
        fault,
    ];
    let dry = |dry_run: &[bool]| {
        let rule = |(n, action): (usize, &Action)| Rule {
            name: format!("r{n}").into(),
            selector: Selector::default(),
            action: *action,
            dry_run: dry_run[n],
        };
        let rules: Vec<Rule> = actions.iter().enumerate().map(rule).collect();
        Rules::new(&rules, "dry", &States::default())
    };
    let all = dry(&[true; 6]);
    assert!(!all.enforce());
    let first = all.judge(&drop(), Now(0), 0);
    assert_eq!((first.refused, first.delay, first.deadline), (None, None, None));
    assert_eq!((first.would, first.dry_deadlines), (vec![0, 1, 5], vec![(4, seconds(1))]));
    assert_eq!(first.permits.count(), 1);
    let kept = first.permits;
    assert_eq!(all.judge(&drop(), Now(0), 0).would, [0, 1, 2, 3, 5]);
    std::mem::drop(kept);
    assert_eq!(all.judge(&find(), Now(2_000_000_000), 0).would, [0, 5]);
    // Beside one that holds it counts what that lets through.
    let some = dry(&[true, false, true, true, true, true]);
    assert!(some.enforce());
    let judged = some.judge(&drop(), Now(0), 0);
    assert_eq!((judged.refused, judged.would), (Some((1, Cause::ReadOnly)), vec![]));
}

#[test]
fn further_batches_wait_for_their_rate() {
    let rules = rules(&[(Selector::default(), Action::Rate(Rate::new(2, Duration::from_secs(1), 2)))]);
    assert_eq!(refused(&rules, &find()), None);
    let stream = rules.recurring(&find());
    let further = |_| {
        let further = stream.further(Now(0));
        (further.until.0 / 1_000_000, further.acted)
    };
    let waits: Vec<_> = (0..3).map(further).collect();
    assert_eq!(waits, [(0, vec![]), (500, vec![0]), (1000, vec![0])]);
    assert_eq!(rules.recurring(&hello()).further(Now(0)).until, Now(0), "it is about none of it");
}

#[test]
fn state_outlives_a_reload_by_the_rules_name() {
    let states = States::default();
    let rule = |name: &str, burst| Rule {
        name: name.into(),
        selector: Selector::default(),
        action: Action::Rate(Rate::new(1, Duration::from_secs(1), burst)),
        dry_run: false,
    };
    let old = Rules::new(&[rule("a", 1)], "l", &states);
    assert_eq!(refused(&old, &find()), None);
    let same = Rules::new(&[rule("b", 1), rule("a", 1)], "l", &states);
    assert_eq!(refused(&same, &find()), Some((1, Cause::Rate)));
    let elsewhere = Rules::new(&[rule("a", 1)], "another listener", &states);
    assert_eq!(refused(&elsewhere, &find()), None);
    std::mem::drop((old, same));
    let fresh = Rules::new(&[rule("a", 1)], "l", &states);
    assert_eq!(refused(&fresh, &find()), None, "nobody remembers a rule that is gone");
}

proptest! {
    /// The plainest bucket there is: it fills with time, up to its depth, and each operation takes one interval out of it.
    #[test]
    fn the_bucket_is_a_bucket(
        count in 1u32..1000,
        per in 1u64..5_000_000,
        burst in 1u32..20,
        steps in prop::collection::vec(0u64..20_000, 1..300),
    ) {
        let rules = rules(&[(
            Selector::default(),
            Action::Rate(Rate::new(count, Duration::from_nanos(per), burst)),
        )]);
        let interval = per.div_ceil(u64::from(count));
        let depth = interval * u64::from(burst);
        let (mut level, mut now) = (depth, 1_000_000);
        for step in steps {
            now += step;
            level = (level + step).min(depth);
            let admitted = level >= interval;
            if admitted {
                level -= interval;
            }
            prop_assert_eq!(rules.judge(&find(), Now(now), 0).refused.is_none(), admitted);
        }
    }
}

#[test]
fn threads_together_never_get_more_than_there_is() {
    let states = States::default();
    let make = || {
        Rules::new(
            &[
                Rule {
                    name: "rate".into(),
                    selector: Selector { operations: Operations::new(&[FIND], &[]), ..Selector::default() },
                    action: Action::Rate(Rate::new(1, Duration::from_secs(1), 5_000)),
                    dry_run: false,
                },
                Rule {
                    name: "few".into(),
                    selector: Selector { operations: Operations::new(&[DROP], &[]), ..Selector::default() },
                    action: Action::Concurrency(3),
                    dry_run: false,
                },
            ],
            "l",
            &states,
        )
    };
    let (passed, inside, most) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    // Every worker compiles the rules for itself; what they remember is one.
    let kept = make();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let rules = make();
                for _ in 0..4_000 {
                    if rules.judge(&find(), Now(7), 0).refused.is_none() {
                        passed.fetch_add(1, Ordering::Relaxed);
                    }
                    let judged = rules.judge(&drop(), Now(7), 0);
                    if judged.refused.is_none() {
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert_eq!(passed.load(Ordering::Relaxed), 5_000);
    assert!((1..=3).contains(&most.load(Ordering::Relaxed)));
    let again: Vec<_> = (0..4).map(|_| kept.judge(&drop(), Now(7), 0)).collect();
    assert_eq!(again.iter().filter(|judged| judged.refused.is_none()).count(), 3, "all places are back");
}
