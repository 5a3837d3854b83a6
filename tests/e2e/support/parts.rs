//! The real parts: where they are, and the servers among them, started once and shared.

use super::net;
use super::process::{Process, command, output};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{LazyLock, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard},
};
use tempfile::TempDir;

/// Servers and scratch folders that are ended by [`end`].
static RUNNING: Mutex<Vec<(Process, Option<TempDir>)>> = Mutex::new(Vec::new());

/// The members of the replica set by port, and the folders of what runs.
static MEMBERS: LazyLock<Mutex<HashMap<u16, Process>>> = LazyLock::new(Mutex::default);
static FOLDERS: Mutex<Vec<TempDir>> = Mutex::new(Vec::new());

fn keep(process: Process, folder: Option<TempDir>) {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push((process, folder));
}

/// Ends every server that was started.
pub fn end() {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).clear();
    MEMBERS.lock().unwrap_or_else(PoisonError::into_inner).clear();
    FOLDERS.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

/// The root of the checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file or folder among the parts; fails with what installs it.
pub fn part(path: &str) -> PathBuf {
    let parts =
        std::env::var_os("WEIR_TEST_PARTS").map_or_else(|| root().join("target/parts"), PathBuf::from);
    let path = parts.join(path);
    assert!(path.exists(), "the part {} is missing: run `cargo xtask setup`", path.display());
    path
}

/// A Python program of `tests/clients`.
pub fn python(script: &str) -> Command {
    let mut python = command(part("venv/bin/python"));
    python.arg(root().join("tests/clients").join(script)).env("PYTHONDONTWRITEBYTECODE", "1");
    python
}

/// A Node.js program of `tests/clients`.
pub fn node(script: &str) -> Command {
    let mut node = command("node");
    node.arg(root().join("tests/clients").join(script));
    let modules = [part("node/node_modules"), root().join("tests/clients/shims")];
    node.env("NODE_PATH", std::env::join_paths(modules).expect("no colons")).env("NODE_NO_WARNINGS", "1");
    node
}

/// Runs a client that prints JSON.
pub fn json(client: &mut Command) -> serde_json::Value {
    let text = output(client);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

/// A mongod, and its port.
pub fn mongod() -> u16 {
    static PORT: OnceLock<u16> = OnceLock::new();
    *PORT.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let port = net::free_port();
        let mut mongod = mongod_at(port, folder.path());
        let process = Process::start("mongod", mongod.stdout(Stdio::null()));
        net::wait_for(port);
        keep(process, Some(folder));
        port
    })
}

/// A replica set of three mongods, which take TLS connections and plain ones.
pub struct ReplicaSet {
    /// Of its members, in the order of its configuration.
    pub ports: [u16; 3],
    folder: PathBuf,
    /// Whoever uses it has to log in.
    secured: bool,
}

/// The sets' name.
pub const SET: &str = "rs";

/// Who may do everything on the secured set, and the password.
pub const USER: (&str, &str) = ("ada", "secret");

/// The replica set. Whoever disturbs it holds it alone, whoever needs it calm shares it, so that tests may run beside each
/// other; a disturber leaves it whole again.
pub fn replica_set() -> &'static RwLock<ReplicaSet> {
    static RS: OnceLock<RwLock<ReplicaSet>> = OnceLock::new();
    RS.get_or_init(|| ReplicaSet::new(false))
}

/// The replica set, which nobody disturbs as long as this is held. Whoever speaks with a member past its set needs that too: a
/// driver tries a write once only where it finds no primary.
pub fn calm_set() -> RwLockReadGuard<'static, ReplicaSet> {
    replica_set().read().unwrap_or_else(PoisonError::into_inner)
}

/// The replica set that asks for a name and a password; otherwise the same.
pub fn secured_set() -> &'static RwLock<ReplicaSet> {
    static RS: OnceLock<RwLock<ReplicaSet>> = OnceLock::new();
    RS.get_or_init(|| ReplicaSet::new(true))
}

/// A folder with `root.pem`, and with `server.pem`, `server.key` and both in `server.both.pem` for 127.0.0.1 and localhost.
pub fn certificates() -> &'static Path {
    use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let key = || KeyPair::generate().expect("a key");
        let mut root = CertificateParams::new(Vec::new()).expect("no names");
        root.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        root.distinguished_name.push(rcgen::DnType::CommonName, "a root for tests");
        let root = CertifiedIssuer::self_signed(root, key()).expect("a root");
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut server = CertificateParams::new(names).expect("names");
        server.distinguished_name.push(rcgen::DnType::CommonName, "a server for tests");
        let its = key();
        let server = server.signed_by(&its, &root).expect("a certificate").pem();
        let both = format!("{server}{}", its.serialize_pem());
        for (file, text) in [
            ("root.pem", root.pem()),
            ("server.pem", server),
            ("server.key", its.serialize_pem()),
            ("server.both.pem", both),
        ] {
            std::fs::write(folder.path().join(file), text).expect("the folder is ours");
        }
        let path = folder.path().to_path_buf();
        FOLDERS.lock().unwrap_or_else(PoisonError::into_inner).push(folder);
        path
    })
}

impl ReplicaSet {
    fn new(secured: bool) -> RwLock<ReplicaSet> {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let ports = [net::free_port(), net::free_port(), net::free_port()];
        let set = ReplicaSet { ports, folder: folder.path().to_path_buf(), secured };
        let key = folder.path().join("key");
        std::fs::write(&key, "MembersKnowEachOtherByThis").expect("the folder is ours");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
        FOLDERS.lock().unwrap_or_else(PoisonError::into_inner).push(folder);
        ports.into_iter().for_each(|port| set.start(port));
        set.ask("initiate");
        RwLock::new(set)
    }

