//! What is written, to the byte.

use crate::exposition::Exposition;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use weir_decide::exchange::{Fault, Items, NameId, NameKind, Now, Phase, Reason, Side, Trait, Traits};
use weir_measure::names::{Family, Kind};
use weir_measure::{Collect, Format, Limits, Measure, Process, Record, Samples, names};

pub fn text(measure: &Measure) -> String {
    let mut out = Vec::new();
    measure.prometheus(&mut out);
    String::from_utf8(out).unwrap()
}

/// A few operations of one worker.
pub fn few() -> Arc<Measure> {
    let measure = Measure::new(Limits::default());
    let place = measure.place("orders-db", "orders-rs", "mongo");
    let local = measure.local();
    let find = local.intern(NameKind::Operation, &[b"find"]);
    let orders = local.intern(NameKind::Resource, &[b"shop", b".", b"orders"]);
    let app = local.intern(NameKind::Application, &[b"check\"out\"\\\n"]);
    let code = local.intern(NameKind::Code, &[b"Unauthorized"]);
    let record = Record {
        application: app,
        duration: Some(1_250_000),
        first_byte: Some(1_000_000),
        request_bytes: 100,
        reply_bytes: 2000,
        ..Record::new(place, find, orders)
    };
    local.record(&record);
    local.record(&Record { duration: Some(20_000_000_000), retries: 2, ..record });
    local.record(&Record { result: "error", code, duration: Some(1), first_byte: None, ..record });
    let lost = Fault::new(Side::Network, Phase::Waiting, Reason::Reset);
    local.record(&Record { result: "upstream_lost", first_byte: None, fault: Some(lost), ..record });
    let full = Fault::new(Side::Proxy, Phase::Admitted, Reason::MaxRequests);
    local.record(&Record { result: "refused", fault: Some(full), refused: true, ..record });
    let hello = local.intern(NameKind::Operation, &[b"hello"]);
    local.record(&Record { request_bytes: 3, ..Record::new(place, hello, NameId::NONE) });
    measure
}

#[test]
fn a_few_operations_to_the_byte() {
    let text = text(&few());
    Exposition::parse(&text);
    let expected = include_str!("few.txt");
    assert!(text == expected, "what is written has changed; it is now:\n{text}");
}

#[test]
fn chunks_make_up_the_whole_and_the_same_numbers_the_same_bytes() {
    let measure = few();
    let whole = text(&measure);
    for enough in [1, 100, 4096] {
        let mut scrape = measure.scrape(Format::Text);
        let mut all = String::new();
        loop {
            let mut chunk = Vec::new();
            let more = scrape.write(&mut chunk, enough);
            // One histogram is the most that is written at once.
            assert!(chunk.len() < enough + 5000, "{}", chunk.len());
            all.push_str(std::str::from_utf8(&chunk).unwrap());
            if !more {
                break;
            }
        }
        assert_eq!(all, whole);
        assert!(!scrape.write(&mut Vec::new(), 1), "the end stays the end");
    }
}

#[test]
fn openmetrics_ends_once_and_says_counters_without_total() {
    let measure = few();
    measure.collect(Arc::new(Process::new("1.2.3")));
    let mut scrape = measure.scrape(Format::OpenMetrics);
    let mut out = Vec::new();
    while scrape.write(&mut out, 1 << 20) {}
    scrape.write(&mut out, 1 << 20);
    let text = String::from_utf8(out).unwrap();
    assert!(text.ends_with("\n# EOF\n") && text.matches("# EOF").count() == 1);
    assert!(text.contains("# TYPE weir_operations counter\nweir_operations_total{"));
    assert!(text.contains("# TYPE weir_build info\nweir_build_info{version=\"1.2.3\"} 1\n"));
    assert!(text.contains("# UNIT weir_operation_duration_seconds seconds\n"));
}

