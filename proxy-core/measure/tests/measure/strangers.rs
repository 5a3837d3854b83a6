//! Names that a stranger invents spoil no number: not of other listeners, not of the names that are busy on his own.

use crate::exposition::Exposition;
use crate::text::text;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use weir_decide::exchange::{NameId, NameKind};
use weir_measure::{Limits, Local, Measure, Overflow, PROBATION, Place, Record, names};

const KINDS: [NameKind; 5] =
    [NameKind::Operation, NameKind::Resource, NameKind::Code, NameKind::Application, NameKind::CallSite];

/// Names of one kind vary, those of the others are always there.
fn record(local: &Local, place: Place, kind: NameKind, name: &str, believed: bool) {
    let [operation, resource, code, application, call_site] = KINDS.map(|one| match one == kind {
        true => local.intern_at(place, kind, &[name.as_bytes()]),
        false => local.intern(one, &[b"fixed"]),
    });
    let result = if believed { "ok" } else { "error" };
    let record = Record::new(place, operation, resource);
    local.record(&Record { code, application, call_site, result, believed, duration: Some(1), ..record });
}

fn label(kind: NameKind) -> (&'static str, &'static str) {
    match kind {
        NameKind::Operation => ("weir_operations_total", "operation"),
        NameKind::Resource => ("weir_operations_total", "resource"),
        NameKind::Code => ("weir_operations_total", "code"),
        NameKind::Application => ("weir_application_operations_total", "application"),
        NameKind::CallSite => ("weir_call_site_operations_total", "call_site"),
    }
}

/// Operations in the rows of a family and in those retired.
fn all(parsed: &Exposition, family: &str, listener: &str) -> f64 {
    let retired = family.replace("_total", "_retired_total");
    parsed.sum(family, &[("listener", listener)]) + parsed.sum(&retired, &[("listener", listener)])
}

#[test]
fn a_hundred_thousand_invented_names_of_each_kind_spoil_nothing() {
    const BUSY: usize = 100;
    for (kind, believed) in KINDS.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        // Those that are believed cost more: fewer go round a smaller table as often.
        let few =
            Limits { operations: 300, resources: 300, codes: 300, call_sites: 300, ..Limits::default() };
        let (invented, limits) = if believed { (10_000, few) } else { (100_000, Limits::default()) };
        let measure = Measure::new(limits);
        let locals = [measure.local(), measure.local()];
        let [ours, theirs] = ["ours", "theirs"].map(|listener| measure.place(listener, "c", "p"));
        let busy = |rounds: usize, place: Place| {
            for n in 0..rounds * BUSY {
                record(&locals[n % 2], place, kind, &format!("busy-{}", n / 2 % BUSY), true);
            }
        };
        busy(20, ours);
        busy(20, theirs);
        for n in 0..invented {
            record(&locals[n % 2], ours, kind, &format!("invented-{n}"), believed);
        }
        busy(20, ours);
        busy(20, theirs);
        let parsed = Exposition::parse(&text(&measure));
        let (family, name) = label(kind);
        for listener in ["ours", "theirs"] {
            for n in 0..BUSY {
                let one = format!("busy-{n}");
                let count = parsed.sum(family, &[("listener", listener), (name, &one)]);
                assert_eq!(count, 40.0, "{kind:?} {believed} {one} of {listener}");
            }
        }
        let sent = (invented + 40 * BUSY) as f64;
        for family in
            ["weir_operations_total", "weir_application_operations_total", "weir_call_site_operations_total"]
        {
            assert_eq!(all(&parsed, family, "ours"), sent, "{kind:?} {family}");
            assert_eq!(all(&parsed, family, "theirs"), (40 * BUSY) as f64, "{kind:?} {family}");
        }
        assert_eq!(parsed.sum(family, &[(name, "_other")]), 0.0, "{kind:?}");
        let retired = parsed.sum("weir_operations_retired_total", &[("result", "ok")]);
        assert_eq!(
            retired > 0.0,
            believed && matches!(kind, NameKind::Operation | NameKind::Resource | NameKind::Code)
        );
        assert!(parsed.sum("weir_names_gone_total", &[("listener", "ours")]) > invented as f64 * 0.7);
        assert_eq!(parsed.sum("weir_names_gone_total", &[("listener", "theirs")]), 0.0);
        assert_eq!(measure.first_overflows().is_empty(), !believed, "a stranger met a cap");
        assert!(measure.first_overflows().is_empty(), "told once");
    }
}

fn resources(measure: &Measure) -> Vec<String> {
    let rows = measure.operations().into_iter();
    rows.map(|row| row.resource.to_string()).collect()
}

