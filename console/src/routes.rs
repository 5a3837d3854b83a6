//! Which request gets which answer.

use crate::body::{Content, List, Rows};
use crate::guard::{Guard, Refusal};
use crate::{Phase, State, connections, shapes};
use bytes::Bytes;
use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue,
    RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Request, Response, StatusCode};
use serde::Serialize;
use std::sync::Arc;
use tokio::sync::Semaphore;
use weir_drive::Page;
use weir_drive::page::Asked;
use weir_measure::{Format, names};

/// Every endpoint of the console's own and what it is for; protocols bring others ([`Settings::pages`](crate::Settings::pages)).
pub const ENDPOINTS: [(&str, &str); 13] = [
    ("/", "this list"),
    ("/metrics", "all numbers, in the Prometheus text format or OpenMetrics"),
    ("/operations", "every operation on every resource: results, sizes, latencies (?format=json or text)"),
    ("/applications", "operations by the application that asked for them, and by how they ended"),
    ("/call_sites", "operations by the place in the application's code that their comments name"),
    ("/slow", "slow operations and failures of late, with the shape of what was asked"),
    ("/connections", "open connections from clients, the longest idle first (?limit=N)"),
    ("/clusters", "clusters and their endpoints: limits, ejections, connections"),
    ("/listeners", "listeners and their connections"),
    ("/config", "the configuration in force"),
    ("/ready", "200 while serving, 503 while starting or draining"),
    ("/live", "200 while the process lives"),
    ("/version", "which Weir this is"),
];

/// Answers of many rows that may be in memory at a time.
const MAX_LONG_ANSWERS: usize = 4;

const JSON: &str = "application/json";

/// What answers are made of.
pub(crate) struct Routes {
    state: State,
    guard: Arc<Guard>,
    version: &'static str,
    protocols: Vec<&'static str>,
    /// What protocols bring.
    pages: Arc<[Page]>,
    /// Everything that there is: the console's own, then the pages.
    endpoints: Arc<[shapes::Endpoint]>,
    long: Arc<Semaphore>,
    /// Whether nothing but probes is answered.
    only_probes: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("there is nothing here; / lists what there is")]
    NotFound,
    #[error("{0}")]
    Query(String),
    #[error("{MAX_LONG_ANSWERS} scrapes are being read already; come again in a second")]
    Busy,
    #[error("all connections are busy: only /live and /ready are answered; come again in a second")]
    Full,
    #[error("starting: there is nothing to show yet")]
    Starting,
}

