//! The command line.

use crate::ask::{self, Admin};
use crate::top::{By, Page, Sort};
use clap::{Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// A protocol-aware proxy for MongoDB, DynamoDB, gRPC and HTTP.
#[derive(Debug, Parser)]
#[command(name = "weir", version, propagate_version = true, arg_required_else_help = true)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the proxy
    Run {
        /// The configuration file, YAML or JSON; `-` for standard input
        file: PathBuf,
    },
    /// Check a configuration file: every error, with its place and what was expected
    Check {
        /// The configuration file; `-` for standard input
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Front a MongoDB server or replica set, without writing a file
    #[cfg(feature = "mongo")]
    Mongo {
        /// The servers: mongodb://HOST:PORT,.. or mongodb+srv://HOST; credentials are neither used nor shown
        uri: String,
        /// Where to listen; members of a replica set get this port and those after it
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:27018", value_parser = ask::address)]
        listen: SocketAddr,
        /// The host under which drivers reach that, where it is not the address itself
        #[arg(long, value_name = "HOST")]
        advertise: Option<String>,
        /// Where a member really is, from here, by the name that the set has for it: behind a port-forward, a tunnel, in a container
        #[arg(long, value_name = "NAME=ADDRESS")]
        member: Vec<String>,
        /// Where the admin API listens
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9901", value_parser = ask::address)]
        admin: SocketAddr,
        /// The name server to ask for a mongodb+srv:// name, instead of those in /etc/resolv.conf
        #[arg(long, value_name = "ADDRESS")]
        resolver: Option<SocketAddr>,
        /// Print the configuration file that this stands for, and end
        #[arg(long)]
        print_config: bool,
    },
    /// Show what a running Weir does: a table of operations
    Stats {
        /// The admin API of the running Weir
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9901")]
        admin: Admin,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Watch what a running Weir does: a live table of rates, times, errors and bytes
    Top {
        /// The admin API of the running Weir
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9901")]
        admin: Admin,
        /// What rows are of
        #[arg(long, value_enum, default_value_t = By::Operation)]
        by: By,
        /// What comes first
        #[arg(long, value_enum, default_value_t = Sort::Rate)]
        sort: Sort,
        /// Only rows that hold this text
        #[arg(long, value_name = "TEXT", default_value = "")]
        filter: String,
        /// What to show
        #[arg(long, value_enum, default_value_t = Page::Operations)]
        page: Page,
        /// Seconds between two looks
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
        interval: u64,
        /// Print one table, of one interval, and end
        #[arg(long)]
        once: bool,
    },
    /// Print the JSON Schema of the configuration file
    Schema,
    /// Show Weir at work: four small servers and loads, and Weir between them; nothing to install
    #[cfg(all(feature = "mongo", feature = "grpc", feature = "dynamodb"))]
    Demo {
        /// End after so many seconds; without it, at Ctrl-C
        #[arg(long, value_name = "N")]
        seconds: Option<u64>,
        /// When to redraw the table in place
        #[arg(long, value_enum, default_value_t = Redraw::Auto)]
        redraw: Redraw,
    },
}

/// When to redraw the table in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Redraw {
    /// When the output is a terminal.
    Auto,
    /// Never: print one table after the other.
    Never,
}
