//! What clusters count of themselves is exposed.

use crate::exposition::Exposition;
use crate::text::text;
use std::sync::Arc;
use weir_decide::cluster::{Cluster, EndpointSpec, Settings, Tries, View};
use weir_decide::exchange::{Class, NameId, Now, Operation, Outcome, RetryOn};
use weir_decide::policy::RetryPolicy;
use weir_measure::{Collect, Limits, Measure, Samples, cluster_samples};

struct One(Arc<Cluster>);

impl Collect for One {
    fn collect(&self, out: &mut Samples) {
        cluster_samples(&self.0, out);
    }
}

#[test]
fn clusters_and_endpoints_are_exposed() {
    let limits = weir_config::CircuitBreaker { max_requests: 2, ..weir_config::CircuitBreaker::default() };
    let cluster = Cluster::new("web", Settings { limits, ..Settings::default() });
    let specs = ["a:1", "b:2"].map(|address| EndpointSpec { address: address.into(), weight: 1 });
    cluster.set_endpoints(&specs, Now(1));
    let measure = Measure::new(Limits::default());
    measure.collect(Arc::new(One(Arc::clone(&cluster))));
    let view = View::new(&cluster, 7);
    let operation = Operation::new(NameId::NONE, NameId::NONE);
    let (mut first, mut second, mut third) = (Tries::new(), Tries::new(), Tries::new());
    let admitted = view.admit(&operation, &mut first, Now(2)).unwrap();
    let _held = view.admit(&operation, &mut second, Now(2)).unwrap();
    assert!(view.admit(&operation, &mut third, Now(2)).is_err());
    let _connection = cluster.connection(admitted.pick()).unwrap();
    let outcome = Outcome {
        class: Class::Success,
        result: "ok",
        code: NameId::NONE,
        retryable: RetryOn::NONE,
        fault: None,
        latency: 1,
    };
    admitted.finish(&outcome, &RetryPolicy::NONE, &weir_decide::policy::Known::OVER, &mut first, Now(3));
    let parsed = Exposition::parse(&text(&measure));
    let web = |name, label: &[(&str, &str)]| {
        let labels: Vec<_> = [("cluster", "web")].into_iter().chain(label.iter().copied()).collect();
        parsed.sum(name, &labels)
    };
    assert_eq!(web("weir_cluster_endpoints", &[]), 2.0);
    assert_eq!(web("weir_cluster_requests_active", &[]), 1.0);
    assert_eq!(web("weir_cluster_attempts_total", &[("outcome", "success")]), 1.0);
    assert_eq!(web("weir_cluster_attempts_total", &[]), 1.0);
    assert_eq!(web("weir_cluster_limit", &[("limit", "max_requests")]), 2.0);
    assert_eq!(web("weir_cluster_overflows_total", &[("limit", "max_requests")]), 1.0);
    assert_eq!(web("weir_cluster_overflows_total", &[]), 1.0);
    assert_eq!(web("weir_cluster_connections_open", &[]), 1.0);
    assert_eq!(web("weir_cluster_connections_total", &[]), 1.0);
    assert_eq!(web("weir_endpoint_attempts_total", &[("outcome", "success")]), 1.0);
    assert_eq!(web("weir_endpoint_requests_active", &[]), 1.0);
    assert_eq!(web("weir_endpoint_connections_open", &[]), 1.0);
    assert_eq!(parsed.each("weir_endpoint_ejected", &[]).count(), 2);
}
