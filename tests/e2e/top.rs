//! `weir top` on a terminal, as a person uses it.

use crate::support::{parts::python, process::output, weir::Weir};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

crate::tests!("top": keys_change_what_is_shown);

fn keys_change_what_is_shown() {
    let weir = Weir::start(
        "listeners:\n  web: { bind: \"127.0.0.1:0\", http: { routes: [{ direct_response: { status: 200 } }] } }\nclusters: {}\n",
    );
    let over = AtomicBool::new(false);
    let address = ("127.0.0.1", weir.port("web"));
    std::thread::scope(|scope| {
        // Something has to happen, on a connection that is there whenever somebody looks.
        let mut stream = TcpStream::connect(address).expect("it listens");
        let over = &over;
        scope.spawn(move || {
            let mut reply = [0; 4096];
            while !over.load(Ordering::Relaxed) {
                stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("it is open");
                let n = stream.read(&mut reply).expect("a reply");
                assert!(reply[..n].starts_with(b"HTTP/1.1 200"));
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        });
        let watched = std::panic::catch_unwind(|| {
            let admin = weir.admin().to_string();
            output(python("top.py").args([env!("CARGO_BIN_EXE_weir"), &admin]))
        });
        over.store(true, Ordering::Relaxed);
        assert_eq!(watched.expect("every key has shown what it should").trim(), "0");
    });
}
