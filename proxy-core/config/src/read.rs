//! From the tree to the model: what every key of the core's tables becomes.

use crate::canonical;
use crate::diagnostic::Diagnostic;
use crate::fields::Fields;
use crate::limits::{CircuitBreaker, OutlierEjection};
use crate::model::{
    Balance, Cluster, Config, DnsFamily, EndpointSpec, Limits, Listener, Log, LogFormat, LogLevel, Source,
    Upstream, split_host_port,
};
use crate::network::{self, Bind, unix_path};
use crate::node::{Entry, Node};
use crate::table::Kind;
use crate::tables::{CLUSTER, FILE, LISTENER};
use crate::taken::Taken;
use crate::tls;
use crate::walk::Walk;
use crate::{MorePorts, Section, Settings};
use hashbrown::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Reads the whole file. `None` only when errors were recorded; a value alone does not mean that none were.
pub(crate) fn config<'a>(walk: &mut Walk<'a>, root: &'a Node, sections: &[&dyn Section]) -> Option<Config> {
    let file = walk.fields(root, &FILE)?;
    // Clusters go first, so that listeners can refer to them wherever they stand.
    let entries = root.child("clusters").and_then(|node| walk.map(node)).unwrap_or_default();
    walk.know_clusters(entries);
    // Most clusters have the standard limits; a file of thousands need not work them out thousands of times.
    let standard = CircuitBreaker::default();
    let clusters: Vec<_> = entries.iter().filter_map(|entry| cluster(walk, entry, standard)).collect();
    let mut addresses = Addresses::default();
    let listeners = listeners(walk, &file, sections, &mut addresses);
    for entry in entries {
        if !walk.is_used(entry.key()) {
            walk.warn(entry.value(), "no listener refers to this cluster");
        }
    }
    let admin = file.bind(walk, "admin");
    if let (Some(address), Some(node)) = (admin, file.child("admin")) {
        if !address.ip().is_loopback() {
            walk.warn(
                node,
                "the admin API has no authentication, and can be reached from outside of this host",
            );
        }
        if let Some(other) = addresses.own.by(&Bind::Ip(address)) {
            walk.error(node, format!("`listeners.{other}` listens on this address too"));
        }
    }
    let admin_hosts = file.items(walk, "admin_hosts").unwrap_or_default();
    let admin_hosts: Vec<_> = admin_hosts.iter().filter_map(|host| walk.text(host, &Kind::Host)).collect();
    if let (None, Some(node)) = (admin, file.child("admin_hosts")) {
        walk.warn(node, "there is no admin API that could be asked under these names: `admin` is left out");
    }
    Some(Config {
        file: walk.file(),
        workers: file.number::<usize>(walk, "workers").and_then(std::num::NonZeroUsize::new),
        admin,
        admin_hosts,
        log: log(walk, &file),
        drain_timeout: file.duration(walk, "drain_timeout").unwrap_or_default(),
        drain_delay: file.duration(walk, "drain_delay").unwrap_or_default(),
        limits: limits(walk, &file),
        listeners,
        clusters,
        warnings: Vec::<Diagnostic>::new(),
        text: canonical::of_entries(root, &["listeners", "clusters"]).into(),
    })
}

fn log(walk: &mut Walk<'_>, file: &Fields<'_>) -> Log {
    let table = file.table_or_default(walk, "log");
    Log {
        format: table.word(walk, "format").unwrap_or(LogFormat::Human),
        level: table.word(walk, "level").unwrap_or(LogLevel::Info),
    }
}

fn limits(walk: &mut Walk<'_>, file: &Fields<'_>) -> Limits {
    let table = file.table_or_default(walk, "limits");
    let replay_memory = table.number(walk, "replay_memory").unwrap_or_default();
    let mut number = |key| table.number(walk, key).unwrap_or_default();
    Limits {
        replay_memory,
        max_connections: number("max_connections"),
        operations: number("operations"),
        resources: number("resources"),
        codes: number("codes"),
        applications: number("applications"),
        places: number("places"),
        rows: number("rows"),
        outcomes: number("outcomes"),
        application_rows: number("application_rows"),
        call_sites: number("call_sites"),
        call_site_rows: number("call_site_rows"),
    }
}

fn listeners<'a>(
    walk: &mut Walk<'_>,
    file: &Fields<'a>,
    sections: &[&dyn Section],
    addresses: &mut Addresses<'a>,
) -> Vec<Arc<Listener>> {
    let entries = file.map(walk, "listeners").unwrap_or_default();
    if let (Some(node), []) = (file.child("listeners").filter(|node| node.entries().is_some()), entries) {
        walk.warn(node, "there is no listener: nothing will be served");
    }
    entries.iter().filter_map(|entry| listener(walk, entry, sections, addresses).map(Arc::new)).collect()
}

