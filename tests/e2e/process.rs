//! The process among others: restarts, signals, pipes, disks and files that hang. Nothing of it ends the proxy or makes it panic.

use crate::support::{
    certificates::Authority,
    net,
    process::{Process, command},
    weir::{Weir, binary},
};
use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Stdio,
};

crate::tests!("process":
    a_start_that_cannot_succeed_accepts_nothing,
    a_new_process_serves_while_the_old_one_drains,
    before_a_drain_it_accepts_and_is_not_ready,
    signals_of_others_end_nothing,
    what_cannot_be_printed_is_no_panic,
    logs_that_cannot_be_written_are_dropped_and_counted,
    closed_descriptors_are_nobodys_sockets,
    a_configuration_may_come_from_a_pipe,
    a_pipe_in_place_of_a_file_hangs_nothing,
    changes_of_the_same_size_and_time_are_seen,
    files_that_are_named_are_followed,
    what_holds_from_the_next_start_is_told_each_time,
    certificates_of_no_use_are_told_of,
    names_will_do_for_addresses,
);

const ROUTES: &str = "http: { routes: [{ direct_response: { status: 200, body: ok } }] }";

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn simple() -> String {
    format!("listeners: {{ web: {{ bind: \"127.0.0.1:0\", {ROUTES} }} }}\n")
}

/// A shell's command, in bash, in which `$WEIR` is the binary.
fn bash(script: &str, folder: &Path) -> std::process::Output {
    let mut bash = command("bash");
    bash.args(["-c", script]).env("WEIR", env!("CARGO_BIN_EXE_weir")).current_dir(folder);
    bash.output().expect("bash runs")
}

fn a_start_that_cannot_succeed_accepts_nothing() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let admin = taken.local_addr().expect("it is bound");
    let port = net::free_port();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("weir.yaml");
    // The second listener's address is taken in one round, the admin API's in the other.
    for (admin, second) in [(admin, at(0)), (at(0), admin)] {
        let config = format!(
            "admin: \"{admin}\"\nlisteners:\n  web: {{ bind: \"127.0.0.1:{port}\", {ROUTES} }}\n  more: {{ bind: \"{second}\", {ROUTES} }}\n"
        );
        std::fs::write(&file, config).expect("ours");
        let mut weir = Process::start("weir", binary().arg("run").arg(&file).stderr(Stdio::null()));
        let mut accepted = 0;
        while weir.runs() {
            accepted += u32::from(TcpStream::connect(at(port)).is_ok());
        }
        assert_eq!((weir.wait(), accepted), (Some(1), 0), "{admin} {second}");
    }
}

/// A Weir that can be restarted: its ports are known beforehand.
struct Known {
    _folder: tempfile::TempDir,
    file: std::path::PathBuf,
    admin: SocketAddr,
    web: SocketAddr,
    /// One whose replies take as long as nobody answers.
    slow: std::net::TcpListener,
}

impl Known {
    fn new(more: &str) -> Known {
        let (folder, first) = (tempfile::tempdir().expect("a folder"), net::free_range(2));
        let slow = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let (admin, web, file) = (at(first), at(first + 1), folder.path().join("weir.yaml"));
        let config = format!(
            "admin: \"{admin}\"\n{more}\nlisteners:\n  web:\n    bind: \"{web}\"\n    http:\n      routes:\n        \
             - {{ path_prefix: /slow, cluster: slow }}\n        - {{ direct_response: {{ status: 200, body: ok }} }}\n\
             clusters:\n  slow: {{ endpoints: [\"{}\"] }}\n",
            slow.local_addr().expect("it is bound")
        );
        std::fs::write(&file, config).expect("ours");
        Known { _folder: folder, file, admin, web, slow }
    }

    fn start(&self) -> Process {
        Process::start("weir", binary().arg("run").arg(&self.file).stderr(Stdio::null()))
    }

    fn serves(&self) -> bool {
        TcpStream::connect(self.web).is_ok() && net::get(self.web, "/") == (200, "ok".to_owned())
    }

    fn ready(&self) -> u16 {
        if TcpStream::connect(self.admin).is_err() { 0 } else { net::get(self.admin, "/ready").0 }
    }

