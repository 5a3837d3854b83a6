//! What a filter may ask of the process while it runs: doors for its listener, endpoints for its cluster.
//!
//! A filter that learns from the servers how many of them there are (the members of a replica set) needs an address for
//! each. Such a door belongs to the listener: the same service, limits, TLS and numbers. Its sockets belong to the process
//! like all others, and stay over reloads for as long as the filter wants them.

use super::error::StartError;
use super::plan::{Plan, Planned};
use super::{Server, close_all_but};
use crate::edge::listener::Sockets;
use crate::ground::sync::lock;
use crate::shells::front::{Front, Fronted};
use std::net::SocketAddr;
use std::sync::Arc;
use weir_config::Bind;

impl Server {
    /// Does what filters ask for. Never ends, and has to run for as long as the server does.
    pub async fn tend(&self) {
        let mut fronts = self.fronts.lock().await;
        while let Some((front, answer)) = fronts.recv().await {
            match self.front(&front).await {
                Ok(Some(fronted)) => drop(answer.send(fronted)),
                Ok(None) | Err(StartError::Draining) => {}
                Err(error) => {
                    tracing::error!(listener = %front.listener, %error, "its doors stay as they are");
                }
            }
        }
    }

    /// The addresses of the doors that the listener `name` has at this moment, its own address left out.
    pub fn doors(&self, name: &str) -> Vec<SocketAddr> {
        let plan = Arc::clone(&lock(&self.state).plan);
        let planned = plan.listeners.iter().find(|planned| &*planned.config.name == name);
        planned
            .map(|planned| planned.doors.iter().filter_map(|door| door.local.ip()).collect())
            .unwrap_or_default()
    }

    async fn front(&self, front: &Front) -> Result<Option<Fronted>, StartError> {
        let _changing = self.changing.lock().await;
        let before = {
            let state = lock(&self.state);
            if state.draining {
                return Err(StartError::Draining);
            }
            Arc::clone(&state.plan)
        };
        let cluster = before.clusters.iter().find(|cluster| *cluster.decide.name() == front.cluster);
        if let Some(cluster) = cluster
            && cluster.discover(front.by, &front.endpoints, &front.at)
        {
            self.resolve(&before).await?;
        }
        let mut failed = Vec::new();
        let Some(plan) = with_doors(&before, front, self.process.workers.len(), &mut failed) else {
            return Ok(None);
        };
        let plan = Arc::new(plan);
        self.apply(&plan).await?;
        lock(&self.state).plan = Arc::clone(&plan);
        close_all_but(&before, &plan);
        Ok(Some(Fronted { failed }))
    }
}

/// The same plan with other doors for one listener; `None` when there is no such listener, or the doors are somebody else's.
fn with_doors(
    before: &Plan,
    front: &Front,
    workers: usize,
    failed: &mut Vec<(SocketAddr, std::io::Error)>,
) -> Option<Plan> {
    let mut listeners = before.listeners.clone();
    let is_its =
        |planned: &&mut Planned| planned.config.name == front.listener && planned.fronted_by <= front.by;
    let planned = listeners.iter_mut().find(is_its)?;
    planned.fronted_by = if front.doors.is_empty() && front.endpoints.is_empty() { 0 } else { front.by };
    let known = std::mem::take(&mut planned.doors);
    for address in &front.doors {
        match known.iter().find(|door| door.local == *address) {
            Some(door) => planned.doors.push(Arc::clone(door)),
            None => match open(*address, workers) {
                Ok(sockets) => planned.doors.push(Arc::new(sockets)),
                Err(error) => failed.push((*address, error)),
            },
        }
    }
    Some(Plan { config: Arc::clone(&before.config), listeners, clusters: before.clusters.clone() })
}

