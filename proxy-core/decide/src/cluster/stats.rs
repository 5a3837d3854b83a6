//! What a cluster shows of itself: a snapshot for exporters and the admin API, and events for the log.

use super::{endpoint::Totals, settings::Settings};
use crate::exchange::{EndpointId, Now};
use std::sync::Arc;

/// A cluster at one moment. Counters are cumulative and never fall, endpoints that are gone included.
#[derive(Debug, Clone)]
pub struct ClusterStats {
    /// The cluster's name.
    pub name: Arc<str>,
    /// What it is set to.
    pub settings: Settings,
    /// Its endpoints, in order.
    pub endpoints: Vec<EndpointStats>,
    /// How many of them are ejected.
    pub ejected: usize,
    /// Attempts, connections and ejections, by how they went; over all endpoints the cluster ever had.
    pub totals: Totals,
    /// Operations under way, those included that wait for their retry; without the parked ones.
    pub active: u32,
    /// Those of them that are retries, under way or waiting.
    pub retrying: u32,
    /// How many retries the budget allows over the last ten seconds.
    pub retry_budget: u32,
    /// How many there were in that time.
    pub retry_budget_spent: u32,
    /// Long polls under way.
    pub parked: u32,
    /// Connections there are.
    pub connections: u32,
    /// Operations that wait for a connection.
    pub pending: u32,
    /// Retries that were granted.
    pub retries: u64,
    /// Attempts that went elsewhere because the one before had no connection.
    pub repicks: u64,
    /// Operations that found no endpoint.
    pub no_endpoint: u64,
    /// What the limits have refused.
    pub overflows: Overflows,
    /// Ejections that were due but would have been one too many.
    pub ejections_withheld: u64,
    /// Events that were dropped because nobody took them in time.
    pub events_dropped: u64,
}

/// How often each limit was met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overflows {
    /// `max_requests`.
    pub requests: u64,
    /// `max_connections`: operations that found it met, whether they could wait or not. Asking again counts again.
    pub connections: u64,
    /// `max_pending`.
    pub pending: u64,
    /// `max_retries`.
    pub retries: u64,
    /// The retry budget, where `max_retries` had room.
    pub retry_budget: u64,
    /// The cap on long polls.
    pub parked: u64,
}

/// An endpoint at one moment.
#[derive(Debug, Clone)]
pub struct EndpointStats {
    /// Its number.
    pub id: EndpointId,
    /// `host:port`.
    pub address: Arc<str>,
    /// Its share of the load relative to the others'.
    pub weight: u32,
    /// Attempts under way, without the parked ones.
    pub active: u32,
    /// Long polls under way.
    pub parked: u32,
    /// Connections there are.
    pub connections: u32,
    /// Failures since the last success.
    pub consecutive_errors: u32,
    /// Until when it is ejected, if it is.
    pub ejected_until: Option<Now>,
    /// When and why it was ejected last, whether that is over or not.
    pub last_ejection: Option<(Now, Why)>,
    /// Its ejection is over, and it gets one operation, which decides whether it is back.
    pub on_probation: bool,
    /// Everything that is cumulative.
    pub totals: Totals,
}

/// Something that an operator may want to read in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Now,
    /// Which endpoint.
    pub endpoint: EndpointId,
    /// Its address.
    pub address: Arc<str>,
    /// What happened to it.
    pub kind: EventKind,
}

/// What happened to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It was taken out of rotation.
    Ejected {
        /// Until then.
        until: Now,
        /// The how-manieth time in a row.
        nth: u32,
        /// What it did.
        why: Why,
    },
    /// It is back in rotation.
    PutBack,
}

/// Why an endpoint was ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// So many failures in a row.
    Errors,
    /// So many operations in a row that clients left unanswered.
    Left,
    /// The operation failed that was to decide whether it is back.
    Probe,
}

impl Why {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Why::Errors => "consecutive_errors",
            Why::Left => "clients_left",
            Why::Probe => "probe_failed",
        }
    }

    /// As an endpoint keeps it: never 0, which is for "never ejected".
    pub(crate) const fn code(self) -> u32 {
        match self {
            Why::Errors => 1,
            Why::Left => 2,
            Why::Probe => 3,
        }
    }

    pub(crate) const fn of(code: u32) -> Option<Why> {
        match code {
            1 => Some(Why::Errors),
            2 => Some(Why::Left),
            3 => Some(Why::Probe),
            _ => None,
        }
    }
}