    /// A request that is under way until [`Known::answer`].
    fn ask(&self) -> (TcpStream, TcpStream) {
        let mut client = TcpStream::connect(self.web).expect("it listens");
        client.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").expect("it reads");
        let (server, _) = self.slow.accept().expect("it comes");
        (client, server)
    }

    fn answer((mut client, mut server): (TcpStream, TcpStream)) {
        let mut text = String::new();
        server.read_exact(&mut [0; 16]).expect("a request");
        server.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow").expect("it reads");
        client.read_to_string(&mut text).expect("a reply");
        assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("slow"), "{text}");
    }
}

fn a_new_process_serves_while_the_old_one_drains() {
    let known = Known::new("workers: 2");
    let mut old = known.start();
    net::until("the old one is ready", || known.ready() == 200);
    // One that stays is in nobody's way.
    assert_eq!(known.start().wait(), Some(1), "a second one that serves is an error");
    assert!(known.serves());
    let under_way = known.ask();
    old.signal("TERM");
    net::until("it accepts no more", || TcpStream::connect(known.web).is_err());
    let mut new = known.start();
    net::until("the new one serves", || known.serves());
    assert!(old.runs() && known.ready() == 503, "the admin API is the old one's");
    Known::answer(under_way);
    assert_eq!(old.wait(), Some(0));
    net::until("the admin API is the new one's", || known.ready() == 200);
    assert!(known.serves() && new.runs());
    assert!(net::get(known.admin, "/metrics").1.contains("weir_operations_total{listener=\"web\""));
}

fn before_a_drain_it_accepts_and_is_not_ready() {
    let known = Known::new("drain_delay: 2s");
    let mut old = known.start();
    net::until("it is ready", || known.ready() == 200);
    old.signal("TERM");
    net::until("it is not ready", || known.ready() == 503);
    assert!(known.serves(), "it accepts all the same");
    assert!(net::get(known.admin, "/").1.contains("\"accepting\": true"));
    // A new one waits for what the old one has.
    let mut new = known.start();
    assert_eq!(old.wait(), Some(0));
    net::until("the new one is ready", || known.ready() == 200);
    assert!(known.serves() && new.runs());
    // A second signal does not wait.
    new.signal("TERM");
    net::until("it is not ready", || known.ready() == 503);
    new.signal("TERM");
    assert_eq!(new.wait(), Some(130));
}

fn signals_of_others_end_nothing() {
    let mut weir = Weir::start(&simple());
    let web = at(weir.port("web"));
    for signal in [
        "USR1", "USR2", "PIPE", "ALRM", "VTALRM", "PROF", "IO", "PWR", "STKFLT", "XCPU", "XFSZ", "WINCH",
        "URG", "CHLD", "CONT", "34", "50", "64", "HUP",
    ] {
        weir.process().signal(signal);
        assert_eq!(net::get(web, "/"), (200, "ok".to_owned()), "{signal}");
    }
    for signal in ["TSTP", "TTIN", "TTOU", "STOP"] {
        weir.process().signal(signal);
        weir.process().signal("CONT");
        assert_eq!(net::get(web, "/"), (200, "ok".to_owned()), "{signal}");
    }
    weir.process().signal("QUIT");
    assert_eq!(weir.process().wait(), Some(0));
}

