//! A cluster under thousands of random steps, all of them from one seed: several workers admit, finish, drop and retry;
//! time passes; endpoints come and go; settings change. After every step what the cluster says of itself is compared with
//! what the simulation knows. `WEIR_SEED=n` runs one seed alone.

use crate::common::*;
use std::{rc::Rc, sync::Arc, time::Duration};
use weir_decide::{
    cluster::{
        Balance, Cluster, ClusterStats, Ejection, EndpointSpec, Known, Pending, Permit, Settings, Ticket,
        Tries, Verdict, View,
    },
    exchange::{Affinity, Class, EndpointId, Now, Operation, Outcome, Reason, RetryOn},
    policy::{RetryPolicy, Sent},
};

const STEPS: usize = 2000;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

struct PrintSeed(u64);

impl Drop for PrintSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to see it again: WEIR_SEED={}", self.0);
        }
    }
}

/// An endpoint's, after so many ejections.
type Probation = (EndpointId, u64);

struct Simulation {
    random: Random,
    now: u64,
    cluster: Arc<Cluster>,
    views: Vec<Rc<View>>,
    /// With the probation (of whom, and after which ejection) that it decides about, and since when.
    running: Vec<(Ticket, Tries, Operation, (Probation, u64))>,
    waiting: Vec<(Tries, Operation)>,
    permits: Vec<Permit>,
    pending: Vec<Pending>,
    /// What was admitted, and what was ended, so far.
    admitted: u64,
    ended: u64,
    granted: u64,
    repicks: u64,
    refused: u64,
    probes: u64,
    /// When first tries were admitted, and when retries were granted.
    firsts: Vec<u64>,
    retries: Vec<u64>,
}

