// SPDX-License-Identifier: Apache-2.0
//! Tests of the whole model: command lines of real builds, plans in a world in memory, and the real compilers.

mod command_lines;
mod plans;
mod real;
