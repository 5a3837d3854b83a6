//! What each endpoint says.

use crate::fixture::{Fixture, endpoints};
use serde_json::json;
use weir_console::Phase;

#[test]
fn every_endpoint_answers_get_and_head_alike() {
    let fixture = Fixture::new();
    fixture.operations();
    for (path, _) in endpoints() {
        let get = fixture.get(path);
        assert_eq!(get.status, 200, "{path}: {}", get.body);
        assert!(!get.body.is_empty());
        assert_eq!(get.header("cache-control"), "no-store");
        assert_eq!(get.header("x-content-type-options"), "nosniff");
        assert!(get.header("content-security-policy").contains("default-src 'none'"));
        let head = fixture.ask("HEAD", path, &[("Host", "localhost")]);
        assert_eq!((head.status, &*head.body), (200, ""), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
    }
    let index = fixture.get("/").json();
    assert_eq!(index["endpoints"].as_array().unwrap().len(), endpoints().count());
}

#[test]
fn readiness_follows_the_phase_and_liveness_does_not() {
    let fixture = Fixture::new();
    for (phase, status) in
        [(Phase::Starting, 503), (Phase::Ready, 200), (Phase::Leaving, 503), (Phase::Draining, 503)]
    {
        *fixture.status.phase.lock().unwrap() = phase;
        let ready = fixture.get("/ready");
        assert_eq!((ready.status, &ready.json()["status"]), (status, &json!(phase.label())));
        let accepting = matches!(phase, Phase::Ready | Phase::Leaving);
        assert_eq!(fixture.get("/").json()["accepting"], json!(accepting));
        assert_eq!(fixture.get("/live").status, 200);
        assert_eq!(fixture.get("/metrics").status, 200);
        let shown = if phase == Phase::Starting { 503 } else { 200 };
        for path in ["/clusters", "/listeners", "/config", "/members"] {
            assert_eq!(fixture.get(path).status, shown, "{path}");
        }
    }
}

#[test]
fn metrics_come_in_the_format_asked_for() {
    let fixture = Fixture::new();
    fixture.operations();
    let text = fixture.get("/metrics");
    assert_eq!(text.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert!(text.body.contains("# TYPE weir_operations_total counter\n"), "{}", text.body);
    let headers =
        [("Host", "localhost"), ("Accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")];
    let open = fixture.ask("GET", "/metrics", &headers);
    assert!(open.header("content-type").starts_with("application/openmetrics-text"));
    assert!(open.body.ends_with("# EOF\n"));
    // Requests to the console are counted too.
    let again = fixture.get("/metrics").body;
    assert!(again.contains("weir_admin_requests_total{endpoint=\"/metrics\",status=\"200\"} 2\n"), "{again}");
}

#[test]
fn long_answers_come_whole() {
    let fixture = Fixture::new();
    fixture.many_operations();
    let metrics = fixture.get("/metrics");
    assert_eq!(metrics.header("transfer-encoding"), "chunked");
    let mut whole = Vec::new();
    fixture.measure.prometheus(&mut whole);
    let of_operations = |text: &str| {
        text.lines().filter(|l| l.contains("weir_operation")).map(String::from).collect::<Vec<_>>()
    };
    assert!(of_operations(&metrics.body) == of_operations(std::str::from_utf8(&whole).unwrap()));
    let operations = fixture.get("/operations").json();
    let rows = operations["operations"].as_array().unwrap();
    assert_eq!(rows.len(), 3000);
    assert!(rows.iter().all(|row| row["count"] == json!(1)));
    let text = fixture.get("/operations?format=text");
    assert_eq!(text.body.lines().count(), 3001);
    let columns: Vec<_> = text.body.lines().map(|line| line.split('\t').count()).collect();
    assert!(columns.iter().all(|n| *n == columns[0]));
}

#[test]
fn operations_are_told_with_their_outcomes_and_latencies() {
    let fixture = Fixture::new();
    assert_eq!(fixture.get("/operations").json(), json!({ "operations": [] }));
    fixture.operations();
    let all = fixture.get("/operations?format=json").json();
    let row = &all["operations"][0];
    assert_eq!(row["count"], json!(100));
    assert_eq!(row["ok"], json!(98));
    assert_eq!(row["outcomes"].as_array().unwrap().len(), 3);
    assert_eq!(row["reply_bytes"], json!(400_000));
    assert_eq!((&row["duration"]["count"], &row["first_byte"]["count"]), (&json!(100), &json!(99)));
    let p99 = row["duration"]["p99"].as_f64().unwrap();
    assert!((0.0007..=0.001).contains(&p99), "{p99}");
}

#[test]
fn what_is_not_there_is_said_in_json() {
    let fixture = Fixture::new();
    for (target, status) in [
        ("/nothing", 404),
        ("/metrics/", 404),
        ("//", 404),
        ("/operations?format=xml", 400),
        ("/operations?x", 400),
    ] {
        let reply = fixture.get(target);
        assert_eq!(reply.status, status, "{target}");
        assert_eq!(reply.json()["error"]["status"], json!(status), "{target}");
        assert!(reply.json()["error"]["message"].as_str().unwrap().len() > 10);
    }
    let metrics = fixture.get("/metrics").body;
    assert!(
        metrics.contains("weir_admin_requests_total{endpoint=\"other\",status=\"404\"} 3\n"),
        "{metrics}"
    );
}

#[test]
fn configuration_is_shown_as_it_was_written() {
    let config = Fixture::new().get("/config").json();
    assert_eq!(config["clusters"]["legacy"]["connect_timeout"], json!("${PATIENCE}"));
    assert_eq!(config["listeners"]["raw"]["bind"], json!("127.0.0.1:9000"));
}
