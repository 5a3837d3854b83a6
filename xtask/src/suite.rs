//! The test binaries of the workspace, run one after the other, and what came of them: a test that fails is run once more, alone.
//! If it passes then, it is reported as FLAKY and the run passes; failing twice is a failure, and so are more than three flaky tests
//! in one run. What is random by a seed, loses nothing or counts exactly is not run again: there one failure is one too many.

use crate::run::{self, Owned, cargo};
use anyhow::{Context, Result, bail};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The most flaky tests that a run passes with.
const MOST_FLAKY: usize = 3;

/// How many of the slowest tests are listed.
const SLOWEST: usize = 15;

/// Tests that are not run again, by the file (under the repository's root) that holds them and the beginning of their names.
/// A test file with a property test in it is one of them without being listed.
const NOT_AGAIN: [(&str, &str); 12] = [
    ("decide", "simulation::"),
    ("decide", "threads::"),
    ("decide", "steady::"),
    ("measure", "exact::"),
    ("measure", "oracle::"),
    ("codecs", "alloc::"),
    ("drive", "syscalls::"),
    ("http", "guards::"),
    ("guards", ""),
    ("e2e", "load::"),
    ("e2e", "guards::"),
    ("e2e", "mongo_oracles::"),
];

/// A test binary that cargo has built.
struct Binary {
    /// Its target's name: `decide`, `e2e`, or a library's.
    name: String,
    program: PathBuf,
    /// Where cargo would run it: the root of its package.
    folder: PathBuf,
    /// The source file that it is built from.
    source: PathBuf,
}

/// What a run of one binary said.
#[derive(Default)]
struct Said {
    failed: Vec<String>,
    /// Milliseconds by test.
    times: BTreeMap<String, u64>,
    output: String,
    succeeded: bool,
}

/// Builds and runs every test of the workspace, documentation tests included. `lend` adds what the tests need to a command.
pub fn run(lend: impl Fn(Owned) -> Owned) -> Result<()> {
    let mut flaky: Vec<(String, String)> = Vec::new();
    let mut broken: Vec<String> = Vec::new();
    let mut times: Vec<(u64, String)> = Vec::new();
    for binary in build()? {
        println!("\n-- {} ({})", binary.name, shown(&binary.program));
        let said = binary.run(&lend, None)?;
        times.extend(said.times.iter().map(|(test, ms)| (*ms, format!("{} {test}", binary.name))));
        if !said.succeeded && said.failed.is_empty() {
            broken.push(format!("{} ended without naming a test", binary.name));
        }
        for test in &said.failed {
            let title = format!("{} {test}", binary.name);
            if !binary.may_run_again(test) {
                broken.push(format!("{title} (never run again: it is exact, or its seed shows a fault)"));
                continue;
            }
            println!("-- once more, alone: {title}");
            let again = binary.run(&lend, Some(test))?;
            match again.succeeded && again.failed.is_empty() {
                true => flaky.push((title, first_output(&said.output, test))),
                false => broken.push(format!("{title} (twice)")),
            }
        }
    }
    println!("\n-- documentation tests");
    if run::run(lend(cargo(["test", "--workspace", "--locked", "--doc"]))).is_err() {
        broken.push("documentation tests".into());
    }
    report_times(times);
    report_flaky(&flaky)?;
    if !broken.is_empty() {
        bail!("failed:\n  {}", broken.join("\n  "));
    }
    if flaky.len() > MOST_FLAKY {
        bail!("{} tests are flaky, and a run passes with {MOST_FLAKY} at most", flaky.len());
    }
    Ok(())
}

fn build() -> Result<Vec<Binary>> {
    let mut build =
        cargo(["test", "--workspace", "--locked", "--no-run", "--message-format=json-render-diagnostics"]).0;
    let output = build.stderr(Stdio::inherit()).output().context("cargo test --no-run")?;
    if !output.status.success() {
        bail!("the tests do not build");
    }
    let mut binaries = Vec::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let message: serde_json::Value = serde_json::from_str(line).context("a message of cargo's")?;
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        let (true, Some(program)) =
            (message["profile"]["test"] == true, text(&message["executable"]).map(PathBuf::from))
        else {
            continue;
        };
        let manifest = PathBuf::from(text(&message["manifest_path"]).context("a manifest")?);
        binaries.push(Binary {
            name: text(&message["target"]["name"]).context("a target's name")?,
            program,
            folder: manifest.parent().context("a manifest's folder")?.into(),
            source: text(&message["target"]["src_path"]).context("a source")?.into(),
        });
    }
    if binaries.is_empty() {
        bail!("cargo has built no test");
    }
    // The quick ones first, so that a plain mistake is seen early.
    binaries.sort_by_key(|binary| (binary.name == "e2e", binary.name.clone()));
    Ok(binaries)
}

