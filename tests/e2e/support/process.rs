//! Child processes that are ended when their owner is dropped, and by the kernel should we die first.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read, Write as _},
    process::{Child, Command, Stdio},
    sync::{LazyLock, mpsc},
    time::{Duration, Instant},
};

/// A child process.
pub struct Process {
    child: Child,
    name: String,
}

/// A command whose process dies with us, whatever happens to us.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).stdin(Stdio::null());
    command
}

/// What the keeper is asked to start, and where to send it.
type Ask = (Command, mpsc::Sender<std::io::Result<Child>>);

/// Starts a process from a thread that lives as long as we do: the kernel ends a child when the thread that started it
/// ends, and a test's thread ends before the others' tests do.
fn spawn(command: Command) -> std::io::Result<Child> {
    static KEEPER: LazyLock<mpsc::Sender<Ask>> = LazyLock::new(|| {
        let (asks, asked) = mpsc::channel::<Ask>();
        std::thread::spawn(move || {
            for (mut command, answer) in asked {
                answer.send(command.spawn()).expect("somebody waits for it");
            }
        });
        asks
    });
    let (answer, answered) = mpsc::channel();
    KEEPER.send((command, answer)).expect("the keeper lives");
    answered.recv().expect("the keeper answers")
}

impl Process {
    /// Starts it.
    pub fn start(name: &str, command: &mut Command) -> Process {
        let command = std::mem::replace(command, Command::new("true"));
        let child = spawn(command).unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        Process { child, name: name.to_owned() }
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// One of its sizes in bytes, by the kernel's name for it: `VmRSS` is what is resident, `VmHWM` the most that ever was, `RssAnon`
    /// what of it is in no file.
    pub fn size(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.expect("the kernel says so") << 10
    }

    /// The next line it prints to its standard output, which must be piped.
    pub fn line(&mut self) -> String {
        let out = self.child.stdout.as_mut().expect("its output is piped");
        let mut line = Vec::new();
        let mut byte = [0];
        while out.read(&mut byte).expect("its output can be read") == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        assert!(!line.is_empty() || byte[0] == b'\n', "{} ended before it said where it is", self.name);
        String::from_utf8(line).expect("text").trim().to_owned()
    }

    /// All it still prints to its standard output, which must be piped.
    pub fn rest(&mut self) -> String {
        let mut text = String::new();
        let out = self.child.stdout.as_mut().expect("its output is piped");
        out.read_to_string(&mut text).expect("text");
        text
    }

    /// Writes a line to its standard input, which must be piped.
    pub fn tell(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("its input is piped");
        writeln!(input, "{line}").expect("it reads");
    }

    /// Ends its standard input, which must be piped.
    pub fn end_of_input(&mut self) {
        drop(self.child.stdin.take().expect("its input is piped"));
    }

    /// Ends its standard input, if that is piped.
    pub fn end_input(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Its standard error, line by line.
    pub fn errors(&mut self) -> impl BufRead + Send + 'static {
        BufReader::new(self.child.stderr.take().expect("its errors are piped"))
    }

    /// Sends it a signal by name.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").args(["-s", signal, &self.id().to_string()]).status();
        assert!(status.expect("kill can be run").success(), "{} was gone before {signal}", self.name);
    }

    /// Waits for its end; its exit code, or `None` when a signal ended it. Fails after a minute.
    pub fn wait(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return status.code();
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{} does not end", self.name);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("it can be waited for").is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end and gives what it printed; fails, showing all it said, unless it succeeds.
pub fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}
