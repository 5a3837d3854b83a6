//! Routes that can never be taken, because an earlier one takes all that they would.

use super::{
    HeaderMatch, HostMatch, PathMatch, RouteSpec, RouteTable, ValueMatch, spec::begins_with_segments,
};

/// A route that can never be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shadowed {
    /// Its index.
    pub route: usize,
    /// The first earlier route that takes everything that it would.
    pub by: usize,
}

impl RouteTable {
    /// The routes that can never be taken because one earlier route takes all their requests; for warnings. Never names a
    /// route that can be taken, but may miss one that only several earlier routes together cover.
    pub fn unreachable(&self) -> Vec<Shadowed> {
        let by = |route: usize, spec: &RouteSpec| {
            let mut first = u32::MAX;
            self.visit_covering(spec, &mut |list| {
                let earlier = list.iter().take_while(|by| (**by as usize) < route && **by < first);
                let covers = |by: &&u32| self.routes.get(**by as usize).is_some_and(|by| covers(by, spec));
                first = { earlier }.find(covers).copied().unwrap_or(first);
            });
            (first != u32::MAX).then_some(Shadowed { route, by: first as usize })
        };
        self.routes.iter().enumerate().filter_map(|(route, spec)| by(route, spec)).collect()
    }

    /// Shows `see` the lists in which a route that covers `spec` can be: it has to take, among others, some request to the
    /// first of its hosts and its shortest path.
    fn visit_covering(&self, spec: &RouteSpec, see: &mut impl FnMut(&[u32])) {
        // Stands for any host below the suffix; no exact host can have its first character.
        let below = |suffix: &str| format!("*{suffix}");
        let host = match spec.hosts.first() {
            None => "".into(),
            Some(HostMatch::Exact(host)) => host.to_string(),
            Some(HostMatch::Suffix(suffix)) => below(suffix),
        };
        let path = match &spec.path {
            PathMatch::Any => "",
            PathMatch::Exact(path) | PathMatch::Prefix(path) => path,
        };
        self.visit(host.as_bytes(), path.as_bytes(), see);
    }
}

/// Whether `a` takes every request that `b` takes.
fn covers(a: &RouteSpec, b: &RouteSpec) -> bool {
    let hosts = a.hosts.is_empty()
        || (!b.hosts.is_empty() && b.hosts.iter().all(|b| a.hosts.iter().any(|a| covers_host(a, b))));
    let methods =
        a.methods.is_empty() || (!b.methods.is_empty() && b.methods.iter().all(|m| a.methods.contains(m)));
    hosts
        && methods
        && covers_path(&a.path, &b.path)
        && a.headers.iter().all(|a| b.headers.iter().any(|b| follows(a, b)))
}

impl RouteSpec {
    /// The header of which two conditions can never hold together: one asks for what the other forbids.
    pub fn contradiction(&self) -> Option<&str> {
        let (forbidden, asked): (Vec<_>, Vec<_>) = self.headers.iter().partition(|header| header.invert);
        let contradicted =
            |a: &&&HeaderMatch| forbidden.iter().any(|f| f.name == a.name && implies(&a.value, &f.value));
        asked.iter().find(contradicted).map(|header| &*header.name)
    }
}

fn covers_host(a: &HostMatch, b: &HostMatch) -> bool {
    match (a, b) {
        (HostMatch::Exact(a), HostMatch::Exact(b)) => a == b,
        (HostMatch::Exact(_), HostMatch::Suffix(_)) => false,
        (HostMatch::Suffix(a), HostMatch::Exact(b)) => b.len() > a.len() && b.ends_with(&**a),
        (HostMatch::Suffix(a), HostMatch::Suffix(b)) => b.ends_with(&**a),
    }
}

fn covers_path(a: &PathMatch, b: &PathMatch) -> bool {
    match (a, b) {
        (PathMatch::Any, _) => true,
        (_, PathMatch::Any) | (PathMatch::Exact(_), PathMatch::Prefix(_)) => false,
        (PathMatch::Exact(a), PathMatch::Exact(b)) => a == b,
        (PathMatch::Prefix(a), PathMatch::Exact(b) | PathMatch::Prefix(b)) => {
            begins_with_segments(b.as_bytes(), a.as_bytes())
        }
    }
}

/// Whether `a` holds wherever `b` does.
fn follows(a: &HeaderMatch, b: &HeaderMatch) -> bool {
    if a.name != b.name || a.invert != b.invert {
        return false;
    }
    // "No line is so" follows from "no line is so" the other way round.
    if a.invert { implies(&a.value, &b.value) } else { implies(&b.value, &a.value) }
}

/// Whether every value that `b` takes is one that `a` takes.
fn implies(b: &ValueMatch, a: &ValueMatch) -> bool {
    use ValueMatch::{Contains, Exact, Prefix, Present, Suffix};
    match (b, a) {
        (_, Present) => true,
        (Exact(value), a) => a.matches(value.as_bytes()),
        (Prefix(b), Prefix(a)) => b.starts_with(&**a),
        (Suffix(b), Suffix(a)) => b.ends_with(&**a),
        (Prefix(b) | Suffix(b) | Contains(b), Contains(a)) => b.contains(&**a),
        (b, a) => b == a,
    }
}
