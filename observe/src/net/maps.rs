// SPDX-License-Identifier: Apache-2.0
//! Where in this process which part of which file is: proc_pid_maps(5).

use std::ops::Range;

/// A part of a file in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping<'a> {
    pub addresses: Range<u64>,
    /// As `r-xp`.
    pub access: &'a str,
    /// Where in the file it begins.
    pub offset: u64,
    pub file: &'a str,
}

impl Mapping<'_> {
    /// Can it be read, and not be written to?
    pub(super) fn is_constant(&self) -> bool {
        self.access.starts_with("r-")
    }

    pub(super) fn is_code(&self) -> bool {
        self.access.starts_with("r-x")
    }
}

/// Those in such a text.
pub(super) fn mappings(maps: &str) -> impl Iterator<Item = Mapping<'_>> {
    let number = |text| u64::from_str_radix(text, 16).ok();
    maps.lines().filter_map(move |line| {
        let mut fields = line.split_ascii_whitespace();
        let (first, last) = fields.next()?.split_once('-')?;
        let (access, offset) = (fields.next()?, number(fields.next()?)?);
        // After the device and the inode; what is of no file has none.
        let file = fields.nth(2)?;
        Some(Mapping { addresses: number(first)?..number(last)?, access, offset, file })
    })
}

/// The one with this address.
pub(super) fn mapping_at(maps: &str, address: u64) -> Option<Mapping<'_>> {
    mappings(maps).find(|mapping| mapping.addresses.contains(&address))
}
