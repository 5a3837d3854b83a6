//! Set-up and tests of the workspace.
fn main() {}