    /// Starts the member at this port, with what it had.
    pub fn start(&self, port: u16) {
        let data = self.folder.join(port.to_string());
        std::fs::create_dir_all(&data).expect("the folder is ours");
        let mut mongod = mongod_at(port, &data);
        mongod.args(["--replSet", SET, "--oplogSize", "64", "--tlsMode", "preferTLS"]);
        mongod.args(["--tlsAllowConnectionsWithoutCertificates", "--tlsCertificateKeyFile"]);
        mongod.arg(certificates().join("server.both.pem"));
        mongod.arg("--tlsCAFile").arg(certificates().join("root.pem"));
        if self.secured {
            mongod.arg("--keyFile").arg(self.folder.join("key"));
        }
        let process = Process::start(&format!("mongod {port}"), mongod.stdout(Stdio::null()));
        net::wait_for(port);
        MEMBERS.lock().unwrap_or_else(PoisonError::into_inner).insert(port, process);
    }

    /// Kills the member at this port. It is started again when what this returns is dropped.
    pub fn kill_for_now(&self, port: u16) -> Again<'_> {
        MEMBERS.lock().unwrap_or_else(PoisonError::into_inner).remove(&port).expect("it runs");
        Again(self, port)
    }

    /// Has `mongo_set.py` do something with the set, past Weir: `initiate`, `primary` (prints its port), `step_down`,
    /// `remove PORT`, `add PORT`. Returns when the set has a primary again.
    pub fn ask(&self, what: &str) -> String {
        let ports: Vec<String> = self.ports.iter().map(u16::to_string).collect();
        let mut ask = python("mongo_set.py");
        if self.secured {
            ask.env("MONGO_SET_USER", format!("{}:{}", USER.0, USER.1));
        }
        output(ask.arg(SET).arg(ports.join(",")).args(what.split(' '))).trim().to_owned()
    }

    /// The primary's port.
    pub fn primary(&self) -> u16 {
        self.ask("primary").parse().expect("a port")
    }
}

/// Starts a member again when dropped, and waits until the set has taken it back.
pub struct Again<'a>(&'a ReplicaSet, u16);

impl Drop for Again<'_> {
    fn drop(&mut self) {
        self.0.start(self.1);
        self.0.primary();
    }
}

/// How a mongod with this port and folder is started.
pub fn mongod_at(port: u16, data: &Path) -> Command {
    let mut mongod = command(part("mongod/fiftyone/db/bin/mongod"));
    mongod.args(["--bind_ip", "127.0.0.1", "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25", "--port"]);
    mongod.arg(port.to_string()).arg("--dbpath").arg(data);
    mongod.args(["--setParameter", "enableTestCommands=1"]);
    mongod.args(["--setParameter", "diagnosticDataCollectionEnabled=false"]);
    mongod
}

/// moto's DynamoDB, and its port.
pub fn moto() -> u16 {
    static PORT: OnceLock<u16> = OnceLock::new();
    *PORT.get_or_init(|| {
        let port = net::free_port();
        let mut moto = command(part("venv/bin/python"));
        moto.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
        keep(Process::start("moto", moto.stdout(Stdio::null()).stderr(Stdio::null())), None);
        net::wait_for(port);
        port
    })
}

/// dynalite, and its port.
pub fn dynalite() -> u16 {
    static PORT: OnceLock<u16> = OnceLock::new();
    *PORT.get_or_init(|| {
        let port = net::free_port();
        let mut dynalite = command("node");
        dynalite.arg(part("node/node_modules/dynalite/cli.js")).args([
            "--host",
            "127.0.0.1",
            "--port",
            &port.to_string(),
        ]);
        dynalite.args(["--createTableMs", "5", "--deleteTableMs", "5"]);
        keep(Process::start("dynalite", dynalite.stdout(Stdio::null()).stderr(Stdio::null())), None);
        net::wait_for(port);
        port
    })
}

/// A gRPC server of the Echo service that answers by this name, and its port. One that `fails` says UNAVAILABLE.
pub fn grpc(name: &str, fails: bool) -> (Process, u16) {
    let mut server = python("grpc_server.py");
    server.arg(name).args(fails.then_some("fail")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = Process::start("grpc_server.py", &mut server);
    let port = process.line().parse().expect("it prints its port");
    (process, port)
}

/// An nginx of this configuration (the inside of `http`), in which `@PORT@` is its port and `@ROOT@` its folder.
pub fn nginx(http: &str, prepare: impl FnOnce(&Path)) -> (Process, TempDir, u16) {
    let folder = tempfile::tempdir().expect("a folder");
    let port = net::free_port();
    prepare(folder.path());
    let root = folder.path().display().to_string();
    let text = format!(
        "daemon off; master_process off; pid {root}/pid; error_log {root}/error.log; worker_processes 1; user root;\n\
         events {{ worker_connections 512; }}\n\
         http {{ access_log off; client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;\n\
         fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; scgi_temp_path {root}/s; {http} }}\n"
    );
    let text = text.replace("@PORT@", &port.to_string()).replace("@ROOT@", &root);
    let file = folder.path().join("nginx.conf");
    std::fs::write(&file, text).expect("the folder is ours");
    let mut nginx = command("/usr/sbin/nginx");
    nginx.arg("-c").arg(&file).arg("-p").arg(folder.path()).stderr(Stdio::null());
    let process = Process::start("nginx", &mut nginx);
    net::wait_for(port);
    (process, folder, port)
}