fn what_cannot_be_printed_is_no_panic() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("good.yaml"), simple()).expect("ours");
    std::fs::write(folder.path().join("bad.yaml"), "listeners: 7\n").expect("ours");
    let weir = Weir::start(&simple());
    let admin = weir.admin();
    // (what is run, its exit code, whether a line says why)
    let table = [
        ("set -o pipefail; $WEIR schema | true", 0, false),
        ("set -o pipefail; $WEIR mongo --print-config mongodb://127.0.0.1:1 | true", 0, false),
        ("$WEIR schema >/dev/full", 1, true),
        ("$WEIR check good.yaml >/dev/full", 1, true),
        ("$WEIR check --json bad.yaml >/dev/full", 1, true),
        ("$WEIR check good.yaml 2>/dev/full", 0, false),
        ("$WEIR check bad.yaml 2>/dev/full", 1, false),
        ("$WEIR check bad.yaml >&- 2>&- <&-", 1, false),
        ("$WEIR check good.yaml | true; exit ${PIPESTATUS[0]}", 0, false),
        ("$WEIR check --json bad.yaml | true; exit ${PIPESTATUS[0]}", 1, false),
        ("$WEIR stats --admin $ADMIN | true; exit ${PIPESTATUS[0]}", 0, false),
        ("$WEIR stats --admin $ADMIN --json >/dev/full", 1, true),
        ("$WEIR top --once --admin $ADMIN >/dev/full", 1, true),
        ("$WEIR --help >/dev/full", 0, false),
        ("$WEIR demo --seconds 30 | head -1; exit ${PIPESTATUS[0]}", 0, false),
    ];
    for (script, code, says) in table {
        let done = bash(&script.replace("$ADMIN", &admin.to_string()), folder.path());
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(code), "{script}: {said}");
        assert!(!said.contains("panicked"), "{script}: {said}");
        let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error: cannot write")).collect();
        assert_eq!(errors.len(), usize::from(says), "{script}: {said}");
    }
    // Whoever reads what `weir mongo` tells may go, and the proxy stays.
    let first = net::free_range(2);
    let script = format!(
        "exec $WEIR mongo --listen 127.0.0.1:{first} --admin localhost:{} mongodb://127.0.0.1:1/?directConnection=true >/dev/full 2>/dev/full",
        first + 1
    );
    let mut bash = command("bash");
    let mut mongo =
        Process::start("weir mongo", bash.args(["-c", &script]).env("WEIR", env!("CARGO_BIN_EXE_weir")));
    let ready = || TcpStream::connect(at(first + 1)).is_ok() && net::get(at(first + 1), "/ready").0 == 200;
    net::until("it is ready", ready);
    // Its advice was lost, which is the next thing that it could not say.
    let lost = || net::get(at(first + 1), "/metrics").1;
    net::until("lines were dropped", || {
        lost().lines().any(|line| line.starts_with("weir_log_lines_dropped_total ") && !line.ends_with(" 0"))
    });
    assert!(ready() && mongo.runs());
}

fn logs_that_cannot_be_written_are_dropped_and_counted() {
    let known = Known::new("");
    for to in ["/dev/full", "&-"] {
        let script = format!("exec $WEIR run {} 2>{to}", known.file.display());
        let mut bash = command("bash");
        let mut weir =
            Process::start("weir", bash.args(["-c", &script]).env("WEIR", env!("CARGO_BIN_EXE_weir")));
        net::until("it is ready", || known.ready() == 200);
        weir.signal("HUP");
        assert!(known.serves());
        if to == "/dev/full" {
            net::until("they are counted", || {
                let (_, numbers) = net::get(known.admin, "/metrics");
                let dropped =
                    numbers.lines().find_map(|line| line.strip_prefix("weir_log_lines_dropped_total "));
                dropped.is_some_and(|dropped| dropped.parse::<u64>().is_ok_and(|n| n >= 3))
            });
        }
        weir.signal("TERM");
        assert_eq!(weir.wait(), Some(0));
    }
}

fn closed_descriptors_are_nobodys_sockets() {
    let known = Known::new("");
    let script = format!("exec $WEIR run {} <&- >&- 2>&-", known.file.display());
    let mut bash = command("bash");
    let mut weir = Process::start("weir", bash.args(["-c", &script]).env("WEIR", env!("CARGO_BIN_EXE_weir")));
    net::until("it is ready", || known.ready() == 200);
    for descriptor in 0..3 {
        let leads = std::fs::read_link(format!("/proc/{}/fd/{descriptor}", weir.id())).expect("it is open");
        assert_eq!(leads, Path::new("/dev/null"), "{descriptor}");
    }
    weir.signal("TERM");
    assert_eq!(weir.wait(), Some(0));
}

