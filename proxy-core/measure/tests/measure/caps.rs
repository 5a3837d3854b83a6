//! Beyond every cap: nothing is lost. What is always there and has no room is counted as `_other`, and that is counted too.

use crate::exposition::Exposition;
use crate::text::text;
use weir_decide::exchange::{NameId, NameKind};
use weir_measure::{Limits, Measure, Record};

fn small() -> Limits {
    Limits {
        operations: 3,
        resources: 10,
        codes: 3,
        applications: 2,
        places: 2,
        rows: 8,
        outcomes: 12,
        application_rows: 4,
        call_sites: 3,
        call_site_rows: 4,
    }
}

/// Names that are always there cannot give way: what has no room is `_other`.
#[test]
fn beyond_every_cap_the_totals_still_hold() {
    let measure = Measure::new(small());
    let mut all = 0.0;
    for _worker in 0..2 {
        let local = measure.local();
        for i in 0..2000u32 {
            let n = |kind, modulo: u32| local.intern(kind, &[b"n", (i % modulo).to_string().as_bytes()]);
            let place = measure.place(&format!("l{}", i % 5), "c", "http");
            let (operation, resource) = (n(NameKind::Operation, 7), n(NameKind::Resource, 11));
            local.record(&Record {
                application: n(NameKind::Application, 6),
                call_site: n(NameKind::CallSite, 6),
                code: n(NameKind::Code, 13),
                result: if i % 2 == 0 { "ok" } else { "error" },
                duration: Some(1),
                request_bytes: 1,
                reply_bytes: 1,
                ..Record::new(place, operation, resource)
            });
            all += 1.0;
        }
    }
    let parsed = Exposition::parse(&text(&measure));
    for name in [
        "weir_operations_total",
        "weir_operation_duration_seconds_count",
        "weir_operation_request_bytes_total",
        "weir_application_operations_total",
        "weir_application_duration_seconds_count",
        "weir_application_request_bytes_total",
        "weir_application_reply_bytes_total",
        "weir_call_site_operations_total",
    ] {
        assert_eq!(parsed.sum(name, &[]), all, "{name}");
    }
    assert_eq!(parsed.sum("weir_operations_total", &[("result", "ok")]), all / 2.0);
    // Two places and `_other`, each with its share and at most its `_other` rows beyond it.
    let rows = parsed.each("weir_operation_request_bytes_total", &[]).count();
    assert!(rows <= 3 * (8 + 2 + 1), "{rows}");
    let outcomes = parsed.each("weir_operations_total", &[]).count();
    assert!(outcomes <= 3 * (12 + rows * 2), "{outcomes}");
    // What is counted of an application by its name, and what as `_other`, is the same whichever number is looked at.
    for application in ["n0", "n1", "_other"] {
        let sum = |name| parsed.sum(name, &[("application", application)]);
        let count = sum("weir_application_operations_total");
        for name in ["weir_application_duration_seconds_count", "weir_application_reply_bytes_total"] {
            assert_eq!(sum(name), count, "{name} of {application}");
        }
    }
    for table in ["operations", "outcomes", "applications", "call_sites", "places"] {
        assert!(parsed.sum("weir_rows_overflow_total", &[("table", table)]) > 0.0, "{table}");
    }
}

#[test]
fn a_row_beyond_the_cap_loses_its_resource_before_its_operation() {
    let measure = Measure::new(Limits { rows: 4, ..Limits::default() });
    let local = measure.local();
    let place = measure.place("l", "c", "http");
    let record = |operation: &[u8], resource: u8| {
        let operation = local.intern(NameKind::Operation, &[operation]);
        let resource = local.intern(NameKind::Resource, &[&[resource]]);
        local.record(&Record::new(place, operation, resource));
    };
    (b'a'..=b'd').for_each(|r| record(b"get", r));
    (b'a'..=b'f').for_each(|r| record(b"get", r)); // e and f: get on _other
    record(b"put", b'a'); // _other on _other: the reserve is a quarter of the rows
    let parsed = Exposition::parse(&text(&measure));
    let count = |o, r| parsed.sum("weir_operations_total", &[("operation", o), ("resource", r)]);
    assert_eq!(
        [count("get", "a"), count("get", "d"), count("get", "_other"), count("_other", "_other")],
        [2.0, 2.0, 2.0, 1.0]
    );
    assert_eq!(parsed.sum("weir_operations_total", &[]), 11.0);
    assert_eq!(parsed.sum("weir_rows_overflow_total", &[("table", "operations")]), 3.0);
}

#[test]
fn a_worker_that_comes_late_may_use_what_others_know() {
    let measure =
        Measure::new(Limits { resources: 1, rows: 1, outcomes: 1, application_rows: 1, ..Limits::default() });
    let place = measure.place("l", "c", "http");
    for _ in 0..3 {
        let local = measure.local();
        let resource = local.intern(NameKind::Resource, &[b"a"]);
        assert_ne!(resource, NameId::OTHER);
        let operation = local.intern(NameKind::Operation, &[b"get"]);
        local.record(&Record { application: operation, ..Record::new(place, operation, resource) });
    }
    let parsed = Exposition::parse(&text(&measure));
    assert_eq!(parsed.sum("weir_operations_total", &[("resource", "a")]), 3.0);
    assert_eq!(parsed.sum("weir_application_operations_total", &[("application", "get")]), 3.0);
    assert_eq!(parsed.sum("weir_rows_overflow_total", &[]), 0.0);
}

#[test]
fn a_name_that_is_cut_is_counted() {
    let measure = Measure::new(Limits::default());
    let local = measure.local();
    let cut = || Exposition::parse(&text(&measure)).sum("weir_caps_met_total", &[("cap", "name_length")]);
    local.intern(NameKind::Resource, &[&[b'x'; 256]]);
    assert_eq!(cut(), 0.0);
    local.intern(NameKind::Resource, &[&[b'x'; 257]]);
    local.intern(NameKind::Resource, &[&[b'x'; 200], b".", &[b'y'; 200]]);
    assert_eq!(cut(), 2.0);
}