fn open(address: SocketAddr, workers: usize) -> std::io::Result<Sockets> {
    let sockets = Sockets::bind(&Bind::Ip(address), 0, workers)?;
    sockets.listen()?;
    Ok(sockets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Filter, Tcp};
    use weir_config::Config;
    use weir_measure::{Limits, Measure};

    static FILTERS: &[&dyn Filter] = &[&Tcp];

    fn config(more: &str) -> Arc<Config> {
        let text = format!(
            "workers: 2\nlisteners: {{ l: {{ bind: \"127.0.0.1:0\", tcp: {{ cluster: c }}{more} }} }}\n\
             clusters: {{ c: {{ endpoints: [\"127.0.0.1:1\"] }} }}\n"
        );
        Arc::new(weir_config::parse(&text, "test.yaml", &[Tcp.section()]).unwrap())
    }

    fn front(doors: &[SocketAddr]) -> Front {
        let endpoints = vec!["127.0.0.2:1".into()];
        Front {
            by: 5,
            listener: "l".into(),
            doors: doors.to_vec(),
            cluster: "c".into(),
            endpoints,
            at: Vec::new(),
        }
    }

    /// An address that was free a moment ago.
    fn free() -> SocketAddr {
        std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|socket| socket.local_addr()).unwrap()
    }

    #[tokio::test]
    async fn doors_open_and_close_and_stay_over_a_reload() {
        let server = Server::start(config(""), FILTERS, &Measure::new(Limits::default())).await.unwrap();
        let (first, second) = (free(), free());
        let somebody = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let taken = somebody.local_addr().unwrap();
        let fronted = server.front(&front(&[first, taken])).await.unwrap().unwrap();
        assert_eq!(fronted.failed.iter().map(|(address, _)| *address).collect::<Vec<_>>(), [taken]);
        assert_eq!(server.doors("l"), [first]);
        assert!(std::net::TcpStream::connect(first).is_ok());
        server.reload(config(", max_connections: 7")).await.unwrap();
        assert!(std::net::TcpStream::connect(first).is_ok());
        server.front(&front(&[second])).await.unwrap().unwrap();
        assert_eq!(server.doors("l"), [second]);
        assert!(std::net::TcpStream::connect(second).is_ok());
        let endpoints = server.status().clusters.remove(0).stats.endpoints.len();
        assert_eq!(endpoints, 2, "the one that is listed and the one that was found");
        let nobody = Front { listener: "other".into(), ..front(&[]) };
        assert!(server.front(&nobody).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn who_goes_takes_away_what_is_its_own() {
        let server = Server::start(config(""), FILTERS, &Measure::new(Limits::default())).await.unwrap();
        let endpoints = || {
            let all = server.status().clusters.remove(0).stats.endpoints;
            all.into_iter().map(|endpoint| endpoint.address.to_string()).collect::<Vec<_>>()
        };
        let door = free();
        let found = |by, endpoint: &str| Front { by, endpoints: vec![endpoint.into()], ..front(&[door]) };
        let gone = |by| Front { by, endpoints: Vec::new(), ..front(&[]) };
        server.front(&found(1, "127.0.0.2:1")).await.unwrap().unwrap();
        server.front(&found(2, "127.0.0.3:1")).await.unwrap().unwrap();
        server.front(&Front { listener: "gone".into(), ..found(3, "127.0.0.2:1") }).await.unwrap();
        assert_eq!(endpoints(), ["127.0.0.1:1", "127.0.0.2:1", "127.0.0.3:1"]);
        // The first one is only now drained: the doors are the second one's, and the third has found the same.
        assert!(server.front(&gone(1)).await.unwrap().is_none());
        assert_eq!(server.doors("l"), [door]);
        assert_eq!(endpoints(), ["127.0.0.1:1", "127.0.0.2:1", "127.0.0.3:1"]);
        server.front(&Front { listener: "gone".into(), ..gone(3) }).await.unwrap();
        assert_eq!(endpoints(), ["127.0.0.1:1", "127.0.0.3:1"]);
        server.front(&gone(2)).await.unwrap().unwrap();
        assert_eq!((server.doors("l"), endpoints()), (vec![], vec!["127.0.0.1:1".to_owned()]));
        // Whoever is there has them then, once the workers have let go of the sockets that were closed.
        for _ in 0..1000 {
            server.front(&found(1, "127.0.0.2:1")).await.unwrap().unwrap();
            if server.doors("l") == [door] {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert_eq!(server.doors("l"), [door]);
    }
}
