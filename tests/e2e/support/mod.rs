//! What the end-to-end tests stand on: processes that end with us, the real parts, a running Weir, its numbers.

pub mod certificates;
pub mod counted;
pub mod cut;
pub mod front;
pub mod h2;
pub mod net;
pub mod numbers;
pub mod parts;
pub mod process;
pub mod weir;

/// A module's tests, by name.
pub type Tests = Vec<(&'static str, fn())>;

/// Lists test functions under the names they have.
#[macro_export]
macro_rules! tests {
    ($module:literal: $($name:ident),* $(,)?) => {
        /// The tests of this module.
        pub fn tests() -> $crate::support::Tests {
            vec![$((concat!($module, "::", stringify!($name)), $name as fn())),*]
        }
    };
}

/// Writes down how long a test took where `cargo xtask test` asks for it (`WEIR_TEST_TIMES`, a file): `NAME<TAB>MILLISECONDS`.
pub fn note_time(test: &str, took: std::time::Duration) {
    use std::io::Write as _;
    let Some(path) = std::env::var_os("WEIR_TEST_TIMES") else { return };
    let line = format!("{test}\t{}\n", took.as_millis());
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the file of times can be written");
}
