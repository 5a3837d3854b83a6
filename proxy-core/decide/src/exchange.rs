//! The words that every protocol, every shell and every statistic share: what an operation is, how it ended, and whose
//! fault that was.

use std::fmt;

/// Nanoseconds on the process's monotonic clock. Passed in wherever time matters; nothing that decides reads a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Now(pub u64);

impl Now {
    /// Nanoseconds since `earlier`; zero when `earlier` lies ahead.
    pub fn since(self, earlier: Now) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This moment plus `duration`.
    pub fn after(self, duration: std::time::Duration) -> Now {
        Now(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// An interned name: a process-wide number for a label value, from a capped set. A number is never given to another name: what
/// is counted under a name that has given way to others can never count for one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NameId(pub u64);

impl NameId {
    /// No name: an empty label.
    pub const NONE: NameId = NameId(0);
    /// The name under which everything beyond a cap is counted, shown as `_other`.
    pub const OTHER: NameId = NameId(1);
    /// Names of one listener that were ever given: as many in a year at nine million a second.
    const SERIALS: u32 = 48;

    /// The name with this number among those of a listener.
    pub const fn of(scope: u16, serial: u64) -> NameId {
        NameId((scope as u64) << Self::SERIALS | (serial & ((1 << Self::SERIALS) - 1)))
    }

    /// The number of the listener whose name it is; 0 for those that are always there.
    pub const fn scope(self) -> u16 {
        (self.0 >> Self::SERIALS) as u16
    }
}

/// What kind of name is being interned; each kind has a cap of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NameKind {
    /// A command, API operation, method.
    Operation,
    /// A collection, table, service, route.
    Resource,
    /// A protocol's own code for an outcome.
    Code,
    /// An application's name for itself.
    Application,
    /// A place in an application's code.
    CallSite,
}

/// What pure code may ask of the worker it runs on: capped interning, nothing else.
pub trait Names {
    /// The id of the name made of `parts` put together without a separator. Bytes that are not UTF-8 or not printable
    /// are shown escaped. For what comes from the wire: if it is new it has a name on probation, which may give way to others.
    fn intern(&mut self, kind: NameKind, parts: &[&[u8]]) -> NameId;

    /// The id of a name out of a closed set (commands, methods, codes) or out of the configuration: it is always there, and the
    /// same wherever it is asked for.
    fn fixed(&mut self, kind: NameKind, text: &[u8]) -> NameId {
        self.intern(kind, &[text])
    }

    /// Moves whenever a name gives way to another: whoever remembers what [`Names::intern`] said asks anew then.
    fn gone(&self) -> u64 {
        0
    }
}

/// How many replies an operation is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Replies {
    /// None, ever: nothing may be answered, not even a refusal.
    None,
    /// Exactly one.
    One,
    /// One after another, until one says that it is the last.
    Stream,
}

/// What an operation asks of the choice of its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Affinity {
    /// Any endpoint will do.
    Any,
    /// Always the same endpoint for the same number, while the set of endpoints stands.
    Hash(u64),
    /// This endpoint and no other.
    Endpoint(EndpointId),
    /// The endpoint that the connection is pinned to: admitted without picking, never re-picked.
    Connection,
}

/// An endpoint's number: unique in the process for its lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EndpointId(pub u32);

/// One request, whatever its protocol: a Mongo command, a DynamoDB call, a gRPC method, an HTTP request.
#[derive(Debug, Clone)]
pub struct Operation {
    /// What is done: command, API operation, gRPC method, HTTP method.
    pub name: NameId,
    /// What it is done to: `database.collection`, table, service, route.
    pub resource: NameId,
    /// Who says it does it, where the protocol tells.
    pub application: NameId,
    /// Whether its names are to be believed.
    pub belief: Belief,
    /// From where in its code, where that is asked for and told.
    pub call_site: NameId,
    /// The protocol's own number for the request (Mongo's requestID), to match replies by.
    pub tag: u64,
    /// Whether doing it twice is the same as doing it once.
    pub idempotent: bool,
    /// How many replies it is due.
    pub replies: Replies,
    /// A long poll: outside the circuit breaker's request limit, the balance and the latencies.
    pub parked: bool,
    /// What it asks of the choice of its endpoint.
    pub affinity: Affinity,
    /// How many things it is about, as far as that is known by now.
    pub items: Items,
    /// What else is remarkable about it.
    pub traits: Traits,
}

