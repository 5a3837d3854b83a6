//! Never a wrong number: whatever is recorded, by however many workers, while however many scrape.

use crate::exposition::Exposition;
use crate::text::text;
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use weir_decide::exchange::{Fault, NameId, NameKind, Phase, Reason, Side};
use weir_measure::{Limits, Measure, OperationRow, Record};

const RESULTS: [&str; 3] = ["ok", "error", "refused"];

fn name(local: &weir_measure::Local, kind: NameKind, prefix: &str, n: usize) -> NameId {
    local.intern(kind, &[prefix.as_bytes(), n.to_string().as_bytes()])
}

#[test]
fn totals_are_exact_and_never_fall_while_they_are_scraped() {
    const WRITERS: usize = 4;
    const EACH: usize = 12_000;
    let measure = Measure::new(Limits::default());
    let done = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        let scrapers: Vec<_> = (0..2)
            .map(|_| {
                let (measure, done) = (Arc::clone(&measure), Arc::clone(&done));
                scope.spawn(move || {
                    let (mut scrapes, mut before) = (0, Exposition::parse(""));
                    while !done.load(SeqCst) || scrapes == 0 {
                        let now = Exposition::parse(&text(&measure));
                        let later = now.growing();
                        for (series, value) in before.growing() {
                            assert!(later[&series] >= value, "{series:?} fell from {value}");
                        }
                        let operations = now.sum("weir_operations_total", &[]);
                        assert!(operations >= now.sum("weir_operation_duration_seconds_count", &[]));
                        let of_applications = now.sum("weir_application_operations_total", &[]);
                        assert!(of_applications >= now.sum("weir_application_duration_seconds_count", &[]));
                        let in_flight = now.sum("weir_operations_in_flight", &[]);
                        assert!(in_flight <= WRITERS as f64, "{in_flight}");
                        (scrapes, before) = (scrapes + 1, now);
                    }
                    scrapes
                })
            })
            .collect();
        let writers: Vec<_> = (0..WRITERS)
            .map(|w| {
                let measure = Arc::clone(&measure);
                scope.spawn(move || {
                    let local = measure.local();
                    let place = measure.place("l", "c", "http");
                    for i in 0..EACH {
                        let flight = local.started(place);
                        // New rows keep coming, in another order on every worker.
                        let operation = name(&local, NameKind::Operation, "op", (i + w) % 7);
                        let resource = name(&local, NameKind::Resource, "r", (i * 31 + w) % (1 + i / 100));
                        let failed = i % 10 == 0;
                        local.record(&Record {
                            application: name(&local, NameKind::Application, "app", i % 3),
                            result: RESULTS[i % 3],
                            duration: Some(i as u64 * 1000),
                            first_byte: (i % 2 == 0).then_some(i as u64),
                            request_bytes: 3,
                            reply_bytes: 5,
                            retries: u32::from(failed),
                            fault: failed.then(|| Fault::new(Side::Network, Phase::Sending, Reason::Reset)),
                            refused: i % 20 == 0,
                            ..Record::new(place, operation, resource)
                        });
                        drop(flight);
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, SeqCst);
        for scraper in scrapers {
            assert!(scraper.join().unwrap() > 0);
        }
    });
    assert_totals(&measure, WRITERS, EACH);
}

/// What so many workers have recorded of so many operations each.
fn assert_totals(measure: &Measure, writers: usize, each: usize) {
    let all = (writers * each) as f64;
    let parsed = Exposition::parse(&text(measure));
    let place = [("listener", "l"), ("cluster", "c"), ("protocol", "http")];
    let sum = |name| parsed.sum(name, &place);
    assert_eq!(sum("weir_operations_total"), all);
    assert_eq!(sum("weir_application_operations_total"), all);
    assert_eq!(sum("weir_application_duration_seconds_count"), all);
    assert_eq!(sum("weir_application_request_bytes_total"), 3.0 * all);
    assert_eq!(sum("weir_application_reply_bytes_total"), 5.0 * all);
    for le in [("le", "0.001"), ("le", "0.0025"), ("le", "+Inf")] {
        let [all, of_applications] = ["operation", "application"]
            .map(|of| parsed.sum(&format!("weir_{of}_duration_seconds_bucket"), &[le]));
        assert_eq!(of_applications, all, "{le:?}");
    }
    assert_eq!(sum("weir_operation_duration_seconds_count"), all);
    assert_eq!(sum("weir_operation_first_byte_seconds_count"), all / 2.0);
    assert_eq!(sum("weir_operation_request_bytes_total"), 3.0 * all);
    assert_eq!(sum("weir_operation_reply_bytes_total"), 5.0 * all);
    assert_eq!(sum("weir_operation_retries_total"), all / 10.0);
    assert_eq!(sum("weir_failures_total"), all / 20.0);
    assert_eq!(sum("weir_refusals_total"), all / 20.0);
    assert_eq!(sum("weir_operations_in_flight"), 0.0);
    for (i, result) in RESULTS.iter().enumerate() {
        let expected = (0..each).filter(|n| n % 3 == i).count() * writers;
        assert_eq!(parsed.sum("weir_operations_total", &[("result", result)]), expected as f64);
    }
    let seconds = (0..each).sum::<usize>() as f64 * 1e-6 * writers as f64;
    for name in ["weir_operation_duration_seconds_sum", "weir_application_duration_seconds_sum"] {
        assert!((sum(name) - seconds).abs() < 1e-6 * seconds, "{name}");
    }
    assert_eq!(parsed.sum("weir_rows_overflow_total", &[]), 0.0);
    let rows = measure.operations();
    assert_eq!(rows.iter().map(OperationRow::total).sum::<u64>(), all as u64);
}

#[test]
fn operations_under_way_are_known() {
    let measure = Measure::new(Limits::default());
    let local = measure.local();
    let (a, b) = (measure.place("a", "c", "mongo"), measure.place("b", "c", "mongo"));
    let now = |name: &str| {
        let parsed = Exposition::parse(&text(&measure));
        (parsed.sum(name, &[("listener", "a")]), parsed.sum(name, &[("listener", "b")]))
    };
    let mut one = local.started(a);
    let two = local.started(a);
    let three = local.started(b);
    assert_eq!(now("weir_operations_in_flight"), (2.0, 1.0));
    one.park();
    one.park();
    assert_eq!((now("weir_operations_in_flight"), now("weir_operations_parked")), ((1.0, 1.0), (1.0, 0.0)));
    one.unpark();
    assert_eq!((now("weir_operations_in_flight"), now("weir_operations_parked")), ((2.0, 1.0), (0.0, 0.0)));
    one.park();
    drop((one, two, three));
    assert_eq!((now("weir_operations_in_flight"), now("weir_operations_parked")), ((0.0, 0.0), (0.0, 0.0)));
}

#[test]
fn a_long_poll_counts_and_is_in_no_latency() {
    let measure = Measure::new(Limits::default());
    let local = measure.local();
    let place = measure.place("l", "c", "mongo");
    let hello = local.intern(NameKind::Operation, &[b"hello"]);
    let application = local.intern(NameKind::Application, &[b"web"]);
    local.record(&Record { reply_bytes: 7, application, ..Record::new(place, hello, NameId::NONE) });
    let text = text(&measure);
    assert!(!text.contains("_seconds"), "{text}");
    let parsed = Exposition::parse(&text);
    assert_eq!(parsed.sum("weir_operations_total", &[("operation", "hello"), ("resource", "")]), 1.0);
    assert_eq!(parsed.sum("weir_operation_reply_bytes_total", &[]), 7.0);
    assert_eq!(parsed.sum("weir_application_reply_bytes_total", &[("application", "web")]), 7.0);
    // Who does not say who he is has no numbers by application.
    local.record(&Record { duration: Some(1), ..Record::new(place, hello, NameId::NONE) });
    let text = crate::text::text(&measure);
    assert!(!text.contains("weir_application_duration"), "{text}");
    assert_eq!(Exposition::parse(&text).each("weir_application_reply_bytes_total", &[]).count(), 1);
}

#[test]
fn what_has_been_seen_before_allocates_nothing() {
    let measure = Measure::new(Limits::default());
    let local = measure.local();
    let place = measure.place("l", "c", "mongo");
    let once = |result: &'static str| {
        let mut flight = local.started(place);
        flight.park();
        local.record(&Record {
            application: local.intern(NameKind::Application, &[b"app"]),
            duration: Some(5000),
            first_byte: Some(4000),
            retries: 1,
            result,
            code: local.intern(NameKind::Code, &[result.as_bytes()]),
            fault: Some(Fault::new(Side::Network, Phase::Sending, Reason::Reset)),
            ..Record::new(
                place,
                local.intern(NameKind::Operation, &[b"find"]),
                local.intern(NameKind::Resource, &[b"shop", b".", b"orders"]),
            )
        });
    };
    RESULTS.into_iter().for_each(once);
    let allocations = allocation_counter::measure(|| {
        for i in 0..1000 {
            once(RESULTS[i % 3]);
        }
    });
    assert_eq!(allocations.count_total, 0);
    let full =
        Measure::new(Limits { resources: 0, rows: 0, outcomes: 0, application_rows: 0, ..Limits::default() });
    let local = full.local();
    let place = full.place("l", "c", "mongo");
    let resources: Vec<_> =
        (0..1000u32).map(|n| local.intern(NameKind::Resource, &[b"r", &n.to_le_bytes()])).collect();
    let beyond = |n: usize| {
        let operation = local.intern(NameKind::Operation, &[b"find"]);
        let resource = resources[n];
        local.record(&Record {
            application: operation,
            code: operation,
            ..Record::new(place, operation, resource)
        });
    };
    beyond(0);
    let allocations = allocation_counter::measure(|| (1..1000).for_each(beyond));
    assert_eq!(allocations.count_total, 0, "beyond the caps as well");
}

#[derive(Debug, Clone)]
struct Event {
    worker: usize,
    listener: usize,
    operation: usize,
    resource: usize,
    result: usize,
    code: usize,
    duration: Option<u64>,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = (0..3usize, 0..2usize, 0..4usize, 0..5usize, 0..3usize, 0..3usize, any::<Option<u32>>())
        .prop_map(|(worker, listener, operation, resource, result, code, duration)| Event {
            worker,
            listener,
            operation,
            resource,
            result,
            code,
            duration: duration.map(u64::from),
        });
    proptest::collection::vec(event, 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn rows_are_what_a_simple_map_says(events in events()) {
        let measure = Measure::new(Limits::default());
        let locals = [measure.local(), measure.local(), measure.local()];
        let places = ["l0", "l1"].map(|l| measure.place(l, "c", "grpc"));
        let mut outcomes: HashMap<[String; 5], u64> = HashMap::new();
        let mut durations: HashMap<[String; 3], (u64, u64)> = HashMap::new();
        for event in &events {
            let local = &locals[event.worker];
            local.record(&Record {
                result: RESULTS[event.result],
                code: name(local, NameKind::Code, "code", event.code),
                duration: event.duration,
                ..Record::new(
                    places[event.listener],
                    name(local, NameKind::Operation, "op", event.operation),
                    name(local, NameKind::Resource, "r", event.resource),
                )
            });
            let key = [format!("l{}", event.listener), format!("op{}", event.operation), format!("r{}", event.resource)];
            let [l, o, r] = key.clone();
            *outcomes.entry([l, o, r, RESULTS[event.result].into(), format!("code{}", event.code)]).or_default() += 1;
            let entry = durations.entry(key).or_default();
            if let Some(duration) = event.duration {
                *entry = (entry.0 + 1, entry.1 + duration);
            }
        }
        let parsed = Exposition::parse(&text(&measure));
        prop_assert_eq!(parsed.each("weir_operations_total", &[]).count(), outcomes.len());
        for ([l, o, r, result, code], count) in &outcomes {
            let labels = [("listener", &**l), ("operation", o), ("resource", r), ("result", result), ("code", code)];
            prop_assert_eq!(parsed.sum("weir_operations_total", &labels), *count as f64);
        }
        let rows = measure.operations();
        prop_assert_eq!(rows.len(), durations.len());
        prop_assert!(rows.is_sorted_by_key(|r| (r.listener.clone(), r.operation.clone(), r.resource.clone())));
        for row in &rows {
            let key = [&row.listener, &row.operation, &row.resource].map(ToString::to_string);
            let (count, sum) = durations[&key];
            prop_assert_eq!((row.duration.count(), row.duration.sum()), (count, sum));
            for outcome in &row.outcomes {
                let [l, o, r] = key.clone();
                let key = [l, o, r, outcome.result.to_string(), outcome.code.to_string()];
                prop_assert_eq!(outcome.count, outcomes.remove(&key).unwrap_or(0));
            }
        }
        prop_assert!(outcomes.is_empty());
    }
}
