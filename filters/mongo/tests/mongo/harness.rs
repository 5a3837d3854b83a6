//! A connection's two directions, scripted.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bson::Document;
use bytes::BytesMut;
use weir_codecs::Piece;
use weir_decide::exchange::{EndpointId, Fault, NameId, NameKind, Names, Now, Outcome};
use weir_decide::protocol::{Answer, Decode, Ending, Malformed, Protocol as _, Stays, Step};
use weir_measure::{Limits, Measure};
use weir_mongo::{MongoOp, Protocol, Replies, Requests, Session};

/// Names, numbered in the order in which they come; never forgotten, so that tests can ask what a number means.
#[derive(Default)]
pub struct Spoken(RefCell<Vec<(NameKind, String)>>);

impl Spoken {
    pub fn name(&self, id: NameId) -> String {
        match id {
            NameId::NONE => String::new(),
            NameId::OTHER => "_other".to_owned(),
            NameId(n) => self.0.borrow()[n as usize - 2].1.clone(),
        }
    }
}

impl Names for &Spoken {
    fn intern(&mut self, kind: NameKind, parts: &[&[u8]]) -> NameId {
        let name = (kind, String::from_utf8(parts.concat()).unwrap());
        let mut names = self.0.borrow_mut();
        let known = names.iter().position(|known| *known == name);
        let at = known.unwrap_or_else(|| {
            names.push(name);
            names.len() - 1
        });
        NameId(at as u64 + 2)
    }
}

/// One connection.
pub struct Connection {
    pub names: Rc<Spoken>,
    pub measure: Arc<Measure>,
    protocol: Protocol,
    session: Session,
    requests: Requests,
    replies: Replies,
    from_client: BytesMut,
    from_server: BytesMut,
    next_id: i32,
}

impl Connection {
    pub fn new() -> Connection {
        Connection::of(Measure::new(Limits::default()))
    }

    /// Another connection of the same client, on another worker.
    pub fn beside(&self) -> Connection {
        Connection::of(Arc::clone(&self.measure))
    }

    fn of(measure: Arc<Measure>) -> Connection {
        let protocol = Protocol::new(&Arc::from("orders-db"), &measure, Arc::default());
        let (session, requests, replies) = protocol.session();
        Connection {
            names: Rc::default(),
            measure,
            protocol,
            session,
            requests,
            replies,
            from_client: BytesMut::new(),
            from_server: BytesMut::new(),
            next_id: 100,
        }
    }

    /// The client sends this message.
    pub fn send(&mut self, message: &[u8]) -> MongoOp {
        self.send_cut(message, message.len())
    }

    /// The client sends this message, so many bytes at a time.
    pub fn send_cut(&mut self, message: &[u8], step: usize) -> MongoOp {
        let mut op: Option<MongoOp> = None;
        let mut ended = false;
        for part in message.chunks(step) {
            self.from_client.extend_from_slice(part);
            while let Some(piece) = self.requests.decode(&mut self.from_client).unwrap() {
                let Piece { head, last, .. } = piece;
                let mut names = &*self.names;
                match &mut op {
                    None => {
                        let mut new = MongoOp::default();
                        let step = self.protocol.request(
                            &mut self.session,
                            &mut names,
                            &mut new,
                            head.as_ref(),
                            last,
                        );
                        assert!(matches!(step, Step::Forward), "{step:?}");
                        op = Some(new);
                    }
                    Some(op) => {
                        if let Some(head) = &head {
                            self.protocol.learn(&mut self.session, &mut names, op, head);
                        }
                    }
                }
                ended |= last;
            }
        }
        assert!(ended, "the message is whole");
        op.expect("an operation")
    }

    /// The client runs a command.
    pub fn command(&mut self, document: Document) -> MongoOp {
        self.flagged(0, document)
    }

    /// The client runs a command with these flags.
    pub fn flagged(&mut self, flags: u32, document: Document) -> MongoOp {
        self.next_id += 1;
        let message = op_msg(self.next_id, 0, flags, &document);
        self.send(&message)
    }

    /// The server sends this message, in answer to `op`; how did it go, and do more follow?
    pub fn answer(&mut self, op: &mut MongoOp, message: &[u8]) -> (Outcome, bool) {
        self.from_server.extend_from_slice(message);
        let piece = self.replies.decode(&mut self.from_server).unwrap().expect("a reply");
        let head = piece.head.expect("its head");
        assert!(piece.last);
        assert_eq!(self.protocol.answers(&self.session, &head), Some(op.as_ref().tag), "it answers this one");
        let answer = self.protocol.reply(&mut self.session, op, EndpointId(0), &head);
        let Answer::Relay { more, hold: false } = answer else { panic!("{answer:?}") };
        let mut names = &*self.names;
        (self.protocol.judge(&mut self.session, &mut names, op, &head), more)
    }

