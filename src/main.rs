//! Weir: a protocol-aware proxy for MongoDB, DynamoDB, gRPC and HTTP.
//!
//! This is the binary: the command line ([`args`]) and composition. [`filters`] is the only place that names every protocol;
//! [`run`] is the life of the process; [`admin`] shows the console what the server is. Everything else is in the crates.

mod admin;
mod args;
mod ask;
mod check;
#[cfg(all(feature = "mongo", feature = "grpc", feature = "dynamodb"))]
mod demo;
mod filters;
mod given_way;
mod keeper;
mod log;
#[cfg(feature = "mongo")]
mod mongo;
mod origin;
mod run;
mod say;
mod signals;
mod stats;
mod table;
mod top;
mod watch;

use anyhow::Result;
use args::{Args, Command};
use clap::Parser as _;
use origin::Origin;
use say::Lost;
use std::process::ExitCode;
#[cfg(feature = "mongo")]
use std::sync::Arc;

fn main() -> ExitCode {
    match command(Args::parse().command) {
        Ok(code) => code,
        // Who went away has all that was wanted, as with `weir stats | head -1`.
        Err(error) if matches!(error.downcast_ref(), Some(Lost::Unread)) => ExitCode::SUCCESS,
        Err(error) => {
            say::err(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn command(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run { file } => run::run(Origin::Path(file)),
        Command::Check { file, json } => check::check(Origin::Path(file), json),
        #[cfg(feature = "mongo")]
        Command::Mongo { uri, listen, advertise, member, admin, resolver, print_config } => {
            let wish =
                mongo::Wish::new(&uri, listen, admin, mongo::Means { advertise, members: member, resolver })?;
            let config = wish.config();
            if print_config {
                say::out(&config)?;
                return Ok(ExitCode::SUCCESS);
            }
            let found = wish.look();
            run::run_beside(Origin::Text(config), None, |server, admin| {
                let server = Arc::clone(server);
                async move {
                    // Who does not read it does not stop the proxy.
                    if let Err(error) = say::out(&wish.advice(&server, admin, &found).await) {
                        tracing::warn!(%error, "the URI for the application could not be told");
                    }
                    std::future::pending().await
                }
            })
        }
        Command::Stats { admin, json } => stats::stats(&admin, json),
        Command::Top { admin, by, sort, filter, page, interval, once } => {
            let interval = std::time::Duration::from_secs(interval);
            top::top(&admin, interval, once, top::View::new(page, by, sort, filter))
        }
        Command::Schema => {
            say::json(&format!("{:#}\n", weir_config::schema(&filters::sections())))?;
            Ok(ExitCode::SUCCESS)
        }
        #[cfg(all(feature = "mongo", feature = "grpc", feature = "dynamodb"))]
        Command::Demo { seconds, redraw } => demo::run(seconds, redraw),
    }
}
