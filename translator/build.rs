// SPDX-License-Identifier: Apache-2.0
//! How the library is linked: as the interceptor is, without any C library, so that it can be loaded beside whichever one a program
//! brings. Its constructor runs before all others, which may open files.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for arg in [
        "-nostdlib",
        // The prebuilt core library mentions it; nothing unwinds here.
        "-Wl,--defsym=rust_eh_personality=0",
        // Two segments in place of five, and no mprotect after relocation.
        "-Wl,-z,noseparate-code",
        "-Wl,-z,norelro",
        "-Wl,-z,initfirst",
        // Hooks that call each other mean each other.
        "-Wl,-Bsymbolic-functions",
        "-Wl,--hash-style=gnu",
        "-Wl,--build-id=none",
        "-Wl,-soname,libggtranslator.so",
    ] {
        println!("cargo:rustc-cdylib-link-arg={arg}");
    }
}