    /// The server answers `op` with this document.
    pub fn reply(&mut self, op: &mut MongoOp, document: Document) -> Outcome {
        let message = op_msg(9000, op.as_ref().tag as i32, 0, &document);
        self.answer(op, &message).0
    }

    /// `op` begins, with a request that is whole.
    pub fn begun(&mut self, op: &mut MongoOp, message: &[u8]) {
        self.protocol.begun(&mut self.session, op, message, true);
    }

    /// `op` is counted: its request took a nanosecond, the first byte of the reply came nine later.
    pub fn ended(&mut self, op: &mut MongoOp, outcome: &Outcome, began: Now, ended: Now) {
        let ending = Ending {
            outcome,
            began,
            complete: Some(Now(began.0 + 1)),
            first_byte: Some(Now(began.0 + 10)),
            ended,
            request_bytes: 120,
            reply_bytes: 80,
            endpoint: Some("10.0.0.7:27017"),
        };
        self.protocol.ended(&mut self.session, op, &ending);
    }

    /// What the connection stays for in a drain, with nothing under way but this.
    pub fn stays(&mut self, parked: Option<&MongoOp>) -> Stays {
        self.protocol.stays(&mut self.session, parked)
    }

    /// Whether the client does `op` anew by itself.
    pub fn repeats(&self, op: &MongoOp) -> bool {
        self.protocol.repeats(&self.session, op)
    }

    /// `op` fails; what is the client told?
    pub fn fail(&mut self, op: &mut MongoOp, fault: Fault) -> (Outcome, Vec<u8>) {
        let mut out = BytesMut::new();
        let mut names = &*self.names;
        let outcome = self.protocol.refuse(&mut self.session, &mut names, op, &fault, &mut out);
        (outcome, out.to_vec())
    }

    /// The client sends what is no message, or one that cannot be understood.
    pub fn stumble(&mut self, bytes: &[u8]) -> (usize, Malformed) {
        self.from_client.extend_from_slice(bytes);
        let mut passed = 0;
        loop {
            match self.requests.decode(&mut self.from_client) {
                Ok(Some(piece)) => passed += piece.bytes.len(),
                Ok(None) => panic!("nothing wrong with it"),
                Err(malformed) => return (passed, malformed),
            }
        }
    }

    /// `command resource`, and what else is remarkable.
    pub fn said(&self, op: &MongoOp) -> String {
        let op = op.as_ref();
        let mut said = format!("{} {}", self.names.name(op.name), self.names.name(op.resource));
        for (remarkable, word) in [
            (op.application != NameId::NONE, self.names.name(op.application)),
            (op.idempotent, "idempotent".to_owned()),
            (op.replies != weir_decide::exchange::Replies::One, format!("{:?}", op.replies)),
            (op.parked, "parked".to_owned()),
        ] {
            if remarkable {
                said.push(' ');
                said.push_str(&word);
            }
        }
        said
    }

    /// `result code class`.
    pub fn told(&self, outcome: &Outcome) -> String {
        format!("{} {} {:?}", outcome.result, self.names.name(outcome.code), outcome.class)
    }
}

/// An `OP_MSG` of one body.
pub fn op_msg(request_id: i32, response_to: i32, flags: u32, document: &Document) -> Vec<u8> {
    let body = document.to_vec().unwrap();
    let mut message = Vec::new();
    for word in [body.len() as i32 + 21, request_id, response_to, 2013, flags as i32] {
        message.extend(word.to_le_bytes());
    }
    message.push(0);
    message.extend(body);
    message
}

/// The document of an `OP_MSG`.
pub fn document(message: &[u8]) -> Document {
    Document::from_reader(&message[21..]).unwrap()
}

/// The messages of one side of a recorded conversation.
pub fn recorded(name: &str, side: &str) -> Vec<Vec<u8>> {
    let path = format!("{}/../../fixtures/mongo/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix(side)?.strip_prefix(' '));
    let digits = |line: &str| {
        let pairs = line.as_bytes().chunks(2);
        pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    };
    lines.map(digits).collect()
}
