//! A replica set behind Weir with TLS and SCRAM on and off, on either side, with each driver, compressor and form of URI: pairwise, not
//! every combination. In each, Weir counts every command and every authentication that the driver counts, so none slipped round it.

use crate::support::{
    front::{Front, Says, drivers, while_busy},
    net,
    numbers::Numbers,
    parts::{ReplicaSet, USER, calm_set, certificates, json, node, python, secured_set},
    weir::Weir,
};
use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLockReadGuard};

crate::tests!("mongo_secured":
    pymongo_with_tls_and_scram_pairwise,
    pymongo_4_6_with_tls_and_scram_pairwise,
    node_with_tls_and_scram_pairwise,
    every_pair_is_in_a_row,
    files_pass_with_and_without_rules,
    a_wrong_password_is_counted,
    members_that_cannot_be_verified_get_no_address,
    writes_survive_a_step_down_and_a_death_with_tls_and_scram,
);

/// Rules that need every command to be understood, and forbid nothing that the clients do.
const RULES: &str = "rules:\n        - { name: frozen, match: { database: archive }, read_only: {} }\n        \
                     - { name: hidden, match: { database: archive, collection: secrets }, deny: {} }";

/// TLS, from the driver to Weir and from Weir to the members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tls {
    outer: bool,
    inner: bool,
}

const BOTH: Tls = Tls { outer: true, inner: true };
const OUTER: Tls = Tls { outer: true, inner: false };
const INNER: Tls = Tls { outer: false, inner: true };
const NEITHER: Tls = Tls { outer: false, inner: false };

const SHA_1: &str = "SCRAM-SHA-1";
const SHA_256: &str = "SCRAM-SHA-256";
/// Of the set that does not ask who somebody is.
const NOBODY: &str = "";

const NAMED: &str = "replicaSet=rs";
const DIRECT: &str = "directConnection=true";

/// What the configuration says beside the usual.
fn says(tls: Tls, rules: bool) -> Says {
    let folder = certificates().display();
    let mut says = Says::default();
    if tls.outer {
        says.listener = format!("tls: {{ certificate: {folder}/server.pem, key: {folder}/server.key }}");
    }
    if tls.inner {
        says.cluster = format!("tls: {{ ca: {folder}/root.pem }}");
    }
    if rules {
        says.mongo = RULES.to_owned();
    }
    says
}

fn front(set: &ReplicaSet, tls: Tls, rules: bool) -> Front {
    let first = net::free_range(8);
    Front::start(says(tls, rules).config("db", &format!("127.0.0.1:{}", set.ports[0]), first), first)
}

/// The set that asks for this mechanism, or for none.
fn set_for(mechanism: &str) -> RwLockReadGuard<'static, ReplicaSet> {
    if mechanism.is_empty() {
        return calm_set();
    }
    secured_set().read().unwrap_or_else(PoisonError::into_inner)
}

/// A URI with these options, `name=value`.
fn uri(port: u16, tls: Tls, (mechanism, password): (&str, &str), options: &[&str]) -> String {
    let user = if mechanism.is_empty() { String::new() } else { format!("{}:{password}@", USER.0) };
    let mut all: Vec<String> =
        options.iter().filter(|one| !one.is_empty()).map(|&one| one.to_owned()).collect();
    if !mechanism.is_empty() {
        all.push(format!("authMechanism={mechanism}"));
    }
    if tls.outer {
        all.push(format!("tls=true&tlsCAFile={}/root.pem", certificates().display()));
    }
    format!("mongodb://{user}127.0.0.1:{port}/?{}", all.join("&"))
}

fn authentications(numbers: &Numbers, mechanism: &str, result: &str) -> u64 {
    let labels = [("listener", "db"), ("mechanism", mechanism), ("result", result)];
    numbers.sum("weir_mongo_authentications_total", &labels)
}