#[test]
fn the_longest_silent_gives_way() {
    let measure = Measure::new(Limits { resources: 3, ..Limits::default() });
    let local = measure.local();
    let place = measure.place("l", "c", "p");
    let say = |name: &str, believed| record(&local, place, NameKind::Resource, name, believed);
    ["a", "b", "c"].into_iter().for_each(|name| say(name, true));
    // Time is told by new names.
    say("w", false);
    say("a", true);
    assert_eq!(measure.first_overflows(), []);
    say("d", true);
    assert_eq!(resources(&measure), ["a", "c", "d", "w"]);
    assert_eq!(measure.first_overflows(), [Overflow::Names("resource")]);
    say("x", false);
    assert_eq!(resources(&measure), ["a", "c", "d", "w", "x"], "on probation, shown, and displacing nobody");
    // What comes back begins anew, and nothing is counted twice.
    say("b", true);
    let parsed = Exposition::parse(&text(&measure));
    let of = |name| parsed.sum("weir_operations_total", &[("resource", name)]);
    assert_eq!([of("a"), of("b"), of("d"), of("x")], [2.0, 1.0, 1.0, 1.0]);
    assert_eq!(all(&parsed, "weir_operations_total", "l"), 8.0);
    assert_eq!(parsed.sum("weir_operations_retired_total", &[]), 2.0);
}

#[test]
fn the_longest_silent_on_probation_goes_first() {
    let measure = Measure::new(Limits::default());
    let local = measure.local();
    let place = measure.place("l", "c", "p");
    let say = |name: &str| record(&local, place, NameKind::Resource, name, false);
    (0..PROBATION).for_each(|n| say(&format!("n{n:02}")));
    say("n00");
    say("new");
    let names = resources(&measure);
    assert_eq!(names.len(), PROBATION);
    assert!(names.contains(&"n00".to_owned()) && names.contains(&"new".to_owned()));
    assert!(!names.contains(&"n01".to_owned()), "{names:?}");
}

#[test]
fn an_id_that_is_held_while_its_name_goes_never_counts_for_another() {
    let measure = Measure::new(Limits { resources: 1, ..Limits::default() });
    let local = measure.local();
    let place = measure.place("l", "c", "p");
    let operation = local.intern(NameKind::Operation, &[b"find"]);
    let end = |resource: NameId, believed: bool| {
        local.record(&Record { believed, ..Record::new(place, operation, resource) });
    };
    let held = local.intern_at(place, NameKind::Resource, &[b"held"]);
    let failed = local.intern_at(place, NameKind::Resource, &[b"failed"]);
    let other: Vec<_> = (0..1000u32)
        .map(|n| local.intern_at(place, NameKind::Resource, &[b"n", &n.to_string().into_bytes()]))
        .collect();
    assert!(other.iter().all(|id| *id != held && *id != failed));
    other.iter().for_each(|id| end(*id, false));
    end(failed, false);
    let retired = |family| Exposition::parse(&text(&measure)).sum(family, &[]);
    assert_eq!(retired("weir_operations_total") + retired("weir_operations_retired_total"), 1001.0);
    assert_eq!(retired("weir_operations_total"), PROBATION as f64);
    // A server answers a call whose name has given way meanwhile: lately gone, it has its place after all.
    let late = local.intern_at(place, NameKind::Resource, &[b"late"]);
    (0..PROBATION).for_each(|n| {
        local.intern_at(place, NameKind::Resource, &[b"m", &n.to_string().into_bytes()]);
    });
    end(late, true);
    assert!(resources(&measure).contains(&"late".to_owned()));
    assert_eq!(retired("weir_operations_total") + retired("weir_operations_retired_total"), 1002.0);
}

#[test]
fn shares_may_be_borrowed_and_are_given_back() {
    let measure = Measure::new(Limits { resources: 300, ..Limits::default() });
    let local = measure.local();
    let places = ["a", "b", "c"].map(|listener| measure.place(listener, "c", "p"));
    let say = |place, n: usize| record(&local, place, NameKind::Resource, &format!("n{n}"), true);
    let of = |listener: &str| measure.operations().iter().filter(|row| &*row.listener == listener).count();
    (0..400).for_each(|n| say(places[0], n));
    assert_eq!(of("a"), 300, "nobody else wants any");
    (0..100).for_each(|n| say(places[1], n));
    (0..100).for_each(|n| say(places[2], n));
    assert_eq!([of("b"), of("c")], [100, 100], "each has its share");
    (0..500).for_each(|n| say(places[0], 1000 + n));
    assert_eq!([of("a"), of("b"), of("c")], [100, 100, 100]);
}

