//! Running commands, and saying what runs and how long it took.

use anyhow::{Context, Result, bail};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    let set = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    root().join(set.unwrap_or_else(|| "target".into()))
}

/// A command, run at the root of the workspace.
pub fn command<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root()).stdin(Stdio::null());
    command
}

/// Cargo, the one that runs us.
pub fn cargo<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Owned {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    Owned(command(&cargo, args))
}

/// A command that is built up by value.
pub struct Owned(pub Command);

impl Owned {
    /// Adds a word.
    pub fn arg(mut self, word: impl AsRef<OsStr>) -> Owned {
        self.0.arg(word);
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Owned {
        self.0.env(name, value);
        self
    }
}

/// Runs it to its end; an error unless it succeeds.
pub fn run(mut command: Owned) -> Result<()> {
    let status = command.0.status().with_context(|| format!("cannot start {:?}", command.0.get_program()))?;
    if !status.success() {
        bail!("{:?} ended with {status}", command.0);
    }
    Ok(())
}

/// Runs it and gives what it printed.
pub fn output(mut command: Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if !output.status.success() {
        bail!("{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// One step of the tests, announced and timed.
pub struct Step {
    name: &'static str,
    begun: Instant,
}

impl Step {
    /// Announces it.
    #[allow(clippy::disallowed_methods, reason = "a tool that says how long its steps take")]
    pub fn new(name: &'static str) -> Step {
        println!("\n==== {name}");
        Step { name, begun: Instant::now() }
    }

    /// Runs a command as this step.
    pub fn run(self, command: Owned) -> Result<()> {
        self.call(|| run(command))
    }

    /// Runs a function as this step.
    pub fn call(self, function: impl FnOnce() -> Result<()>) -> Result<()> {
        function().with_context(|| format!("{} failed", self.name))?;
        println!("==== {}: ok, {} s", self.name, self.begun.elapsed().as_secs());
        Ok(())
    }
}