impl Default for Operation {
    fn default() -> Operation {
        Operation::new(NameId::NONE, NameId::NONE)
    }
}

impl Operation {
    /// An operation that is due one reply, may go anywhere, and must not be done twice.
    pub fn new(name: NameId, resource: NameId) -> Operation {
        Operation {
            name,
            resource,
            application: NameId::NONE,
            belief: Belief::Answered,
            call_site: NameId::NONE,
            tag: 0,
            idempotent: false,
            replies: Replies::One,
            parked: false,
            affinity: Affinity::Any,
            items: Items::default(),
            traits: Traits::NONE,
        }
    }
}

/// What makes the names of an operation more than what a stranger says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Belief {
    /// A server that does what it asks.
    #[default]
    Answered,
    /// Nothing: a server answers this well to anybody, such as a handshake.
    Never,
    /// Its connection has authenticated, so whatever becomes of it.
    Authenticated,
}

impl Belief {
    /// Whether the names are believed now that it has ended so.
    pub fn holds(self, class: Class) -> bool {
        match self {
            Belief::Answered => class == Class::Success,
            Belief::Never => false,
            Belief::Authenticated => true,
        }
    }
}

/// How many things (documents, items) an operation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Items {
    /// In the request: documents to be written, statements of a batch.
    pub sent: u64,
    /// In the reply.
    pub returned: u64,
    /// The reply held a batch of things, be it an empty one.
    pub has_batch: bool,
    /// Which the server says that it found for writing: inserted, matched, removed.
    pub affected: u64,
    /// Those of a modification that are different now.
    pub modified: u64,
}

impl Items {
    /// No things at all.
    pub const NONE: Items = Items { sent: 0, returned: 0, has_batch: false, affected: 0, modified: 0 };
}

macro_rules! traits {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        /// What an operation may be besides its name: a closed set, used as a label value.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Trait { $($(#[$doc])* $name,)* }
        impl Trait {
            /// Every trait, in the order of the label set.
            pub const ALL: &'static [Trait] = &[$(Trait::$name,)*];
            /// The label value.
            pub fn label(self) -> &'static str {
                match self { $(Trait::$name => $label,)* }
            }
        }
    };
}

traits! {
    /// One of its statements may write to any number of items.
    Many = "many",
    /// It watches for changes.
    Watch = "watch",
    /// It reads, and writes what it finds into another resource.
    WritesResult = "writes_result",
    /// A read that has neither a condition nor a limit.
    Unbounded = "unbounded",
    /// A read that does not say how long it may take.
    NoDeadline = "no_deadline",
    /// Part of a transaction.
    Transaction = "transaction",
    /// The client has sent it before.
    Resent = "resent",
    /// The server said that it had done (some of) it before.
    Recognised = "recognised",
}

/// A set of [`Trait`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Traits(u8);

impl Traits {
    /// None of them.
    pub const NONE: Traits = Traits(0);

    /// With this one, if `so`.
    #[must_use]
    pub fn with(self, one: Trait, so: bool) -> Traits {
        Traits(self.0 | (u8::from(so) << one as u8))
    }

    /// Whether this one is among them.
    pub fn has(self, one: Trait) -> bool {
        self.0 & (1 << one as u8) != 0
    }

    /// Whether there are none.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// Whose fault a failure was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client's.
    Client,
    /// Weir's own decision or fault.
    Proxy,
    /// Something between Weir and the upstream: it could not be reached, or the connection was lost.
    Network,
    /// The upstream's.
    Upstream,
}

impl Side {
    /// Every side, in the order of the label set.
    pub const ALL: [Side; 4] = [Side::Client, Side::Proxy, Side::Network, Side::Upstream];

