// SPDX-License-Identifier: Apache-2.0
//! The library is linked as the interceptor is. Its constructor runs before all others, which may open files.

#[path = "../interceptor/link.rs"]
mod link;

fn main() {
    link::preloaded("libggtranslator.so", &["-Wl,-z,initfirst"]);
}
