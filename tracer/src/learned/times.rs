// SPDX-License-Identifier: Apache-2.0
//! How old the files were about which a command asked by name. `tar`, `zip`, `ls -l` and `find -newer` write times down or go by
//! them, and no content tells: such a command does otherwise once a source has another time. `cp` and `test -f` ask for them too,
//! and do not: that shows when they have run once with another time and nothing else was different. Who only opens a file is
//! taken not to mind, and what the build makes has another time in each build anyway.
//!
//! Knows nothing of what a command did besides.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use thunk::has_no_content;
use thunk::trace::{Touch, Uses};

/// In place of a time: any makes no difference.
const ANY: i128 = i128::MIN;

/// Files with the times that they had, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times(Vec<(PathBuf, i128)>);

impl Times {
    /// Of what a command asked about that is there now, and that it did not make.
    pub fn of(touches: &[Touch]) -> Self {
        let asked = touches.iter().filter(|touch| touch.uses.has(Uses::FOUND));
        let kept = asked.filter(|touch| {
            !touch.uses.has(Uses::OUTPUT) && !touch.uses.has(Uses::CREATED) && !has_no_content(&touch.path)
        });
        Self(kept.filter_map(|touch| Some((touch.path.to_path_buf(), time(&touch.path)?))).collect())
    }

    /// These, after a run with those; `same`: nothing else is different.
    #[must_use]
    pub fn after(mut self, before: &Self, same: bool) -> Self {
        let before: HashMap<&Path, i128> = before.0.iter().map(|(path, time)| (&**path, *time)).collect();
        for (path, time) in &mut self.0 {
            let known = before.get(&**path);
            if known.is_some_and(|known| *known == ANY || same && known != time) {
                *time = ANY;
            }
        }
        self
    }

    /// One that has another time now, and not from the build that began then.
    pub fn changed(&self, began: SystemTime) -> Option<&Path> {
        let began = began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos() as i128;
        let is_other = |(path, before): &&(PathBuf, i128)| {
            *before != ANY && time(path).is_some_and(|now| now != *before && now < began)
        };
        self.0.iter().find(is_other).map(|(path, _)| &**path)
    }

    /// As bytes that begin with how many follow.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        for (path, time) in &self.0 {
            let path = path.as_os_str().as_bytes();
            bytes.extend_from_slice(&time.to_le_bytes());
            bytes.extend_from_slice(&(path.len() as u32).to_le_bytes());
            bytes.extend_from_slice(path);
        }
        let size = (bytes.len() - 4) as u32;
        bytes[..4].copy_from_slice(&size.to_le_bytes());
        bytes
    }

    /// And what follows them.
    pub fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (size, bytes) = bytes.split_first_chunk()?;
        let (mut own, rest) = bytes.split_at_checked(u32::from_le_bytes(*size) as usize)?;
        let mut times = Vec::new();
        while !own.is_empty() {
            let (time, after) = own.split_first_chunk()?;
            let (size, after) = after.split_first_chunk()?;
            let (path, after) = after.split_at_checked(u32::from_le_bytes(*size) as usize)?;
            times.push((OsStr::from_bytes(path).into(), i128::from_le_bytes(*time)));
            own = after;
        }
        Some((Self(times), rest))
    }
}

/// Of directories everything that is made in them changes it.
fn time(path: &Path) -> Option<i128> {
    let nanoseconds =
        |metadata: Metadata| i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
    std::fs::metadata(path).ok().filter(Metadata::is_file).map(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_counts_until_another_one_made_no_difference() {
        let times = |a, b| Times(vec![("a".into(), a), ("b".into(), b)]);
        assert_eq!(times(1, 2).after(&times(1, 2), true), times(1, 2));
        assert_eq!(times(1, 2).after(&times(3, 2), true), times(ANY, 2));
        assert_eq!(times(1, 2).after(&times(3, 2), false), times(1, 2));
        assert_eq!(times(1, 2).after(&times(ANY, 3), false), times(ANY, 2));
        assert_eq!(times(1, 2).after(&Times::default(), true), times(1, 2));
    }

    #[test]
    fn what_is_encoded_is_decoded_and_nothing_else() {
        let times = Times(vec![("/a".into(), -5), ("/b c".into(), 1 << 70), (PathBuf::new(), 0)]);
        let bytes = [&times.encode()[..], b"rest"].concat();
        assert_eq!(Times::decode(&bytes), Some((times.clone(), &b"rest"[..])));
        let whole = times.encode();
        for end in 0..whole.len() {
            assert_eq!(Times::decode(&whole[..end]), None, "{end}");
        }
        let short = [&9u32.to_le_bytes()[..], &whole[4..]].concat();
        assert_eq!(Times::decode(&short), None);
    }
}
