//! fixtures/good and fixtures/bad: every file of the one is taken and says the same when it is printed and read again; every
//! file of the other is refused with exactly the words that stand beside it (`WEIR_BLESS=1` writes them anew).

use crate::sections::{Fixed, PipeSettings, SECRET, SECTIONS, WebSettings, good, parse};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use weir_config::{Balance, LogFormat, LogLevel, NameMatch, Source, Upstream};

pub fn fixtures(folder: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ext| ext == "yaml" || ext == "json"));
    files.sort();
    assert!(files.len() > 3);
    files.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn good_files_are_taken_and_say_the_same_when_printed() {
    for (path, text) in fixtures("good") {
        let first = good(&text);
        let printed = first.to_yaml();
        let again =
            parse(&printed).unwrap_or_else(|errors| panic!("{}: {errors}\n{printed}", path.display()));
        assert_eq!(first.to_json(), again.to_json(), "{}", path.display());
        let as_json: serde_json::Value = serde_json::from_str(&first.to_json()).unwrap();
        assert!(as_json.get("listeners").is_some(), "{}", path.display());
        // JSON is YAML.
        let from_json =
            parse(&first.to_json()).unwrap_or_else(|errors| panic!("{}: {errors}", path.display()));
        assert_eq!(first.to_json(), from_json.to_json());
        for shown in [printed, first.to_json(), format!("{first:?}").replace("settings", "")] {
            assert!(!shown.contains(SECRET), "{}: {shown}", path.display());
        }
    }
}

#[test]
fn bad_files_are_refused_in_these_words() {
    let bless = std::env::var_os("WEIR_BLESS").is_some();
    for (path, text) in fixtures("bad") {
        let name = path.file_name().unwrap().to_str().unwrap();
        let errors = weir_config::parse_with(&text, name, SECTIONS, &Fixed)
            .expect_err(&format!("{name} should be refused"))
            .to_string();
        let beside = path.with_extension("errors");
        if bless {
            std::fs::write(&beside, format!("{errors}\n")).unwrap();
        }
        let expected = std::fs::read_to_string(&beside).unwrap_or_default();
        assert_eq!(errors.trim_end(), expected.trim_end(), "{name}");
        assert!(!errors.contains(SECRET), "{name}: {errors}");
    }
}

#[test]
fn the_least_file_has_the_defaults() {
    let config = good(
        "listeners: { l: { bind: '127.0.0.1:0', pipe: { cluster: c } } }\nclusters: { c: { dns: 'a.b:1' } }",
    );
    assert_eq!(config.workers, None);
    assert_eq!(config.admin, None);
    assert_eq!((config.log.format, config.log.level), (LogFormat::Human, LogLevel::Info));
    assert_eq!(config.drain_timeout, Duration::from_secs(30));
    assert_eq!((config.limits.max_connections, config.limits.rows), (65_536, 8192));
    assert!(config.warnings.is_empty());

    let listener = config.listener("l").unwrap();
    assert_eq!(listener.bind, SocketAddr::from(([127, 0, 0, 1], 0)));
    assert_eq!((listener.tls.as_ref(), listener.max_connections), (None, 65_536));
    assert_eq!(listener.idle_timeout, Some(Duration::from_secs(3600)));
    assert_eq!(listener.protocol, "pipe");
    let settings = listener.settings.downcast_ref::<PipeSettings>().unwrap();
    assert_eq!(&*settings.cluster, "c");

    let cluster = config.cluster("c").unwrap();
    assert_eq!(cluster.source, Source::Dns { host: "a.b".into(), port: 1 });
    assert_eq!((cluster.protocol, cluster.balance), (Upstream::Http1, Balance::RoundRobin));
    assert_eq!((&cluster.tls, &cluster.outlier_ejection), (&None, &None));
    let breaker = &cluster.circuit_breaker;
    assert_eq!((breaker.max_connections, breaker.max_pending), (16_384, 1024));
    assert_eq!((breaker.max_requests, breaker.max_parked, breaker.max_retries), (16_384, 65_536, 1024));
    assert_eq!((breaker.retry_budget.percent, breaker.retry_budget.min_retries), (20, 3));
    assert_eq!(cluster.connect_timeout, Duration::from_secs(5));
    assert_eq!(
        (cluster.idle_timeout, cluster.dns_refresh),
        (Duration::from_secs(60), Duration::from_secs(10))
    );
}

