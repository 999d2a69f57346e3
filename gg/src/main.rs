//! gg
fn main() {}