/// The addresses of listeners, and those beside them that they may open later.
#[derive(Default)]
struct Addresses<'a> {
    own: Taken<'a>,
    more: Taken<'a>,
}

impl<'a> Addresses<'a> {
    /// The listener `who` has this address, which `node` says.
    fn take(&mut self, walk: &mut Walk<'_>, node: &Node, bind: &Bind, who: &'a str) {
        if let Some(other) = self.own.by(bind).or_else(|| self.more.by(bind)) {
            walk.error(node, format!("`listeners.{other}` listens on this address too"));
        }
        self.own.take(bind.clone(), who);
    }

    /// The listener `who` may open these ports of its address too.
    fn take_more(&mut self, walk: &mut Walk<'_>, ports: &MorePorts<'_>, bind: &Bind, who: &'a str) {
        let Some(address) = bind.ip() else { return };
        let mut is_told = false;
        for port in ports.range.clone().filter(|port| *port != address.port()) {
            let bind = Bind::Ip(SocketAddr::new(address.ip(), port));
            if let Some(other) = self.own.by(&bind).or_else(|| self.more.by(&bind)).filter(|_| !is_told) {
                is_told = true;
                walk.error(ports.node, format!("`listeners.{other}` may listen on port {port} too"));
            }
            self.more.take(bind, who);
        }
    }
}

fn listener<'a>(
    walk: &mut Walk<'_>,
    entry: &'a Entry,
    sections: &[&dyn Section],
    addresses: &mut Addresses<'a>,
) -> Option<Listener> {
    let named = walk.name(entry);
    let keys: Vec<&'static str> = sections.iter().map(|section| section.key()).collect();
    let fields = walk.fields_with(entry.value(), &LISTENER, &keys)?;
    let section = section(walk, entry, sections);
    let tls = fields.table(walk, "tls").map(|tls| tls::server(walk, &tls));
    let bind = fields.listen(walk, "bind");
    // Whatever else is wrong with it.
    if let (Some(bind), Some(node)) = (&bind, fields.child("bind")) {
        addresses.take(walk, node, bind, entry.key());
        if let Some((section, node, settings)) = &section
            && let Some(ports) = section.more_ports(walk, node, settings, bind)
        {
            addresses.take_more(walk, &ports, bind, entry.key());
        }
    }
    let unix_mode = unix_mode(walk, &fields, bind.as_ref());
    let max_connections = fields.number(walk, "max_connections").unwrap_or_default();
    let admission = network::admission(walk, &fields, bind.as_ref());
    let protocol = section.as_ref().map(|(section, ..)| (section.key(), section.has_fields()));
    let via = fields.flag(walk, "via").unwrap_or_default();
    let trusted = network::trusted(walk, &fields, bind.as_ref(), protocol);
    let idle_timeout = fields.duration(walk, "idle_timeout").filter(|timeout| *timeout > Duration::ZERO);
    let (section, _, settings) = section?;
    let (text, print) = canonical::of(entry.value());
    if !named {
        return None;
    }
    Some(Listener {
        name: entry.key().into(),
        at: entry.key_position(),
        bind: bind?,
        unix_mode,
        tls: match tls {
            None => None,
            Some(tls) => Some(tls?),
        },
        max_connections,
        admission,
        trusted,
        via,
        idle_timeout,
        protocol: section.key(),
        settings,
        text: text.into(),
        print,
    })
}

fn unix_mode(walk: &mut Walk<'_>, fields: &Fields<'_>, bind: Option<&Bind>) -> u32 {
    let text = fields.text(walk, "unix_mode").unwrap_or_default();
    let is_octal = (3..=4).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
    let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| is_octal && *mode <= 0o777);
    if let Some(node) = fields.child("unix_mode").filter(|node| !node.is_broken()) {
        if mode.is_none() {
            walk.error(node, "expected the mode of a file, such as `0660`");
        } else if bind.is_some_and(|bind| bind.path().is_none()) {
            walk.error(node, "`unix_mode` is of no use where `bind` is no Unix socket");
        }
    }
    mode.unwrap_or_default()
}