fn a_configuration_may_come_from_a_pipe() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("good.yaml"), simple()).expect("ours");
    std::fs::write(folder.path().join("port"), "0\n").expect("ours");
    let named = simple().replace("127.0.0.1:0", "127.0.0.1:${file:port}");
    std::fs::write(folder.path().join("named.yaml"), named).expect("ours");
    for (script, code, holds) in [
        ("$WEIR check - < good.yaml", 0, "standard input: ok (1 listeners"),
        ("cat named.yaml | $WEIR check -", 0, "standard input: ok (1 listeners"),
        ("cat good.yaml | $WEIR check /dev/stdin", 0, "standard input: ok (1 listeners"),
        ("$WEIR check <(cat named.yaml)", 0, ": ok (1 listeners"),
        ("echo 'listener: {}' | $WEIR check -", 1, "standard input:1:1: listener: unknown key"),
        ("mkfifo p; (cat good.yaml > p &); $WEIR check p", 0, "p: ok (1 listeners"),
        ("$WEIR check - < /dev/null", 1, "error"),
        ("$WEIR check /dev/zero", 1, "it is larger than"),
        ("$WEIR check .", 1, "it is not a regular file"),
    ] {
        let done = bash(script, folder.path());
        let said =
            format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.code() == Some(code) && said.contains(holds), "{script}: {said}");
    }
    let known = Known::new("");
    let mut run = binary();
    let mut weir = Process::start("weir", run.args(["run", "-"]).stdin(Stdio::piped()).stderr(Stdio::null()));
    weir.tell(&std::fs::read_to_string(&known.file).expect("ours"));
    assert!(weir.runs() && TcpStream::connect(known.web).is_err(), "the rest may come");
    weir.end_of_input();
    net::until("it is ready", || known.ready() == 200);
    // There is nothing to be read anew, and it goes on.
    weir.signal("HUP");
    assert!(known.serves());
    weir.signal("TERM");
    assert_eq!(weir.wait(), Some(0));
    // One that waits for its configuration ends when it is told to.
    let mut waits =
        Process::start("weir", binary().args(["run", "-"]).stdin(Stdio::piped()).stderr(Stdio::null()));
    let catches = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", waits.id())).expect("it runs");
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).map(str::trim);
        caught.is_some_and(|mask| u64::from_str_radix(mask, 16).is_ok_and(|mask| mask & (1 << 14) != 0))
    };
    net::until("it catches signals", catches);
    waits.signal("TERM");
    assert_eq!(waits.wait(), Some(0));
}

fn a_pipe_in_place_of_a_file_hangs_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().to_path_buf();
    std::fs::write(root.join("address"), "127.0.0.1:1\n").expect("ours");
    std::fs::write(root.join("root.pem"), "").expect("ours");
    Authority::new(&root);
    let config = "listeners: { raw: { bind: \"127.0.0.1:0\", tcp: { cluster: up } } }\n\
                  clusters: { up: { endpoints: [\"${file:address}\"], tls: { ca: root.pem, sni: localhost } } }\n";
    let mut weir = Weir::start_in(folder, config);
    for name in ["root.pem", "address", "weir.yaml"] {
        std::fs::remove_file(root.join(name)).expect("it was there");
        assert!(command("mkfifo").arg(root.join(name)).status().expect("mkfifo runs").success());
        let before = weir.log().len();
        weir.process().signal("HUP");
        net::until("it is refused", || {
            weir.log()
                .iter()
                .skip(before)
                .any(|entry| entry["message"] == "the new configuration is not taken")
        });
    }
    weir.process().signal("TERM");
    assert_eq!(weir.process().wait(), Some(0));
}

fn reloaded(weir: &Weir) -> usize {
    weir.log().iter().filter(|entry| entry["message"] == "reloaded").count()
}

fn changes_of_the_same_size_and_time_are_seen() {
    let weir = Weir::start(&simple());
    let (file, web) = (weir.file(), at(weir.port("web")));
    let time = std::fs::metadata(&file).and_then(|data| data.modified()).expect("it is there");
    let text = std::fs::read_to_string(&file).expect("ours").replace("body: ok", "body: no");
    std::fs::write(&file, text).expect("ours");
    std::fs::File::options().write(true).open(&file).and_then(|file| file.set_modified(time)).expect("ours");
    net::until("it is taken", || net::get(web, "/").1 == "no");
    net::until("it is said", || reloaded(&weir) == 1);
}

