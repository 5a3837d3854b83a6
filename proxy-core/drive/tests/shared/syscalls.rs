//! What strace has written of a program with one worker. Included by the tests of this crate and of its users, by its path.

use std::collections::BTreeMap;

/// The worker's system calls, by name, from the log of `strace -f -o`.
pub fn of_the_worker(log: &str) -> BTreeMap<String, usize> {
    // The worker is the thread that sets its name.
    let named = log.lines().find(|line| line.contains("PR_SET_NAME, \"weir-worker-0\"")).unwrap();
    let worker = named.split_whitespace().next().unwrap();
    let mut calls = BTreeMap::new();
    for line in log.lines() {
        let mut words = line.split_whitespace();
        if words.next() == Some(worker)
            && let Some((call, _)) = words.next().and_then(|call| call.split_once('('))
        {
            *calls.entry(call.to_owned()).or_default() += 1;
        }
    }
    calls
}
