//! Weir's decisions: operations, outcomes, clusters, policies, routes; no IO, no clock.