#[test]
fn labels_of_handles_and_collectors_are_escaped_and_sorted() {
    struct Odd;
    impl Collect for Odd {
        fn collect(&self, out: &mut Samples) {
            out.add(&names::CLUSTER_NO_ENDPOINT, &["b"], 1u64);
            out.add(&names::CLUSTER_NO_ENDPOINT, &["a\\\"\n"], 2u64);
            out.add(&names::CLUSTER_NO_ENDPOINT, &["b"], 40u64);
        }
    }
    let measure = Measure::new(Limits::default());
    measure.collect(Arc::new(Odd));
    let text = text(&measure);
    let lines: Vec<_> = text.lines().filter(|l| l.starts_with("weir_cluster")).collect();
    assert_eq!(
        lines,
        [
            r#"weir_cluster_no_endpoint_total{cluster="a\\\"\n"} 2"#,
            r#"weir_cluster_no_endpoint_total{cluster="b"} 41"#
        ]
    );
    let parsed = Exposition::parse(&text);
    assert_eq!(parsed.sum("weir_cluster_no_endpoint_total", &[("cluster", "a\\\"\n")]), 2.0);
}

#[test]
fn the_process_is_measured() {
    let measure = Measure::new(Limits::default());
    measure.collect(Arc::new(Process::new("1.2.3")));
    let parsed = Exposition::parse(&text(&measure));
    let one = |name| parsed.sum(name, &[]);
    assert_eq!(parsed.sum("weir_build_info", &[("version", "1.2.3")]), 1.0);
    assert!(one("process_resident_memory_bytes") > 1e5);
    assert!(one("process_virtual_memory_bytes") >= one("process_resident_memory_bytes"));
    assert!(one("process_open_fds") >= 3.0 && one("process_open_fds") <= one("process_max_fds"));
    assert!(one("process_threads") >= 1.0);
    assert!(one("process_start_time_seconds") > 1.7e9);
    assert!(parsed.each("process_cpu_seconds_total", &[]).count() == 1);
}

#[test]
fn items_and_traits_are_written_where_there_are_any() {
    let measure = Measure::new(Limits::default());
    let place = measure.place("orders-db", "orders-rs", "mongo");
    let items = Items { sent: 3, affected: 2, modified: 1, ..Items::NONE };
    let traits = Traits::NONE.with(Trait::Many, true).with(Trait::Resent, true).with(Trait::Watch, false);
    // Of two workers, which are added up.
    for _ in 0..2 {
        let local = measure.local();
        let update = local.intern(NameKind::Operation, &[b"update"]);
        local.record(&Record { items, traits, ..Record::new(place, update, NameId::NONE) });
        local.record(&Record::new(place, local.intern(NameKind::Operation, &[b"ping"]), NameId::NONE));
    }
    let text = text(&measure);
    let head = r#"{listener="orders-db",cluster="orders-rs",protocol="mongo",operation="update",resource="""#;
    let lines: Vec<_> = text
        .lines()
        .filter(|l| l.starts_with("weir_operation_items") || l.contains("traits_total{"))
        .collect();
    let expected = [
        format!("weir_operation_items_sent_total{head}}} 6"),
        format!("weir_operation_items_affected_total{head}}} 4"),
        format!("weir_operation_items_modified_total{head}}} 2"),
        format!("weir_operation_traits_total{head},trait=\"many\"}} 2"),
        format!("weir_operation_traits_total{head},trait=\"resent\"}} 2"),
    ];
    assert_eq!(lines, expected);
    let row = measure.operations().into_iter().find(|row| &*row.operation == "update").unwrap();
    assert_eq!(row.items, Items { sent: 6, affected: 4, modified: 2, ..Items::NONE });
}

