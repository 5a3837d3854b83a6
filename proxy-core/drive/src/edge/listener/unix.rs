//! The files of Unix sockets: who may take a path, and who removes it.
//!
//! A path is taken like a port: from nobody who still listens there. A socket that was left behind (its process was killed) is
//! replaced. Two that start at the same time do not both find it left behind: while one looks and binds, it has a lock on a file
//! of its own beside the socket, which nobody else can open (whoever may read the folder could lock that). The socket's file is
//! removed when the listener goes, unless somebody else has put another in its place.
//!
//! Nothing here follows a link that somebody may have put there, and no mode is changed by a path.

use rustix::fs::{FlockOperation, Mode, OFlags, fchmod, flock, fstat, open};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How often, and how many times, the lock is tried for: whoever has it gives it back in a moment.
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

/// Binds a socket to `path`, which nobody listens on. It does not listen yet, so nobody gets in before the file has its mode; and
/// that is never wider than `mode`, whatever the umask.
pub(super) fn bind(path: &Arc<Path>, mode: u32) -> io::Result<(socket2::Socket, SocketFile)> {
    let _locked = Lock::take(path)?;
    make_way(path)?;
    let socket = socket()?;
    // What is bound takes over the mode of the descriptor, less what the umask says.
    fchmod(&socket, Mode::from_raw_mode(mode))?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    let metadata = std::fs::symlink_metadata(path)?;
    let file = SocketFile { path: Arc::clone(path), inode: (metadata.dev(), metadata.ino()) };
    if metadata.permissions().mode() & 0o7777 != mode {
        set_mode(path, mode)?;
    }
    Ok((socket, file))
}

/// Says who may connect. What is changed is the socket that stands there, if it is ours: never what a link leads to.
pub(crate) fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    let found = open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let stat = fstat(&found)?;
    let is_socket = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_socket();
    if !is_socket || stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "what stands there is no socket of ours",
        ));
    }
    // The one name of a descriptor that takes a mode.
    let itself = format!("/proc/self/fd/{}", found.as_raw_fd());
    std::fs::set_permissions(itself, std::fs::Permissions::from_mode(mode))
}

fn socket() -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Nobody else looks at the socket's path meanwhile. The file is removed with it.
struct Lock {
    path: PathBuf,
    /// Holds the lock until it is closed.
    _file: OwnedFd,
}

impl Lock {
    #[allow(
        clippy::disallowed_methods,
        reason = "the process's thread, at start and at a reload; it is no worker's"
    )]
    fn take(socket: &Path) -> io::Result<Lock> {
        let mut name = OsString::from(".");
        name.push(socket.file_name().unwrap_or_default());
        name.push(".lock");
        let path = socket.with_file_name(name);
        let mut why = "is locked";
        for _ in 0..TRIES {
            match Lock::try_take(&path)? {
                Ok(file) => return Ok(Lock { path, _file: file }),
                Err(because) => why = because,
            }
            std::thread::sleep(TRY_EVERY);
        }
        let why = format!("its lock file, {}, {why}", path.display());
        Err(io::Error::new(io::ErrorKind::WouldBlock, why))
    }

    /// The file, locked; or why that may go better in a moment.
    fn try_take(path: &Path) -> io::Result<Result<OwnedFd, &'static str>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match open(path, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => file,
            Err(rustix::io::Errno::LOOP) => return Ok(Err("is a link")),
            // Another user's, who is about to remove it.
            Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => return Ok(Err("is another user's")),
            Err(error) => return Err(error.into()),
        };
        let stat = fstat(&file)?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Ok(Err("is another user's"));
        }
        let is_file = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
        if !is_file || stat.st_nlink > 1 || stat.st_mode & 0o077 != 0 {
            // Whoever else can open it can lock it.
            return Ok(Err("is not a file of Weir's alone"));
        }
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(Err("is locked")),
            Err(error) => return Err(error.into()),
        }
        // Whoever had it before may have removed it meanwhile: then the next one makes another.
        let there = std::fs::symlink_metadata(path);
        let is_there = there.is_ok_and(|there| (there.dev(), there.ino()) == (stat.st_dev, stat.st_ino));
        Ok(if is_there { Ok(file) } else { Err("is locked") })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "a lock file could not be removed");
        }
    }
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
