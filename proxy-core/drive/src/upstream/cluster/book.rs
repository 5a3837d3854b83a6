//! The addresses behind the names among a cluster's endpoints, as they were last found, and a worker's copy of them.

use super::answers::Answer;
use crate::ground::sync::lock;
use hashbrown::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub(super) type Found = HashMap<Arc<str>, Answer, foldhash::fast::RandomState>;

/// The addresses behind the names among a cluster's endpoints.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(super) generation: AtomicU64,
    found: Mutex<Arc<Found>>,
}

impl Book {
    pub(super) fn publish(&self, found: Found) {
        *lock(&self.found) = Arc::new(found);
        self.generation.fetch_add(1, Ordering::Release);
    }

    pub(super) fn read(&self) -> Arc<Found> {
        Arc::clone(&lock(&self.found))
    }
}

/// A worker's copy of a [`Book`], checked by one load.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    generation: u64,
    found: Arc<Found>,
}

impl Addresses {
    /// The addresses of the endpoint `address` (`host:port`); none when its name has not been resolved yet.
    pub(crate) fn of(&mut self, book: &Book, address: &str) -> Arc<[SocketAddr]> {
        let generation = book.generation.load(Ordering::Acquire);
        if generation != self.generation {
            self.found = book.read();
            self.generation = generation;
        }
        if let Some(answer) = self.found.get(address) {
            return Arc::clone(&answer.addresses);
        }
        address.parse::<SocketAddr>().map(|literal| Arc::from([literal])).unwrap_or_default()
    }
}

/// Whether an endpoint's address is a name (and a port), which has to be resolved.
pub(crate) fn is_name(address: &str) -> bool {
    weir_config::unix_path(address).is_none() && address.parse::<SocketAddr>().is_err()
}
