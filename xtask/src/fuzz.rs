//! Coverage-guided fuzzing without a tool to install: the fuzz targets are ordinary programs of the `fuzz` workspace, built with
//! the compiler's coverage counters on and libFuzzer linked in by `libfuzzer-sys`.

use crate::run::{self, Owned, command};
use anyhow::{Context, Result, bail};
use std::fs;

const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions --cfg fuzzing";

/// Builds every target and runs each for so many seconds on its seed corpus: the folder of `fixtures` that bears its name up to
/// the first underscore.
pub fn run(seconds: u32) -> Result<()> {
    let fuzz = run::root().join("fuzz");
    let target = run::target().join("fuzz");
    run::run(
        run::cargo(["build", "--release", "--locked", "--target", &host()?, "--manifest-path"])
            .arg(fuzz.join("Cargo.toml"))
            .env("RUSTFLAGS", FLAGS)
            .env("CARGO_TARGET_DIR", &target),
    )?;
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(fuzz.join("fuzz_targets"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    if names.is_empty() {
        bail!("no fuzz target found");
    }
    for name in names {
        let corpus = target.join("corpus").join(&name);
        fs::create_dir_all(&corpus)?;
        let artifacts = target.join("artifacts").join(&name);
        fs::create_dir_all(&artifacts)?;
        let family = name.split('_').next().unwrap_or(&name);
        let seeds = run::root().join("fixtures").join(family);
        let mut program = command(
            &target.join(host()?).join("release").join(&name).to_string_lossy(),
            [
                format!("-max_total_time={seconds}"),
                "-timeout=10".into(),
                "-rss_limit_mb=2048".into(),
                "-print_final_stats=1".into(),
                "-verbosity=0".into(),
                format!("-artifact_prefix={}/", artifacts.display()),
            ],
        );
        program.arg(&corpus);
        if seeds.is_dir() {
            program.arg(&seeds);
        }
        println!("fuzzing {name} for {seconds} s");
        run::run(Owned(program)).with_context(|| format!("fuzz target {name}"))?;
    }
    Ok(())
}

fn host() -> Result<String> {
    let version = run::output(command("rustc", ["-vV"]))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    Ok(host.to_owned())
}
