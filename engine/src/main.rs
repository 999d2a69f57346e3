// SPDX-License-Identifier: Apache-2.0
//! `ggforce`. See the library.

fn main() -> std::process::ExitCode {
    engine::main()
}