impl Binary {
    /// Runs all its tests, or one alone, passing on what it prints.
    fn run(&self, lend: &impl Fn(Owned) -> Owned, only: Option<&str>) -> Result<Said> {
        let times = run::target().join("tmp").join(format!("times-{}", std::process::id()));
        let mut command = Command::new(&self.program);
        // libtest tells times only where unstable options are taken; the harness of the end-to-end tests writes them down itself.
        match self.name.as_str() {
            "e2e" => drop(command.env("WEIR_TEST_TIMES", &times)),
            _ => drop(command.args(["-Zunstable-options", "--report-time"]).env("RUSTC_BOOTSTRAP", "1")),
        }
        if let Some(test) = only {
            command.args(["--exact", test]);
        }
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        let mut command = lend(Owned(command)).0;
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| shown(&self.program))?;
        let mut said = Said::default();
        for line in BufReader::new(child.stdout.take().context("its output")?).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            println!("{line}");
            said.hear(&line);
        }
        std::io::stdout().flush()?;
        said.succeeded = child.wait()?.success();
        for line in fs::read_to_string(&times).unwrap_or_default().lines() {
            if let Some((test, ms)) = line.split_once('\t') {
                said.times.insert(test.to_owned(), ms.parse().unwrap_or_default());
            }
        }
        drop(fs::remove_file(&times));
        Ok(said)
    }

    fn may_run_again(&self, test: &str) -> bool {
        let listed = NOT_AGAIN.iter().any(|(name, begins)| self.name == *name && test.starts_with(begins));
        !listed && !self.is_property(test)
    }

    /// Whether the file that holds the test has property tests: `splits::..` is in `splits.rs` or `splits/mod.rs` somewhere below
    /// the binary's main file.
    fn is_property(&self, test: &str) -> bool {
        let mut file = self.source.parent().unwrap_or(Path::new("")).to_path_buf();
        for module in test.split("::") {
            file.push(module);
            let candidates = [file.with_extension("rs"), file.join("mod.rs")];
            let text = candidates.iter().find_map(|path| fs::read_to_string(path).ok());
            if text.is_some_and(|text| text.contains("proptest!")) {
                return true;
            }
        }
        false
    }
}

impl Said {
    /// One line of a test binary's output: `test NAME ... ok <0.012s>`, `test NAME ... FAILED`.
    fn hear(&mut self, line: &str) {
        self.output.push_str(line);
        self.output.push('\n');
        let Some((name, result)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
        else {
            return;
        };
        let name = name.trim_end();
        if result.starts_with("FAILED") {
            self.failed.push(name.to_owned());
        }
        let time = result.rsplit_once('<').and_then(|(_, time)| time.strip_suffix("s>"));
        if let Some(seconds) = time.and_then(|time| time.parse::<f64>().ok()) {
            self.times.insert(name.to_owned(), (seconds * 1000.0) as u64);
        }
    }
}

/// What a failed test printed: its section of the binary's output.
fn first_output(output: &str, test: &str) -> String {
    let headings = [format!("---- {test} stdout ----"), format!("---- {test} ----")];
    let Some(begin) = headings.iter().find_map(|heading| output.find(heading.as_str())) else {
        return String::from("(it printed nothing)");
    };
    let section = output.get(begin..).unwrap_or_default();
    let end = ["\n---- ", "\nfailures:"].iter().filter_map(|next| section.find(next)).min();
    section.get(..end.unwrap_or(section.len())).unwrap_or_default().to_owned()
}

fn report_times(mut times: Vec<(u64, String)>) {
    times.sort_by(|a, b| b.cmp(a));
    println!("\n-- the slowest tests");
    for (ms, test) in times.iter().take(SLOWEST) {
        println!("{:7.1} s  {test}", *ms as f64 / 1000.0);
    }
}

/// Prints the flaky tests with their first output, and writes the same to a file under the target folder.
fn report_flaky(flaky: &[(String, String)]) -> Result<()> {
    let path = run::target().join("flaky.txt");
    let mut text = String::new();
    for (test, output) in flaky {
        text += &format!("FLAKY {test}: failed, and passed when it was run alone\n{output}\n");
    }
    fs::write(&path, &text).with_context(|| shown(&path))?;
    if !flaky.is_empty() {
        println!("\n{text}\n-- {} flaky, also in {}", flaky.len(), shown(&path));
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    path.strip_prefix(run::root()).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "running 3 tests\n\
        test one::good ... ok <0.250s>\n\
        test one::bad ... FAILED <1.500s>\n\
        test two::bad ... FAILED\n\n\
        failures:\n\n\
        ---- one::bad stdout ----\nleft: 1\n\n\
        ---- two::bad ----\nright: 2\n\n\
        failures:\n    one::bad\n    two::bad\n";

    #[test]
    fn failures_and_times_are_read_from_what_tests_print() {
        let mut said = Said::default();
        OUTPUT.lines().for_each(|line| said.hear(line));
        assert_eq!(said.failed, ["one::bad", "two::bad"]);
        assert_eq!(said.times, BTreeMap::from([("one::good".into(), 250), ("one::bad".into(), 1500)]));
        assert_eq!(first_output(&said.output, "one::bad"), "---- one::bad stdout ----\nleft: 1\n");
        assert_eq!(first_output(&said.output, "two::bad"), "---- two::bad ----\nright: 2\n");
    }

    #[test]
    fn what_is_exact_or_random_is_not_run_again() {
        let root = run::root();
        let binary = |name: &str, source: &str| Binary {
            name: name.into(),
            program: PathBuf::new(),
            folder: PathBuf::new(),
            source: root.join(source),
        };
        let decide = binary("decide", "proxy-core/decide/tests/decide/main.rs");
        assert!(!decide.may_run_again("simulation::many_seeds"));
        assert!(!decide.may_run_again("balance::whatever"), "its file has property tests");
        assert!(decide.may_run_again("admission::whatever"));
        let codecs = binary("codecs", "codecs/tests/codecs/main.rs");
        assert!(!codecs.may_run_again("mongo::splits::whatever"));
        let e2e = binary("e2e", "tests/e2e/main.rs");
        assert!(!e2e.may_run_again("load::reload_twenty_times_under_load"));
        assert!(e2e.may_run_again("cli::whatever"));
    }
}
