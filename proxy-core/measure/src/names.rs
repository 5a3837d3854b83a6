//! Every metric that Weir exposes: name, help, type, labels. A name that is not in this file cannot be exposed.
//!
//! To add a metric, add a family below and a row to docs/metrics.md (a test compares the two), then take a handle with
//! [`Measure::counter`](crate::Measure::counter) or [`Measure::gauge`](crate::Measure::gauge), or write it from a
//! [`Collect`](crate::Collect). Conventions: prefix `weir_` (then `mongo_`, `dynamodb_`, `grpc_` for what only one protocol
//! has), base units (seconds, bytes), counters end in `_total`, label values from closed or capped sets only.

/// What kind of number a family holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only ever grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution, in the buckets of [`crate::histogram::BOUNDS`].
    Histogram,
    /// Always 1; what matters is in the labels.
    Info,
}

impl Kind {
    /// The word of the Prometheus text format's `TYPE` line.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
            Kind::Gauge | Kind::Info => "gauge",
        }
    }
}

/// One metric: its name, what it says, its labels, and how many series it may have.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// The full name as exposed in the text format; counters end in `_total`.
    pub name: &'static str,
    /// One sentence for the `HELP` line.
    pub help: &'static str,
    /// The type.
    pub kind: Kind,
    /// Label names, in the order in which values are given.
    pub labels: &'static [&'static str],
    /// The most series the family may have when it is written through handles or collectors; what is beyond is added up in
    /// one series whose labels are all `_other`.
    pub max_series: usize,
}

/// Series per family unless it says otherwise.
pub const MAX_SERIES: usize = 1024;

macro_rules! families {
    ($($ident:ident = $kind:ident $name:literal [$($label:literal),*] $(max $max:literal)? : $help:literal;)*) => {
        $(#[doc = $help] pub static $ident: Family = Family {
            name: $name,
            help: $help,
            kind: Kind::$kind,
            labels: &[$($label),*],
            max_series: families!(@max $($max)?),
        };)*
        /// Every family, in the order in which they are exposed.
        pub static ALL: &[&Family] = &[$(&$ident),*];
    };
    (@max) => { MAX_SERIES };
    (@max $max:literal) => { $max };
}

families! {
    // Operations: the same for every protocol. Written from the workers' tables; their caps are `Limits`.
    OPERATIONS = Counter "weir_operations_total" ["listener", "cluster", "protocol", "operation", "resource", "result", "code"]:
        "Operations that have ended, by how they ended.";
    OPERATION_DURATION = Histogram "weir_operation_duration_seconds" ["listener", "cluster", "protocol", "operation", "resource"]:
        "Time from the first byte of the request in to the last byte of the reply out; long polls are left out.";
    OPERATION_FIRST_BYTE = Histogram "weir_operation_first_byte_seconds" ["listener", "cluster", "protocol", "operation", "resource"]:
        "Time from the first byte of the request in to the first byte of the reply; long polls are left out.";
    OPERATION_REQUEST_BYTES = Counter "weir_operation_request_bytes_total" ["listener", "cluster", "protocol", "operation", "resource"]:
        "Bytes of requests, as they came from clients.";
    OPERATION_REPLY_BYTES = Counter "weir_operation_reply_bytes_total" ["listener", "cluster", "protocol", "operation", "resource"]:
        "Bytes of replies, as they went to clients.";
    OPERATION_RETRIES = Counter "weir_operation_retries_total" ["listener", "cluster", "protocol"]:
        "Tries after the first one, of operations that have ended.";
    OPERATIONS_IN_FLIGHT = Gauge "weir_operations_in_flight" ["listener", "cluster", "protocol"]:
        "Operations that have begun and not ended, long polls left out.";
    OPERATIONS_PARKED = Gauge "weir_operations_parked" ["listener", "cluster", "protocol"]:
        "Long polls under way: outside latencies and the request limit.";
    REFUSALS = Counter "weir_refusals_total" ["listener", "cluster", "protocol", "reason"]:
        "Operations that Weir refused by its own decision.";
    FAILURES = Counter "weir_failures_total" ["listener", "cluster", "protocol", "side", "phase", "reason"]:
        "Operations that failed: whose fault, how far they had got, and why. Refusals are not among them.";
    APPLICATION_OPERATIONS = Counter "weir_application_operations_total" ["listener", "cluster", "protocol", "application", "operation", "result"]:
        "Operations that have ended, by the name that the client's application gives itself.";

    // The caps of the numbers themselves.
    INTERNER_OVERFLOW = Counter "weir_interner_overflow_total" ["kind"]:
        "Names that were counted as `_other` because the cap of their kind is met.";
    ROWS_OVERFLOW = Counter "weir_rows_overflow_total" ["table"]:
        "Operations of which a part was counted as `_other` because the cap of a table is met.";
    SERIES_OVERFLOW = Counter "weir_series_overflow_total" ["family"]:
        "Requests for a series that were given `_other` because the cap of the family is met.";
}
