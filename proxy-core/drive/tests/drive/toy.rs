//! A message protocol small enough to see every step and answer in a test.
//!
//! A message is a length (u32, big-endian, of what follows), a tag (u32) and a text. The first word of a request's text says what
//! is to be done with it:
//!
//! | word | what happens |
//! |---|---|
//! | `get` | forwarded; one reply |
//! | `fire` | forwarded; no reply |
//! | `watch` | forwarded; replies until one that does not begin with `+` |
//! | `park` | as `watch`, a long poll |
//! | `local` | answered by Weir with `from weir` |
//! | `count` | answered by Weir with how many requests it has decided in this turn of the connection's; with `toil` behind it, it is all the work that one turn should do |
//! | `ask` | held until it has come whole (16 bytes at most), then forwarded |
//! | `swap` | rewritten in capitals (24 bytes at most), then forwarded |
//! | `hold` | forwarded; its reply is held back until it is judged |
//! | `edit` | forwarded; its reply is rewritten in capitals (24 bytes at most) |
//! | `quit` | both connections are closed |
//! | `open`, `done` | forwarded; something is open on the connection from then on, or no more |
//! | `stay` | as `park`; the connection stays for the others meanwhile |
//! | `view` | as `park`; the connection only watches the server from then on |
//! | `safe` | forwarded; the client does it anew by itself when the connection is closed instead |
//!
//! A reply that begins with `err` is an error. A refusal is a message `refused: <fault>`.

use bytes::{BufMut, Bytes, BytesMut};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use weir_codecs::Piece;
use weir_config::{Field, Kind, Listener, Node, Section, Settings, Table, Walk};
use weir_decide::exchange::{
    Class, EndpointId, Fault, NameId, NameKind, Names, Operation, Outcome, Phase, Reason, Replies, RetryOn,
    Side,
};
use weir_decide::protocol::{Answer, At, Decode, Malformed, Protocol, Ruling, Stays, Step, Unwritten};
use weir_drive::{Accepted, BuildError, Context, Filter, Service, Worker, message};

pub static FILTERS: &[&'static dyn Filter] = &[&Toy];

pub struct Toy;

static TABLE: Table = Table {
    name: "toy",
    doc: "Only for tests.",
    fields: &[
        Field::required("cluster", Kind::Cluster, "Where."),
        Field::with_default(
            "strict",
            Kind::Bool,
            "false",
            "Whether what cannot be read ends the connection.",
        ),
        Field::optional(
            "message_timeout",
            Kind::Duration { min: 0, max: 60_000 },
            "How long a message may take.",
        ),
    ],
    rules: &[],
};

impl Section for Toy {
    fn key(&self) -> &'static str {
        "toy"
    }
    fn table(&self) -> &'static Table {
        &TABLE
    }
    fn read(&self, walk: &mut Walk<'_>, node: &Node) -> Option<Settings> {
        let fields = walk.fields(node, &TABLE)?;
        let cluster = fields.cluster(walk, "cluster")?;
        let strict = fields.flag(walk, "strict")?;
        let message_timeout = fields.duration(walk, "message_timeout");
        Some(Arc::new((cluster, strict, message_timeout)))
    }
}

type ToySettings = (Arc<str>, bool, Option<Duration>);

impl Filter for Toy {
    fn section(&self) -> &'static dyn Section {
        &Toy
    }
    fn service(&self, listener: &Arc<Listener>, worker: &Rc<Worker>) -> Result<Rc<dyn Service>, BuildError> {
        Ok(Rc::new(ToyService(RefCell::new(build(listener, worker)?))))
    }
}

type Parts = (Rc<ToyProtocol>, Rc<Context>);

fn build(listener: &Arc<Listener>, worker: &Rc<Worker>) -> Result<Parts, BuildError> {
    let (cluster, strict, message_timeout) = listener.settings.downcast_ref::<ToySettings>().unwrap();
    let cluster = worker.cluster(cluster).ok_or_else(|| BuildError::no_cluster(listener, cluster))?;
    Ok((
        Rc::new(ToyProtocol { strict: *strict }),
        Context::timed(worker, listener, &cluster, *message_timeout),
    ))
}

thread_local! {
    /// Requests in this turn of a connection's.
    static DECIDED: Cell<u32> = const { Cell::new(0) };
    /// What was decoded last is all the work that one turn should do.
    static TOILED: Cell<bool> = const { Cell::new(false) };
}

struct ToyService(RefCell<Parts>);

