//! The admin thread: its runtime, its socket, its connections and their bounds.

use crate::State;
use crate::body::Content;
use crate::guard::Guard;
use crate::life::{Doing, Life, Open};
use crate::routes::Routes;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
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
use tokio::time::{Instant, Sleep};
use weir_drive::Page;
use weir_measure::{Counter, names};

/// The largest head of a request, in bytes.
pub const MAX_HEAD: usize = 16 * 1024;
/// How long answers under way may still take once the console stops.
pub const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// What clients may take of the admin API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at a time. Where there are so many the one that has waited longest for its client gives way to a further one; it is
    /// counted.
    pub max_connections: usize,
    /// Connections beside those, when all of those are being answered: for probes (`/live`, `/ready`), and nothing else.
    pub probes: usize,
    /// How long a request's head may take from its first byte, and the first from when the connection was made.
    pub head_timeout: Duration,
    /// How long a connection may idle between two requests.
    pub idle_timeout: Duration,
    /// How long a reader may take none of an answer that is ready for it.
    pub stall_timeout: Duration,
    /// How long a reader may take for a whole answer.
    pub answer_timeout: Duration,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            max_connections: 64,
            probes: 8,
            head_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(75),
            stall_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(60),
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
    /// The pages that these bring.
    pub pages: Vec<Page>,
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

/// The address, taken: nobody is answered yet.
#[derive(Debug)]
pub struct Bound(std::net::TcpListener);

impl Bound {
    /// Takes `address`.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn take(address: SocketAddr) -> Result<Bound, StartError> {
        let failed = |error| StartError::Bind { address, error };
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Bound(listener))
    }
}

impl StartError {
    /// Whether somebody else has the address.
    pub fn is_taken(&self) -> bool {
        matches!(self, StartError::Bind { error, .. } if error.kind() == io::ErrorKind::AddrInUse)
    }
}

impl Console {
    /// Takes the address, and answers on a thread of its own from now on.
    ///
    /// # Errors
    /// When the address cannot be had, or a thread.
    pub fn start(settings: Settings, state: State) -> Result<Console, StartError> {
        Console::serve(Bound::take(settings.address)?, settings, state)
    }

    /// Answers at an address that was taken before.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn serve(bound: Bound, settings: Settings, state: State) -> Result<Console, StartError> {
        let failed = |error| StartError::Bind { address: settings.address, error };
        let Bound(listener) = bound;
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
        let routes =
            Arc::new(Routes::new(state, guard, settings.version, settings.protocols, settings.pages));
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
    let (mut connections, mut open) = (JoinSet::new(), Open::default());
    loop {
        tokio::select! {
            () = told(&mut stopped) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let Some(only_probes) = admit(&mut open, &refused, &bounds) else { continue };
                    let life = Life::new(now());
                    let routes = if only_probes { routes.only_probes() } else { Arc::clone(&routes) };
                    let task = connections.spawn(serve(stream, routes, bounds, life.clone(), stopped.clone()));
                    open.add(life, task);
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

/// Whether there is room for one more, and (`true`) only for a probe.
fn admit(open: &mut Open, refused: &Counter, bounds: &Bounds) -> Option<bool> {
    let count = open.count();
    if count < bounds.max_connections {
        return Some(false);
    }
    if open.make_room(Duration::ZERO, now()) {
        refused.inc();
        return Some(false);
    }
    if count < bounds.max_connections + bounds.probes {
        return Some(true);
    }
    refused.inc();
    None
}

#[allow(
    clippy::disallowed_methods,
    reason = "the admin thread's own time: nothing that decides about traffic"
)]
fn now() -> Instant {
    Instant::now()
}

/// One connection, until it ends or the console stops; an answer under way is finished first.
async fn serve(
    stream: TcpStream,
    routes: Arc<Routes>,
    bounds: Bounds,
    life: Life,
    mut stopped: watch::Receiver<bool>,
) {
    let its = life.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        its.does(Doing::Answer, now());
        let ends = Ends(its.clone());
        let response = routes.answer(&request).map(|content| Answered { content, _ends: ends });
        async move { Ok::<_, Infallible>(response) }
    });
    let io = TokioIo::new(Impatient { stream, bounds, life, head: None, stalled: None });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // From when it is waited for: ours begin with its first byte.
        .header_read_timeout(bounds.idle_timeout.max(bounds.head_timeout))
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

/// Dropped when an answer has been handed on, or nobody wants it.
struct Ends(Life);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.does(Doing::Idle, now());
    }
}

/// An answer, and that it is under way.
struct Answered {
    content: Content,
    _ends: Ends,
}

impl Body for Answered {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.content).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }
}

/// A stream that fails once the other side has kept it waiting for too long: in the middle of a head, or with an answer that it does not
/// take, so that a reader that has gone to sleep, or takes a byte now and then, does not hold a scrape in memory.
struct Impatient {
    stream: TcpStream,
    bounds: Bounds,
    life: Life,
    /// Rings when a head has taken too long.
    head: Option<Pin<Box<Sleep>>>,
    /// Rings when an answer has.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    fn judge(&mut self, written: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let (doing, since) = self.life.now();
        let whole = (doing == Doing::Answer).then(|| since + self.bounds.answer_timeout);
        let is_over = whole.is_some_and(|whole| now() >= whole);
        if written.is_ready() && !is_over {
            self.stalled = None;
            return written;
        }
        let stall = now() + self.bounds.stall_timeout;
        let at = whole.map_or(stall, |whole| whole.min(stall));
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if is_over || stalled.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }

    /// Whether the head that is awaited has taken too long.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (doing, since) = self.life.now();
        if doing != Doing::Head {
            self.head = None;
            return Poll::Pending;
        }
        let at = since + self.bounds.head_timeout;
        let head = self.head.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if head.deadline() != at {
            head.as_mut().reset(at);
        }
        head.as_mut().poll(cx)
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_ready() {
            if buf.filled().len() > before {
                self.life.heard(now());
            }
            return read;
        }
        match self.poll_late(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
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
