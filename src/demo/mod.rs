//! `weir demo`: four small servers, four small loads, and Weir between them, all in this process; nothing to install.
//!
//! The servers ([`mongo`], [`dynamodb`], [`grpc`], [`http`]) listen on loopback ports of the system's choosing. They answer well
//! most of the time and badly some of the time, so that every column of the table moves. Each module holds its server and the
//! load that talks to it through Weir.

mod dynamodb;
mod grpc;
mod http;
mod mongo;
mod wire;

use crate::args::Redraw;
use crate::ask::Admin;
use crate::log::Kept;
use crate::origin::Origin;
use crate::run::run_beside;
use crate::say;
use crate::top::screen::{self, OtherScreen};
use crate::top::sheet::Sheet;
use anyhow::{Context as _, Result};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;
use weir_drive::Server;

/// Where the demo's admin API listens; any free port when somebody has it.
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9901);

/// Runs the demo: for so many seconds, or until a signal ends it.
pub fn run(seconds: Option<u64>, redraw: Redraw) -> Result<ExitCode> {
    let servers = beside(servers())?;
    let taken = std::net::TcpListener::bind(ADMIN).is_err();
    let admin = if taken { SocketAddr::new(ADMIN.ip(), free_port()?) } else { ADMIN };
    let redraw = redraw == Redraw::Auto && say::can_draw(&std::io::stdout());
    // Log lines would tear the table.
    let kept = redraw.then(Kept::default);
    run_beside(Origin::Text(config(&servers, admin)), kept.clone(), |server, _| {
        show(Arc::clone(server), admin, seconds, kept)
    })
}

fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind((ADMIN.ip(), 0))?.local_addr()?.port())
}

/// Runs `start` on a thread of its own, with a runtime that lives as long as the process, and gives what it gives.
fn beside<T: Send + 'static>(start: impl Future<Output = std::io::Result<T>> + Send + 'static) -> Result<T> {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::Builder::new().name("demo".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return };
        LocalSet::new().block_on(&runtime, async move {
            let _ = tell.send(start.await);
            std::future::pending::<()>().await;
        });
    })?;
    told.recv().context("the demo's servers did not start")?.context("the demo's servers cannot start")
}

/// Shows the table every second.
async fn show(server: Arc<Server>, admin: SocketAddr, seconds: Option<u64>, kept: Option<Kept>) {
    let at = |name| server.address(name);
    let (Some(mongo), Some(dynamodb), Some(grpc), Some(http)) =
        (at("shop-db"), at("table-store"), at("greeter"), at("web"))
    else {
        return;
    };
    let start = async move {
        loads(Fronts { mongo, dynamodb, grpc, http });
        Ok(())
    };
    if beside(start).is_err() {
        return;
    }
    let title = format!(
        "Weir stands between four small servers and their clients:\n\n  \
         mongo     {mongo}\n  dynamodb  {dynamodb}\n  grpc      {grpc}\n  http      {http}\n\n\
         The numbers are at http://{admin}/metrics; this table is `weir stats --admin {admin}`.\n\n"
    );
    let Ok(mut shown) = Shown::begin(title, kept) else { return };
    let Ok(mut resized) = signal(SignalKind::window_change()) else { return };
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.tick().await;
    let (admin, mut second) = (Admin::from(admin), 0);
    loop {
        let is_resized = tokio::select! {
            _ = tick.tick() => false,
            _ = resized.recv() => true,
        };
        if !is_resized {
            second += 1;
            let admin = admin.clone();
            let table = tokio::task::spawn_blocking(move || crate::stats::table(&admin)).await;
            let Ok(Ok(table)) = table else { continue };
            shown.table = Some(table);
        }
        // Who does not look any more needs no demo.
        if shown.show(is_resized).is_err() || seconds.is_some_and(|seconds| second >= seconds) {
            return;
        }
    }
}

/// What is shown: drawn in place on a terminal, else one table after the other.
struct Shown {
    title: String,
    table: Option<Sheet>,
    /// `None`: not in place.
    place: Option<(OtherScreen, Kept)>,
}

impl Shown {
    fn begin(title: String, kept: Option<Kept>) -> Result<Shown> {
        let place = match kept {
            Some(kept) => Some((OtherScreen::enter()?, kept)),
            None => {
                say::out(&title)?;
                None
            }
        };
        Ok(Shown { title, table: None, place })
    }