#[test]
fn every_key_arrives() {
    let (_, text) = fixtures("good").into_iter().find(|(path, _)| path.ends_with("everything.yaml")).unwrap();
    let config = weir_config::parse_with(&text, "etc/weir.yaml", SECTIONS, &Fixed).unwrap();
    assert_eq!(config.workers.map(std::num::NonZeroUsize::get), Some(2));
    assert_eq!(config.admin, Some("[::1]:9901".parse().unwrap()));
    assert_eq!((config.log.format, config.log.level), (LogFormat::Json, LogLevel::Debug));
    assert_eq!(config.drain_timeout, Duration::from_secs(5));
    assert_eq!(config.limits.max_connections, 100);
    assert_eq!((config.limits.operations, config.limits.resources), (16, 17));
    assert_eq!((config.limits.codes, config.limits.applications), (18, 19));
    assert_eq!((config.limits.places, config.limits.rows), (20, 21));
    assert_eq!((config.limits.outcomes, config.limits.application_rows), (22, 23));

    let edge = config.listener("edge").unwrap();
    let tls = edge.tls.as_ref().unwrap();
    let paths: Vec<_> = tls.files().map(|file| (file.path.to_str().unwrap(), &*file.key)).collect();
    assert_eq!(
        paths,
        [
            ("etc/edge.pem", "listeners.edge.tls.certificate"),
            ("/keys/edge.key", "listeners.edge.tls.key"),
            ("etc/other.pem", "listeners.edge.tls.certificates[0].certificate"),
            ("etc/other.key", "listeners.edge.tls.certificates[0].key"),
            ("etc/clients.pem", "listeners.edge.tls.client_certificates.ca"),
        ]
    );
    assert!(!tls.client_certificates.as_ref().unwrap().require);
    let [pass, more] = tls.passthrough.as_slice() else { panic!("two rules") };
    assert_eq!((&*pass.cluster, &*more.cluster), ("named", "named"));
    assert_eq!(
        pass.sni,
        [NameMatch::Exact("x509.db.internal".into()), NameMatch::Below(".raw.internal".into())]
    );
    assert_eq!(more.sni, [NameMatch::Exact("a_b".into())]);
    assert_eq!((edge.max_connections, edge.idle_timeout), (12, None));
    assert_eq!(edge.bind.ip().unwrap().port(), 8443);
    let web = edge.settings.downcast_ref::<WebSettings>().unwrap();
    let [first, second] = web.routes.as_slice() else { panic!("two routes") };
    assert_eq!(first.methods.iter().map(|m| &**m).collect::<Vec<_>>(), ["GET"]);
    assert_eq!(first.again, ["broken", "late"]);
    assert_eq!((first.buffer, first.strict), (1 << 20, false));
    assert_eq!(first.timeout, Some(Duration::from_millis(250)));
    assert_eq!(first.headers.get("x-a").map(|v| &**v), Some("1"));
    assert_eq!((second.status, second.body.as_deref()), (Some(503), Some(SECRET)));
    assert_eq!((second.buffer, second.strict), (64 << 10, true));

    let all = config.cluster("all").unwrap();
    let Source::Endpoints(endpoints) = &all.source else { panic!("endpoints") };
    let listed: Vec<_> = endpoints.iter().map(|e| (e.host_port(), e.weight)).collect();
    assert_eq!(listed, [(("10.0.0.1", 80), 1), (("::1", 81), 7), (("db.internal", 27017), 1)]);
    let tls = all.tls.as_ref().unwrap();
    assert_eq!(tls.sni.as_deref(), Some("db.example"));
    assert_eq!(tls.ca.as_ref().unwrap().path, Path::new("etc/ca.pem"));
    assert_eq!(tls.identity.as_ref().unwrap().key.path, Path::new("etc/client.key"));
    assert_eq!((all.protocol, all.balance), (Upstream::Http2, Balance::LeastRequest));
    let breaker = &all.circuit_breaker;
    assert_eq!((breaker.max_connections, breaker.max_pending, breaker.max_requests), (1, 2, 3));
    assert_eq!((breaker.max_parked, breaker.max_retries), (4, 5));
    assert_eq!((breaker.retry_budget.percent, breaker.retry_budget.min_retries), (6, 7));
    let ejection = all.outlier_ejection.unwrap();
    assert_eq!((ejection.consecutive_errors, ejection.max_ejection_percent), (8, 9));
    assert_eq!(ejection.interval, Duration::from_secs(10));
    assert_eq!(ejection.base_ejection_time, Duration::from_secs(11));
    assert_eq!(ejection.max_ejection_time, Duration::from_secs(12));
    assert_eq!(all.connect_timeout, Duration::from_secs(13));
    assert_eq!(all.idle_timeout, Duration::from_secs(14));
    assert_eq!(all.dns_refresh, Duration::from_secs(15));
}

