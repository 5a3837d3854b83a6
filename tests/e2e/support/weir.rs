//! A running Weir: the real binary, on ports of the system's choosing, which it tells in its log.

use super::net;
use super::numbers::Numbers;
use super::process::{Process, command};
use serde_json::Value;
use std::{
    collections::HashMap,
    io::BufRead as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The binary.
pub fn binary() -> Command {
    command(env!("CARGO_BIN_EXE_weir"))
}

/// A running Weir and its configuration file.
pub struct Weir {
    process: Process,
    folder: TempDir,
    admin: SocketAddr,
    log: Arc<Mutex<Vec<Value>>>,
}

impl Weir {
    /// Starts it on this configuration, without `admin` and `log`, which are put in front of it.
    pub fn start(config: &str) -> Weir {
        Weir::start_in(tempfile::tempdir().expect("a folder"), config)
    }

    /// Starts it on a configuration that names files of a folder by `@ROOT@`.
    pub fn start_in(folder: TempDir, config: &str) -> Weir {
        Weir::start_as(binary(), folder, config)
    }

    /// The same by a command of one's own, such as [`binary`] with something in its environment.
    pub fn start_as(mut run: Command, folder: TempDir, config: &str) -> Weir {
        let file = folder.path().join("weir.yaml");
        std::fs::write(&file, Weir::whole(folder.path(), config)).expect("the folder is ours");
        run.arg("run").arg(&file).stderr(Stdio::piped());
        Weir::from(Process::start("weir", &mut run), folder)
    }

    /// Takes over one that was started with its errors piped and JSON logs.
    pub fn from(mut process: Process, folder: TempDir) -> Weir {
        let log: Arc<Mutex<Vec<Value>>> = Arc::default();
        let mut errors = process.errors();
        let (said, kept) = (log.clone(), std::env::var_os("WEIR_TEST_SHOW_LOG").is_some());
        std::thread::spawn(move || {
            let mut line = String::new();
            while errors.read_line(&mut line).is_ok_and(|n| n > 0) {
                if kept {
                    eprint!("{line}");
                }
                let entry =
                    serde_json::from_str(&line).unwrap_or_else(|_| Value::String(line.trim().to_owned()));
                said.lock().expect("nobody panics here").push(entry);
                line.clear();
            }
        });
        let mut weir = Weir { process, folder, admin: SocketAddr::from(([127, 0, 0, 1], 0)), log };
        net::until("weir says that it is ready", || {
            let ready = weir.find("ready").is_some();
            assert!(ready || weir.process.runs(), "weir ended: {:#?}", weir.log());
            ready
        });
        weir.admin = weir.find("admin listening").expect("it has an admin")["address"]
            .as_str()
            .and_then(|a| a.parse().ok())
            .expect("an address");
        weir
    }

    fn whole(folder: &Path, config: &str) -> String {
        format!("admin: \"127.0.0.1:0\"\nlog: {{ format: json, level: info }}\n{config}")
            .replace("@ROOT@", &folder.display().to_string())
    }

    /// Writes another configuration and waits until Weir has said what it makes of it.
    pub fn reload(&self, config: &str) -> Value {
        let before = self.log().len();
        std::fs::write(self.file(), Weir::whole(self.folder.path(), config)).expect("the folder is ours");
        self.process.signal("HUP");
        let mut said = None;
        net::until("weir has reloaded", || {
            said = self.log().into_iter().skip(before).find(|entry| {
                matches!(entry["message"].as_str(), Some("reloaded" | "the new configuration is not taken"))
            });
            said.is_some()
        });
        said.expect("found")
    }

    /// The configuration file.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("weir.yaml")
    }

    /// What it logged so far.
    pub fn log(&self) -> Vec<Value> {
        self.log.lock().expect("nobody panics here").clone()
    }

    fn find(&self, message: &str) -> Option<Value> {
        self.log().into_iter().find(|entry| entry["message"] == message)
    }

    /// Where a listener listens.
    pub fn port(&self, listener: &str) -> u16 {
        self.ports()
            .get(listener)
            .copied()
            .unwrap_or_else(|| panic!("no listener {listener}: {:#?}", self.log()))
    }

    fn ports(&self) -> HashMap<String, u16> {
        let mut ports = HashMap::new();
        for entry in self.log() {
            if entry["message"] == "listening"
                && let (Some(name), Some(address)) = (entry["listener"].as_str(), entry["address"].as_str())
            {
                // A Unix socket has none.
                if let Ok(address) = address.parse::<SocketAddr>() {
                    ports.insert(name.to_owned(), address.port());
                }
            }
        }
        ports
    }

    /// The admin API's address.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// `GET` from the admin API.
    pub fn get(&self, path: &str) -> (u16, String) {
        net::get(self.admin, path)
    }

    /// The numbers at this moment.
    pub fn numbers(&self) -> Numbers {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "{text}");
        Numbers::parse(&text)
    }

    /// The numbers once they are so; fails, showing them, when they do not become so. What has been answered may be counted a
    /// moment later.
    pub fn numbers_when(&self, what: &str, condition: impl Fn(&Numbers) -> bool) -> Numbers {
        let mut numbers = self.numbers();
        net::until(what, || {
            numbers = self.numbers();
            condition(&numbers)
        });
        numbers
    }

    /// The numbers once they are so, or as they are after some seconds: for what is compared in full afterwards.
    pub fn numbers_soon(&self, condition: impl Fn(&Numbers) -> bool) -> Numbers {
        let begun = Instant::now();
        loop {
            let numbers = self.numbers();
            if condition(&numbers) || begun.elapsed() > Duration::from_secs(5) {
                return numbers;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
