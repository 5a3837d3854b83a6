//! End to end: the real binary between real clients and real servers. One test binary, so that the servers are started once and
//! shared; they are started when the first test asks for them and ended before the program does.
//!
//! In each protocol's tests the client counts what it did (driver command monitoring, SDK calls, gRPC results, requests)
//! and Weir's metrics must say the same, per operation, resource and result.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "tests end by panicking, and wait for real programs"
)]

mod cli;
mod config;
mod connections;
mod costs;
mod dead;
mod docs;
mod dynamodb;
mod dynamodb_guards;
mod grpc;
mod guards;
mod http;
mod http_edges;
mod http_parts;
mod lifecycle;
mod load;
mod mongo;
mod mongo_batches;
mod mongo_belief;
mod mongo_bounds;
mod mongo_drain;
mod mongo_front;
mod mongo_lost;
mod mongo_measure;
mod mongo_members;
mod mongo_names;
mod mongo_open;
mod mongo_oracles;
mod mongo_reloads;
mod mongo_rules;
mod mongo_secured;
mod mongo_topology;
mod network;
mod numbers;
mod process;
mod retries;
mod rules;
mod signed;
mod support;
mod tcp;
mod tls;
mod top;
mod warned;

use libtest_mimic::{Arguments, Trial};
use std::panic::{catch_unwind, resume_unwind};
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = Vec::new();
    for tests in [
        rules::tests,
        signed::tests,
        cli::tests,
        config::tests,
        connections::tests,
        costs::tests,
        dead::tests,
        docs::tests,
        mongo::tests,
        mongo_batches::tests,
        mongo_belief::tests,
        mongo_bounds::tests,
        mongo_drain::tests,
        mongo_front::tests,
        mongo_lost::tests,
        mongo_measure::tests,
        mongo_members::tests,
        mongo_names::tests,
        mongo_oracles::tests,
        mongo_open::tests,
        mongo_reloads::tests,
        mongo_rules::tests,
        mongo_topology::tests,
        network::tests,
        mongo_secured::tests,
        numbers::tests,
        process::tests,
        top::tests,
        guards::tests,
        http::tests,
        http_edges::tests,
        http_parts::tests,
        dynamodb::tests,
        dynamodb_guards::tests,
        grpc::tests,
        retries::tests,
        tcp::tests,
        lifecycle::tests,
        load::tests,
        tls::tests,
        warned::tests,
    ] {
        for (name, test) in tests() {
            trials.push(Trial::test(name, move || {
                let begun = Instant::now();
                let result = catch_unwind(test);
                support::note_time(name, begun.elapsed());
                result.unwrap_or_else(|panicked| resume_unwind(panicked));
                Ok(())
            }));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    support::parts::end();
    conclusion.exit_code()
}