    /// The label value.
    pub fn label(self) -> &'static str {
        match self {
            Side::Client => "client",
            Side::Proxy => "proxy",
            Side::Network => "network",
            Side::Upstream => "upstream",
        }
    }
}

/// How far an operation had got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Read and being decided upon.
    Admitted,
    /// Waiting for, or making, an upstream connection.
    Connecting,
    /// Being sent upstream.
    Sending,
    /// Sent; no byte of a reply yet.
    Waiting,
    /// A reply has begun.
    Replying,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Phase; 5] =
        [Phase::Admitted, Phase::Connecting, Phase::Sending, Phase::Waiting, Phase::Replying];

    /// The label value.
    pub fn label(self) -> &'static str {
        match self {
            Phase::Admitted => "admitted",
            Phase::Connecting => "connecting",
            Phase::Sending => "sending",
            Phase::Waiting => "waiting",
            Phase::Replying => "replying",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        /// Why an operation failed or was refused: a closed set, used as a label value everywhere.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $name,)* }
        impl Reason {
            /// Every reason, in the order of the label set.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];
            /// The label value.
            pub fn label(self) -> &'static str {
                match self { $(Reason::$name => $label,)* }
            }
        }
    };
}

reasons! {
    /// The connection was refused or the host unreachable.
    ConnectFailed = "connect_failed",
    /// The connection was not there within the connect timeout.
    ConnectTimeout = "connect_timeout",
    /// The TLS handshake failed; the log says how.
    TlsFailed = "tls_failed",
    /// The peer reset the connection or stream.
    Reset = "reset",
    /// The peer closed in mid-message.
    Closed = "closed",
    /// The operation took longer than it was given.
    Timeout = "timeout",
    /// One try took longer than a try is given.
    TryTimeout = "try_timeout",
    /// The client's own deadline passed.
    Deadline = "deadline",
    /// Nothing moved for longer than the idle timeout.
    Idle = "idle_timeout",
    /// The bytes do not follow the protocol.
    Malformed = "malformed",
    /// A message, head or field is larger than its cap.
    TooLarge = "too_large",
    /// The stream was refused before it was processed.
    RefusedStream = "refused_stream",
    /// The peer is going away and did not process this one.
    GoAway = "goaway",
    /// No route matches.
    NoRoute = "no_route",
    /// The method is not one that the route lets through.
    MethodNotAllowed = "method_not_allowed",
    /// The host is none that may be asked for on the connection.
    Misdirected = "misdirected",
    /// It has come through this process too often.
    Loop = "loop",
    /// The cluster has no endpoint.
    NoEndpoint = "no_endpoint",
    /// The cluster's `max_requests` is met.
    MaxRequests = "max_requests",
    /// The cluster's `max_pending` is met.
    MaxPending = "max_pending",
    /// The cap on a cluster's long polls is met.
    MaxParked = "max_parked",
    /// The `max_connections` of a listener or cluster is met.
    MaxConnections = "max_connections",
    /// The retry limit or budget is met.
    RetryBudget = "retry_budget",
    /// Denied by a rule.
    Denied = "denied",
    /// Over a rate or concurrency limit.
    Limited = "limited",
    /// Weir does not know yet, or not any more, what it should answer in the server's place.
    Unready = "unready",
    /// Weir is draining.
    Draining = "draining",
    /// The operation was cancelled by who asked for it.
    Cancelled = "cancelled",
    /// The server answered with an error of its own.
    ServerError = "server_error",
    /// A rule disturbed it on purpose.
    Injected = "injected",
    /// A fault of Weir itself.
    Internal = "internal",
}

/// A failure that is not the server's own answer: whose fault, how far the operation had got, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fault {
    /// Whose fault.
    pub side: Side,
    /// How far it had got.
    pub phase: Phase,
    /// Why.
    pub reason: Reason,
}

impl Fault {
    /// A fault, in the order in which one says it.
    pub fn new(side: Side, phase: Phase, reason: Reason) -> Fault {
        Fault { side, phase, reason }
    }

