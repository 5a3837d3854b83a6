//! Which route a request takes, and which routes none ever will.

use proptest::prelude::*;
use weir_decide::route::{
    HeaderMatch, HostError, HostMatch, PathMatch, Request, RouteSpec, RouteTable, Shadowed, ValueMatch,
    host_of,
};

fn hosts(of: &[&str]) -> Vec<HostMatch> {
    of.iter().filter_map(|host| HostMatch::parse(host).unwrap()).collect()
}

fn exact(path: &str) -> PathMatch {
    PathMatch::Exact(path.into())
}

fn prefix(path: &str) -> PathMatch {
    PathMatch::Prefix(path.into())
}

fn header(name: &str, value: ValueMatch) -> HeaderMatch {
    HeaderMatch { name: name.into(), value, invert: false }
}

fn route(host: &[&str], path: PathMatch) -> RouteSpec {
    RouteSpec { hosts: hosts(host), path, ..RouteSpec::default() }
}

fn find(table: &RouteTable, host: &str, path: &str) -> Option<usize> {
    let headers: &[(&[u8], &[u8])] = &[];
    table.find(&Request { host: host.as_bytes(), path: path.as_bytes(), method: b"GET", headers })
}

#[test]
fn the_first_match_wins_across_all_kinds_of_hosts() {
    let table = RouteTable::new(vec![
        route(&["a.example.com"], prefix("/only")),
        route(&["*.example.com"], prefix("/wild")),
        route(&[], prefix("/any")),
        route(&["a.example.com"], PathMatch::Any),
        route(&["*.example.com", "other"], PathMatch::Any),
        route(&[], exact("/")),
    ]);
    for (host, path, expected) in [
        ("a.example.com", "/only", Some(0)),
        ("a.example.com", "/wild/x", Some(1)),
        ("a.example.com", "/any", Some(2)),
        ("a.example.com", "/", Some(3)),
        ("A.EXAMPLE.COM:8443", "/", Some(3)),
        ("a.example.com.", "/", Some(3)),
        ("a.example.com.:80", "/", Some(3)),
        ("b.a.example.com", "/", Some(4)),
        ("example.com", "/", Some(5)),
        ("xexample.com", "/", Some(5)),
        (".example.com", "/", Some(5)),
        ("other", "*", Some(4)),
        ("", "/", Some(5)),
        ("", "*", None),
        ("nowhere", "/none", None),
    ] {
        assert_eq!(find(&table, host, path), expected, "{host} {path}");
    }
}

#[test]
fn prefixes_end_at_segments() {
    for (pattern, path, expected) in [
        ("/orders", "/orders", true),
        ("/orders", "/orders/", true),
        ("/orders", "/orders/7", true),
        ("/orders", "/orders7", false),
        ("/orders", "/order", false),
        ("/orders", "/Orders", false),
        ("/orders/", "/orders", false),
        ("/orders/", "/orders/", true),
        ("/orders/", "/orders/7", true),
        ("/", "/", true),
        ("/", "/anything", true),
        ("/", "*", false),
        ("/a/b", "/a/b/c", true),
        ("/a//b", "/a//b", true),
    ] {
        assert_eq!(prefix(pattern).matches(path.as_bytes()), expected, "{pattern} {path}");
        let table = RouteTable::new(vec![route(&[], prefix(pattern))]);
        assert_eq!(find(&table, "h", path).is_some(), expected, "{pattern} {path}");
    }
}

#[test]
fn hosts_are_read_strictly() {
    let exact = |host: &str| Ok(Some(HostMatch::Exact(host.into())));
    let suffix = |host: &str| Ok(Some(HostMatch::Suffix(host.into())));
    for (text, expected) in [
        ("*", Ok(None)),
        ("Example.COM", exact("example.com")),
        ("example.com.", exact("example.com")),
        ("*.Example.com", suffix(".example.com")),
        ("10.0.0.1", exact("10.0.0.1")),
        ("[::1]", exact("[::1]")),
        ("[::1]:80", Err(HostError::Port)),
        ("[zz]", Err(HostError::Character)),
        ("", Err(HostError::Empty)),
        ("*.", Err(HostError::Empty)),
        (".", Err(HostError::Empty)),
        ("*example.com", Err(HostError::Wildcard)),
        ("a.*.com", Err(HostError::Wildcard)),
        ("*.*.com", Err(HostError::Wildcard)),
        ("example.com:80", Err(HostError::Port)),
        ("exa mple", Err(HostError::Character)),
        ("exämple", Err(HostError::Character)),
    ] {
        assert_eq!(HostMatch::parse(text), expected, "{text}");
    }
    assert_eq!(HostMatch::parse(&"a".repeat(254)), Err(HostError::TooLong));
}

#[test]
fn ports_are_left_out() {
    for (authority, host) in [
        ("example.com", "example.com"),
        ("example.com:80", "example.com"),
        ("example.com:", "example.com"),
        ("[::1]", "[::1]"),
        ("[::1]:443", "[::1]"),
        ("example.com:80x", "example.com:80x"),
        ("", ""),
        (":80", ""),
    ] {
        assert_eq!(host_of(authority.as_bytes()), host.as_bytes(), "{authority}");
    }
}