/// The one section of a listener, read by its filter.
fn section<'a, 's>(
    walk: &mut Walk<'_>,
    entry: &'a Entry,
    sections: &[&'s dyn Section],
) -> Option<(&'s dyn Section, &'a Node, Settings)> {
    let mut read = None;
    let mut first: Option<&str> = None;
    for part in entry.value().entries()? {
        let Some(section) = sections.iter().find(|section| section.key() == part.key()) else { continue };
        if let Some(first) = first {
            walk.error_at_key(part, format!("cannot stand beside `{first}`: a listener speaks one protocol"));
        }
        // The second is read as well, for what is wrong in it.
        part.seen.read();
        let settings = section.read(walk, part.value());
        if settings.is_none() && walk.error_count() == 0 {
            // A section that is refused without a word would be dropped in silence.
            walk.error(part.value(), "this section could not be read");
        }
        if first.is_none() {
            read = settings.map(|settings| (*section, part.value(), settings));
        }
        first = first.or(Some(part.key()));
    }
    read
}

fn cluster(walk: &mut Walk<'_>, entry: &Entry, standard: CircuitBreaker) -> Option<Arc<Cluster>> {
    let named = walk.name(entry);
    let fields = walk.fields(entry.value(), &CLUSTER)?;
    let source = source(walk, &fields);
    let tls = fields.table(walk, "tls").map(|tls| tls::client(walk, &tls));
    if let (Some(tls), Some(Source::Endpoints(list))) = (&tls, &source)
        && tls.sni.is_none()
        && let Some(socket) = list.iter().find(|endpoint| unix_path(&endpoint.address).is_some())
        && let Some(node) = fields.child("tls")
    {
        walk.error(
            node,
            format!("`{}` has no name that its certificate could be for: give `sni`", socket.address),
        );
    }
    let proxy_protocol = fields.child("proxy_protocol").and_then(|_| fields.word(walk, "proxy_protocol"));
    let protocol = fields.word(walk, "protocol").unwrap_or(Upstream::Http1);
    let via = fields.flag(walk, "via").unwrap_or_default();
    let balance = fields.word(walk, "balance").unwrap_or(Balance::RoundRobin);
    let circuit_breaker =
        fields.table(walk, "circuit_breaker").map_or(standard, |table| CircuitBreaker::read(walk, &table));
    let outlier_ejection = fields.table(walk, "outlier_ejection").map(|table| outlier_ejection(walk, &table));
    let connect_timeout = fields.duration(walk, "connect_timeout").unwrap_or_default();
    let idle_timeout = fields.duration(walk, "idle_timeout").unwrap_or_default();
    let dns_refresh = fields.duration(walk, "dns_refresh").unwrap_or_default();
    let dns_family = fields.word(walk, "dns_family").unwrap_or(DnsFamily::Auto);
    let http2 = crate::http2::Http2::read(walk, &fields);
    if !named {
        return None;
    }
    let (text, print) = canonical::of(entry.value());
    Some(Arc::new(Cluster {
        name: walk.cluster_name(entry.key()),
        at: entry.key_position(),
        source: source?,
        tls,
        proxy_protocol,
        protocol,
        via,
        balance,
        circuit_breaker,
        outlier_ejection,
        connect_timeout,
        idle_timeout,
        dns_refresh,
        dns_family,
        http2,
        text: text.into(),
        print,
    }))
}

fn source(walk: &mut Walk<'_>, fields: &Fields<'_>) -> Option<Source> {
    if let Some(address) = fields.text(walk, "dns") {
        let (host, port) = split_host_port(&address);
        return Some(Source::Dns { host: host.into(), port });
    }
    let items = fields.items(walk, "endpoints")?;
    let mut specs = Vec::with_capacity(items.len());
    let mut seen: HashMap<Arc<str>, &Node> = HashMap::default();
    for item in items {
        let Some(spec) = endpoint(walk, item) else { continue };
        if let Some(first) = seen.get(&spec.address) {
            let at = first.position();
            walk.error(
                item,
                format!("this endpoint is listed twice, first at {at}; a `weight` gives it more"),
            );
        } else if items.len() > 1 {
            seen.insert(spec.address.clone(), item);
        }
        specs.push(spec);
    }
    Some(Source::Endpoints(specs))
}

fn endpoint(walk: &mut Walk<'_>, node: &Node) -> Option<EndpointSpec> {
    use crate::tables::ENDPOINT;
    if node.entries().is_none() {
        return Some(EndpointSpec { address: walk.endpoint(node)?, weight: 1 });
    }
    let fields = walk.fields(node, &ENDPOINT)?;
    let address = fields.text(walk, "address");
    let weight = fields.number(walk, "weight");
    Some(EndpointSpec { address: address?, weight: weight? })
}

fn outlier_ejection(walk: &mut Walk<'_>, fields: &Fields<'_>) -> OutlierEjection {
    let ejection = OutlierEjection::read(walk, fields);
    if ejection.max_ejection_time < ejection.base_ejection_time
        && let Some(node) = fields.child("max_ejection_time").or_else(|| fields.child("base_ejection_time"))
        && !fields.child("base_ejection_time").is_some_and(Node::is_broken)
    {
        walk.error(node, "`max_ejection_time` is shorter than `base_ejection_time`");
    }
    ejection
}