impl Service for ToyService {
    fn serve(self: Rc<Self>, connection: Accepted) -> Pin<Box<dyn Future<Output = ()>>> {
        let (protocol, context) = self.0.borrow().clone();
        let mut serving = Box::pin(message::serve(protocol, context, connection));
        Box::pin(poll_fn(move |cx| {
            DECIDED.set(0);
            serving.as_mut().poll(cx)
        }))
    }
    fn reload(&self, listener: &Arc<Listener>, worker: &Rc<Worker>) -> Result<(), BuildError> {
        *self.0.borrow_mut() = build(listener, worker)?;
        Ok(())
    }
}

pub struct ToyProtocol {
    pub strict: bool,
}

/// What is known of a message: its tag, and as much of its text as a decision needs.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    tag: u32,
    text: [u8; 8],
}

impl Head {
    fn word(&self) -> &[u8] {
        self.text.split(|byte| !byte.is_ascii_alphabetic()).next().unwrap()
    }
}

#[derive(Default)]
pub struct Frames {
    left: usize,
    head: Option<Head>,
}

/// The longest message; a longer one is malformed.
pub const MAX: usize = 1 << 24;

/// What the beginning of a message tells, which says that it is so long.
fn head(bytes: &[u8], length: usize) -> Option<Head> {
    let mut text = [0; 8];
    let shown = length.min(12) - 4;
    text[..shown].copy_from_slice(bytes.get(8..8 + shown)?);
    Some(Head { tag: u32::from_be_bytes(*bytes[4..].first_chunk()?), text })
}

impl Decode for Frames {
    type Head = Head;

    fn whole(&mut self, bytes: &[u8]) -> Option<Head> {
        let length = u32::from_be_bytes(*bytes.first_chunk::<4>()?) as usize;
        if self.left > 0 || !(4..=MAX).contains(&length) || bytes.len() != 4 + length {
            return None;
        }
        head(bytes, length)
    }

    fn has_toiled(&mut self) -> bool {
        TOILED.take()
    }

    fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Piece<Head>>, Malformed> {
        if self.left == 0 {
            let Some(length) = buf.first_chunk::<4>() else { return Ok(None) };
            let length = u32::from_be_bytes(*length) as usize;
            if length > MAX {
                return Err(Malformed::TooLarge("message"));
            }
            if length < 4 {
                return Err(Malformed::Syntax("length"));
            }
            let known = 4 + length.min(12);
            if buf.len() < known {
                return Ok(None);
            }
            self.left = 4 + length;
            self.head = head(buf, length);
        }
        if buf.is_empty() {
            return Ok(None);
        }
        let size = buf.len().min(self.left);
        // The head comes with the first piece, and again with the last.
        let first = self.head.filter(|_| self.left >= 8);
        self.left -= size;
        let last = self.left == 0;
        let head = if last { self.head } else { first.filter(|_| size > 0) };
        TOILED.set(TOILED.get() || head.is_some_and(|head| head.text.starts_with(b"count to")));
        Ok(Some(Piece { bytes: buf.split_to(size).freeze(), head, last }))
    }
}

#[derive(Default)]
pub struct Op(Operation, Vec<u8>);

impl AsRef<Operation> for Op {
    fn as_ref(&self) -> &Operation {
        &self.0
    }
}

impl AsMut<Operation> for Op {
    fn as_mut(&mut self) -> &mut Operation {
        &mut self.0
    }
}

fn outcome(class: Class, result: &'static str) -> Outcome {
    Outcome { class, result, code: NameId::NONE, retryable: RetryOn::NONE, fault: None, latency: 0 }
}

/// What is remembered of a connection.
#[derive(Default)]
pub struct Toys {
    open: bool,
    watches: bool,
}

impl Protocol for ToyProtocol {
    const NAME: &'static str = "toy";
    type Session = Toys;
    type Request = Frames;
    type Reply = Frames;
    type Op = Op;

    fn session(&self) -> (Toys, Frames, Frames) {
        (Toys::default(), Frames::default(), Frames::default())
    }

