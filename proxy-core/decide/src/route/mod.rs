//! Which route a request takes: the first in the order of the file whose conditions all hold.
//!
//! A [`RouteTable`] is compiled from [`RouteSpec`]s once. Each route is filed under the hosts and the path that it asks for;
//! a lookup visits the few files that this request's host and path can be in (the exact host, each configured suffix of
//! it, any host; in each the exact path, each configured prefix of it, any path) and keeps the lowest route of those whose
//! method and headers hold as well. So ten thousand routes with a host of their own cost what one costs; only routes of the
//! same host *and* the same path are looked at one after another. A lookup neither allocates nor copies, but for a host
//! that was sent in capitals (onto the stack).

mod shadow;
mod spec;

pub use shadow::Shadowed;
pub use spec::{
    HeaderMatch, Headers, HostError, HostMatch, PathMatch, Request, RouteSpec, ValueMatch, host_of,
};

use hashbrown::HashMap;
use spec::ends_segment;

/// The longest host that can be configured, and then some.
const MAX_HOST: usize = 255;

/// Compiled routes.
#[derive(Debug, Default)]
pub struct RouteTable {
    routes: Vec<RouteSpec>,
    hosts: Files<PathFiles>,
    suffixes: Files<PathFiles>,
    any: PathFiles,
}

/// Things filed under byte strings, and which lengths these have: what is too long or too short for all of them is not even
/// looked for.
#[derive(Debug)]
struct Files<T> {
    map: HashMap<Box<[u8]>, T, foldhash::fast::RandomState>,
    lengths: Vec<usize>,
}

impl<T> Default for Files<T> {
    fn default() -> Files<T> {
        Files { map: HashMap::default(), lengths: Vec::new() }
    }
}

impl<T: Default> Files<T> {
    fn file(&mut self, key: &str) -> &mut T {
        if let Err(at) = self.lengths.binary_search(&key.len()) {
            self.lengths.insert(at, key.len());
        }
        self.map.entry(key.as_bytes().into()).or_default()
    }
}

impl<T> Files<T> {
    fn find(&self, key: &[u8]) -> Option<&T> {
        if self.lengths.last().is_none_or(|longest| *longest < key.len()) {
            return None;
        }
        self.map.get(key)
    }
}

/// The routes of one host, by path; each list in order.
#[derive(Debug, Default)]
struct PathFiles {
    exact: Files<Vec<u32>>,
    prefix: Files<Vec<u32>>,
    any: Vec<u32>,
}

impl PathFiles {
    fn add(&mut self, path: &PathMatch, route: u32) {
        let list = match path {
            PathMatch::Any => &mut self.any,
            PathMatch::Exact(exact) => self.exact.file(exact),
            PathMatch::Prefix(prefix) => self.prefix.file(prefix),
        };
        // A route that names one host twice is filed once.
        if list.last() != Some(&route) {
            list.push(route);
        }
    }

    /// Shows `see` every list whose routes match `path`.
    fn visit(&self, path: &[u8], see: &mut impl FnMut(&[u32])) {
        if let Some(list) = self.exact.find(path) {
            see(list);
        }
        for len in &self.prefix.lengths {
            let Some(prefix) = path.get(..*len) else { break };
            if !ends_segment(path, *len) {
                continue;
            }
            if let Some(list) = self.prefix.map.get(prefix) {
                see(list);
            }
        }
        see(&self.any);
    }
}

impl RouteTable {
    /// Compiles routes, in the order of the file. Hosts, paths and names have to be as [`HostMatch`], [`PathMatch`] and
    /// [`HeaderMatch`] say; what is not never matches.
    pub fn new(routes: Vec<RouteSpec>) -> RouteTable {
        let mut table = RouteTable::default();
        for (index, route) in (0u32..).zip(&routes) {
            if route.hosts.is_empty() {
                table.any.add(&route.path, index);
            }
            for host in &route.hosts {
                let files = match host {
                    HostMatch::Exact(host) => table.hosts.file(host),
                    HostMatch::Suffix(suffix) => table.suffixes.file(suffix),
                };
                files.add(&route.path, index);
            }
        }
        table.routes = routes;
        table
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// The index of the first route that matches.
    pub fn find<H: Headers + ?Sized>(&self, request: &Request<'_, H>) -> Option<usize> {
        let mut best = u32::MAX;
        with_lower_case(host_of(request.host), |host| {
            self.visit(host, request.path, &mut |list| {
                for route in list.iter().take_while(|route| **route < best) {
                    if self.routes.get(*route as usize).is_some_and(|r| r.allows(request)) {
                        best = *route;
                        break;
                    }
                }
            });
        });
        (best != u32::MAX).then_some(best as usize)
    }

    /// Shows `see` every list whose routes match `host` (in lower case) and `path`.
    fn visit(&self, host: &[u8], path: &[u8], see: &mut impl FnMut(&[u32])) {
        if let Some(files) = self.hosts.find(host) {
            files.visit(path, see);
        }
        for len in &self.suffixes.lengths {
            // Something has to come before the suffix.
            let Some(start) = host.len().checked_sub(*len).filter(|start| *start > 0) else { break };
            let Some(suffix) = host.get(start..) else { break };
            if suffix.first() != Some(&b'.') {
                continue;
            }
            if let Some(files) = self.suffixes.map.get(suffix) {
                files.visit(path, see);
            }
        }
        self.any.visit(path, see);
    }
}

impl RouteSpec {
    /// Whether method and headers hold; host and path are known to.
    fn allows<H: Headers + ?Sized>(&self, request: &Request<'_, H>) -> bool {
        let method = self.methods.is_empty() || self.methods.iter().any(|m| m.as_bytes() == request.method);
        method
            && self.headers.iter().all(|header| {
                request.headers.any(&header.name, &mut |value| header.value.matches(value)) != header.invert
            })
    }
}

/// Calls `with` with `host` in lower case. A host longer than any that can be configured is passed as it is.
fn with_lower_case<R>(host: &[u8], with: impl FnOnce(&[u8]) -> R) -> R {
    if !host.iter().any(u8::is_ascii_uppercase) {
        return with(host);
    }
    let mut buffer = [0u8; MAX_HOST];
    match buffer.get_mut(..host.len()) {
        Some(lower) => {
            lower.copy_from_slice(host);
            lower.make_ascii_lowercase();
            with(lower)
        }
        None => with(host),
    }
}
