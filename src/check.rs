//! `weir check`: every error of a configuration file in one go.

use std::path::Path;
use std::process::ExitCode;
use weir_config::{Config, Diagnostic, Position};
use weir_drive::{Advice, StartError};

/// Checks `file` and prints what was found: text for people, or JSON.
#[allow(clippy::print_stdout, clippy::print_stderr, reason = "this is what the command is for")]
pub fn check(file: &Path, json: bool) -> ExitCode {
    let sections = crate::filters::sections();
    let (errors, omitted, warnings, notes, counts) = match weir_config::load(file, &sections) {
        Ok(config) => {
            // What only the files that it names can tell: certificates, keys, roots.
            let diagnostic = |at: Position, path: String, message: String| Diagnostic {
                file: config.file.clone(),
                at,
                path,
                message,
            };
            let counts = (config.listeners.len(), config.clusters.len());
            let (mut warnings, mut notes) = (config.warnings.clone(), Vec::new());
            let found = weir_drive::Server::check(&config, crate::filters::FILTERS);
            let errors = match found {
                Ok(found) => {
                    for (listener, advice) in found {
                        let at = config.listener(&listener).map_or(Position::START, |listener| listener.at);
                        let list = match advice {
                            Advice::Warning(_) => &mut warnings,
                            Advice::Note(_) => &mut notes,
                        };
                        list.push(diagnostic(
                            at,
                            format!("listeners.{listener}"),
                            advice.message().to_owned(),
                        ));
                    }
                    Vec::new()
                }
                Err(wrong) => {
                    let of = |error: &StartError| {
                        let (at, path) = place(&config, error);
                        diagnostic(at, path, error.to_string())
                    };
                    let mut errors: Vec<_> = wrong.iter().flat_map(StartError::each).map(of).collect();
                    errors.sort_by_key(|error| error.at);
                    errors
                }
            };
            (errors, 0, warnings, notes, counts)
        }
        Err(errors) => (errors.list().to_vec(), errors.omitted(), Vec::new(), Vec::new(), (0, 0)),
    };
    let well = errors.is_empty();
    if json {
        let list = |list: &[Diagnostic]| list.iter().map(Diagnostic::to_json).collect::<Vec<_>>();
        let (errors, warnings, notes) = (list(&errors), list(&warnings), list(&notes));
        println!(
            "{}",
            serde_json::json!({
                "ok": well, "errors": errors, "omitted": omitted, "warnings": warnings, "notes": notes
            })
        );
    } else {
        for note in &notes {
            eprintln!("note: {note}");
        }
        for warning in &warnings {
            eprintln!("warning: {warning}");
        }
        for error in &errors {
            eprintln!("error: {error}");
        }
        match (well, errors.len() + omitted) {
            (true, _) => {
                println!("{}: ok ({} listeners, {} clusters)", file.display(), counts.0, counts.1);
            }
            (false, 1) => eprintln!("{}: 1 error", file.display()),
            (false, many) => eprintln!("{}: {many} errors", file.display()),
        }
    }
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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
