//! Unix sockets: to listen on, and as endpoints.

use crate::house::{House, config, soon, until};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// Sends back what comes, on every connection, until the test ends.
fn echo(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await.ok();
                write.shutdown().await.ok();
            });
        }
    });
}

async fn ping(stream: &mut UnixStream) {
    soon(stream.write_all(b"ping")).await.unwrap();
    let mut back = [0; 4];
    soon(stream.read_exact(&mut back)).await.unwrap();
    assert_eq!(&back, b"ping");
}

/// A folder with an upstream in it, and a configuration whose listeners have these paths in it.
fn scene(workers: usize) -> (tempfile::TempDir, impl Fn(&[(&str, &str)]) -> String) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_owned();
    echo(&root.join("up"));
    let config = move |listeners: &[(&str, &str)]| {
        let root = root.display();
        let mut text = format!("workers: {workers}\nlisteners:\n");
        for (name, bind) in listeners {
            text += &format!("  {name}: {{ bind: 'unix:{root}/{bind}, tcp: {{ cluster: up }} }}\n");
        }
        text + &format!("clusters: {{ up: {{ endpoints: ['unix:{root}/up'] }} }}\n")
    };
    (folder, config)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn connections_pass_and_are_spread_over_the_workers() {
    let (folder, text) = scene(3);
    let house = House::start(&text(&[("a", "a'")])).await;
    let path = folder.path().join("a");
    assert_eq!(mode(&path), 0o660);
    let mut clients = Vec::new();
    for _ in 0..12 {
        let mut client = UnixStream::connect(&path).await.unwrap();
        ping(&mut client).await;
        clients.push(client);
    }
    // One worker accepts, all serve.
    let spread = house.server.status().worker_connections;
    assert!(spread.iter().all(|count| (3..=5).contains(count)), "{spread:?}");
    assert_eq!(house.number("weir_listener_connections_open", &["listener=\"a\""]), 12.0);
    let drained = house.server.drain(Duration::ZERO).await;
    assert_eq!((drained.finished, drained.cut), (0, 12));
    assert!(!path.exists());
}

#[tokio::test]
async fn a_path_is_taken_only_from_nobody() {
    let (folder, text) = scene(1);
    let path = folder.path().join("a");
    // One that somebody listens on.
    let somebody = UnixListener::bind(&path).unwrap();
    let error = House::start_with(&text(&[("a", "a'")]), crate::house::TCP).await.err().unwrap();
    assert!(error.to_string().starts_with("listener a: cannot listen on unix:/"), "{error}");
    assert!(error.to_string().ends_with("/a: somebody listens there"), "{error}");
    // One that was left behind.
    drop(somebody);
    assert!(path.exists());
    let house = House::start(&text(&[("a", "a'")])).await;
    ping(&mut UnixStream::connect(&path).await.unwrap()).await;
    // A second Weir.
    let error = House::start_with(&text(&[("a", "a'")]), crate::house::TCP).await.err().unwrap();
    assert!(error.to_string().ends_with("/a: somebody listens there"), "{error}");
    ping(&mut UnixStream::connect(&path).await.unwrap()).await;
    // Dropped without a drain it leaves nothing behind either.
    drop(house);
    assert!(until(|| !path.exists()).await);
    // A file that is no socket is nobody's to remove.
    std::fs::write(&path, "precious").unwrap();
    let error = House::start_with(&text(&[("a", "a'")]), crate::house::TCP).await.err().unwrap();
    assert!(error.to_string().ends_with("there is a file, and it is no socket"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    let error = House::start_with(&text(&[("a", "none/a'")]), crate::house::TCP).await.err().unwrap();
    assert!(error.to_string().contains("No such file"), "{error}");
}

#[tokio::test]
async fn what_somebody_else_has_put_in_its_place_stays() {
    let (folder, text) = scene(1);
    let path = folder.path().join("a");
    let house = House::start(&text(&[("a", "a'")])).await;
    std::fs::remove_file(&path).unwrap();
    let _somebody = UnixListener::bind(&path).unwrap();
    house.server.drain(Duration::ZERO).await;
    assert!(std::fs::metadata(&path).unwrap().file_type().is_socket());
}

#[tokio::test]
async fn reloads_keep_and_move_them() {
    let (folder, text) = scene(2);
    let at = |name: &str| -> PathBuf { folder.path().join(name) };
    let house = House::start(&text(&[("a", "a'")])).await;
    let mut old = UnixStream::connect(at("a")).await.unwrap();
    ping(&mut old).await;
    let inode = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(at("a")).unwrap());
    let before = inode();
    // It stays, with another mode and a neighbour.
    house.server.reload(config(&text(&[("a", "a', unix_mode: '0600'"), ("b", "b'")]))).await.unwrap();
    assert_eq!((mode(&at("a")), inode()), (0o600, before));
    ping(&mut UnixStream::connect(at("a")).await.unwrap()).await;
    ping(&mut UnixStream::connect(at("b")).await.unwrap()).await;
    // Both change their names; the socket files stay where they are.
    house.server.reload(config(&text(&[("c", "a'"), ("d", "b'")]))).await.unwrap();
    assert_eq!((mode(&at("a")), inode()), (0o660, before));
    ping(&mut UnixStream::connect(at("a")).await.unwrap()).await;
    house.becomes("weir_listener_connections_total", &["listener=\"c\""], 1.0).await;
    // One moves, the other goes.
    house.server.reload(config(&text(&[("c", "e'")]))).await.unwrap();
    assert!(!at("a").exists() && !at("b").exists());
    ping(&mut UnixStream::connect(at("e")).await.unwrap()).await;
    // Nobody was disturbed.
    ping(&mut old).await;
    house.server.drain(Duration::ZERO).await;
    assert!(!at("e").exists());
}

#[tokio::test]
async fn what_is_queued_when_it_closes_is_served() {
    let (folder, text) = scene(2);
    let path = folder.path().join("a");
    let house = House::start(&text(&[("a", "a'"), ("b", "b'")])).await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(UnixStream::connect(&path).await.unwrap());
    }
    house.server.reload(config(&text(&[("b", "b'")]))).await.unwrap();
    for client in &mut clients {
        ping(client).await;
    }
    assert!(!path.exists());
}
