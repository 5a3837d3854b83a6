//! Where logs go: standard error, for people or as JSON. Nothing secret is ever logged, and no literals of queries.

use tracing_subscriber::{EnvFilter, fmt, prelude::*, reload};
use weir_config::{Log, LogFormat, Word as _};

type Filter = reload::Handle<EnvFilter, tracing_subscriber::Registry>;

/// The logs of the process: the level follows a reload, the format is fixed at start.
pub struct Logs(Filter);

impl Logs {
    /// Starts logging.
    pub fn start(log: &Log) -> Logs {
        let (filter, handle) = reload::Layer::new(filter(log));
        let registry = tracing_subscriber::registry().with(filter);
        // Fails only when logging was started before, as tests may do; the first one then stays.
        let _ = match log.format {
            LogFormat::Json => registry
                .with(fmt::layer().json().flatten_event(true).with_target(false).with_writer(std::io::stderr))
                .try_init(),
            LogFormat::Human => {
                let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
                registry
                    .with(fmt::layer().with_target(false).with_ansi(colours).with_writer(std::io::stderr))
                    .try_init()
            }
        };
        Logs(handle)
    }

    /// Takes over the level of a new configuration.
    pub fn follow(&self, log: &Log) {
        let _ = self.0.reload(filter(log));
    }
}

/// `WEIR_LOG` wins over the file (`WEIR_LOG=debug`, `WEIR_LOG=weir_mongo=trace`).
fn filter(log: &Log) -> EnvFilter {
    match std::env::var("WEIR_LOG") {
        Ok(directives) if !directives.is_empty() => EnvFilter::new(directives),
        _ => EnvFilter::new(log.level.word()),
    }
}