fn files_that_are_named_are_followed() {
    let folder = tempfile::tempdir().expect("a folder");
    let body = folder.path().join("body");
    std::fs::write(&body, "one").expect("ours");
    let weir = Weir::start_in(folder, &simple().replace("body: ok", "body: \"${file:body}\""));
    let web = at(weir.port("web"));
    assert_eq!(net::get(web, "/").1, "one");
    std::fs::write(&body, "two").expect("ours");
    net::until("it is taken", || net::get(web, "/").1 == "two");
    // While it is not there nothing is, and then it is taken as ever.
    std::fs::remove_file(&body).expect("it was there");
    net::until("its absence is told", || {
        weir.log().iter().any(|entry| entry["message"] == "the new configuration is not taken")
    });
    assert_eq!(net::get(web, "/").1, "two");
    std::fs::write(&body, "three").expect("ours");
    net::until("it is taken", || net::get(web, "/").1 == "three");
}

fn what_holds_from_the_next_start_is_told_each_time() {
    let weir = Weir::start(&simple());
    let next = format!("workers: 3\nlimits: {{ rows: 100 }}\ndrain_timeout: 1s\n{}", simple());
    for _ in 0..2 {
        let entry = weir.reload(&next);
        assert_eq!(entry["not_yet"], "workers limits", "{entry}");
    }
    let entry = weir.reload(&simple());
    assert!(entry["not_yet"].is_null() && entry["at_once"] == "drain_timeout", "{entry}");
}

fn certificates_of_no_use_are_told_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().to_path_buf();
    for (name, from, to) in [("old", 2001, 2002), ("new", 2401, 2402), ("good", 2001, 2402)] {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
        (params.not_before, params.not_after) =
            (rcgen::date_time_ymd(from, 1, 1), rcgen::date_time_ymd(to, 1, 1));
        let key = rcgen::KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("signed").pem();
        std::fs::write(root.join(format!("{name}.pem")), pem).expect("ours");
        std::fs::write(root.join(format!("{name}.key")), key.serialize_pem()).expect("ours");
    }
    let config = |name: &str, key: &str| {
        format!(
            "listeners: {{ web: {{ bind: \"127.0.0.1:0\", tls: {{ certificate: {name}.pem, key: {key}.key }}, {ROUTES} }} }}\n"
        )
    };
    for (name, key, code, said) in [
        ("good", "good", 0, ""),
        (
            "old",
            "old",
            0,
            "warning: c.yaml:1:62: listeners.web.tls.certificate: old.pem: the certificate has expired, on 2002-01-01",
        ),
        ("new", "new", 0, "new.pem: the certificate is not valid yet, but from 2401-01-01 on"),
        ("good", "old", 1, "old.key: not the key of good.pem"),
    ] {
        std::fs::write(root.join("c.yaml"), config(name, key)).expect("ours");
        let done = bash("$WEIR check c.yaml", &root);
        let all = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.code() == Some(code) && all.contains(said), "{name} {key}: {all}");
        assert_eq!(said.is_empty(), all.is_empty(), "{all}");
    }
    // At the start, and when it takes the place of another, it is told as well.
    let weir = Weir::start_in(folder, &config("old", "old"));
    let told = |what: &str| {
        weir.log().iter().filter(|entry| entry["message"].as_str().is_some_and(|m| m.contains(what))).count()
    };
    assert_eq!(told("has expired"), 1);
    std::fs::copy(root.join("new.key"), root.join("old.key")).expect("ours");
    std::fs::copy(root.join("new.pem"), root.join("old.pem")).expect("ours");
    net::until("it is told", || told("not valid yet") == 1);
}

fn names_will_do_for_addresses() {
    let weir = Weir::start(&simple());
    let port = weir.admin().port();
    assert_eq!(net::get(at(weir.port("web")), "/").0, 200);
    for name in ["localhost", "127.0.0.1"] {
        let done =
            binary().args(["stats", "--admin", &format!("{name}:{port}")]).output().expect("weir runs");
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success() && said.contains("GET"), "{name}: {done:?}");
    }
    let nonsense = binary().args(["stats", "--admin", "localhost"]).output().expect("weir runs");
    assert!(String::from_utf8_lossy(&nonsense.stderr).contains("expected HOST:PORT"), "{nonsense:?}");
}
