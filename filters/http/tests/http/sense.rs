//! Conditions of routes that match nothing a client can send are errors that say what was meant.

use crate::house::FILTERS;
use weir_config::Section;

fn parsed(routes: &str) -> Result<Vec<String>, String> {
    let sections: Vec<&dyn Section> = FILTERS.iter().map(|filter| filter.section() as &dyn Section).collect();
    let text = format!(
        "listeners: {{ edge: {{ bind: '127.0.0.1:0', http: {{ routes: [{routes}] }} }} }}\nclusters: {{ web: {{ endpoints: ['a:1'] }} }}"
    );
    match weir_config::parse(&text, "weir.yaml", &sections) {
        Ok(config) => Ok(config.warnings.iter().map(ToString::to_string).collect()),
        Err(errors) => Err(errors.to_string()),
    }
}

#[test]
fn what_can_never_match_is_an_error() {
    for (route, part) in [
        ("method: post", "`POST`"),
        ("method: [GET, Delete]", "`DELETE`"),
        ("method: propfind", "`PROPFIND`"),
        ("method: PRI", "no request has this method"),
        ("host: 'a:1'", "without its port"),
        ("host: ''", "host"),
        ("path: /a/../b", "normal form"),
        ("path_prefix: /%2e", "normal form"),
        ("path: /%41", "normal form"),
        ("path: /a%2fb", "upper case"),
        ("path: '/a?b=c'", "without a query"),
        ("path: '/a#b'", "begins with `/`"),
        ("path: a", "begins with `/`"),
        ("path: '*'", "begins with `/`"),
        ("path: '/a b'", "without spaces"),
        ("headers: [{ name: Connection }]", "never see this header"),
        ("headers: [{ name: content-length, exact: '0' }]", "never see this header"),
        ("headers: [{ name: Transfer-Encoding, invert: true }]", "never see this header"),
        ("headers: [{ name: upgrade, exact: websocket }]", "never see this header"),
        ("headers: [{ name: te, exact: gzip }]", "only `trailers`"),
        ("headers: [{ name: ':path', exact: / }]", "a colon"),
        ("headers: [{ name: x, exact: ' a' }]", "blanks"),
        ("headers: [{ name: x, exact: 'a ' }]", "blanks"),
        ("headers: [{ name: x, prefix: ' a' }]", "blanks"),
        ("headers: [{ name: x, suffix: 'a ' }]", "blanks"),
        ("headers: [{ name: x, contains: \"a\\nb\" }]", "such a character"),
        ("headers: [{ name: x }, { name: X, invert: true }]", "never hold together"),
        ("headers: [{ name: x, exact: ab }, { name: x, prefix: a, invert: true }]", "never hold together"),
        ("method: CONNECT", "405"),
        ("method: [GET, POST], connect: true", "does not name CONNECT"),
        ("path: /a, connect: true", "no path"),
        ("upgrades: [h2c]", "never switches"),
        ("upgrades: ['a b']", "the name of a protocol"),
    ] {
        let error = parsed(&format!("{{ {route}, cluster: web }}")).expect_err(route);
        assert!(error.contains(part), "{route}: {error}");
    }
    for (route, part) in [
        ("method: CONNECT, path: /a, direct_response: { status: 403 }", "no path"),
        ("upgrades: [websocket], direct_response: { status: 200 }", "`upgrades` needs `cluster`"),
        ("connect: true, redirect: { scheme: https }", "`connect` needs `cluster`"),
    ] {
        let error = parsed(&format!("{{ {route} }}")).expect_err(route);
        assert!(error.contains(part), "{route}: {error}");
    }
}

#[test]
fn what_can_match_passes() {
    for route in [
        "method: [GET, PROPFIND, X-OWN, m-search]",
        "host: ['Example.com.', '*.EXAMPLE.com', '[::1]', a_b, '*']",
        "path: //a",
        "path_prefix: /a%2Fb;x",
        "path: /a%20b",
        "headers: [{ name: te, exact: trailers }]",
        "headers: [{ name: X-A, exact: '' }, { name: host, suffix: .test }, { name: proxy-authorization }]",
        "headers: [{ name: x, exact: ab }, { name: x, exact: a, invert: true }, { name: x, exact: cd }]",
        "headers: [{ name: x, contains: ' ' }, { name: x, prefix: 'a ' }]",
        "method: CONNECT, connect: true",
        "upgrades: [], connect: false",
        "upgrades: [WebSocket, tls/1.3]",
    ] {
        assert_eq!(parsed(&format!("{{ {route}, cluster: web }}")), Ok(Vec::new()), "{route}");
    }
}

#[test]
fn a_denial_behind_a_catch_all_is_an_error_and_other_routes_there_a_warning() {
    let denial = "{ path: /admin, direct_response: { status: 403 } }";
    let error = parsed(&format!("{{ path_prefix: /, cluster: web }}, {denial}")).unwrap_err();
    assert!(error.contains("never taken: route 0 takes all its requests; put it before"), "{error}");
    let fine = parsed(&format!("{denial}, {{ path_prefix: /, cluster: web }}"));
    assert_eq!(fine, Ok(Vec::new()));
    let warnings = parsed("{ cluster: web }, { path: /a, cluster: web }").unwrap();
    assert!(warnings.len() == 1 && warnings[0].contains("never taken"), "{warnings:?}");
    // Denied either way.
    let warnings = parsed(&format!("{{ direct_response: {{ status: 404 }} }}, {denial}")).unwrap();
    assert!(warnings[0].contains("never taken"), "{warnings:?}");
}
