//! `weir check`: every error of a configuration file in one go.

use crate::origin::{Origin, PATIENCE};
use crate::say;
use anyhow::Result;
use std::process::ExitCode;
use std::sync::mpsc;
use weir_config::{Config, Diagnostic, Errors, Position};
use weir_drive::{Advice, StartError};

/// What was found.
struct Found {
    errors: Vec<Diagnostic>,
    omitted: usize,
    warnings: Vec<Diagnostic>,
    notes: Vec<Diagnostic>,
    /// Listeners and clusters.
    counts: (usize, usize),
}

/// Checks a configuration and prints what was found: text for people, or JSON.
pub fn check(origin: Origin, json: bool) -> Result<ExitCode> {
    let name = origin.name();
    let found = within_patience(origin);
    let well = found.errors.is_empty();
    let printed = if json { print_json(&found) } else { print(&found, &name) };
    match printed {
        // Who went away knows enough, and the verdict is the exit code's.
        Ok(()) | Err(say::Lost::Unread) => Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        Err(error) => Err(error.into()),
    }
}

/// Looks on a thread of its own: a file may keep it waiting.
fn within_patience(origin: Origin) -> Found {
    let (tell, told) = mpsc::channel();
    let (name, is_typed) = (origin.name(), origin.is_typed());
    let started = std::thread::Builder::new().name("check".into()).spawn(move || tell.send(look(&origin)));
    let found = match started {
        Ok(_) if is_typed => told.recv().ok(),
        Ok(_) => told.recv_timeout(PATIENCE).ok(),
        Err(_) => None,
    };
    found.unwrap_or_else(|| {
        let slow = std::io::Error::other(format!("nothing has come of it for {} s", PATIENCE.as_secs()));
        Found::wrong(&Errors::unread(&name, &slow))
    })
}

impl Found {
    fn wrong(errors: &Errors) -> Found {
        let (errors, omitted) = (errors.list().to_vec(), errors.omitted());
        Found { errors, omitted, warnings: Vec::new(), notes: Vec::new(), counts: (0, 0) }
    }
}

fn look(origin: &Origin) -> Found {
    let config = match origin.read().0.config {
        Ok(config) => config,
        Err(errors) => return Found::wrong(&errors),
    };
    // What only the files that it names can tell: certificates, keys, roots.
    let diagnostic =
        |(at, path): (Position, String), message| Diagnostic { file: config.file.clone(), at, path, message };
    let counts = (config.listeners.len(), config.clusters.len());
    let (mut warnings, mut notes, mut errors) = (config.warnings.clone(), Vec::new(), Vec::new());
    match weir_drive::Server::check(&config, crate::filters::FILTERS) {
        Ok(found) => {
            for told in found {
                let list = match told.advice {
                    Advice::Warning(_) => &mut warnings,
                    Advice::Note(_) => &mut notes,
                };
                list.push(diagnostic((told.at, told.path), told.advice.message().to_owned()));
            }
            warnings.sort_by_key(|warning| warning.at);
        }
        Err(wrong) => {
            let each = wrong.iter().flat_map(StartError::each);
            errors = each.map(|error| diagnostic(place(&config, error), error.to_string())).collect();
            errors.sort_by_key(|error| error.at);
        }
    }
    Found { errors, omitted: 0, warnings, notes, counts }
}

fn print_json(found: &Found) -> Result<(), say::Lost> {
    let list = |list: &[Diagnostic]| list.iter().map(Diagnostic::to_json).collect::<Vec<_>>();
    let (errors, warnings, notes) = (list(&found.errors), list(&found.warnings), list(&found.notes));
    let said = serde_json::json!({
        "ok": found.errors.is_empty(), "errors": errors, "omitted": found.omitted, "warnings": warnings, "notes": notes
    });
    say::json(&format!("{said}\n"))
}

fn print(found: &Found, name: &str) -> Result<(), say::Lost> {
    for (what, list) in [("note", &found.notes), ("warning", &found.warnings), ("error", &found.errors)] {
        for one in list {
            say::err(&format!("{what}: {one}"));
        }
    }
    let (listeners, clusters) = found.counts;
    match found.errors.len() + found.omitted {
        0 => return say::out(&format!("{name}: ok ({listeners} listeners, {clusters} clusters)\n")),
        1 => say::err(&format!("{name}: 1 error")),
        many => say::err(&format!("{name}: {many} errors")),
    }
    Ok(())
}

/// Where in the file the thing stands that cannot be started, and its key path.
fn place(config: &Config, error: &StartError) -> (Position, String) {
    let listener = |name: &str, key: &str| {
        let at = config.listener(name).map_or(Position::START, |listener| listener.at);
        (at, format!("listeners.{name}{key}"))
    };
    if let StartError::ListenerTls { error, .. } | StartError::ClusterTls { error, .. } = error
        && let Some(file) = error.file()
    {
        return (file.at, file.key.to_string());
    }
    match error {
        StartError::ListenerTls { listener: name, .. } => listener(name, ".tls"),
        StartError::Bind { listener: name, .. } => listener(name, ".bind"),
        StartError::NoFilter { listener: name, .. } => listener(name, ""),
        StartError::Build(error) => listener(&error.listener, ""),
        StartError::ClusterTls { cluster, .. } => {
            let at = config.cluster(cluster).map_or(Position::START, |cluster| cluster.at);
            (at, format!("clusters.{cluster}.tls"))
        }
        StartError::Several(_) | StartError::Thread(_) | StartError::WorkerLost(_) | StartError::Draining => {
            (Position::START, String::new())
        }
    }
}
