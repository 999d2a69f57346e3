// SPDX-License-Identifier: Apache-2.0
//! What a program has to say. That nobody listens any more (`2>&1 | head`), or that the disk under a log is full, is no reason to end: the
//! standard library's macros would end the process, and with it what it was in the middle of.

use std::fmt;
use std::io::Write as _;

/// Says a line on standard error, as `eprintln!` does.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => {
        $crate::say(std::format_args!("{}\n", std::format_args!($($text)*)))
    };
}

/// Says this on standard error, in one piece: others may write there too.
pub fn say(text: fmt::Arguments<'_>) {
    // Whom else could that be told?
    let _ = std::io::stderr().write_all(text.to_string().as_bytes());
}
