//! Coverage-guided fuzzing without a tool to install: the fuzz targets are ordinary programs of the `fuzz` workspace, built with
//! the compiler's coverage counters on and libFuzzer linked in by `libfuzzer-sys`.
//!
//! A run starts from `fixtures/corpus/TARGET`, what earlier long runs have found, and from the fixtures of the target's family.
//! `cargo xtask fuzz SECONDS --keep` writes what it has found back there, minimised, so that short runs begin where long ones ended.

use crate::run::{self, Owned, command};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
};

const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions --cfg fuzzing";

/// The longest input that is kept: long ones reach little that short ones do not, and fill the repository.
const LONGEST_KEPT: usize = 2048;

/// Builds every target (or the named ones) and runs each for so many seconds.
pub fn run(seconds: u32, only: &[&str], keep: bool) -> Result<()> {
    let programs = build()?;
    let mut found = false;
    for (name, program) in programs {
        if !only.is_empty() && !only.contains(&name.as_str()) {
            continue;
        }
        found = true;
        let folders = Folders::of(&name)?;
        println!("fuzzing {name} for {seconds} s");
        let mut fuzzing = folders.command(&program);
        fuzzing.args([
            format!("-max_total_time={seconds}"),
            "-print_final_stats=1".into(),
            "-verbosity=0".into(),
            format!("-artifact_prefix={}/", folders.artifacts.display()),
        ]);
        fuzzing.arg(&folders.corpus).args(&folders.seeds);
        run::run(Owned(fuzzing)).with_context(|| format!("fuzz target {name}"))?;
        if keep {
            folders.keep(&name, &program)?;
        }
    }
    if !found {
        bail!("no such fuzz target");
    }
    Ok(())
}

/// Every target's name and program, by name.
fn build() -> Result<Vec<(String, PathBuf)>> {
    let fuzz = run::root().join("fuzz");
    let target = run::target().join("fuzz");
    run::run(
        run::cargo(["build", "--release", "--locked", "--target", &host()?, "--manifest-path"])
            .arg(fuzz.join("Cargo.toml"))
            .env("RUSTFLAGS", FLAGS)
            .env("CARGO_TARGET_DIR", &target),
    )?;
    let built = target.join(host()?).join("release");
    let mut programs = Vec::new();
    for entry in fs::read_dir(fuzz.join("fuzz_targets"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "rs")
            && let Some(name) = path.file_stem()
        {
            programs.push((name.to_string_lossy().into_owned(), built.join(name)));
        }
    }
    programs.sort();
    Ok(programs)
}

/// Where a target's inputs are.
struct Folders {
    /// What this machine's runs have found.
    corpus: PathBuf,
    artifacts: PathBuf,
    /// What the repository has: the kept corpus, unpacked, and the fixtures of the family.
    seeds: Vec<PathBuf>,
}

impl Folders {
    fn of(name: &str) -> Result<Folders> {
        let target = run::target().join("fuzz");
        let [corpus, artifacts, kept] =
            ["corpus", "artifacts", "kept"].map(|what| target.join(what).join(name));
        for folder in [&corpus, &artifacts, &kept] {
            fs::create_dir_all(folder)?;
        }
        unpack(&packed(name), &kept)?;
        let family = run::root().join("fixtures").join(name.split('_').next().unwrap_or(name));
        let seeds = [kept, family].into_iter().filter(|folder| folder.is_dir()).collect();
        Ok(Folders { corpus, artifacts, seeds })
    }

    fn command(&self, program: &Path) -> std::process::Command {
        command(&program.to_string_lossy(), ["-timeout=10", "-rss_limit_mb=2048"])
    }

    /// Writes the smallest set of inputs that reaches as much as all of them to `fixtures/corpus`.
    fn keep(&self, name: &str, program: &Path) -> Result<()> {
        let smallest = run::target().join("fuzz/smallest").join(name);
        if smallest.exists() {
            fs::remove_dir_all(&smallest)?;
        }
        fs::create_dir_all(&smallest)?;
        let mut merge = self.command(program);
        merge.args(["-merge=1", "-verbosity=0", &format!("-max_len={LONGEST_KEPT}")]);
        merge.arg(&smallest).arg(&self.corpus).args(&self.seeds);
        run::run(Owned(merge)).with_context(|| format!("minimising the corpus of {name}"))?;
        pack(&smallest, &packed(name))
    }
}

fn packed(name: &str) -> PathBuf {
    run::root().join("fixtures/corpus").join(name)
}

/// Puts the files of a folder into one, each behind its length as a big-endian `u32`: thousands of tiny files are a burden to git.
fn pack(folder: &Path, to: &Path) -> Result<()> {
    let mut inputs = Vec::new();
    for entry in fs::read_dir(folder)? {
        inputs.push(fs::read(entry?.path())?);
    }
    inputs.sort();
    let mut bytes = Vec::new();
    for input in inputs.iter().filter(|input| input.len() <= LONGEST_KEPT) {
        bytes.extend_from_slice(&u32::try_from(input.len())?.to_be_bytes());
        bytes.extend_from_slice(input);
    }
    fs::create_dir_all(to.parent().context("a folder")?)?;
    fs::write(to, bytes).with_context(|| to.display().to_string())
}

fn unpack(from: &Path, to: &Path) -> Result<()> {
    let Ok(bytes) = fs::read(from) else { return Ok(()) };
    let mut rest = bytes.as_slice();
    let mut number = 0;
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let (input, next) =
            after.split_at_checked(length).with_context(|| format!("{} is cut", from.display()))?;
        fs::write(to.join(format!("kept-{number}")), input)?;
        number += 1;
        rest = next;
    }
    Ok(())
}

fn host() -> Result<String> {
    let version = run::output(command("rustc", ["-vV"]))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    Ok(host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_corpus_is_unpacked_as_it_was_packed() {
        let folder = std::env::temp_dir().join(format!("weir-xtask-{}", std::process::id()));
        let [from, to] = ["from", "to"].map(|name| folder.join(name));
        for path in [&from, &to] {
            fs::create_dir_all(path).unwrap();
        }
        for (name, input) in
            [("a", &b"second"[..]), ("b", b"\x00\xffone"), ("c", b""), ("d", &[7; LONGEST_KEPT + 1])]
        {
            fs::write(from.join(name), input).unwrap();
        }
        pack(&from, &folder.join("packed")).unwrap();
        unpack(&folder.join("packed"), &to).unwrap();
        let read = |n: u32| fs::read(to.join(format!("kept-{n}"))).unwrap();
        assert_eq!([read(0), read(1), read(2)], [b"".to_vec(), b"\x00\xffone".to_vec(), b"second".to_vec()]);
        assert!(!to.join("kept-3").exists(), "the long one is left out");
        fs::remove_dir_all(folder).unwrap();
    }
}
