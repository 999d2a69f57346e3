// SPDX-License-Identifier: Apache-2.0
//! Of what kind this machine's processor is, for commands whose results depend on that (`-march=native`). Knows no compiler: what an
//! option that ends with `=native` makes is taken to depend on it, whatever program has it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::LazyLock;

use memchr::memmem;
use thunk::{ObjectKind, ObjectName};

/// What compilers look at, as /proc/cpuinfo calls it (proc_cpuinfo(5)); the rest is the machine's, or changes as it runs.
const TOLD: [&str; 11] = [
    "vendor_id",
    "cpu family",
    "model",
    "stepping",
    "cache size",
    "flags",
    "CPU implementer",
    "CPU variant",
    "CPU part",
    "CPU revision",
    "Features",
];

/// A name for the kind: two processors with the same one are the same to a compiler.
pub fn kind() -> &'static str {
    static KIND: LazyLock<String> =
        LazyLock::new(|| kind_of(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()));
    &KIND
}

fn kind_of(cpuinfo: &str) -> String {
    let told = |line: &&str| line.split_once(':').is_some_and(|(key, _)| TOLD.contains(&key.trim_end()));
    // A machine may have processors of several kinds, each of them many times.
    let mut lines: Vec<_> = cpuinfo.lines().filter(told).collect();
    lines.sort_unstable();
    lines.dedup();
    ObjectName::of(ObjectKind::Value, lines.join("\n").as_bytes()).to_string()
}

/// May what a command does depend on the processor that has this among its arguments or in its environment? There may be options in
/// it: `CFLAGS=-O2 -march=native`.
pub fn matters_to(text: &OsStr) -> bool {
    let text = text.as_bytes();
    memmem::find_iter(text, b"=native").any(|at| {
        let option = text[..at].rsplit(|byte| byte.is_ascii_whitespace()).next();
        option.is_some_and(|option| option.contains(&b'-'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_what_a_compiler_sees_of_a_processor() {
        let info = |model: u32, mhz: u32, flags: &str| {
            format!(
                "processor\t: 0\nvendor_id\t: X\nmodel\t\t: {model}\ncpu MHz\t\t: {mhz}\nflags\t\t: {flags}\n\n"
            )
        };
        let one = kind_of(&info(1, 2000, "sse avx"));
        assert_eq!(one, kind_of(&info(1, 2100, "sse avx").repeat(4)));
        for other in
            [info(2, 2000, "sse avx"), info(1, 2000, "sse"), info(1, 2000, "sse avx") + &info(2, 1, "sse")]
        {
            assert_ne!(one, kind_of(&other));
        }
        assert_ne!(kind(), kind_of(""), "this machine's is known");
    }

    #[test]
    fn options_that_name_the_processor() {
        for (text, expected) in [
            ("-march=native", true),
            ("exec cc -O2 -mtune=native -c a.c", true),
            ("-Ctarget-cpu=native", true),
            ("CFLAGS=-march=native", true),
            ("-march=x86-64", false),
            ("--style=plain LOOK=native", false),
            ("native", false),
        ] {
            assert_eq!(matters_to(OsStr::new(text)), expected, "{text}");
        }
    }
}
