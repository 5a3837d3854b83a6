//! Numbers of the process that the operating system keeps: read from `/proc` when a scrape asks. Where there is no `/proc`, or
//! a file of it does not read as expected, that number is left out.

use crate::{Collect, Samples, names};
use std::fs;

/// Clock ticks per second in `/proc`: what Linux shows to programs is 100 on every architecture it runs on with us.
const TICKS: f64 = 100.0;

/// The process's own numbers.
#[derive(Debug)]
pub struct Process {
    version: &'static str,
}

impl Process {
    /// For `weir_build_info`, `version` is Weir's.
    pub fn new(version: &'static str) -> Process {
        Process { version }
    }
}

impl Collect for Process {
    fn collect(&self, out: &mut Samples) {
        out.add(&names::BUILD_INFO, &[self.version], 1u64);
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let status = read("/proc/self/status");
        for (key, family) in [("VmRSS:", &names::PROCESS_RESIDENT), ("VmSize:", &names::PROCESS_VIRTUAL)] {
            if let Some(kib) = field(&status, key) {
                out.add(family, &[], kib * 1024);
            }
        }
        if let Some(threads) = field(&status, "Threads:") {
            out.add(&names::PROCESS_THREADS, &[], threads);
        }
        if let Some(most) = field(&read("/proc/self/limits"), "Max open files") {
            out.add(&names::PROCESS_MAX_FDS, &[], most);
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            // One of them is that of reading the directory.
            out.add(&names::PROCESS_OPEN_FDS, &[], (entries.count() as u64).saturating_sub(1));
        }
        if let Some((cpu, start)) = ticks(&read("/proc/self/stat")) {
            out.add(&names::PROCESS_CPU, &[], cpu as f64 / TICKS);
            if let Some(boot) = field(&read("/proc/stat"), "btime") {
                out.add(&names::PROCESS_START, &[], boot as f64 + start as f64 / TICKS);
            }
        }
    }
}

/// The first number after `key` on the line that begins with it.
fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()
}

/// User and system time together, and the time of the start: fields 14, 15 and 22 of proc_pid_stat(5). The second field, the
/// program's name in brackets, may hold anything.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let start = fields.nth(6)?.parse().ok()?;
    Some((user + system, start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_whatever_the_program_is_called() {
        let stat =
            "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 5 6 20 0 9 0 1234 88 99 18446744073709551615";
        assert_eq!(ticks(stat), Some((200, 1234)));
        assert_eq!(ticks("7 (a) S 1"), None);
        assert_eq!(ticks(""), None);
    }

    #[test]
    fn fields_are_found_by_the_start_of_their_line() {
        let text = "Name:\tx\nVmRSS:\t    1024 kB\nMax open files            1048576              1048576              files\n";
        assert_eq!(field(text, "VmRSS:"), Some(1024));
        assert_eq!(field(text, "Max open files"), Some(1_048_576));
        assert_eq!(field(text, "Name:"), None);
        assert_eq!(field(text, "VmSize:"), None);
    }
}
