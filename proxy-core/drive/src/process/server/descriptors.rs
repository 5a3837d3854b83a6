//! Descriptors: how many connections the process can afford.
//!
//! Clients that sit idle could take every descriptor there is, and then no upstream connection can be made any more for those that
//! are served. So clients get half of them at most: one for each of their connections is left for the upstream side.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Set aside for what every process has: files, logs, the runtime's own, connections to the admin API.
const BASE: u64 = 128;

/// For each listening socket: the process's descriptor and the worker's, and as many again for doors that open later.
const PER_SOCKET: u64 = 4;

/// Raises the soft limit of open files to the hard one (the soft one is often 1024), and says what it is now; `None`: there is
/// none.
pub(super) fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, limit = limit.current, "the limit of open files could not be raised");
            limit.current
        }
    }
}

/// The most connections from clients: those that are configured, or fewer if `limit` descriptors do not allow for them beside
/// `listening` sockets.
pub(super) fn connections(configured: u32, limit: Option<u64>, listening: usize) -> u32 {
    let Some(limit) = limit else { return configured };
    // However few there are, half of them are for connections.
    let aside = (BASE + PER_SOCKET * listening as u64).min(limit / 2);
    let affordable = u32::try_from((limit - aside) / 2).unwrap_or(u32::MAX).max(1);
    if affordable < configured {
        let message = "limits.max_connections is more than the limit of open files allows for: each connection may need two";
        // Who has not asked for so many is not warned.
        if configured == weir_config::MAX_CONNECTIONS {
            tracing::info!(configured, allowed = affordable, open_files = limit, "{message}");
        } else {
            tracing::warn!(configured, allowed = affordable, open_files = limit, "{message}");
        }
    }
    configured.min(affordable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_half_of_what_is_not_set_aside() {
        // (configured, open files, listening sockets, allowed)
        let table = [
            (65_536, None, 4, 65_536),
            (65_536, Some(1 << 20), 4, 65_536),
            (65_536, Some(20_000), 4, 9_928),
            (1_000, Some(20_000), 4, 1_000),
            (65_536, Some(1_024), 4, 440),
            (65_536, Some(256), 100, 64),
            (65_536, Some(48), 2, 12),
            (65_536, Some(0), 2, 1),
        ];
        for (configured, limit, listening, allowed) in table {
            assert_eq!(connections(configured, limit, listening), allowed, "{limit:?}");
        }
    }
}