impl Problem {
    fn status(&self) -> StatusCode {
        match self {
            Problem::Refused(refusal) => refusal.status(),
            Problem::NotFound => StatusCode::NOT_FOUND,
            Problem::Query(_) => StatusCode::BAD_REQUEST,
            Problem::Busy | Problem::Full | Problem::Starting => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl Routes {
    pub(crate) fn new(
        state: State,
        guard: Guard,
        version: &'static str,
        protocols: Vec<&'static str>,
        pages: Vec<Page>,
    ) -> Routes {
        let (guard, long) = (Arc::new(guard), Arc::new(Semaphore::new(MAX_LONG_ANSWERS)));
        let brought = pages.iter().map(|page| (page.path, page.what));
        let endpoints = ENDPOINTS.into_iter().chain(brought);
        let endpoints = endpoints.map(|(path, what)| shapes::Endpoint { path, what }).collect();
        Routes { state, guard, version, protocols, pages: pages.into(), endpoints, long, only_probes: false }
    }

    /// The same for connections that are there for probes: everything else would keep them from their places.
    pub(crate) fn only_probes(&self) -> Arc<Routes> {
        let (state, guard, long) = (self.state.clone(), Arc::clone(&self.guard), Arc::clone(&self.long));
        let (version, protocols) = (self.version, self.protocols.clone());
        let (pages, endpoints) = (Arc::clone(&self.pages), Arc::clone(&self.endpoints));
        Arc::new(Routes { state, guard, version, protocols, pages, endpoints, long, only_probes: true })
    }

    /// The answer to a request. Its body, should it have one, is not read.
    pub(crate) fn answer<B>(&self, request: &Request<B>) -> Response<Content> {
        let path = request.uri().path();
        let mut response =
            match self.guard.check(request).map_err(Problem::from).and_then(|()| self.route(request)) {
                Ok(response) => response,
                Err(problem) => refuse(&problem),
            };
        let headers = response.headers_mut();
        if self.only_probes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        let policy = "default-src 'none'; frame-ancestors 'none'";
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        let known = self.endpoints.iter().find(|known| known.path == path);
        let endpoint = known.map_or("other", |known| known.path);
        let status = response.status();
        self.state.measure.counter(&names::ADMIN_REQUESTS, &[endpoint, status.as_str()]).inc();
        response
    }

    fn route<B>(&self, request: &Request<B>) -> Result<Response<Content>, Problem> {
        let (status, measure) = (&self.state.status, &self.state.measure);
        let path = request.uri().path();
        if self.only_probes && !matches!(path, "/live" | "/ready") {
            return Err(Problem::Full);
        }
        match path {
            "/" => Ok(json_of(StatusCode::OK, &self.index())),
            "/metrics" => self.metrics(request),
            "/operations" => self.operations(request.uri().query().unwrap_or_default()),
            "/applications" => self.list(|| shapes::applications(measure.applications())),
            "/call_sites" => self.list(|| crate::call_sites::list(measure.call_sites())),
            "/slow" => self.list(|| crate::slow::list(measure.slow().latest())),
            "/connections" => self.connections(request.uri().query().unwrap_or_default()),
            "/clusters" => {
                let clusters = status.clusters().ok_or(Problem::Starting)?;
                self.list(|| shapes::clusters(clusters, weir_drive::time::now()))
            }
            "/listeners" => {
                let process = status.process().ok_or(Problem::Starting)?;
                self.list(|| shapes::listeners(&process))
            }
            "/config" => {
                let config = status.config().ok_or(Problem::Starting)?;
                self.list(|| shapes::config(&config))
            }
            "/ready" => {
                let phase = status.phase();
                let code = match phase {
                    Phase::Ready => StatusCode::OK,
                    Phase::Starting | Phase::Leaving | Phase::Draining => StatusCode::SERVICE_UNAVAILABLE,
                };
                Ok(json_of(code, &shapes::Health { status: phase.label() }))
            }
            "/live" => Ok(json_of(StatusCode::OK, &shapes::Health { status: "live" })),
            "/version" => Ok(json_of(
                StatusCode::OK,
                &shapes::Version { version: self.version, protocols: &self.protocols },
            )),
            _ => self.page(self.pages.iter().find(|page| page.path == path).ok_or(Problem::NotFound)?),
        }
    }

    fn index(&self) -> shapes::Index<'_> {
        let phase = self.state.status.phase();
        let accepting = matches!(phase, Phase::Ready | Phase::Leaving);
        shapes::Index { weir: self.version, status: phase.label(), accepting, endpoints: &self.endpoints }
    }

    fn metrics<B>(&self, request: &Request<B>) -> Result<Response<Content>, Problem> {
        let accepts: Vec<&str> =
            request.headers().get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
        let format = Format::negotiate(&accepts.join(","));
        let leave = Arc::clone(&self.long).try_acquire_owned().map_err(|_| Problem::Busy)?;
        let scrape = Box::new(self.state.measure.scrape(format));
        Ok(respond(StatusCode::OK, format.content_type(), Content::Scrape { scrape, _leave: leave }))
    }

    fn connections(&self, query: &str) -> Result<Response<Content>, Problem> {
        let most = connections::MOST;
        let limit = match query {
            "" => Some(most),
            _ => query.strip_prefix("limit=").and_then(|n| n.parse().ok()).filter(|n| (1..=most).contains(n)),
        };
        let expected = || Problem::Query(format!("expected no query, or limit=N with N from 1 to {most}"));
        let limit = limit.ok_or_else(expected)?;
        self.list(|| connections::list(&self.state.measure, limit, weir_drive::time::now()))
    }

    /// A page that a protocol brings.
    fn page(&self, page: &Page) -> Result<Response<Content>, Problem> {
        let State { measure, status } = &self.state;
        let leave = Arc::clone(&self.long).try_acquire_owned().map_err(|_| Problem::Busy)?;
        let asked = Asked { measure, clusters: &|| status.clusters(), now: weir_drive::time::now() };
        let items = (page.items)(&asked).ok_or(Problem::Starting)?;
        let list = List::new(&[], page.list, items);
        Ok(respond(StatusCode::OK, JSON, Content::List { list, _leave: leave }))
    }

    /// One of the answers of which few may be in memory at a time.
    fn list(&self, list: impl FnOnce() -> List) -> Result<Response<Content>, Problem> {
        let leave = Arc::clone(&self.long).try_acquire_owned().map_err(|_| Problem::Busy)?;
        Ok(respond(StatusCode::OK, JSON, Content::List { list: list(), _leave: leave }))
    }

    fn operations(&self, query: &str) -> Result<Response<Content>, Problem> {
        let text = match query {
            "" | "format=json" => false,
            "format=text" => true,
            _ => return Err(Problem::Query("expected no query, format=json or format=text".into())),
        };
        let leave = Arc::clone(&self.long).try_acquire_owned().map_err(|_| Problem::Busy)?;
        let rows = self.state.measure.operations().into_iter();
        Ok(if text {
            let rows = Rows {
                head: shapes::OPERATION_HEADINGS,
                rows,
                row: shapes::operation_line,
                between: "",
                tail: "",
            };
            respond(StatusCode::OK, "text/plain; charset=utf-8", Content::Rows { rows, _leave: leave })
        } else {
            let rows = Rows {
                head: "{\"operations\":[\n",
                rows,
                row: shapes::operation,
                between: ",\n",
                tail: "\n]}\n",
            };
            respond(StatusCode::OK, JSON, Content::Rows { rows, _leave: leave })
        })
    }
}

fn refuse(problem: &Problem) -> Response<Content> {
    let status = problem.status();
    let message = problem.to_string();
    let error = shapes::Error { status: status.as_u16(), message: &message };
    let mut response = json_of(status, &shapes::Failed { error });
    let headers = response.headers_mut();
    match problem {
        Problem::Refused(Refusal::Method) => {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            // Its body is not read.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Problem::Busy | Problem::Full | Problem::Starting => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        Problem::Refused(_) | Problem::NotFound | Problem::Query(_) => {}
    }
    response
}

fn json_of<T: Serialize>(status: StatusCode, value: &T) -> Response<Content> {
    // The shapes are plain data, which always has a JSON form.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    whole(status, JSON, text)
}

fn whole(status: StatusCode, content_type: &'static str, text: String) -> Response<Content> {
    respond(status, content_type, Content::Whole(Bytes::from(text)))
}

fn respond(status: StatusCode, content_type: &'static str, content: Content) -> Response<Content> {
    let mut response = Response::new(content);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
