//! A connection's byte stream: a socket (TCP or Unix), or TLS over one. One enum, so that the loops are compiled once and every call is a
//! predictable branch instead of a virtual call.

use crate::socket::Socket;
use bytes::BytesMut;
use rustix::net::{SendFlags, send};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::coop;

/// Takes as long to be copied as a small message takes to be read, passed on and counted.
const MUCH: usize = 16 * 1024;

fn would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// Reads once. What brings less than there was room for has emptied the socket: the runtime, told so, needs no call that finds nothing.
macro_rules! read_all_there_is {
    ($socket:ident, $buffer:ident) => {{
        let room = $buffer.capacity() - $buffer.len();
        let mut read = 0;
        let drained = $socket.try_io(Interest::READABLE, || {
            read = $socket.try_read_buf($buffer)?;
            if 0 < read && read < room { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        if read > 0 { Ok(read) } else { drained.map(|()| 0) }
    }};
}

/// Writes once, by the system call itself; what takes less than there is has filled the socket.
macro_rules! write_all_that_fits {
    ($socket:ident, $bytes:ident) => {{
        let mut written = 0;
        let full = $socket.try_io(Interest::WRITABLE, || {
            written = send(&*$socket, $bytes, SendFlags::NOSIGNAL)?;
            if 0 < written && written < $bytes.len() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        if written > 0 { Ok(written) } else { full.map(|()| 0) }
    }};
}

/// A connection's byte stream. Vectored writes everywhere; the loops count bytes themselves.
///
/// On Linux a read that brings less than there was room for marks the socket as drained, so that the next
/// [`poll_read`](AsyncRead::poll_read) is `Pending` without a system call: one read per readiness event.
#[derive(Debug)]
pub enum Io {
    /// Plain TCP.
    Tcp(TcpStream),
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
            Socket::Tcp(tcp) => Io::Tcp(tcp),
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
            Io::Tcp(tcp) => pin!(tcp.read_buf(buffer)).poll(cx),
            Io::Unix(unix) => pin!(unix.read_buf(buffer)).poll(cx),
            Io::Server(tls) => pin!(tls.read_buf(buffer)).poll(cx),
            Io::Client(tls) => pin!(tls.read_buf(buffer)).poll(cx),
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

    /// The same for a reader that is always polled by one task: `watched` is its own, and says that this task is going to be woken.
    /// As long as it is, a look at what is known of the socket is all there is to do. Whoever cannot promise that brings `false`.
    pub fn poll_readable_by(&mut self, cx: &mut Context<'_>, watched: &mut bool) -> Poll<io::Result<()>> {
        let looked = match self {
            Io::Tcp(tcp) => tcp.try_io(Interest::READABLE, || Ok(())),
            Io::Unix(unix) => unix.try_io(Interest::READABLE, || Ok(())),
            Io::Server(_) | Io::Client(_) => return self.poll_readable(cx),
        };
        if !looked.is_err_and(|error| would_block(&error)) {
            *watched = false;
            return Poll::Ready(Ok(()));
        }
        if *watched {
            return Poll::Pending;
        }
        self.poll_watch(cx, watched)
    }

    /// Has this task woken when the socket becomes readable.
    fn poll_watch(&mut self, cx: &mut Context<'_>, watched: &mut bool) -> Poll<io::Result<()>> {
        // With no budget left the task is only put off: nobody watches the socket yet.
        let watches = coop::has_budget_remaining();
        let readable = self.poll_readable(cx);
        *watched = watches && readable.is_pending();
        readable
    }

    /// Reads into the spare room of `buffer`, for the same reader. `Ok(0)` is the end of the stream.
    pub fn poll_read_by(
        &mut self,
        cx: &mut Context<'_>,
        watched: &mut bool,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        if self.is_tls() {
            return self.poll_read_buf(cx, buffer);
        }
        let turn = ready!(coop::poll_proceed(cx));
        loop {
            let read = match self {
                Io::Tcp(tcp) => read_all_there_is!(tcp, buffer),
                Io::Unix(unix) => read_all_there_is!(unix, buffer),
                Io::Server(_) | Io::Client(_) => return self.poll_read_buf(cx, buffer),
            };
            match read {
                Err(error) if would_block(&error) => ready!(self.poll_watch(cx, watched))?,
                read => {
                    turn.made_progress();
                    *watched = false;
                    return Poll::Ready(read);
                }
            }
        }
    }

    /// Writes once. Costs the runtime's bookkeeping only where there is no room, and counts as work only where there is much of it: the
    /// reading that brought it has been counted.
    pub fn poll_write_once(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.len() >= MUCH {
            ready!(coop::poll_proceed(cx)).made_progress();
        }
        let written = match self {
            Io::Tcp(tcp) => write_all_that_fits!(tcp, bytes),
            Io::Unix(unix) => write_all_that_fits!(unix, bytes),
            Io::Server(_) | Io::Client(_) => return Pin::new(self).poll_write(cx, bytes),
        };
        match written {
            Err(error) if would_block(&error) => Pin::new(self).poll_write(cx, bytes),
            written => Poll::Ready(written),
        }
    }

    /// Whether an idle connection has ended, failed or got bytes that nobody asked for: it is of no further use.
    /// No system call unless the socket has become readable.
    pub fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if ready!(self.poll_readable(cx)).is_err() {
            return Poll::Ready(());
        }
        // A TLS session ticket makes the socket readable and the stream not; a stale readiness is cleared by this read.
        let mut byte = [0u8; 1];
        let mut byte = ReadBuf::new(&mut byte);
        ready!(Pin::new(self).poll_read(cx, &mut byte)).ok();
        Poll::Ready(())
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
    ($self:ident, $io:ident => $do:expr) => {
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
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_read(cx, buffer))
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
