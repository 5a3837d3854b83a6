//! The files of Unix sockets: who may take a path, and who removes it.
//!
//! A path is taken like a port: from nobody who still listens there. A socket that was left behind (its process was killed) is
//! replaced. Two that start at the same time do not both find it left behind: while one looks and binds, it has a lock on
//! the folder. The file is removed when the listener goes, unless somebody else has put another in its place.

use rustix::fs::{FlockOperation, flock};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How often, and how many times, the lock on the folder is tried for: whoever has it gives it back in a moment.
const TRY_EVERY: Duration = Duration::from_millis(10);
const TRIES: u32 = 100;

/// The file of a socket that was bound. Removed when dropped.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: Arc<Path>,
    /// Tells it from another file under the same path.
    inode: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let its = std::fs::symlink_metadata(&self.path).is_ok_and(|now| (now.dev(), now.ino()) == self.inode);
        if its && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a Unix socket could not be removed");
        }
    }
}

/// Binds a socket to `path`, which nobody listens on. It does not listen yet, so nobody gets in before the file has its mode.
pub(super) fn bind(path: &Arc<Path>, mode: u32) -> io::Result<(socket2::Socket, SocketFile)> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let _locked = lock(folder)?;
    make_way(path)?;
    let socket = socket()?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    let metadata = std::fs::symlink_metadata(path)?;
    let file = SocketFile { path: Arc::clone(path), inode: (metadata.dev(), metadata.ino()) };
    set_mode(path, mode)?;
    Ok((socket, file))
}

/// Says who may connect.
pub(crate) fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

fn socket() -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[allow(
    clippy::disallowed_methods,
    reason = "the process's thread, at start and at a reload; it is no worker's"
)]
fn lock(folder: &Path) -> io::Result<std::fs::File> {
    let folder = std::fs::File::open(folder)?;
    for _ in 0..TRIES {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(folder),
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(TRY_EVERY),
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::new(io::ErrorKind::WouldBlock, "its folder is locked"))
}

/// Removes a socket that was left behind.
fn make_way(path: &Path) -> io::Result<()> {
    let there = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        there => there?,
    };
    let taken = |what| Err(io::Error::new(io::ErrorKind::AddrInUse, what));
    if !there.file_type().is_socket() {
        return taken("there is a file, and it is no socket");
    }
    match socket()?.connect(&socket2::SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        // Its queue is full, so there is one.
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => taken("somebody listens there"),
    }
}