#[test]
fn rows_have_a_cap_too() {
    let limits = Limits { rows: 100, outcomes: 150, ..Limits::default() };
    let measure = Measure::new(limits);
    let local = measure.local();
    let place = measure.place("l", "c", "p");
    for n in 0..5000u32 {
        let operation = local.intern(NameKind::Operation, &[&[b'a' + (n % 7) as u8]]);
        let resource = local.intern_at(place, NameKind::Resource, &[b"r", &(n / 7).to_string().into_bytes()]);
        local.record(&Record::new(place, operation, resource));
    }
    let rows = measure.operations();
    assert!((90..=100).contains(&rows.len()), "{}", rows.len());
    assert!(rows.iter().all(|row| &*row.resource != "_other"));
    let parsed = Exposition::parse(&text(&measure));
    assert_eq!(all(&parsed, "weir_operations_total", "l"), 5000.0);
    assert!(measure.first_overflows().contains(&Overflow::Rows("operations")));
}

#[test]
fn nothing_falls_and_all_adds_up_while_names_go_and_it_is_scraped() {
    const WRITERS: usize = 3;
    const EACH: usize = 20_000;
    let measure = Measure::new(Limits { resources: 100, rows: 100, ..Limits::default() });
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let scraper = threads.spawn(|| {
            let (mut retired, mut sum, mut scrapes) = (0.0, 0.0, 0);
            while !done.load(SeqCst) || scrapes == 0 {
                let now = Exposition::parse(&text(&measure));
                let gone = now.sum("weir_operations_retired_total", &[]);
                let whole = all(&now, "weir_operations_total", "l");
                assert!(gone >= retired, "{gone} after {retired}");
                assert!(whole >= sum, "{whole} after {sum}");
                (retired, sum, scrapes) = (gone, whole, scrapes + 1);
            }
        });
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let measure = &measure;
                threads.spawn(move || {
                    let local: Rc<Local> = measure.local();
                    let place = measure.place("l", "c", "p");
                    for n in 0..EACH {
                        let name =
                            if n % 3 == 0 { format!("busy{}", n % 30) } else { format!("{writer}-{n}") };
                        record(&local, place, NameKind::Resource, &name, n % 2 == 0);
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, SeqCst);
        scraper.join().unwrap();
    });
    let parsed = Exposition::parse(&text(&measure));
    assert_eq!(all(&parsed, "weir_operations_total", "l"), (WRITERS * EACH) as f64);
}

#[test]
fn a_known_name_allocates_nothing_whatever_strangers_did() {
    let measure = Measure::new(Limits::default());
    let local = measure.local();
    let place = measure.place("l", "c", "p");
    (0..1000).for_each(|n| record(&local, place, NameKind::Resource, &format!("n{n}"), false));
    let known = |_| {
        let operation = local.intern(NameKind::Operation, &[b"find"]);
        let resource = local.intern_at(place, NameKind::Resource, &[b"shop", b".", b"orders"]);
        local.record(&Record::new(place, operation, resource));
    };
    (0..10).for_each(known);
    let allocations = allocation_counter::measure(|| (0..1000).for_each(known));
    assert_eq!(allocations.count_total, 0);
}

#[test]
fn what_is_tallied_by_name_is_as_safe() {
    static FAMILY: &names::Family = &names::Family {
        name: "weir_toy_table_operations_total",
        help: "Calls by table.",
        kind: names::Kind::Counter,
        labels: &["listener", "table", "operation"],
        max_series: None,
    };
    let measure = Measure::new(Limits::default());
    let local = measure.local();
    let places = ["ours", "theirs"].map(|listener| measure.place(listener, "c", "p"));
    let get = local.intern(NameKind::Operation, &[b"GetItem"]);
    let say = |place, table: &str, believed| {
        let table = local.intern_at(place, NameKind::Resource, &[table.as_bytes()]);
        local.tally(FAMILY, place, &[table, get], 1, believed);
    };
    for round in 0..20 {
        for (place, n) in places.iter().flat_map(|place| (0..100).map(move |n| (*place, n))) {
            say(place, &format!("known-{n}"), true);
        }
        (0..2000).for_each(|n| say(places[0], &format!("invented-{round}-{n}"), round % 2 == 0));
    }
    for (listener, n) in ["ours", "theirs"].into_iter().flat_map(|one| (0..100).map(move |n| (one, n))) {
        let count = measure.value(FAMILY, &[listener, &format!("known-{n}"), "GetItem"]);
        assert_eq!(count, 20, "known-{n} of {listener}");
    }
    assert_eq!(measure.value(FAMILY, &["ours", "_other", "_other"]), 0);
}