#[test]
fn methods_and_headers() {
    let table = RouteTable::new(vec![
        RouteSpec { methods: vec!["POST".into(), "PUT".into()], ..RouteSpec::default() },
        RouteSpec {
            headers: vec![header("x-version", ValueMatch::Exact("2".into()))],
            ..RouteSpec::default()
        },
        RouteSpec {
            headers: vec![
                header("accept", ValueMatch::Prefix("application/".into())),
                header("accept", ValueMatch::Suffix("json".into())),
            ],
            ..RouteSpec::default()
        },
        RouteSpec {
            headers: vec![header("agent", ValueMatch::Contains("bot".into()))],
            ..RouteSpec::default()
        },
        RouteSpec {
            headers: vec![HeaderMatch { invert: true, ..header("authorization", ValueMatch::Present) }],
            ..RouteSpec::default()
        },
        RouteSpec::default(),
    ]);
    type Lines<'a> = &'a [(&'a [u8], &'a [u8])];
    let authorized: (&[u8], &[u8]) = (b"Authorization", b"secret");
    for (method, headers, expected) in [
        ("POST", &[] as Lines<'_>, 0),
        ("post", &[authorized], 5),
        ("GET", &[authorized, (b"X-Version", b"1"), (b"x-version", b"2")], 1),
        ("GET", &[authorized, (b"x-version", b"22")], 5),
        ("GET", &[authorized, (b"accept", b"application/json")], 2),
        ("GET", &[authorized, (b"accept", b"application/xml")], 5),
        ("GET", &[authorized, (b"agent", b"a robot")], 3),
        ("GET", &[authorized, (b"agent", b"bo")], 5),
        ("GET", &[], 4),
    ] {
        let request = Request { host: b"h", path: b"/", method: method.as_bytes(), headers };
        assert_eq!(table.find(&request), Some(expected), "{method} {headers:?}");
    }
}

#[test]
fn routes_that_nothing_reaches() {
    let get = RouteSpec { methods: vec!["GET".into()], ..RouteSpec::default() };
    let get_or_post = RouteSpec { methods: vec!["POST".into(), "GET".into()], ..RouteSpec::default() };
    let with = |value| RouteSpec { headers: vec![header("v", value)], ..RouteSpec::default() };
    let without = |value| RouteSpec {
        headers: vec![HeaderMatch { invert: true, ..header("v", value) }],
        ..RouteSpec::default()
    };
    let any = PathMatch::Any;
    let text = |text: &str| Box::<str>::from(text);
    let table = [
        (RouteSpec::default(), route(&["a"], prefix("/x")), true),
        (route(&["a"], prefix("/x")), RouteSpec::default(), false),
        (route(&["*.a"], any.clone()), route(&["b.a"], exact("/")), true),
        (route(&["*.a"], any.clone()), route(&["*.b.a"], exact("/")), true),
        (route(&["*.b.a"], any.clone()), route(&["*.a"], exact("/")), false),
        (route(&["*.a"], any.clone()), route(&["a"], exact("/")), false),
        (route(&["a", "b"], any.clone()), route(&["b", "a"], any.clone()), true),
        (route(&["a"], any.clone()), route(&["a", "b"], any.clone()), false),
        (route(&["a"], any.clone()), route(&[], any.clone()), false),
        (route(&[], prefix("/x")), route(&[], prefix("/x/")), true),
        (route(&[], prefix("/x/")), route(&[], prefix("/x")), false),
        (route(&[], prefix("/x")), route(&[], exact("/x/y")), true),
        (route(&[], prefix("/x")), route(&[], exact("/xy")), false),
        (route(&[], exact("/x")), route(&[], exact("/x")), true),
        (route(&[], exact("/x")), route(&[], prefix("/x")), false),
        (route(&[], prefix("/")), route(&[], any), false),
        (get_or_post.clone(), get.clone(), true),
        (get.clone(), get_or_post, false),
        (get.clone(), RouteSpec::default(), false),
        (with(ValueMatch::Present), with(ValueMatch::Exact(text("2"))), true),
        (with(ValueMatch::Exact(text("2"))), with(ValueMatch::Present), false),
        (with(ValueMatch::Prefix(text("a"))), with(ValueMatch::Prefix(text("ab"))), true),
        (with(ValueMatch::Prefix(text("ab"))), with(ValueMatch::Prefix(text("a"))), false),
        (with(ValueMatch::Contains(text("b"))), with(ValueMatch::Suffix(text("abc"))), true),
        (with(ValueMatch::Exact(text("a"))), get, false),
        (without(ValueMatch::Prefix(text("a"))), without(ValueMatch::Present), true),
        (without(ValueMatch::Present), without(ValueMatch::Prefix(text("a"))), false),
        (without(ValueMatch::Present), with(ValueMatch::Exact(text("a"))), false),
    ];
    for (first, second, expected) in table {
        let name = format!("{first:?} before {second:?}");
        let shadowed = RouteTable::new(vec![first, second]).unreachable();
        let by = if expected { vec![Shadowed { route: 1, by: 0 }] } else { Vec::new() };
        assert_eq!(shadowed, by, "{name}");
    }
}

fn some_host() -> impl Strategy<Value = String> {
    let label = prop::sample::select(vec!["a", "b", "c"]);
    prop::collection::vec(label, 1..4).prop_map(|labels| labels.join("."))
}

fn some_path() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec!["x", "y", "xy", ""]);
    prop::collection::vec(segment, 0..4).prop_map(|segments| format!("/{}", segments.join("/")))
}