impl Simulation {
    fn new(seed: u64) -> Simulation {
        let mut random = Random(seed);
        let settings = random_settings(&mut random);
        let cluster = Cluster::new("simulated", settings);
        let views = (0..1 + random.below(3)).map(|_| View::new(&cluster, random.next())).collect();
        let mut simulation = Simulation {
            random,
            now: 1,
            cluster,
            views,
            running: Vec::new(),
            waiting: Vec::new(),
            permits: Vec::new(),
            pending: Vec::new(),
            admitted: 0,
            ended: 0,
            granted: 0,
            repicks: 0,
            refused: 0,
            probes: 0,
            firsts: Vec::new(),
            retries: Vec::new(),
        };
        simulation.change_endpoints();
        simulation
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..40 => self.begin(),
            40..75 => self.end(),
            75..83 => self.resume(),
            83..86 => drop(take(&mut self.random, &mut self.waiting)),
            86..90 => self.connect(),
            90..96 => self.now += self.random.next() % (20 * SECOND),
            96..98 => self.change_endpoints(),
            98 => self.cluster.configure(random_settings(&mut self.random), Now(self.now)),
            _ => self.views.iter().for_each(|view| view.tick(Now(self.now))),
        }
    }

    fn begin(&mut self) {
        let affinity = match self.random.below(10) {
            0 => Affinity::Hash(self.random.next() % 8),
            1 => Affinity::Connection,
            _ => Affinity::Any,
        };
        let op = Operation {
            idempotent: self.random.below(4) != 0,
            parked: self.random.below(12) == 0,
            ..to(affinity)
        };
        self.admit(Tries::new(), op);
    }

    fn resume(&mut self) {
        if let Some((tries, op)) = take(&mut self.random, &mut self.waiting) {
            self.admit(tries, op);
        }
    }

    fn admit(&mut self, mut tries: Tries, op: Operation) {
        let view = self.views[self.random.below(self.views.len())].clone();
        let before = self.cluster.stats();
        let (reserved, last) = (tries.is_reserved(), tries.last());
        let mut probe = Default::default();
        match view.admit(&op, &mut tries, Now(self.now)) {
            Ok(ticket) => {
                self.admitted += 1;
                if !reserved && !op.parked {
                    self.firsts.push(self.now);
                }
                let stats = self.cluster.stats();
                let id = ticket.pick().id();
                let open = || stats.endpoints.iter().filter(|e| e.ejected_until.is_none() && !e.on_probation);
                let probed = stats.endpoints.iter().find(|e| e.id == id && e.on_probation);
                assert!(probed.is_some() || open().any(|e| e.id == id), "an endpoint in rotation was picked");
                if let Some(endpoint) = probed {
                    let probation = (id, endpoint.totals.ejections);
                    let others = self.running.iter().filter(|(.., probe)| probe.0 == probation);
                    assert!(!op.parked, "a long poll decides about an endpoint");
                    for (.., (_, since)) in others {
                        assert!(since + 10 * SECOND <= self.now, "two probes at a time");
                    }
                    probe = (probation, self.now);
                    self.probes += 1;
                }
                if last.is_some() && open().any(|e| Some(e.id) != last) {
                    assert_ne!(Some(id), last, "a retry went where it had failed");
                }
                if !reserved && op.parked {
                    assert!(before.parked < before.settings.limits.max_parked);
                } else if !reserved {
                    assert!(before.active < before.settings.limits.max_requests);
                }
                self.running.push((ticket, tries, op, probe));
            }
            Err(fault) => {
                let limits = &before.settings.limits;
                match fault.reason {
                    Reason::NoEndpoint => assert!(before.endpoints.is_empty()),
                    Reason::MaxRequests => assert!(!reserved && before.active >= limits.max_requests),
                    Reason::MaxParked => assert!(!reserved && before.parked >= limits.max_parked),
                    other => panic!("refused because of {other:?}"),
                }
                self.refused += u64::from(fault.reason == Reason::MaxRequests);
            }
        }
    }

    fn end(&mut self) {
        let Some((mut ticket, mut tries, mut op, _)) = take(&mut self.random, &mut self.running) else {
            return;
        };
        self.ended += 1;
        if self.random.below(10) == 0 {
            return; // dropped: cancelled
        }
        if self.random.below(20) == 0 {
            let before = self.cluster.stats();
            let room = op.parked || before.parked < before.settings.limits.max_parked;
            assert_eq!(ticket.park(), room);
            op.parked |= room;
        }
        let class = self.random.one_of(&[Class::Success, Class::Failed, Class::Failed, Class::Rejected]);
        let retryable = self.random.one_of(&[RetryOn::RESET, RetryOn::CONNECT_FAILURE, RetryOn::NONE]);
        let policy = RetryPolicy {
            max_retries: self.random.below(20) as u32,
            ..RetryPolicy::on(RetryOn::RESET.and(RetryOn::CONNECT_FAILURE))
        };
        let (outcome, known) = match (class, retryable) {
            (Class::Failed, RetryOn::CONNECT_FAILURE) => {
                (unreachable(), Known { sent: Sent::Nothing, ..known(op.idempotent) })
            }
            _ => (Outcome { retryable, ..outcome(class) }, known(op.idempotent)),
        };
        let open = self.open();
        match ticket.finish(&outcome, &policy, &known, &mut tries, Now(self.now)) {
            Verdict::Done => assert!(!tries.is_reserved()),
            Verdict::Elsewhere => {
                assert_eq!(known.sent, Sent::Nothing);
                assert!(tries.is_reserved() && self.open() > 0 && open > 0);
                self.repicks += 1;
                self.waiting.push((tries, op));
            }
            Verdict::Retry { after } => {
                assert!(after < policy.max && tries.is_reserved());
                assert!(tries.retries() < policy.max_retries);
                assert!(op.idempotent || retryable == RetryOn::CONNECT_FAILURE);
                self.granted += 1;
                self.retries.push(self.now);
                self.check_budget();
                self.waiting.push((tries, op));
            }
        }
    }

    /// How many endpoints are in rotation.
    fn open(&self) -> usize {
        self.cluster.stats().endpoints.iter().filter(|e| e.ejected_until.is_none()).count()
    }

    /// A retry has been granted: there is room for it, and was in every ten seconds before.
    fn check_budget(&self) {
        let stats = self.cluster.stats();
        let limits = &stats.settings.limits;
        assert!(stats.retrying <= limits.max_retries);
        let within = |times: &[u64], since: u64| times.iter().filter(|at| **at >= since).count() as f64;
        let ten = within(&self.retries, self.now.saturating_sub(10 * SECOND));
        // Seconds are counted whole: those of the eleventh count with the others.
        let firsts = within(&self.firsts, (self.now / SECOND).saturating_sub(10) * SECOND);
        let budget = firsts * f64::from(limits.retry_budget.percent) / 100.0
            + 10.0 * f64::from(limits.retry_budget.min_retries);
        assert!(ten <= budget, "{ten} retries for {firsts} first tries");
    }

    fn connect(&mut self) {
        let Some((ticket, ..)) = self.running.first() else { return };
        let pick = ticket.pick().clone();
        let before = self.cluster.stats();
        let limits = &before.settings.limits;
        let room = before.connections < limits.max_connections;
        match self.random.below(5) {
            0 | 1 => {
                let permit = self.cluster.connection(&pick);
                assert_eq!(permit.is_ok(), room);
                self.permits.extend(permit);
            }
            2 => {
                let pending = self.cluster.pend();
                assert_eq!(pending.is_ok(), before.pending < limits.max_pending);
                self.pending.extend(pending);
            }
            3 => {
                let Some(pending) = take(&mut self.random, &mut self.pending) else { return };
                match pending.connect(&pick) {
                    Ok(permit) => self.permits.push(permit),
                    Err(pending) => {
                        assert!(!room);
                        self.pending.push(pending);
                    }
                }
            }
            _ => drop(take(&mut self.random, &mut self.permits)),
        }
    }

    fn change_endpoints(&mut self) {
        let mut specs: Vec<EndpointSpec> = Vec::new();
        let count = self.random.one_of(&[0, 1, 2, 2, 3, 5, 8]);
        for _ in 0..count {
            let address = format!("e{}:80", self.random.below(9));
            let weight = self.random.one_of(&[1, 1, 1, 2, 5]);
            specs.push(EndpointSpec { address: address.into(), weight });
        }
        self.cluster.set_endpoints(&specs, Now(self.now));
    }

    fn check(&self, least: &mut u64) {
        let stats = self.cluster.stats();
        let parked = stats.parked as usize;
        assert_eq!(stats.active as usize + parked, self.running.len() + self.waiting.len());
        assert!(stats.retrying <= stats.active);
        assert_eq!(stats.connections as usize, self.permits.len());
        assert_eq!(stats.pending as usize, self.pending.len());
        assert_eq!(stats.totals.attempts(), self.ended);
        assert_eq!(self.admitted - self.ended, self.running.len() as u64);
        assert_eq!((stats.retries, stats.repicks), (self.granted, self.repicks));
        assert_eq!(stats.overflows.requests, self.refused);
        self.check_ejection(&stats);
        let sum = stats.totals.attempts() + stats.totals.ejections + stats.totals.connections;
        assert!(sum >= *least, "a counter fell");
        *least = sum;
    }

    fn check_ejection(&self, stats: &ClusterStats) {
        let n = stats.endpoints.len();
        let out = stats.endpoints.iter().filter(|e| e.ejected_until.is_some() || e.on_probation).count();
        if n > 0 {
            assert!(out < n, "the last endpoint was ejected");
        }
        let share = stats.settings.ejection.map_or(0, |e| (n * e.max_ejection_percent as usize / 100).max(1));
        assert!(out <= share, "too many ejected");
    }
}

