// SPDX-License-Identifier: Apache-2.0
//! The library's name, and nothing else of its own: see `link.rs`.

mod link;

fn main() {
    // Before the libraries of the program, whose own initialisation makes calls that hooks stand before: libselinux's makes four.
    link::preloaded("libgginterceptor.so", &["-Wl,-z,initfirst"]);
}