    /// Whether Weir had no room for it, or let no more through: its client does well to wait before it asks again.
    pub fn is_shed(&self) -> bool {
        use Reason::{Limited, MaxConnections, MaxParked, MaxPending, MaxRequests, RetryBudget};
        self.side == Side::Proxy
            && matches!(
                self.reason,
                Limited | MaxRequests | MaxPending | MaxConnections | MaxParked | RetryBudget
            )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} while {} ({})", self.reason.label(), self.phase.label(), self.side.label())
    }
}

impl std::error::Error for Fault {}

/// What an outcome means to the cluster: who is to be believed, ejected, tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The server did what was asked.
    Success,
    /// The server answered that the request was wrong: nothing against the endpoint.
    Rejected,
    /// The endpoint failed: counts towards its ejection.
    Failed,
    /// The client went away or cancelled: says nothing about the endpoint.
    Cancelled,
    /// Weir refused it: the endpoint never saw it.
    Refused,
}

/// How one attempt, or a whole operation, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// What it means to the cluster.
    pub class: Class,
    /// The word of the protocol's closed list of results; `ok` when all is well.
    pub result: &'static str,
    /// The protocol's own code: codeName, exception name, gRPC status, HTTP status. May be [`NameId::NONE`].
    pub code: NameId,
    /// The conditions a retry policy may name which this outcome meets.
    pub retryable: RetryOn,
    /// What went wrong, where it was not simply the server's answer.
    pub fault: Option<Fault>,
    /// Nanoseconds from the first byte of the request to the last of the reply (of this attempt).
    pub latency: u64,
}

/// A set of the conditions that a retry policy names and an outcome meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RetryOn(pub u32);

impl RetryOn {
    /// None of them.
    pub const NONE: RetryOn = RetryOn(0);
    /// `connect-failure`: no connection could be made; nothing was sent.
    pub const CONNECT_FAILURE: RetryOn = RetryOn(1);
    /// `refused-stream`: the server said that it has not processed it (REFUSED_STREAM, GOAWAY).
    pub const REFUSED_STREAM: RetryOn = RetryOn(1 << 1);
    /// `reset`: the connection or stream was lost, or a try timed out, before the reply's head.
    pub const RESET: RetryOn = RetryOn(1 << 2);
    /// `gateway-error`: 502, 503, 504.
    pub const GATEWAY_ERROR: RetryOn = RetryOn(1 << 3);
    /// `5xx`: any 5xx, and whatever else the protocol calls the server's failure.
    pub const SERVER_ERROR: RetryOn = RetryOn(1 << 4);
    /// `throttled`: the server said to come again later.
    pub const THROTTLED: RetryOn = RetryOn(1 << 5);
    /// gRPC `cancelled`.
    pub const GRPC_CANCELLED: RetryOn = RetryOn(1 << 6);
    /// gRPC `deadline-exceeded`.
    pub const GRPC_DEADLINE_EXCEEDED: RetryOn = RetryOn(1 << 7);
    /// gRPC `internal`.
    pub const GRPC_INTERNAL: RetryOn = RetryOn(1 << 8);
    /// gRPC `resource-exhausted`.
    pub const GRPC_RESOURCE_EXHAUSTED: RetryOn = RetryOn(1 << 9);
    /// gRPC `unavailable`.
    pub const GRPC_UNAVAILABLE: RetryOn = RetryOn(1 << 10);

    /// All that only an answer of the server's meets: its status, its error.
    pub const ANSWERS: RetryOn = RetryOn(!(Self::CONNECT_FAILURE.0 | Self::REFUSED_STREAM.0 | Self::RESET.0));

    /// Both sets together.
    pub const fn and(self, other: RetryOn) -> RetryOn {
        RetryOn(self.0 | other.0)
    }

    /// Whether the sets share a condition.
    pub const fn meets(self, other: RetryOn) -> bool {
        self.0 & other.0 != 0
    }
}
