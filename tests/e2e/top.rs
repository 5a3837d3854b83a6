//! `weir top` on a terminal, as a person uses it.

use crate::support::{net, parts::python, process::output, weir::Weir};
use std::sync::atomic::{AtomicBool, Ordering};

crate::tests!("top": keys_change_what_is_shown);

fn keys_change_what_is_shown() {
    let weir = Weir::start(
        "listeners:\n  web: { bind: \"127.0.0.1:0\", http: { routes: [{ direct_response: { status: 200 } }] } }\nclusters: {}\n",
    );
    let over = AtomicBool::new(false);
    let address = ([127, 0, 0, 1], weir.port("web")).into();
    std::thread::scope(|scope| {
        // Something has to happen.
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                assert_eq!(net::get(address, "/").0, 200);
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
