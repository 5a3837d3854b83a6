//! Asking a running Weir over its admin API.

use anyhow::{Context as _, Result, bail};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The most that an answer may be.
const CAP: u64 = 64 << 20;

/// `GET path` from the admin API: the body of a 200.
pub fn get(admin: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin, Duration::from_secs(3))
        .with_context(|| format!("no Weir answers at {admin} (--admin says where its admin API is)"))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    // HTTP/1.0, so that the answer ends where the connection does.
    write!(stream, "GET {path} HTTP/1.0\r\nhost: {admin}\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(CAP).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        bail!("{admin} answered {status}: {}", body.trim());
    }
    Ok(body.to_owned())
}
