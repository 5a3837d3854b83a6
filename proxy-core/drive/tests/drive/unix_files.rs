//! What others in a Unix socket's folder can do: nothing that keeps Weir from it, and nothing that has it change what is not its own.

use crate::house::House;
use rustix::fs::{FlockOperation, flock};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

fn text(folder: &Path, mode: &str) -> String {
    let bind = format!("'unix:{}/a'", folder.display());
    format!(
        "workers: 1\nlisteners: {{ a: {{ bind: {bind}, unix_mode: '{mode}', tcp: {{ cluster: up }} }} }}\nclusters: {{ up: {{ endpoints: ['127.0.0.1:1'] }} }}\n"
    )
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn a_lock_on_the_folder_keeps_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    let open = std::fs::File::open(folder.path()).unwrap();
    flock(&open, FlockOperation::LockExclusive).unwrap();
    let house = House::start(&text(folder.path(), "0660")).await;
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["a"], "its own lock file is gone");
    house.server.drain(Duration::ZERO).await;
}

#[tokio::test]
async fn what_a_killed_process_has_left_behind_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".a.lock");
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let house = House::start(&text(folder.path(), "0660")).await;
    assert!(!path.exists());
    house.server.drain(Duration::ZERO).await;
}

#[tokio::test]
async fn a_lock_file_that_others_can_open_or_lead_elsewhere_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".a.lock");
    let elsewhere = folder.path().join("elsewhere");
    symlink(&elsewhere, &path).unwrap();
    let error = House::start_with(&text(folder.path(), "0660"), crate::house::TCP).await.err().unwrap();
    assert!(error.to_string().ends_with("/.a.lock, is a link"), "{error}");
    assert!(!elsewhere.exists());
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = House::start_with(&text(folder.path(), "0660"), crate::house::TCP).await.err().unwrap();
    assert!(error.to_string().ends_with("/.a.lock, is not a file of Weir's alone"), "{error}");
}

#[tokio::test]
async fn the_mode_is_as_it_says_whatever_the_umask_and_never_anothers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    for wanted in ["0600", "0660", "0666", "0777"] {
        let house = House::start(&text(folder.path(), wanted)).await;
        assert_eq!(format!("{:04o}", mode(&path)), wanted);
        house.server.drain(Duration::ZERO).await;
    }
    // Somebody who may write to the folder puts a link to another's file in the socket's place.
    let house = House::start(&text(folder.path(), "0660")).await;
    let precious = folder.path().join("precious");
    std::fs::write(&precious, "").unwrap();
    std::fs::set_permissions(&precious, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::remove_file(&path).unwrap();
    symlink(&precious, &path).unwrap();
    house.server.reload(crate::house::config(&text(folder.path(), "0666"))).await.unwrap();
    assert_eq!(mode(&precious), 0o600);
    house.server.drain(Duration::ZERO).await;
}
