//! The admin thread: its runtime, its socket, its connections and their bounds.

use crate::State;
use crate::guard::Guard;
use crate::routes::Routes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use weir_measure::{Counter, names};

/// The largest head of a request, in bytes.
pub const MAX_HEAD: usize = 16 * 1024;
/// How long answers under way may still take once the console stops.
pub const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// What clients may take of the admin API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at a time; further ones are closed at once and counted.
    pub max_connections: usize,
    /// How long a request's head may take, from the first moment it is waited for: also how long a connection may idle.
    pub head_timeout: Duration,
    /// How long a reader may take none of an answer that is ready for it.
    pub stall_timeout: Duration,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            max_connections: 64,
            head_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(10),
        }
    }
}

/// What the admin API is to be.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it listens. Port 0: any free port.
    pub address: SocketAddr,
    /// Names that clients may call it by (in `Host`), besides its address and `localhost`.
    pub hosts: Vec<String>,
    /// Weir's version.
    pub version: &'static str,
    /// The protocols of this binary.
    pub protocols: Vec<&'static str>,
    /// What clients may take of it.
    pub bounds: Bounds,
}

/// Why there is no admin API.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be had: most often because somebody else has it.
    #[error("admin: cannot listen on {address}: {error}")]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The system gives no thread or no runtime.
    #[error("admin: cannot start a thread: {0}")]
    Thread(io::Error),
}

/// The running admin API. Stops when it is dropped; [`Console::stop`] also waits for answers under way.
#[derive(Debug)]
pub struct Console {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    ended: oneshot::Receiver<()>,
}

impl Console {
    /// Listens, and answers on a thread of its own from now on.
    pub fn start(settings: Settings, state: State) -> Result<Console, StartError> {
        let failed = |error| StartError::Bind { address: settings.address, error };
        let listener = std::net::TcpListener::bind(settings.address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        if !address.ip().to_canonical().is_loopback() {
            tracing::warn!(%address, "the admin API can be reached from other hosts, and asks nobody for a password");
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(StartError::Thread)?;
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener).map_err(failed)?
        };
        let (stop, stopped) = watch::channel(false);
        let (end, ended) = oneshot::channel();
        let refused = state.measure.counter(&names::ADMIN_CONNECTIONS_REFUSED, &[]);
        let guard = Guard::new(address, &settings.hosts);
        let routes = Arc::new(Routes::new(state, guard, settings.version, settings.protocols));
        let bounds = settings.bounds;
        let serve = move || {
            runtime.block_on(accept(listener, routes, refused, bounds, stopped));
            // Nobody may wait for it any more.
            end.send(()).ok();
        };
        std::thread::Builder::new().name("weir-admin".into()).spawn(serve).map_err(StartError::Thread)?;
        Ok(Console { address, stop, ended })
    }

    /// The address it really listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more, and returns when answers under way are finished, or after [`STOP_PATIENCE`].
    pub async fn stop(self) {
        self.stop.send(true).ok();
        self.ended.await.ok();
    }
}

/// Until it is time to stop: somebody says so, or nobody is left to say it.
async fn told(stopped: &mut watch::Receiver<bool>) {
    stopped.wait_for(|stopped| *stopped).await.ok();
}

/// Until `stopped` says so or its sender is gone.
async fn accept(
    listener: TcpListener,
    routes: Arc<Routes>,
    refused: Counter,
    bounds: Bounds,
    mut stopped: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = told(&mut stopped) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok(_) if connections.len() >= bounds.max_connections => refused.inc(),
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, Arc::clone(&routes), bounds, stopped.clone()));
                }
                Err(error) => {
                    // Most often there are no descriptors left; trying at once again would only turn in circles.
                    tracing::warn!(%error, "the admin API cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
    drop(listener);
    let finish = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_PATIENCE, finish).await.is_err() {
        tracing::debug!("answers of the admin API were cut off");
    }
}

/// One connection, until it ends or the console stops; an answer under way is finished first.
async fn serve(stream: TcpStream, routes: Arc<Routes>, bounds: Bounds, mut stopped: watch::Receiver<bool>) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let response = routes.answer(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    let io = TokioIo::new(Impatient { stream, patience: bounds.stall_timeout, stalled: None });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head_timeout)
        .max_buf_size(MAX_HEAD)
        .serve_connection(io, service);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = told(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection to the admin API ended early");
    }
}

/// A stream whose writes fail once the other side has taken nothing for so long, so that a reader that has gone to
/// sleep does not hold a scrape in memory.
struct Impatient {
    stream: TcpStream,
    patience: Duration,
    stalled: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Impatient {
    fn judge(&mut self, written: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.judge(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.judge(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