#[test]
fn what_may_not_be_meant_is_a_warning() {
    let config = good(
        "admin: 0.0.0.0:9901\nlisteners: {}\nclusters:\n  used: { dns: 'a:1' }\n  other: { endpoints: ['a:1'] }\n",
    );
    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "weir.yaml:1:8: admin: the admin API has no authentication, and can be reached from outside of this host",
            "weir.yaml:2:12: listeners: there is no listener: nothing will be served",
            "weir.yaml:4:9: clusters.used: no listener refers to this cluster",
            "weir.yaml:5:10: clusters.other: no listener refers to this cluster",
        ]
    );
    assert_eq!(config.warnings[0].to_json()["line"], 1);
}

#[test]
fn a_file_is_read_with_its_neighbours() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weir.yaml");
    std::fs::write(folder.path().join("name"), "web\n").unwrap();
    let text = "listeners: { l: { bind: '127.0.0.1:0', pipe: { cluster: '${file:name}' } } }\nclusters: { web: { dns: 'a:1' } }\n";
    std::fs::write(&path, text).unwrap();
    let config = weir_config::load(&path, SECTIONS).unwrap();
    let settings = config.listener("l").unwrap().settings.downcast_ref::<PipeSettings>().unwrap();
    assert_eq!(&*settings.cluster, "web");

    let missing = weir_config::load(&folder.path().join("none.yaml"), SECTIONS).unwrap_err();
    assert!(
        missing
            .to_string()
            .ends_with("none.yaml:1:1: cannot read the file: No such file or directory (os error 2)")
    );
    // A folder, a file that is not text, and a neighbour that is too large.
    assert!(
        weir_config::load(folder.path(), SECTIONS).unwrap_err().to_string().contains("not a regular file")
    );
    std::fs::write(&path, b"\xff\xfe").unwrap();
    assert!(weir_config::load(&path, SECTIONS).unwrap_err().to_string().contains("not UTF-8"));
    std::fs::write(folder.path().join("name"), "x".repeat(weir_config::MAX_FILE as usize + 1)).unwrap();
    std::fs::write(&path, text).unwrap();
    let large = weir_config::load(&path, SECTIONS).unwrap_err().to_string();
    assert!(large.contains("`${file:name}`: it is larger than 64KiB"), "{large}");
}

#[test]
fn who_believes_anybody_is_told() {
    let told = |listener: &str| {
        let text = format!(
            "listeners: {{ l: {{ {listener}, pipe: {{ cluster: c }} }} }}\nclusters: {{ c: {{ dns: 'a.b:1' }} }}"
        );
        let config = good(&text);
        config.warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let warning = "weir.yaml:1:54: listeners.l.proxy_protocol: whoever can connect is believed to be whoever he says: give `from`";
    assert_eq!(told("bind: '0.0.0.0:1', proxy_protocol: {}"), [warning]);
    for listener in [
        "bind: '0.0.0.0:1', proxy_protocol: { from: [10.0.0.0/8] }",
        "bind: '127.0.0.1:1', proxy_protocol: {}",
        "bind: '[::1]:1', proxy_protocol: {}",
        "bind: 'unix:/run/weir.sock', proxy_protocol: {}",
    ] {
        assert!(told(listener).is_empty(), "{listener}");
    }
}
