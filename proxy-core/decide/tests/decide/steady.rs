//! What every operation does, does not allocate.

use crate::{alloc::allocations, common::*};
use weir_decide::{
    cluster::{Known, Tries, View},
    exchange::{Affinity, Class, Now, RetryOn},
    policy::RetryPolicy,
    route::{HostMatch, PathMatch, Request, RouteSpec, RouteTable},
};

#[test]
fn admission_and_its_end_do_not_allocate() {
    for settings in [settings(), least_request(), ejecting(ejection())] {
        for weights in [vec![1; 1], vec![1; 3], vec![1; 1000], (1..=1000).collect()] {
            let cluster = cluster(settings.clone(), &weights);
            let view = View::new(&cluster, 1);
            let policy = RetryPolicy { max_retries: 2, ..RetryPolicy::on(RetryOn::RESET) };
            let id = ids(&cluster)[0];
            let operations = [
                idempotent(),
                to(Affinity::Hash(7)),
                to(Affinity::Endpoint(id)),
                to(Affinity::Connection),
                parked(),
            ];
            let pin = view.endpoint(id).unwrap();
            let count = allocations(|| {
                for round in 0..3000u64 {
                    for op in &operations {
                        let mut tries = Tries::pinned(pin.clone());
                        let class = if round % 7 == 0 { Class::Failed } else { Class::Success };
                        for _ in 0..3 {
                            let ticket = view.admit(op, &mut tries, Now(round)).unwrap();
                            let outcome = weir_decide::exchange::Outcome {
                                retryable: if class == Class::Failed {
                                    RetryOn::RESET
                                } else {
                                    RetryOn::NONE
                                },
                                ..outcome(class)
                            };
                            ticket.finish(&outcome, &policy, &known(op.idempotent), &mut tries, Now(round));
                            if !tries.is_reserved() {
                                break;
                            }
                        }
                    }
                }
            });
            // One row of failures at an endpoint ejects it, which publishes a new list.
            let ejections = cluster.stats().totals.ejections;
            assert!(
                count <= ejections * 40,
                "{count} allocations, {ejections} ejections, {} endpoints",
                weights.len()
            );
        }
    }
}

#[test]
fn finding_a_route_does_not_allocate() {
    let host = |n: usize| HostMatch::parse(&format!("host-{n}.example.com")).unwrap();
    let mut specs: Vec<RouteSpec> = (0..10_000)
        .map(|n| RouteSpec { hosts: host(n).into_iter().collect(), ..RouteSpec::default() })
        .collect();
    specs.push(RouteSpec { path: PathMatch::Prefix("/orders".into()), ..RouteSpec::default() });
    let table = RouteTable::new(specs);
    let headers: &[(&[u8], &[u8])] = &[];
    let find = |host: &str, path: &str| {
        table.find(&Request { host: host.as_bytes(), path: path.as_bytes(), method: b"GET", headers })
    };
    let count = allocations(|| {
        assert_eq!(find("host-9999.example.com:8443", "/"), Some(9999));
        assert_eq!(find("HOST-17.Example.com", "/orders/7"), Some(17));
        assert_eq!(find("other", "/orders/7"), Some(10_000));
        assert_eq!(find("other", "/elsewhere"), None);
    });
    assert_eq!(count, 0);
}

#[test]
fn operations_of_one_connection_do_not_add_up() {
    let cluster = cluster(settings(), &[1; 3]);
    let view = View::new(&cluster, 1);
    let mut tries = Tries::pinned(view.endpoint(ids(&cluster)[0]).unwrap());
    let count = allocations(|| {
        for _ in 0..1000 {
            let ticket = view.admit(&to(Affinity::Connection), &mut tries, Now(0)).unwrap();
            ticket.finish(&outcome(Class::Success), &RetryPolicy::NONE, &Known::OVER, &mut tries, Now(0));
        }
    });
    assert_eq!(count, 0);
}
