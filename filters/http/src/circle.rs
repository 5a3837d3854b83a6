//! Clusters that lead back to the listener that their requests come by, as far as the file tells: by addresses that are written out, or
//! `localhost`. What stands behind a name, or in another process, is not known here.

use crate::config;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use weir_config::{Bind, Cluster, Config, Listener, Source, unix_path};

/// What an operator should know: a request to `listener` can come back to it.
pub fn find(listener: &Listener, config: &Config) -> Option<String> {
    let clusters: HashMap<&str, &Cluster> =
        config.clusters.iter().map(|cluster| (&*cluster.name, &**cluster)).collect();
    let mut seen: HashSet<&str> = HashSet::new();
    // Listeners to be looked at, and the cluster by which the request leaves the first one.
    let mut next: Vec<(&Listener, Option<&str>)> = vec![(listener, None)];
    while let Some((at, by)) = next.pop() {
        for cluster in targets(at).filter_map(|name| clusters.get(name)) {
            let by = by.unwrap_or(&cluster.name);
            for reached in config.listeners.iter().filter(|other| leads_to(cluster, &other.bind)) {
                if *reached.name == *listener.name {
                    return Some(match *at.name == *listener.name {
                        true => format!("the cluster `{by}` leads back to this listener: requests go round"),
                        false => format!(
                            "the cluster `{by}` leads back to this listener by way of `{}`: requests can go round",
                            at.name
                        ),
                    });
                }
                if seen.insert(&reached.name) {
                    next.push((reached, Some(by)));
                }
            }
        }
    }
    None
}

/// The clusters that a listener's requests go to.
fn targets(listener: &Listener) -> impl Iterator<Item = &str> {
    let http = listener.settings.downcast_ref::<config::Http>();
    let mut known = HashSet::new();
    http.into_iter().flat_map(|http| &http.routes).filter_map(move |route| match &route.action {
        config::Action::Cluster(name) => known.insert(&**name).then_some(&**name),
        _ => None,
    })
}

fn leads_to(cluster: &Cluster, bind: &Bind) -> bool {
    match &cluster.source {
        Source::Dns { host, port } => is_at(host, *port, bind),
        Source::Endpoints(all) => {
            all.iter().any(|endpoint| match (unix_path(&endpoint.address), bind.path()) {
                (Some(path), Some(bound)) => **bound == *std::path::Path::new(path),
                (None, None) => {
                    let (host, port) = endpoint.host_port();
                    is_at(host, port, bind)
                }
                _ => false,
            })
        }
    }
}

fn is_at(host: &str, port: u16, bind: &Bind) -> bool {
    let Some(bound) = bind.ip().filter(|bound| bound.port() == port && port != 0) else { return false };
    let own = bound.ip().to_canonical();
    if host.eq_ignore_ascii_case("localhost") {
        return own.is_loopback() || own.is_unspecified();
    }
    host.parse::<IpAddr>().is_ok_and(|ip| {
        let ip = ip.to_canonical();
        ip == own || (own.is_unspecified() && ip.is_loopback() && ip.is_ipv4() == own.is_ipv4())
    })
}
