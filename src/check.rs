//! `weir check`: every error of a configuration file in one go.

use std::path::Path;
use std::process::ExitCode;
use weir_config::{Diagnostic, Position};

/// Checks `file` and prints what was found: text for people, or JSON.
#[allow(clippy::print_stdout, clippy::print_stderr, reason = "this is what the command is for")]
pub fn check(file: &Path, json: bool) -> ExitCode {
    let sections = crate::filters::sections();
    let (errors, omitted, warnings, counts) = match weir_config::load(file, &sections) {
        Ok(config) => {
            // What only the files that it names can tell: certificates, keys, roots.
            let diagnostic = |message: String| Diagnostic {
                file: config.file.clone(),
                at: Position::START,
                path: String::new(),
                message,
            };
            let counts = (config.listeners.len(), config.clusters.len());
            let mut warnings = config.warnings.clone();
            let found = weir_drive::Server::check(&config, crate::filters::FILTERS);
            let errors = match found {
                Ok(found) => {
                    warnings.extend(found.iter().map(|warning| diagnostic(warning.to_string())));
                    Vec::new()
                }
                Err(error) => vec![diagnostic(error.to_string())],
            };
            (errors, 0, warnings, counts)
        }
        Err(errors) => (errors.list().to_vec(), errors.omitted(), Vec::new(), (0, 0)),
    };
    let well = errors.is_empty();
    if json {
        let list = |list: &[Diagnostic]| list.iter().map(Diagnostic::to_json).collect::<Vec<_>>();
        let (errors, warnings) = (list(&errors), list(&warnings));
        println!(
            "{}",
            serde_json::json!({ "ok": well, "errors": errors, "omitted": omitted, "warnings": warnings })
        );
    } else {
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