#[test]
fn batches_have_sizes_by_operation() {
    let measure = Measure::new(Limits::default());
    let place = measure.place("orders-db", "orders-rs", "mongo");
    // Of two workers and two collections, which are added up; an empty batch is one too.
    for returned in [0, 101] {
        let local = measure.local();
        let find = local.intern(NameKind::Operation, &[b"find"]);
        let insert = local.intern(NameKind::Operation, &[b"insert"]);
        for resource in ["shop.orders", "shop.carts"] {
            let resource = local.intern(NameKind::Resource, &[resource.as_bytes()]);
            let found = Items { returned, has_batch: true, ..Items::NONE };
            local.record(&Record { items: found, ..Record::new(place, find, resource) });
            let written = Items { sent: 3, ..Items::NONE };
            local.record(&Record { items: written, ..Record::new(place, insert, resource) });
        }
    }
    let text = text(&measure);
    let at = |operation: &str, direction: &str| {
        format!(
            r#"{{listener="orders-db",cluster="orders-rs",protocol="mongo",operation="{operation}",direction="{direction}""#
        )
    };
    for line in [
        "# TYPE weir_operation_batch_items histogram".to_owned(),
        format!("weir_operation_batch_items_bucket{},le=\"0.0\"}} 2", at("find", "reply")),
        format!("weir_operation_batch_items_bucket{},le=\"50.0\"}} 2", at("find", "reply")),
        format!("weir_operation_batch_items_bucket{},le=\"101.0\"}} 4", at("find", "reply")),
        format!("weir_operation_batch_items_sum{}}} 202.0", at("find", "reply")),
        format!("weir_operation_batch_items_bucket{},le=\"2.0\"}} 0", at("insert", "request")),
        format!("weir_operation_batch_items_bucket{},le=\"5.0\"}} 4", at("insert", "request")),
        format!("weir_operation_batch_items_count{}}} 4", at("insert", "request")),
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    assert!(!text.contains(&at("insert", "reply")) && !text.contains(&at("find", "request")), "{text}");
}

static VISITS: Family = Family {
    name: "weir_toy_visits_total",
    help: "Visits.",
    kind: Kind::Counter,
    labels: &["listener", "page"],
    max_series: Some(1),
};

static ROOMS: Family = Family {
    name: "weir_toy_rooms",
    help: "Rooms.",
    kind: Kind::Gauge,
    labels: &["listener", "room"],
    max_series: None,
};

/// Counts what the process has of it, and the seconds that it was told of.
#[derive(Default)]
struct Visits(AtomicU64);

impl Collect for Visits {
    fn collect(&self, out: &mut Samples) {
        out.add(&VISITS, &["toy", "a"], self.0.load(Relaxed));
        out.add(&VISITS, &["toy", "b"], 1u64);
    }

    fn tick(&self, now: Now) {
        self.0.store(now.0, Relaxed);
    }
}

#[test]
fn a_protocol_brings_its_own_families_and_tables() {
    let measure = Measure::new(Limits::default());
    let visits = measure.brought(|_| Visits::default());
    let again = measure.brought(|_| -> Visits { panic!("it is there already") });
    assert!(Arc::ptr_eq(&visits, &again));
    measure.tick(Now(7));
    let local = measure.local();
    let hall = local.intern(NameKind::Resource, &[b"hall"]);
    local.tally(&ROOMS, measure.place("toy", "c", "toy"), &[hall], 3, true);
    let text = text(&measure);
    let parsed = Exposition::parse(&text);
    assert_eq!(parsed.sum(ROOMS.name, &[("listener", "toy"), ("room", "hall")]), 3.0);
    assert_eq!(parsed.sum(VISITS.name, &[("page", "a")]), 7.0);
    assert_eq!(parsed.sum(VISITS.name, &[("page", "_other")]), 1.0);
    assert_eq!(parsed.sum("weir_series_overflow_total", &[("family", VISITS.name)]), 1.0);
    // After those of the core, by name.
    let heads: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert_eq!(heads[heads.len() - 2..], ["weir_toy_rooms gauge", "weir_toy_visits_total counter"]);
    let mut open = Vec::new();
    while measure.scrape(Format::OpenMetrics).write(&mut open, 1 << 20) {}
    let open = String::from_utf8(open).unwrap();
    assert!(open.contains("# TYPE weir_toy_visits counter\nweir_toy_visits_total{"), "{open}");
    assert!(open.ends_with("\n# EOF\n"), "{open}");
}