    fn request(
        &self,
        toys: &mut Toys,
        names: &mut dyn Names,
        Op(op, said): &mut Op,
        head: Option<&Head>,
        end: bool,
    ) -> Step {
        let head = head.expect("the first piece has the head");
        let word = head.word();
        let name = names.intern(NameKind::Operation, &[word]);
        op.name = name;
        op.tag = head.tag.into();
        op.replies = match word {
            b"fire" => Replies::None,
            b"watch" | b"park" | b"stay" | b"view" => Replies::Stream,
            _ => Replies::One,
        };
        op.parked = matches!(word, b"park" | b"stay" | b"view");
        toys.open = (toys.open || word == b"open") && word != b"done";
        toys.watches = word == b"view";
        word.clone_into(said);
        DECIDED.set(DECIDED.get() + 1);
        match word {
            b"count" => Step::Respond(
                frame(head.tag, DECIDED.get().to_string().as_bytes()),
                outcome(Class::Success, "local"),
            ),
            b"local" => Step::Respond(frame(head.tag, b"from weir"), outcome(Class::Success, "local")),
            b"ask" if !end => Step::More { limit: 16 },
            b"swap" => Step::Rewrite { limit: 24 },
            b"quit" => Step::Close(Fault::new(Side::Client, Phase::Admitted, Reason::Denied)),
            _ => Step::Forward,
        }
    }

    fn govern(&self, _: &mut Toys, _: &mut dyn Names, op: &mut Op, _: Option<&Head>, _: At<'_>) -> Ruling {
        match &*op.1 {
            b"later" => Ruling { delay: Some(Duration::from_millis(20)), ..Ruling::default() },
            b"limit" => Ruling { time_limit: Some(Duration::from_millis(30)), ..Ruling::default() },
            _ => Ruling::default(),
        }
    }

    fn survives(&self, _: &Toys) -> bool {
        !self.strict
    }

    fn watches(&self, toys: &Toys) -> bool {
        toys.watches
    }

    fn stays(&self, toys: &mut Toys, parked: Option<&Op>) -> Stays {
        match parked {
            _ if toys.open => Stays::Open,
            Some(op) if op.1 == b"stay" => Stays::Others,
            _ => Stays::Quiet(Duration::from_millis(50)),
        }
    }

    fn repeats(&self, _: &Toys, op: &Op) -> bool {
        op.1 == b"safe"
    }

    fn learn(&self, _: &mut Toys, _: &mut dyn Names, op: &mut Op, head: &Head) {
        assert_eq!(op.0.tag, u64::from(head.tag));
    }

    fn answers(&self, _: &Toys, head: &Head) -> Option<u64> {
        // Tag 0: the oldest.
        (head.tag != 0).then_some(head.tag.into())
    }

    fn reply(&self, _: &mut Toys, op: &mut Op, _: EndpointId, head: &Head) -> Answer {
        let more = op.0.replies == Replies::Stream && head.text[0] == b'+';
        match &*op.1 {
            b"hold" => Answer::Relay { more, hold: true },
            b"edit" => Answer::Rewrite { limit: 24, more },
            _ => Answer::Relay { more, hold: false },
        }
    }

    fn rewrite(
        &self,
        _: &mut Toys,
        _: &Op,
        whole: &[u8],
        _: std::time::Duration,
        out: &mut BytesMut,
    ) -> Result<(), Unwritten> {
        let (head, text) = whole.split_at(8);
        if text.contains(&b'!') {
            return Err(Malformed::Syntax("exclamation").into());
        }
        if text.contains(&b'?') {
            return Err(Unwritten::Unready);
        }
        out.extend_from_slice(head);
        out.extend_from_slice(&text.to_ascii_uppercase());
        Ok(())
    }

    fn judge(&self, _: &mut Toys, names: &mut dyn Names, _: &mut Op, tail: &Head) -> Outcome {
        if tail.word() == b"err" {
            let code = names.intern(NameKind::Code, &[b"E42"]);
            Outcome { code, ..outcome(Class::Rejected, "error") }
        } else {
            outcome(Class::Success, "ok")
        }
    }

    fn refuse(
        &self,
        _: &mut Toys,
        _: &mut dyn Names,
        op: &mut Op,
        fault: &Fault,
        out: &mut BytesMut,
    ) -> Outcome {
        if op.0.replies != Replies::None {
            let tag = u32::try_from(op.0.tag).unwrap();
            out.extend_from_slice(&frame(tag, format!("refused: {fault}").as_bytes()));
        }
        let (class, result) = match fault.side {
            Side::Client => (Class::Cancelled, "client_gone"),
            Side::Proxy => (Class::Refused, "refused"),
            Side::Network | Side::Upstream => (Class::Failed, "upstream_lost"),
        };
        outcome(class, result)
    }

    fn degrades(&self, _: &Toys) -> bool {
        !self.strict
    }
}

/// A message.
pub fn frame(tag: u32, text: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u32(4 + text.len() as u32);
    out.put_u32(tag);
    out.put_slice(text);
    out.freeze()
}
