//! The endpoint list as it is published to the views: immutable, replaced as a whole.

use super::endpoint::Endpoint;
use std::sync::Arc;
use weir_config::Balance;

/// An endpoint in its place in the list.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) endpoint: Arc<Endpoint>,
    /// At least 1.
    pub(crate) weight: u32,
}

/// What views choose from.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) generation: u64,
    pub(crate) balance: Balance,
    pub(crate) members: Arc<[Member]>,
    /// Which members may be chosen: those that were in rotation when this was published.
    pub(crate) open: Vec<u32>,
    /// Those that get one operation, and no other until it has ended.
    pub(crate) on_probation: Vec<u32>,
    pub(crate) is_open: Vec<bool>,
    /// Running sums of the weights of all members.
    pub(crate) bounds: Vec<u64>,
    /// Running sums of the weights of the open ones; empty when these are all equal.
    pub(crate) open_bounds: Vec<u64>,
}

impl List {
    pub(crate) fn new(generation: u64, balance: Balance, members: Arc<[Member]>) -> List {
        let is_open: Vec<bool> = members.iter().map(|m| !m.endpoint.is_out()).collect();
        let open: Vec<u32> = (0u32..).zip(&is_open).filter(|(_, open)| **open).map(|(i, _)| i).collect();
        let probed = (0u32..).zip(members.iter()).filter(|(_, m)| m.endpoint.is_on_probation());
        let on_probation = probed.map(|(i, _)| i).collect();
        let weights = |i: &u32| members.get(*i as usize).map_or(1, |m| m.weight);
        let equal = open.windows(2).all(|pair| pair.first().map(weights) == pair.last().map(weights));
        let open_bounds = if equal { Vec::new() } else { running_sum(open.iter().map(weights)) };
        let bounds = running_sum(members.iter().map(|m| m.weight));
        List { generation, balance, members, open, on_probation, is_open, bounds, open_bounds }
    }
}

fn running_sum(weights: impl Iterator<Item = u32>) -> Vec<u64> {
    weights
        .scan(0u64, |sum, weight| {
            *sum += u64::from(weight);
            Some(*sum)
        })
        .collect()
}
