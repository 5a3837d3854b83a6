//! A relay that ends connections in the middle of an operation, each kind of operation once.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Words that have to stand together in what a client sends at a time, for its connection to be cut once the server has that.
pub type Mark = &'static [&'static str];

/// A relay to a server on this machine.
pub struct Cutting {
    /// Where it listens.
    pub port: u16,
    marks: Arc<Mutex<Vec<Mark>>>,
}

impl Cutting {
    /// Cuts a connection at each of these marks, the first time that it comes.
    pub fn new(server: u16, marks: &[Mark]) -> Cutting {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let marks = Arc::new(Mutex::new(marks.to_vec()));
        let shared = Arc::clone(&marks);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // Who is to go on without a server finds out at once.
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                relay(client, server, &shared);
            }
        });
        Cutting { port, marks }
    }

    /// The marks that have not come.
    pub fn left(&self) -> Vec<Mark> {
        self.marks.lock().expect("nobody panics here").clone()
    }
}

fn relay(client: TcpStream, server: TcpStream, marks: &Arc<Mutex<Vec<Mark>>>) {
    let copy = |stream: &TcpStream| stream.try_clone().expect("a descriptor is free");
    let (mut from, mut to) = (copy(&server), copy(&client));
    std::thread::spawn(move || {
        std::io::copy(&mut from, &mut to).ok();
        to.shutdown(Shutdown::Both).ok();
    });
    let marks = Arc::clone(marks);
    let (mut client, mut server) = (client, server);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = client.read(&mut buffer) {
            let sent = &buffer[..read];
            let has = |word: &&str| sent.windows(word.len()).any(|part| part == word.as_bytes());
            let cut = {
                let mut marks = marks.lock().expect("nobody panics here");
                let found = marks.iter().position(|mark| mark.iter().all(&has));
                found.map(|at| marks.remove(at)).is_some()
            };
            if cut {
                // The server does it, and nobody hears of it.
                client.shutdown(Shutdown::Both).ok();
                server.write_all(sent).ok();
                break;
            }
            if server.write_all(sent).is_err() {
                break;
            }
        }
        server.shutdown(Shutdown::Both).ok();
        client.shutdown(Shutdown::Both).ok();
    });
}
