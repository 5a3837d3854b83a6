//! What is told before it does harm: conditions that never apply, clusters that lead back, a proxy in front whose word does not count.

use crate::support::{net, weir::Weir, weir::binary};

crate::tests!("warned":
    what_never_applies_is_told_by_check_and_at_the_start,
    a_reload_with_a_condition_that_matches_nothing_is_refused,
    a_proxy_in_front_that_is_not_trusted_is_told_of_once,
    a_name_that_is_not_resolved_is_told_of_once,
);

fn simple(route: &str) -> String {
    format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\", http: {{ routes: [{{ cluster: web, {route} }}] }} }} }}\n\
         clusters: {{ web: {{ endpoints: [\"127.0.0.1:{}\"] }} }}\n",
        net::nobody()
    )
}

fn what_never_applies_is_told_by_check_and_at_the_start() {
    let circle = "listeners: { web: { bind: \"127.0.0.1:18080\", http: { cluster: web } } }\n\
                  clusters: { web: { endpoints: [\"127.0.0.1:18080\"] } }\n";
    let never = simple("retry: { retry_on: [unavailable] }");
    let folder = tempfile::tempdir().expect("a folder");
    for (text, told) in [(circle, "leads back to this listener"), (&*never, "never applies: ")] {
        let file = folder.path().join("weir.yaml");
        std::fs::write(&file, text).expect("ours");
        let checked = binary().arg("check").arg(&file).output().expect("weir runs");
        let said = String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat()).into_owned();
        assert!(checked.status.success(), "a warning is no error: {said}");
        assert!(said.contains("warning: ") && said.contains(told), "{said}");
    }
    let weir = Weir::start(&never);
    let warned =
        |entry: &serde_json::Value| entry["level"] == "WARN" && entry.to_string().contains("never applies: ");
    net::until("the start tells it too", || weir.log().iter().any(warned));
}

fn a_reload_with_a_condition_that_matches_nothing_is_refused() {
    let weir = Weir::start(&simple("method: POST"));
    for route in ["method: post", "path: /a/../b", "host: \"a.test:80\""] {
        let entry = weir.reload(&simple(route));
        assert_eq!(entry["message"], "the new configuration is not taken", "{route}: {entry}");
    }
    assert_eq!(weir.numbers().sum("weir_reloads_total", &[("result", "rejected")]), 3);
}

fn a_proxy_in_front_that_is_not_trusted_is_told_of_once() {
    let weir = Weir::start(&simple(""));
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], weir.port("web")));
    for _ in 0..3 {
        net::exchange(
            address,
            "GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 192.0.2.1\r\nconnection: close\r\n\r\n",
        );
    }
    let told =
        || weir.log().iter().filter(|entry| entry.to_string().contains("`trusted` of this listener")).count();
    net::until("it is told", || told() > 0);
    assert_eq!(weir.numbers().sum("weir_http_client_fields_total", &[("listener", "web")]), 3);
    assert_eq!(told(), 1);
}

fn a_name_that_is_not_resolved_is_told_of_once() {
    let weir = Weir::start(
        "listeners: { web: { bind: \"127.0.0.1:0\", http: { cluster: web } } }\n\
         clusters:\n  web: { endpoints: [\"nowhere.invalid:80\"], dns_refresh: 1s }\n  all: { dns: \"nowhere.invalid:80\", dns_refresh: 1s }\n",
    );
    let failed = |numbers: &crate::support::numbers::Numbers, cluster| {
        numbers.sum("weir_cluster_dns_resolutions_total", &[("cluster", cluster), ("result", "failed")])
    };
    weir.numbers_when("both have failed again and again", |numbers| {
        failed(numbers, "web") >= 3 && failed(numbers, "all") >= 3
    });
    for cluster in ["web", "all"] {
        let log = weir.log();
        let told = log.iter().filter(|entry| {
            entry["cluster"] == cluster
                && entry["message"]
                    .as_str()
                    .is_some_and(|message| message.starts_with("a name was not resolved"))
        });
        assert_eq!(told.count(), 1, "{cluster}: {log:#?}");
    }
}
