//! The `tserve` command.
fn main() {}