prop_compose! {
    fn some_route()(
        hosts in prop::collection::vec((any::<bool>(), some_host()), 0..3),
        path in some_path(),
        kind in 0u8..4,
        methods in prop::collection::vec(prop::sample::select(vec!["GET", "POST", "PUT"]), 0..3),
        value in prop::option::weighted(0.3, (prop::sample::select(vec!["", "1", "12", "2"]), 0usize..5, any::<bool>())),
    ) -> RouteSpec {
        let host = |(wild, host): (bool, String)| {
            HostMatch::parse(&if wild { format!("*.{host}") } else { host }).unwrap().unwrap()
        };
        let value = value.map(|(value, kind, invert)| {
            let value = [
                ValueMatch::Present,
                ValueMatch::Exact(value.into()),
                ValueMatch::Prefix(value.into()),
                ValueMatch::Suffix(value.into()),
                ValueMatch::Contains(value.into()),
            ].into_iter().nth(kind).unwrap();
            HeaderMatch { name: "v".into(), value, invert }
        });
        RouteSpec {
            hosts: hosts.into_iter().map(host).collect(),
            path: match kind {
                0 => PathMatch::Any,
                1 => PathMatch::Exact(path.into()),
                _ => PathMatch::Prefix(path.into()),
            },
            methods: methods.into_iter().map(Into::into).collect(),
            headers: value.into_iter().collect(),
        }
    }
}

/// What a reader of the file would say.
fn naive(routes: &[RouteSpec], host: &str, path: &str, method: &str, value: Option<&str>) -> Option<usize> {
    let host = host.to_lowercase();
    routes.iter().position(|route| {
        let host_fits = route.hosts.is_empty()
            || route.hosts.iter().any(|pattern| match pattern {
                HostMatch::Exact(exact) => **exact == host,
                HostMatch::Suffix(suffix) => {
                    host.strip_suffix(&**suffix).is_some_and(|rest| !rest.is_empty())
                }
            });
        let path_fits = match &route.path {
            PathMatch::Any => true,
            PathMatch::Exact(exact) => **exact == *path,
            PathMatch::Prefix(prefix) => path
                .strip_prefix(&**prefix)
                .is_some_and(|rest| prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/')),
        };
        let method_fits = route.methods.is_empty() || route.methods.iter().any(|m| **m == *method);
        let headers_fit = route.headers.iter().all(|header| {
            value.is_some_and(|value| match &header.value {
                ValueMatch::Present => true,
                ValueMatch::Exact(exact) => **exact == *value,
                ValueMatch::Prefix(prefix) => value.starts_with(&**prefix),
                ValueMatch::Suffix(suffix) => value.ends_with(&**suffix),
                ValueMatch::Contains(part) => value.contains(&**part),
            }) != header.invert
        });
        host_fits && path_fits && method_fits && headers_fit
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn finds_what_a_reader_of_the_file_finds(
        routes in prop::collection::vec(some_route(), 0..40),
        requests in prop::collection::vec(
            (
                some_host(),
                some_path(),
                prop::sample::select(vec!["GET", "POST", "HEAD"]),
                prop::option::of(prop::sample::select(vec!["", "1", "12", "21"])),
                any::<bool>(),
            ),
            1..40,
        ),
    ) {
        let table = RouteTable::new(routes.clone());
        let unreachable = table.unreachable();
        for (host, path, method, value, loud) in requests {
            let expected = naive(&routes, &host, &path, method, value);
            let sent = if loud { format!("{}:8080", host.to_uppercase()) } else { host.clone() };
            let headers: Vec<(&[u8], &[u8])> = value.iter().map(|v| (&b"V"[..], v.as_bytes())).collect();
            let request = Request {
                host: sent.as_bytes(), path: path.as_bytes(), method: method.as_bytes(), headers: &headers[..],
            };
            prop_assert_eq!(table.find(&request), expected, "{} {} {} {:?}", sent, path, method, value);
            let hidden = unreachable.iter().find(|shadowed| Some(shadowed.route) == expected);
            prop_assert_eq!(hidden, None, "a route called unreachable was reached");
        }
    }

    #[test]
    fn whatever_is_sent_is_looked_up_without_a_panic(
        routes in prop::collection::vec(some_route(), 0..10),
        host in prop::collection::vec(any::<u8>(), 0..600),
        path in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let headers: &[(&[u8], &[u8])] = &[];
        RouteTable::new(routes).find(&Request { host: &host, path: &path, method: b"", headers });
    }
}
