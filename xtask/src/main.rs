//! Set-up and tests of the Weir workspace.
//!
//! `cargo xtask test` installs what the tests need (a Python virtual environment, npm packages, a real mongod, Debian
//! packages where it may), and then runs every check there is; `.ci/run` calls the same. `cargo xtask setup` does the first
//! half only.

mod fuzz;
mod parts;
mod run;
mod shape;
mod suite;

use anyhow::{Result, bail};
use run::{Step, cargo};

const USAGE: &str = "usage: cargo xtask COMMAND

  setup            install what the tests need, under target/parts
  test [--full]    set up, then run every check; --full adds the long matrices, long fuzzing and the counts of benches/
  fuzz [SECONDS [--keep] [TARGET ..]]
                   run every fuzz target, or those, that long (default 60); --keep writes what was found to fixtures/corpus
  loom             check the model of what workers share
  shape            figures about the shape of the code
";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["setup"] => parts::set_up().map(drop),
        ["test"] => test(false),
        ["test", "--full"] => test(true),
        ["fuzz"] => fuzz::run(60, &[], false),
        ["fuzz", seconds, "--keep", targets @ ..] => fuzz::run(seconds.parse()?, targets, true),
        ["fuzz", seconds, targets @ ..] => fuzz::run(seconds.parse()?, targets, false),
        ["loom"] => loom(),
        ["shape"] => shape::print(),
        _ => bail!("{USAGE}"),
    }
}

/// Every check, the quick ones first, each timed so that one sees where the minutes go.
fn test(full: bool) -> Result<()> {
    let parts = parts::set_up()?;
    Step::new("formatting").run(cargo(["fmt", "--all", "--check"]))?;
    Step::new("house rules").call(house_rules)?;
    Step::new("clippy").run(cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))?;
    Step::new("tests").call(|| {
        suite::run(|command| parts.lend(command).env("WEIR_TEST_FULL", if full { "1" } else { "" }))
    })?;
    Step::new("documentation").run(
        cargo(["doc", "--workspace", "--no-deps", "--locked", "--document-private-items"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    Step::new("each protocol alone").call(each_protocol_alone)?;
    Step::new("loom").call(loom)?;
    Step::new("fuzzing").call(|| fuzz::run(if full { 300 } else { 5 }, &[], false))?;
    if full {
        Step::new("instructions").run(cargo([
            "bench",
            "--locked",
            "--package",
            "weir-codecs",
            "--bench",
            "counts",
        ]))?;
    }
    Step::new("shape").call(shape::print)?;
    deny()
}

/// Weir builds with any one protocol left out or alone: a protocol is one crate and one line.
fn each_protocol_alone() -> Result<()> {
    for feature in ["mongo", "http", "grpc", "dynamodb"] {
        run::run(cargo(["check", "--locked", "--no-default-features", "--features", feature]))?;
    }
    run::run(cargo(["check", "--locked", "--no-default-features"]))
}

/// The longest a file may be without a word that says why: about 600 lines.
const MOST_LINES: usize = 640;

/// What no compiler checks: no ignored test without a reason, nothing left open, no file too long to be read in one go.
fn house_rules() -> Result<()> {
    let listed = run::output(run::command("git", ["ls-files", "*.rs"]))?;
    let mut found = Vec::new();
    for path in listed.lines().filter(|path| !path.starts_with("xtask/")) {
        let Ok(text) = std::fs::read_to_string(run::root().join(path)) else { continue };
        let lines = text.lines().count();
        if lines > MOST_LINES && !text.contains("// Long because ") {
            found.push(format!("{path}: {lines} lines: split it, or say \"// Long because ..\""));
        }
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.starts_with("#[ignore]") || line.contains("todo!(") || line.contains("unimplemented!(") {
                found.push(format!("{path}:{}: {line}", number + 1));
            }
        }
    }
    if !found.is_empty() {
        bail!("ignored without a reason, left open, or too long:\n{}", found.join("\n"));
    }
    Ok(())
}

fn loom() -> Result<()> {
    let target = run::target().join("loom");
    let said = run::output(
        cargo(["test", "--package", "weir-decide", "--lib", "--release", "--locked", "--", "loom"])
            .env("RUSTFLAGS", "--cfg loom")
            .env("CARGO_TARGET_DIR", target)
            .0,
    )?;
    print!("{said}");
    if said.contains("test result: ok. 0 passed") {
        bail!("no model was found: has it moved?");
    }
    Ok(())
}

/// `cargo deny`, where it is installed: it cannot be had everywhere.
fn deny() -> Result<()> {
    let there = run::command("cargo", ["deny", "--version"]).output().is_ok_and(|o| o.status.success());
    if there {
        return Step::new("cargo deny").run(cargo([
            "deny",
            "--offline",
            "check",
            "bans",
            "licenses",
            "sources",
        ]));
    }
    println!("cargo deny is not installed: licences and sources unchecked (cargo install cargo-deny)");
    Ok(())
}
