//! Where logs go: standard error, for people or as JSON. Nothing secret is ever logged, and no literals of queries.
//!
//! Who logs never waits for who reads: lines go through a bounded queue to a thread of their own. When nobody reads and the
//! queue is full, or a line cannot be written, lines are dropped, and how many is said once something can be (and
//! `weir_log_lines_dropped_total`).

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
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

/// Writes what comes until the process ends. Who reads our errors may be gone, or the disk full: what cannot be written is counted
/// like what nobody read in time, and told of by `tell` once something can be written again.
fn write(lines: &Receiver<Entry>, dropped: &AtomicU64, out: impl Write, tell: impl Fn(u64)) {
    let mut out = Whole { out, torn: false };
    let mut told = 0;
    while let Ok(entry) = lines.recv() {
        match entry {
            Entry::Line(line) if out.line(&line).is_err() => {
                dropped.fetch_add(1, Ordering::Relaxed);
            }
            Entry::Line(_) => {
                let now = dropped.load(Ordering::Relaxed);
                if now > told {
                    tell(now - told);
                    told = now;
                }
            }
            Entry::Mark(done) => drop(done.try_send(())),
        }
    }
}

/// Writes whole lines: what comes after a line of which only a part could be written begins a line of its own.
struct Whole<W> {
    out: W,
    torn: bool,
}

impl<W: Write> Whole<W> {
    fn line(&mut self, mut line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.out.write_all(b"\n")?;
            self.torn = false;
        }
        while !line.is_empty() {
            match self.out.write(line) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    line = line.get(written..).unwrap_or_default();
                    self.torn = !line.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Lines that are kept instead of written: somebody draws on the terminal that they would go to.
#[derive(Debug, Clone, Default)]
pub struct Kept(Arc<Mutex<VecDeque<String>>>);

impl Kept {
    /// The most lines that are kept: the latest.
    const MOST: usize = 4;

    /// The latest lines.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl Write for Kept {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= Kept::MOST {
            lines.pop_front();
        }
        lines.push_back(String::from_utf8_lossy(line).trim_end().to_owned());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Logs {
    /// Starts logging, to standard error or to `kept`.
    pub fn start(log: &Log, kept: Option<Kept>) -> io::Result<Logs> {
        let (lines, waiting) = sync_channel(MAX_WAITING);
        let dropped: Arc<AtomicU64> = Arc::default();
        let (queue, seen) = (Queue { lines, dropped: Arc::clone(&dropped) }, dropped);
        let colours = kept.is_none() && crate::say::in_colours(&io::stderr());
        let out: Box<dyn Write + Send> =
            kept.map_or_else(|| Box::new(io::stderr()) as _, |kept| Box::new(kept) as _);
        let tell = |dropped| {
            tracing::warn!(
                dropped,
                "log lines were dropped: nobody read them in time, or they could not be written"
            )
        };
        std::thread::Builder::new().name("log".into()).spawn(move || write(&waiting, &seen, out, tell))?;
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
        let (tell, told) = std::sync::mpsc::channel();
        let writer = std::thread::spawn(move || {
            write(&waiting, &dropped, stuck, |dropped| tell.send(dropped).unwrap())
        });
        for _ in 0..100 {
            queue.write_all(b"line\n").unwrap();
        }
        let lost = queue.dropped.load(Ordering::Relaxed);
        assert!((97..=98).contains(&lost), "{lost}");
        drop(let_go);
        drop(queue);
        writer.join().unwrap();
        assert_eq!(told.iter().collect::<Vec<_>>(), [lost]);
        let written = out.lock().unwrap().clone();
        assert_eq!(written, b"line\n".repeat(usize::try_from(100 - lost).unwrap()));
    }

    /// A disk that has room for so many bytes, until there is more.
    struct Disk(Arc<std::sync::Mutex<(usize, Vec<u8>)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock().unwrap();
            let room = disk.0.min(bytes.len());
            if room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            disk.0 -= room;
            disk.1.extend_from_slice(&bytes[..room]);
            Ok(room)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_full_disk_does_not_take_is_counted_and_no_line_is_torn() {
        let disk = Arc::new(std::sync::Mutex::new((8, Vec::new())));
        let mut out = Whole { out: Disk(Arc::clone(&disk)), torn: false };
        assert!(out.line(b"first\n").is_ok());
        assert!(out.line(b"second\n").is_err() && out.line(b"third\n").is_err());
        disk.lock().unwrap().0 = 100;
        assert!(out.line(b"fourth\n").is_ok());
        assert_eq!(disk.lock().unwrap().1, b"first\nse\nfourth\n");

        let (lines, waiting) = sync_channel(10);
        let full = Arc::new(std::sync::Mutex::new((0, Vec::new())));
        let (dropped, told) = (AtomicU64::new(0), std::cell::RefCell::new(Vec::new()));
        for line in ["a\n", "b\n"] {
            lines.send(Entry::Line(line.into())).unwrap();
        }
        drop(lines);
        // Nothing is told for as long as nothing can be: that would be one more line that is lost.
        write(&waiting, &dropped, Disk(full), |dropped| told.borrow_mut().push(dropped));
        assert_eq!((dropped.load(Ordering::Relaxed), told.into_inner()), (2, vec![]));
    }
}
