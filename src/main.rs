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
mod log;
#[cfg(feature = "mongo")]
mod mongo;
mod run;
mod stats;
mod table;
mod top;
mod watch;

use anyhow::Result;
use args::{Args, Command};
use clap::Parser as _;
use run::Origin;
use std::process::ExitCode;
#[cfg(feature = "mongo")]
use std::sync::Arc;
use weir_decide::text::clean_lines;

#[allow(clippy::print_stderr, reason = "where a command line says what went wrong")]
fn main() -> ExitCode {
    match command(Args::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", clean_lines(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stdout, reason = "what was asked for")]
fn command(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run { file } => run::run(&Origin::File(&file)),
        Command::Check { file, json } => Ok(check::check(&file, json)),
        #[cfg(feature = "mongo")]
        Command::Mongo { uri, listen, advertise, member, admin, resolver, print_config } => {
            let wish =
                mongo::Wish::new(&uri, listen, admin, mongo::Means { advertise, members: member, resolver })?;
            let config = wish.config();
            if print_config {
                print!("{config}");
                return Ok(ExitCode::SUCCESS);
            }
            let found = wish.look();
            run::run_beside(&Origin::Text(&config), |server, admin| {
                let server = Arc::clone(server);
                async move {
                    print!("{}", clean_lines(&wish.advice(&server, admin, &found).await));
                    std::future::pending().await
                }
            })
        }
        Command::Stats { admin, json } => stats::stats(admin, json),
        Command::Top { admin, by, sort, filter, page, interval, once } => {
            let interval = std::time::Duration::from_secs(interval);
            top::top(admin, interval, once, top::View::new(page, by, sort, filter))
        }
        Command::Schema => {
            println!("{:#}", weir_config::schema(&filters::sections()));
            Ok(ExitCode::SUCCESS)
        }
        #[cfg(all(feature = "mongo", feature = "grpc", feature = "dynamodb"))]
        Command::Demo { seconds, redraw } => demo::run(seconds, redraw),
    }
}
