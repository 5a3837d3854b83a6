//! A connection's byte stream: a socket (TCP or Unix), or TLS over one. One enum, so that the loops are compiled once and every call is a
//! predictable branch instead of a virtual call.

use crate::ground::socket::Socket;
use bytes::BytesMut;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use std::io;
use std::ops::Deref;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::coop;
use weir_decide::exchange::Reason;

/// Takes as long to be copied as a small message takes to be read, passed on and counted.
const MUCH: usize = 16 * 1024;

/// Why a stream was lost, for every protocol. An error of TLS after the handshake (a broken record, an alert) arrives as invalid data,
/// from reads and writes alike; the phase of the fault says whether anything had been sent before.
pub fn reason(error: &io::Error) -> Reason {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::WriteZero => Reason::Closed,
        io::ErrorKind::InvalidData => Reason::TlsFailed,
        _ => Reason::Reset,
    }
}

fn would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// Reads once. What brings less than there was room for has emptied the socket: the runtime, told so, needs no call that finds nothing.
/// `None`: the task has done enough for now, and nothing was read.
macro_rules! read_all_there_is {
    ($cx:ident, $watch:ident, $socket:ident, $room:ident, $read:expr) => {{
        let mut read = None;
        let drained = $socket.try_io(Interest::READABLE, || {
            // It has become readable, so whoever watched has been told.
            *$watch = Watch::Unknown;
            let Poll::Ready(turn) = coop::poll_proceed($cx) else { return Ok(()) };
            let size = $read?;
            turn.made_progress();
            read = Some(size);
            if 0 < size && size < $room {
                *$watch = Watch::Drained;
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(())
        });
        if read.is_some() { Ok(read) } else { drained.map(|()| None) }
    }};
}

/// Reads once, from a plain socket for a reader that is always polled by one task, by the macro's way.
macro_rules! poll_read_plain {
    ($self:ident, $cx:ident, $watch:ident, $read:expr) => {
        loop {
            if *$watch != Watch::Drained {
                match $read {
                    Ok(Some(read)) => return Poll::Ready(Ok(read)),
                    Ok(None) => return Poll::Pending,
                    Err(error) if !would_block(&error) => return Poll::Ready(Err(error)),
                    Err(_) if *$watch == Watch::Watched => return Poll::Pending,
                    Err(_) => {}
                }
            }
            ready!($self.poll_watch($cx, $watch))?;
        }
    };
}

/// Writes once; what takes less than there is has filled the socket.
macro_rules! write_all_that_fits {
    ($socket:expr, $size:expr, $write:expr) => {{
        let mut written = 0;
        let full = $socket.try_io(Interest::WRITABLE, || {
            written = $write?;
            if 0 < written && written < $size { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        if written > 0 { Ok(written) } else { full.map(|()| 0) }
    }};
}

/// What to do with a plain socket of either kind, or else.
macro_rules! plain {
    ($io:ident, $socket:ident => $do:expr, else $tls:expr) => {
        match $io {
            Io::Tcp(tcp) => {
                let $socket = &**tcp;
                $do
            }
            Io::Unix(unix) => {
                let $socket = &*unix;
                $do
            }
            Io::Server(_) | Io::Client(_) => $tls,
        }
    };
}

/// What a reader that is always polled by one task knows of its socket.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// Nothing.
    #[default]
    Unknown,
    /// The last read emptied it. Nobody watches it yet.
    Drained,
    /// There was nothing to read, and the task is going to be woken when there is: a look at what the runtime knows is all there is to do.
    Watched,
}

/// Writes once to a TCP socket: as much as fits.
pub(crate) fn send_once(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    write_all_that_fits!(socket, bytes.len(), send(socket, bytes, SendFlags::NOSIGNAL))
}

/// A plain TCP socket. The worker's outbox may have a part in it, to write to it.
#[derive(Debug)]
pub struct Tcp(Arc<TcpStream>);

impl Tcp {
    pub(crate) fn shared(&self) -> &Arc<TcpStream> {
        &self.0
    }
}

impl From<TcpStream> for Tcp {
    fn from(socket: TcpStream) -> Tcp {
        Tcp(Arc::new(socket))
    }
}

impl Deref for Tcp {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.0
    }
}

impl AsyncRead for Tcp {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_read_ready(cx))?;
            let (mut some, room) = (false, buffer.remaining());
            let drained = self.try_io(Interest::READABLE, || {
                let read = self.try_read_buf(buffer)?;
                some = read > 0;
                if some && read < room { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match drained {
                Err(error) if !some && would_block(&error) => {}
                Err(error) if !some => return Poll::Ready(Err(error)),
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_write_ready(cx))?;
            match send_once(&self, bytes) {
                Err(error) if would_block(&error) => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_write_ready(cx))?;
            let size = slices.iter().map(|slice| slice.len()).sum();
            match write_all_that_fits!(self, size, self.try_write_vectored(slices)) {
                Err(error) if would_block(&error) => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match shutdown(&*self.0, Shutdown::Write) {
            // It is closed already.
            Err(Errno::NOTCONN) => Poll::Ready(Ok(())),
            done => Poll::Ready(done.map_err(io::Error::from)),
        }
    }
}

/// A connection's byte stream. Vectored writes everywhere; the loops count bytes themselves.
///
/// On Linux a read that brings less than there was room for marks the socket as drained, so that the next
/// [`poll_read`](AsyncRead::poll_read) is `Pending` without a system call: one read per readiness event.
#[derive(Debug)]
pub enum Io {
    /// Plain TCP.
    Tcp(Tcp),
    /// A plain Unix socket.
    Unix(UnixStream),
    /// TLS that Weir terminates.
    Server(Box<tokio_rustls::server::TlsStream<Socket>>),
    /// TLS that Weir originates.
    Client(Box<tokio_rustls::client::TlsStream<Socket>>),
}

impl From<Socket> for Io {
    fn from(socket: Socket) -> Io {
        match socket {
            Socket::Tcp(tcp) => Io::Tcp(tcp.into()),
            Socket::Unix(unix) => Io::Unix(unix),
        }
    }
}

impl Io {
    /// The TCP socket beneath, if it is one.
    pub fn tcp(&self) -> Option<&TcpStream> {
        let socket = match self {
            Io::Tcp(tcp) => return Some(tcp),
            Io::Unix(_) => return None,
            Io::Server(tls) => tls.get_ref().0,
            Io::Client(tls) => tls.get_ref().0,
        };
        match socket {
            Socket::Tcp(tcp) => Some(tcp),
            Socket::Unix(_) => None,
        }
    }

    /// Whether it is encrypted.
    pub fn is_tls(&self) -> bool {
        !matches!(self, Io::Tcp(_) | Io::Unix(_))
    }

    /// Reads into the spare room of `buffer`, which has to have some. `Ok(0)` is the end of the stream.
    pub fn poll_read_buf(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        match self {
            Io::Tcp(_) => self.poll_read_by(cx, &mut Watch::Unknown, buffer),
            Io::Unix(unix) => pin!(unix.read_buf(buffer)).poll(cx),
            Io::Server(_) | Io::Client(_) => pin!(self.read_buf(buffer)).poll(cx),
        }
    }

    /// Logs how the peer broke TLS, once for a connection: its reader stops at the first error. A client can do that as often as it
    /// likes, so its errors are logged for debugging only.
    #[cold]
    fn log_broken_tls(&self, error: &io::Error) {
        let peer = self.tcp().and_then(|tcp| tcp.peer_addr().ok());
        match self {
            Io::Client(_) => tracing::warn!(?peer, %error, "the server broke TLS after the handshake"),
            _ => tracing::debug!(?peer, %error, "the client broke TLS after the handshake"),
        }
    }

    /// Whether reading may bring something (bytes, the end, an error), without reading. Needs no buffer, so a connection
    /// that waits holds none. May be wrong in one direction: a following read can still be `Pending`.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Io::Tcp(tcp) => tcp.poll_read_ready(cx),
            Io::Unix(unix) => unix.poll_read_ready(cx),
            Io::Server(tls) => {
                let (socket, session) = tls.get_mut();
                if buffered(session.process_new_packets()) {
                    return Poll::Ready(Ok(()));
                }
                socket.poll_read_ready(cx)
            }
            Io::Client(tls) => {
                let (socket, session) = tls.get_mut();
                if buffered(session.process_new_packets()) {
                    return Poll::Ready(Ok(()));
                }
                socket.poll_read_ready(cx)
            }
        }
    }

    /// The same for a reader that is always polled by one task.
    pub fn poll_readable_by(&mut self, cx: &mut Context<'_>, watch: &mut Watch) -> Poll<io::Result<()>> {
        if *watch != Watch::Drained {
            let looked = match self {
                Io::Tcp(tcp) => tcp.try_io(Interest::READABLE, || Ok(())),
                Io::Unix(unix) => unix.try_io(Interest::READABLE, || Ok(())),
                Io::Server(_) | Io::Client(_) => return self.poll_readable(cx),
            };
            if !looked.is_err_and(|error| would_block(&error)) {
                *watch = Watch::Unknown;
                return Poll::Ready(Ok(()));
            }
            if *watch == Watch::Watched {
                return Poll::Pending;
            }
        }
        self.poll_watch(cx, watch)
    }

    /// Has this task woken when the socket becomes readable, unless it already is. Says whether it is going to be.
    pub fn watch(&mut self, cx: &mut Context<'_>, watch: &mut Watch) -> bool {
        // An error is told by the read that follows.
        let _: Poll<io::Result<()>> = self.poll_watch(cx, watch);
        *watch == Watch::Watched
    }

    /// Has this task woken when the socket becomes readable.
    fn poll_watch(&mut self, cx: &mut Context<'_>, watch: &mut Watch) -> Poll<io::Result<()>> {
        // With no budget left the task is only put off: nobody watches the socket yet.
        let watches = coop::has_budget_remaining();
        let readable = self.poll_readable(cx);
        *watch = if watches && readable.is_pending() { Watch::Watched } else { Watch::Unknown };
        readable
    }

    /// Reads into the spare room of `buffer`, for the same reader. `Ok(0)` is the end of the stream.
    pub fn poll_read_by(
        &mut self,
        cx: &mut Context<'_>,
        watch: &mut Watch,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        poll_read_plain!(
            self,
            cx,
            watch,
            plain!(
                self,
                socket => {
                    let room = buffer.capacity() - buffer.len();
                    read_all_there_is!(cx, watch, socket, room, socket.try_read_buf(buffer))
                },
                else return self.poll_read_buf(cx, buffer)
            )
        )
    }

    /// The same into `room`, whatever is in it and as much as it has room for, and by the system call itself.
    pub fn poll_read_to(
        &mut self,
        cx: &mut Context<'_>,
        watch: &mut Watch,
        room: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        room.clear();
        poll_read_plain!(
            self,
            cx,
            watch,
            plain!(
                self,
                socket => {
                    let (size, flags) = (room.capacity(), RecvFlags::empty());
                    read_all_there_is!(cx, watch, socket, size, recv(socket, spare_capacity(room), flags).map(|got| got.0))
                },
                else return pin!(self.read_buf(room)).poll(cx)
            )
        )
    }

    /// Writes once. Costs the runtime's bookkeeping only where there is no room, and counts as work only where there is much of it: the
    /// reading that brought it has been counted.
    pub fn poll_write_once(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.len() >= MUCH {
            ready!(coop::poll_proceed(cx)).made_progress();
        }
        let written = match self {
            Io::Tcp(tcp) => send_once(tcp, bytes),
            Io::Unix(unix) => {
                write_all_that_fits!(unix, bytes.len(), send(&*unix, bytes, SendFlags::NOSIGNAL))
            }
            Io::Server(_) | Io::Client(_) => return Pin::new(self).poll_write(cx, bytes),
        };
        match written {
            Err(error) if would_block(&error) => Pin::new(self).poll_write(cx, bytes),
            written => Poll::Ready(written),
        }
    }
}

/// What a look into an idle connection finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Nothing: it stands, and whatever comes from now on is about what is sent from now on.
    Quiet,
    /// The peer has ended it, or it has failed.
    Ended,
    /// Bytes that nobody asked for.
    Unasked,
}

impl Io {
    /// Looks into an idle connection by a system call. What the runtime last said of a socket is as old as its last turn, and bytes
    /// that have come since would be taken for the reply to whatever is sent next.
    pub fn look(&mut self) -> Look {
        match self {
            Io::Tcp(tcp) => peeked(recv(&**tcp, &mut [0u8; 1], PEEK).map(|got| got.1)),
            Io::Unix(unix) => peeked(recv(&*unix, &mut [0u8; 1], PEEK).map(|got| got.1)),
            Io::Server(tls) => {
                let (socket, session) = tls.get_mut();
                look_through(socket, session)
            }
            Io::Client(tls) => {
                let (socket, session) = tls.get_mut();
                look_through(socket, session)
            }
        }
    }
}

const PEEK: RecvFlags = RecvFlags::PEEK.union(RecvFlags::DONTWAIT);

/// What a peek of one byte says.
fn peeked(received: rustix::io::Result<usize>) -> Look {
    match received {
        Ok(1..) => Look::Unasked,
        Err(Errno::AGAIN | Errno::INTR) => Look::Quiet,
        Ok(0) | Err(_) => Look::Ended,
    }
}

/// The same through TLS: what has come may be a ticket or an alert, which only the session can tell, so it is given all of it.
fn look_through<D>(socket: &Socket, session: &mut rustls::ConnectionCommon<D>) -> Look {
    let mut room = [0u8; 4096];
    loop {
        match session.process_new_packets() {
            Ok(state) if state.plaintext_bytes_to_read() > 0 => return Look::Unasked,
            Ok(state) if state.peer_has_closed() => return Look::Ended,
            Ok(_) => {}
            Err(_) => return Look::Ended,
        }
        let received = match socket {
            Socket::Tcp(socket) => recv(socket, &mut room, RecvFlags::DONTWAIT),
            Socket::Unix(socket) => recv(socket, &mut room, RecvFlags::DONTWAIT),
        };
        let came = match received {
            Ok((_, 0)) => return Look::Ended,
            Ok((_, received)) => received,
            Err(Errno::AGAIN | Errno::INTR) => return Look::Quiet,
            Err(_) => return Look::Ended,
        };
        let mut rest = room.get(..came).unwrap_or_default();
        while !rest.is_empty() {
            // It takes no more once it holds plaintext that nobody has read.
            match session.read_tls(&mut rest) {
                Ok(1..) if session.process_new_packets().is_ok() => {}
                _ => return Look::Unasked,
            }
        }
    }
}

/// Whether decrypted bytes wait in the session. A broken session is reported by the read that follows.
fn buffered(state: Result<rustls::IoState, rustls::Error>) -> bool {
    match state {
        Ok(state) => state.plaintext_bytes_to_read() > 0 || state.peer_has_closed(),
        Err(_) => true,
    }
}

macro_rules! each {
    ($self:expr, $io:ident => $do:expr) => {
        match $self.get_mut() {
            Io::Tcp($io) => $do,
            Io::Unix($io) => $do,
            Io::Server($io) => $do,
            Io::Client($io) => $do,
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = each!(self.as_mut(), io => Pin::new(io).poll_read(cx, buffer));
        if let Poll::Ready(Err(error)) = &read
            && error.kind() == io::ErrorKind::InvalidData
        {
            self.log_broken_tls(error);
        }
        read
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, io => Pin::new(io).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, io => Pin::new(io).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_shutdown(cx))
    }
}
