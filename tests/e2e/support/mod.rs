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
