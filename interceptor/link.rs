// SPDX-License-Identifier: Apache-2.0
//! How a library that is preloaded is linked, for build scripts: without any C library, so that it can be loaded beside whichever one a
//! program brings, and in as few mapped segments as possible, because every exec pays for each of them.

/// Tells cargo, with what this library wants besides.
pub fn preloaded(file_name: &str, more: &[&str]) {
    println!("cargo:rerun-if-changed=build.rs");
    let soname = format!("-Wl,-soname,{file_name}");
    let all = [
        // Two segments in place of five, which takes GNU's linker, and no mprotect after relocation.
        "-fuse-ld=bfd",
        "-Wl,-z,noseparate-code",
        "-Wl,-z,norelro",
        "-nostdlib",
        // The prebuilt core library mentions it; nothing unwinds here.
        "-Wl,--defsym=rust_eh_personality=0",
        // Hooks that call each other mean each other.
        "-Wl,-Bsymbolic-functions",
        "-Wl,--hash-style=gnu",
        "-Wl,--build-id=none",
        &soname,
    ];
    for arg in all.iter().chain(more) {
        println!("cargo:rustc-cdylib-link-arg={arg}");
    }
}