/// One combination: TLS, how the driver logs in, its compressor, the URI's other option, which member it names (3: the listener's
/// own address).
type Row = (Tls, &'static str, &'static str, &'static str, usize);

/// Of each of the [`drivers`].
const ROWS: [&[Row]; 3] = [
    &[
        (BOTH, SHA_256, "", "", 0),
        (BOTH, SHA_1, "snappy", DIRECT, 0),
        (OUTER, SHA_256, "zlib", DIRECT, 0),
        (OUTER, NOBODY, "zstd", "", 1),
        (INNER, SHA_1, "zstd", NAMED, 2),
        (NEITHER, NOBODY, "snappy", NAMED, 3),
    ],
    &[
        (BOTH, NOBODY, "zlib", "", 0),
        (OUTER, SHA_1, "", NAMED, 1),
        (INNER, SHA_256, "snappy", "", 2),
        (INNER, SHA_256, "zlib", NAMED, 3),
        (NEITHER, SHA_256, "zstd", DIRECT, 0),
    ],
    &[
        (BOTH, SHA_256, "zstd", NAMED, 1),
        (OUTER, SHA_256, "snappy", "", 0),
        (INNER, NOBODY, "", DIRECT, 0),
        (NEITHER, SHA_256, "", NAMED, 2),
        (NEITHER, SHA_1, "zlib", "", 3),
    ],
];

fn pairwise(driver: usize) {
    let mut fronts: Vec<(Tls, bool, Front)> = Vec::new();
    for (nth, row) in ROWS[driver].iter().enumerate() {
        let (tls, mechanism, compressor, option, seed) = *row;
        let set = set_for(mechanism);
        let known =
            fronts.iter().position(|(its, secured, _)| *its == tls && *secured != mechanism.is_empty());
        let known = known.unwrap_or_else(|| {
            fronts.push((tls, !mechanism.is_empty(), front(&set, tls, nth % 2 == 1)));
            fronts.len() - 1
        });
        let front = &fronts[known].2;
        let port = match seed {
            3 => front.weir.port("db"),
            _ if option == DIRECT => front.port_of(set.primary()),
            seed => front.ports[seed],
        };
        let compressors = format!("compressors={compressor}");
        let options = [option, if compressor.is_empty() { "" } else { &compressors }];
        let uri = uri(port, tls, (mechanism, USER.1), &options);
        let before = front.weir.numbers();
        let (name, mut client) = drivers().into_iter().nth(driver).expect("one of the three");
        // A direct connection reads from no secondary.
        let what: &[&str] = if option == DIRECT { &["busy", "0.5"] } else { &["all"] };
        client.arg(&uri).arg(format!("secured_{name}_{nth}")).args(what);
        let printed = front.compare(&format!("{name}, {row:?}"), &mut client);
        if option == DIRECT {
            assert_eq!(printed["servers"], serde_json::json!([format!("127.0.0.1:{port}")]), "{row:?}");
        } else {
            front.assert_behind(&uri, &printed);
        }
        // Every connection that the driver had for use has logged in, and none besides.
        let after = front.weir.numbers();
        let made = if mechanism.is_empty() { 0 } else { printed["connections"].as_u64().expect("a count") };
        let count =
            |mechanism| authentications(&after, mechanism, "ok") - authentications(&before, mechanism, "ok");
        let others = [SHA_1, SHA_256].iter().filter(|other| **other != mechanism).map(|other| count(other));
        assert_eq!((count(mechanism), others.sum()), (made, 0), "{row:?}");
        assert!(mechanism.is_empty() || made > 0, "{row:?}: {printed}");
        if !compressor.is_empty() {
            let compressed = [("listener", "db"), ("compressor", compressor)];
            let bytes = |numbers: &Numbers| numbers.sum("weir_mongo_compressed_bytes_total", &compressed);
            assert!(bytes(&after) > bytes(&before), "{row:?}");
        }
        let handshakes =
            |numbers: &Numbers| numbers.sum("weir_listener_tls_handshakes_total", &[("result", "ok")]);
        assert_eq!(handshakes(&after) > handshakes(&before), tls.outer, "{row:?}");
    }
    for (tls, _, front) in &fronts {
        assert_eq!(front.weir.numbers().sum("weir_connections_degraded_total", &[]), 0, "{tls:?}");
    }
}

fn pymongo_with_tls_and_scram_pairwise() {
    pairwise(0);
}

fn pymongo_4_6_with_tls_and_scram_pairwise() {
    pairwise(1);
}

fn node_with_tls_and_scram_pairwise() {
    pairwise(2);
}

/// What says that the rows are pairwise: whatever stands in one column is met with whatever stands in another, the driver's included.
fn every_pair_is_in_a_row() {
    let of_driver = |(driver, rows): (usize, &[Row])| {
        let columns = |(tls, mechanism, compressor, option, _): &Row| {
            [
                format!("{tls:?}"),
                (*mechanism).into(),
                (*compressor).into(),
                (*option).into(),
                driver.to_string(),
            ]
        };
        rows.iter().map(columns).collect::<Vec<[String; 5]>>()
    };
    let rows: Vec<[String; 5]> = ROWS.into_iter().enumerate().flat_map(of_driver).collect();
    let pairs = |one: usize, other: usize| {
        rows.iter().map(|row| (&row[one], &row[other])).collect::<BTreeSet<_>>().len()
    };
    // Four ways to use TLS, three to log in, four to compress, three URIs, three drivers.
    let values = [4, 3, 4, 3, 3];
    for one in 0..values.len() {
        assert_eq!(pairs(one, one), values[one], "column {one}");
        for other in 0..one {
            assert_eq!(pairs(one, other), values[one] * values[other], "columns {other} and {one}");
        }
    }
}

fn files_pass_with_and_without_rules() {
    let set = set_for(SHA_256);
    for (rules, compressors) in [(false, ["", "", "zlib"]), (true, ["snappy", "zstd", ""])] {
        let front = front(&set, BOTH, rules);
        for ((name, mut client), compressor) in drivers().into_iter().zip(compressors) {
            let option = format!("compressors={compressor}");
            let option = if compressor.is_empty() { "" } else { &option };
            let uri = uri(front.ports[1], BOTH, (SHA_256, USER.1), &[option]);
            let what = format!("{name}, rules {rules}, {compressor}");
            let printed = front.compare(&what, client.arg(&uri).arg(format!("files_{name}")).arg("files"));
            front.assert_behind(&what, &printed);
            let numbers = front.weir.numbers();
            let chunks = [("resource", &*format!("files_{name}.fs.chunks"))];
            let sent = numbers.sum("weir_operation_items_sent_total", &[chunks[0], ("operation", "insert")]);
            assert_eq!(sent, (20_u64 << 20).div_ceil(255 << 10), "{what}");
            assert!(
                numbers.sum("weir_operation_items_returned_total", &[chunks[0], ("operation", "find")]) > 0
            );
            assert_eq!(numbers.sum("weir_refusals_total", &[]), 0, "{what}");
        }
    }
}

fn a_wrong_password_is_counted() {
    let set = set_for(SHA_256);
    let front = front(&set, BOTH, false);
    for (mechanism, mut client) in [(SHA_1, python("mongo_members.py")), (SHA_256, node("mongo_members.js"))]
    {
        let uri = uri(front.ports[0], BOTH, (mechanism, "guess"), &[NAMED]);
        let printed = json(client.arg(&uri).args(["secured_wrong", "login"]));
        assert_eq!(printed["code"], 18, "{printed}");
        let numbers = front.weir.numbers();
        // As often as the driver tried.
        let steps = [("operation", "saslContinue"), ("result", "error"), ("code", "AuthenticationFailed")];
        let tried = numbers.sum("weir_operations_total", &steps);
        let [ok, failed] = ["ok", "failed"].map(|result| authentications(&numbers, mechanism, result));
        assert!(ok == 0 && failed >= 1 && failed <= tried, "{mechanism}: {failed} of {tried}");
        let (_, slow) = front.weir.get("/slow");
        assert!(!slow.contains("sasl") && !slow.contains("guess"), "{slow}");
    }
}

/// Certificates are always verified: with the roots of the system those of the set are nobody's.
fn members_that_cannot_be_verified_get_no_address() {
    let set = set_for(NOBODY);
    let says = Says { cluster: "tls: {}".to_owned(), ..Says::default() };
    let weir = Weir::start(&says.config("db", &format!("127.0.0.1:{}", set.ports[0]), net::free_range(8)));
    let failed = [("cluster", "db")];
    let numbers = weir.numbers_when("it has been tried", |numbers| {
        numbers.sum("weir_cluster_connect_failures_total", &failed) > 0
    });
    assert_eq!(numbers.sum("weir_mongo_members", &[]), 0);
    let ping = json(
        python("mongo_members.py")
            .arg(uri(weir.port("db"), NEITHER, (NOBODY, ""), &["serverSelectionTimeoutMS=500", DIRECT]))
            .args(["unverified", "login"]),
    );
    assert_eq!(ping["code"], -1, "{ping}");
}

/// Retryable writes across both in one run: somebody else becomes primary, then that one dies.
fn writes_survive_a_step_down_and_a_death_with_tls_and_scram() {
    let set = secured_set().write().unwrap_or_else(PoisonError::into_inner);
    let front = front(&set, BOTH, true);
    // Not compressed: the Node.js driver waits for ever for a command that it compresses while its connection ends.
    let uri = uri(front.ports[0], BOTH, (SHA_256, USER.1), &[NAMED]);
    let mut again = None;
    while_busy(&front, &uri, "secured_busy", || {
        let before = set.primary();
        assert_ne!(set.ask("step_down"), before.to_string(), "somebody else is primary");
        let primary = set.primary();
        again = Some(set.kill_for_now(primary));
        set.primary();
    });
    let numbers = front.weir.numbers();
    // Each driver with at least one primary, and one of them with another.
    assert!(authentications(&numbers, SHA_256, "ok") >= 4);
    assert_eq!(authentications(&numbers, SHA_256, "failed"), 0);
}
