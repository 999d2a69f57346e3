// SPDX-License-Identifier: Apache-2.0
//! Calls that the C library or its loader makes with a path that is a constant of its own, as a filter can know them: it cannot
//! look at a path, but at where the path is. From the instruction that makes the call to the constant it is as far as ever, wherever
//! the library was loaded to.

/// The bits of an address that do not depend on where a library was loaded to.
pub(crate) const WITHIN_PAGE: u32 = 0xfff;

/// A call with a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Constant {
    /// What is called.
    pub call: Asked,
    /// Where in its page the instruction after the call is.
    pub instruction: u32,
    /// From there to the path, modulo 2³².
    pub distance: u32,
}

/// A call, as far as it tells what it is about beside its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Its number.
    pub number: u32,
    /// Which argument the path is.
    pub path: u32,
    /// An argument that must have this value: of those that are ints.
    pub given: Option<(u32, u32)>,
}

impl Constant {
    /// The instruction after the call, and the path, in any process.
    pub(super) fn new(call: Asked, instruction: u64, path: u64) -> Self {
        let distance = (path as u32).wrapping_sub(instruction as u32);
        Self { call, instruction: instruction as u32 & WITHIN_PAGE, distance }
    }
}
