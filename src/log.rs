//! Where logs go: standard error, for people or as JSON. Nothing secret is ever logged, and no literals of queries.
//!
//! Who logs never waits for who reads: lines go through a bounded queue to a thread of their own. When nobody reads and the
//! queue is full, lines are dropped, and how many is the next thing that is said (and `weir_log_lines_dropped_total`).

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use tracing_subscriber::{EnvFilter, fmt, prelude::*, reload};
use weir_config::{Log, LogFormat, Word as _};
use weir_decide::text::is_clean;

type Filter = reload::Handle<EnvFilter, tracing_subscriber::Registry>;

/// The most lines that wait to be written.
const MAX_WAITING: usize = 4096;
/// How long the end of the process waits for the last lines to be read.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

/// The logs of the process: the level follows a reload, the format is fixed at start.
pub struct Logs {
    filter: Filter,
    queue: Queue,
}

/// Something for the writing thread.
enum Entry {
    Line(Vec<u8>),
    /// Everything before it has been written.
    Mark(SyncSender<()>),
}

/// The writing end: one `write` is one line.
#[derive(Clone)]
struct Queue {
    lines: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
}

/// The line as it may be read in a terminal: whatever a terminal acts on is escaped, but for the colours that the line was given here, and
/// what looks like a further line is set off, so that nobody takes it for one of Weir's.
fn guarded(line: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(line);
    let (text, end) = text.strip_suffix('\n').map_or((&*text, ""), |text| (text, "\n"));
    let mut out = String::with_capacity(text.len() + 1);
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| !is_clean(c.encode_utf8(&mut [0; 4]))) {
        let (before, foul) = rest.split_at(at);
        out += before;
        let colour = colour(foul);
        if colour > 0 {
            out += foul.get(..colour).unwrap_or_default();
            rest = foul.get(colour..).unwrap_or_default();
            continue;
        }
        let mut chars = foul.chars();
        match chars.next() {
            Some('\n') => out += "\n    ",
            Some('\t') => out.push('\t'),
            Some(c) => out.extend(c.escape_unicode()),
            None => {}
        }
        rest = chars.as_str();
    }
    out += rest;
    out += end;
    out.into_bytes()
}

/// How long the sequence that sets a colour is which the text begins with, 0 if it does not.
fn colour(text: &str) -> usize {
    let Some(parameters) = text.strip_prefix("\x1b[") else { return 0 };
    let length = parameters.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
    if parameters.as_bytes().get(length) == Some(&b'm') { 2 + length + 1 } else { 0 }
}

impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lines.try_send(Entry::Line(guarded(line))).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes what comes until the process ends.
fn write(lines: &Receiver<Entry>, dropped: &AtomicU64, mut out: impl Write) {
    let mut told = 0;
    while let Ok(entry) = lines.recv() {
        match entry {
            // Who reads our errors may be gone; the process goes on.
            Entry::Line(line) => drop(out.write_all(&line)),
            Entry::Mark(done) => drop(done.try_send(())),
        }
        let now = dropped.load(Ordering::Relaxed);
        if now > told {
            let _ = writeln!(out, "{} log lines dropped: nobody read them in time", now - told);
            told = now;
        }
    }
}

impl Logs {
    /// Starts logging.
    pub fn start(log: &Log) -> io::Result<Logs> {
        let (lines, waiting) = sync_channel(MAX_WAITING);
        let dropped: Arc<AtomicU64> = Arc::default();
        let (queue, seen) = (Queue { lines, dropped: Arc::clone(&dropped) }, dropped);
        std::thread::Builder::new().name("log".into()).spawn(move || write(&waiting, &seen, io::stderr()))?;
        let (filter, handle) = reload::Layer::new(filter(log));
        let registry = tracing_subscriber::registry().with(filter);
        let writer = queue.clone();
        let make = move || writer.clone();
        // Fails only when logging was started before, as tests may do; the first one then stays.
        let _ = match log.format {
            LogFormat::Json => registry
                .with(fmt::layer().json().flatten_event(true).with_target(false).with_writer(make))
                .try_init(),
            LogFormat::Human => {
                let colours = io::IsTerminal::is_terminal(&io::stderr());
                registry.with(fmt::layer().with_target(false).with_ansi(colours).with_writer(make)).try_init()
            }
        };
        Ok(Logs { filter: handle, queue })
    }

    /// Takes over the level of a new configuration.
    pub fn follow(&self, log: &Log) {
        let _ = self.filter.reload(filter(log));
    }

    /// Where the number of dropped lines is read.
    pub fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.queue.dropped)
    }

    /// Waits, not for long, until what was logged has been written.
    pub fn finish(&self) {
        let (done, written) = sync_channel(1);
        if self.queue.lines.try_send(Entry::Mark(done)).is_ok() {
            let _ = written.recv_timeout(LAST_PATIENCE);
        }
    }
}

/// `WEIR_LOG` wins over the file (`WEIR_LOG=debug`, `WEIR_LOG=weir_mongo=trace`).
fn filter(log: &Log) -> EnvFilter {
    match std::env::var("WEIR_LOG") {
        Ok(directives) if !directives.is_empty() => EnvFilter::new(directives),
        _ => EnvFilter::new(log.level.word()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that takes nothing until it is let.
    struct Stuck(Receiver<()>, Arc<std::sync::Mutex<Vec<u8>>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            self.1.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nothing_in_a_line_is_for_the_terminal() {
        for (line, expected) in [
            ("INFO ready member=a:1\n", "INFO ready member=a:1\n"),
            ("\x1b[32m INFO\x1b[0m a\n", "\x1b[32m INFO\x1b[0m a\n"),
            ("a \x1b[2J\x1b]0;x\x07 b\n", "a \\u{1b}[2J\\u{1b}]0;x\\u{7} b\n"),
            ("a \u{9b}31m\u{202e}\n", "a \\u{9b}31m\\u{202e}\n"),
            ("error: x\nERROR forged\n", "error: x\n    ERROR forged\n"),
            ("a\rb\n", "a\\u{d}b\n"),
        ] {
            assert_eq!(String::from_utf8(guarded(line.as_bytes())).unwrap(), expected);
        }
    }

    #[test]
    fn who_logs_never_waits_for_who_reads() {
        let (lines, waiting) = sync_channel(2);
        let dropped: Arc<AtomicU64> = Arc::default();
        let mut queue = Queue { lines, dropped: Arc::clone(&dropped) };
        let (let_go, held) = sync_channel::<()>(0);
        let out: Arc<std::sync::Mutex<Vec<u8>>> = Arc::default();
        let stuck = Stuck(held, Arc::clone(&out));
        let writer = std::thread::spawn(move || write(&waiting, &dropped, stuck));
        for _ in 0..100 {
            queue.write_all(b"line\n").unwrap();
        }
        let lost = queue.dropped.load(Ordering::Relaxed);
        assert!((97..=98).contains(&lost), "{lost}");
        drop(let_go);
        drop(queue);
        writer.join().unwrap();
        let text = String::from_utf8(out.lock().unwrap().clone()).unwrap();
        assert!(text.contains(&format!("{lost} log lines dropped")), "{text}");
    }
}
