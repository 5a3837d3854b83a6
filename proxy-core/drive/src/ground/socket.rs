//! A connected socket, TCP or Unix, before any TLS.

use rustix::net::{RecvFlags, recv};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A quiet connection is probed after this long: the peer may have gone without a word.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A connected socket.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
}

/// A connected socket that belongs to no runtime: on its way from one worker to another.
#[derive(Debug)]
pub(crate) enum Detached {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Socket {
    /// Whether reading may bring something, without reading.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(socket) => socket.poll_read_ready(cx),
            Socket::Unix(socket) => socket.poll_read_ready(cx),
        }
    }

    /// Waits until bytes have come, and looks at them without taking them. 0 is the end.
    pub(crate) async fn peek(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.receive(bytes, RecvFlags::PEEK).await
    }

    /// Whether the peer has closed it already, without having sent anything. Asks the system.
    pub(crate) fn is_over(&self) -> bool {
        let (mut byte, flags) = ([0], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        let looked = match self {
            Socket::Tcp(socket) => recv(socket, &mut byte, flags),
            Socket::Unix(socket) => recv(socket, &mut byte, flags),
        };
        match looked {
            Ok((_, received)) => received == 0,
            Err(error) => error != rustix::io::Errno::AGAIN && error != rustix::io::Errno::INTR,
        }
    }

    /// Takes the next `count` bytes, which have been looked at, and at most as many as `scratch` has room for.
    pub(crate) async fn skip(&self, scratch: &mut [u8], count: usize) -> io::Result<()> {
        let mut left = scratch.get_mut(..count).unwrap_or_default();
        while !left.is_empty() {
            match self.receive(left, RecvFlags::empty()).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                taken => left = left.get_mut(taken..).unwrap_or_default(),
            }
        }
        Ok(())
    }

    async fn receive(&self, bytes: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
        let asked = Interest::READABLE;
        match self {
            Socket::Tcp(socket) => socket.async_io(asked, || Ok(recv(socket, &mut *bytes, flags)?.0)).await,
            Socket::Unix(socket) => socket.async_io(asked, || Ok(recv(socket, &mut *bytes, flags)?.0)).await,
        }
    }

    /// Takes it from this worker's runtime.
    pub(crate) fn detach(self) -> io::Result<Detached> {
        Ok(match self {
            Socket::Tcp(socket) => Detached::Tcp(socket.into_std()?),
            Socket::Unix(socket) => Detached::Unix(socket.into_std()?),
        })
    }
}

impl Detached {
    /// Gives it to this worker's runtime.
    pub(crate) fn attach(self) -> io::Result<Socket> {
        Ok(match self {
            Detached::Tcp(socket) => Socket::Tcp(TcpStream::from_std(socket)?),
            Detached::Unix(socket) => Socket::Unix(UnixStream::from_std(socket)?),
        })
    }
}

macro_rules! each {
    ($self:ident, $socket:ident => $do:expr) => {
        match $self.get_mut() {
            Socket::Tcp($socket) => $do,
            Socket::Unix($socket) => $do,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, socket => Pin::new(socket).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, socket => Pin::new(socket).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, socket => Pin::new(socket).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, socket => Pin::new(socket).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, socket => Pin::new(socket).poll_shutdown(cx))
    }
}

/// Probes for clients' connections; how often they are repeated is the system's to say, which saves a system call.
pub(crate) fn keepalive() -> socket2::TcpKeepalive {
    socket2::TcpKeepalive::new().with_time(KEEPALIVE)
}
