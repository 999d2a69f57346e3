// SPDX-License-Identifier: Apache-2.0
//! The library's name, and nothing else of its own: see `link.rs`.

mod link;

fn main() {
    link::preloaded("libgginterceptor.so", &[]);
}