    fn show(&self, is_resized: bool) -> Result<()> {
        let Some(table) = &self.table else { return Ok(()) };
        match &self.place {
            Some((_, kept)) => {
                let (title, table) = (&self.title, table.text("", Some(screen::window().1)));
                screen::draw(&format!("{title}{table}\n{}\n", kept.lines().join("\n")))?;
            }
            None if is_resized => {}
            None => say::out(&table.text("", None))?,
        }
        Ok(())
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        // The last of it stays to be read.
        if let (Some((other, kept)), Some(table)) = (self.place.take(), &self.table) {
            drop(other);
            let width = screen::window().1;
            let _ = say::out(&format!("{}{}", self.title, table.text("", Some(width))));
            kept.lines().iter().for_each(|line| say::err(line));
        }
    }
}

/// The servers' addresses.
#[derive(Debug, Clone, Copy)]
pub struct Servers {
    /// Speaks MongoDB's wire protocol.
    pub mongo: SocketAddr,
    /// Speaks DynamoDB's JSON over HTTP.
    pub dynamodb: SocketAddr,
    /// Speaks gRPC.
    pub grpc: SocketAddr,
    /// Three that speak HTTP/1.1, one of which fails.
    pub http: [SocketAddr; 3],
}

/// Where Weir listens, for the loads to call.
#[derive(Debug, Clone, Copy)]
pub struct Fronts {
    /// The listener of each protocol.
    pub mongo: SocketAddr,
    /// DynamoDB's.
    pub dynamodb: SocketAddr,
    /// gRPC's.
    pub grpc: SocketAddr,
    /// HTTP's.
    pub http: SocketAddr,
}

async fn bound() -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Starts the servers on the current `LocalSet`.
pub async fn servers() -> std::io::Result<Servers> {
    let (mongo_listener, mongo) = bound().await?;
    tokio::task::spawn_local(mongo::serve(mongo_listener));
    let (dynamodb_listener, dynamodb) = bound().await?;
    tokio::task::spawn_local(dynamodb::serve(dynamodb_listener));
    let (grpc_listener, grpc) = bound().await?;
    tokio::task::spawn_local(grpc::serve(grpc_listener));
    let mut http = [SocketAddr::from(([127, 0, 0, 1], 0)); 3];
    for (number, address) in http.iter_mut().enumerate() {
        let (listener, at) = bound().await?;
        *address = at;
        tokio::task::spawn_local(http::serve(listener, number == 2));
    }
    Ok(Servers { mongo, dynamodb, grpc, http })
}

/// Starts the loads on the current `LocalSet`; they end with it.
pub fn loads(fronts: Fronts) {
    tokio::task::spawn_local(mongo::load(fronts.mongo));
    tokio::task::spawn_local(dynamodb::load(fronts.dynamodb));
    tokio::task::spawn_local(grpc::load(fronts.grpc));
    tokio::task::spawn_local(http::load(fronts.http));
}

/// The configuration that puts Weir between them.
pub fn config(servers: &Servers, admin: SocketAddr) -> String {
    let Servers { mongo, dynamodb, grpc, http: [one, two, three] } = servers;
    format!(
        r#"admin: "{admin}"
log: {{ level: warn }}
workers: 1
listeners:
  shop-db:     {{ bind: "127.0.0.1:0", mongo: {{ cluster: mongo }} }}
  table-store: {{ bind: "127.0.0.1:0", dynamodb: {{ cluster: dynamo }} }}
  greeter:     {{ bind: "127.0.0.1:0", grpc: {{ cluster: greeter }} }}
  web:
    bind: "127.0.0.1:0"
    http:
      routes:
        - {{ name: health, path: /health, direct_response: {{ status: 200, body: ok }} }}
        - {{ name: orders, path_prefix: /orders, cluster: web, timeout: 2s, retry: {{ retry_on: [5xx, connect-failure], max_retries: 2 }} }}
        - {{ name: pages, cluster: web }}
clusters:
  mongo:   {{ endpoints: ["{mongo}"] }}
  dynamo:  {{ endpoints: ["{dynamodb}"] }}
  greeter: {{ endpoints: ["{grpc}"], protocol: http2 }}
  web:     {{ endpoints: ["{one}", "{two}", "{three}"], balance: least_request, outlier_ejection: {{}} }}
"#
    )
}