fn take<T>(random: &mut Random, from: &mut Vec<T>) -> Option<T> {
    if from.is_empty() { None } else { Some(from.swap_remove(random.below(from.len()))) }
}

fn random_settings(random: &mut Random) -> Settings {
    let ejection = Ejection {
        consecutive_errors: 1 + random.below(3) as u32,
        interval: Duration::from_secs(10),
        base_ejection_time: Duration::from_secs(1 + random.below(30) as u64),
        max_ejection_time: Duration::from_secs(60),
        max_ejection_percent: random.one_of(&[1, 30, 50, 100]),
    };
    Settings {
        balance: random.one_of(&[Balance::RoundRobin, Balance::LeastRequest]),
        limits: weir_config::CircuitBreaker {
            max_connections: random.below(6) as u32,
            max_pending: random.below(4) as u32,
            max_requests: 1 + random.below(40) as u32,
            max_retries: random.below(8) as u32,
            retry_budget: weir_config::RetryBudget {
                percent: random.one_of(&[0, 20, 100]),
                min_retries: random.below(4) as u32,
            },
            max_parked: random.below(4) as u32,
        },
        ejection: Some(ejection).filter(|_| random.below(5) != 0),
    }
}

fn run(seed: u64) -> (u64, u64) {
    let _seed = PrintSeed(seed);
    let mut simulation = Simulation::new(seed);
    let mut least = 0;
    for _ in 0..STEPS {
        simulation.step();
        simulation.check(&mut least);
    }
    let Simulation { cluster, running, waiting, permits, pending, granted, probes, .. } = simulation;
    drop((running, waiting, permits, pending));
    assert_idle(&cluster);
    (granted, probes)
}

#[test]
fn whatever_happens_the_counts_are_exact_and_somebody_is_left() {
    if let Ok(seed) = std::env::var("WEIR_SEED") {
        run(seed.parse().unwrap());
        return;
    }
    let (retries, probes) = (0..60).map(run).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert!(retries > 1000, "the simulation does retry: {retries}");
    assert!(probes > 100, "and it does probe: {probes}");
}
