// SPDX-License-Identifier: Apache-2.0
//! The records of a trace file as they are on disk, and what they are read as. What was observed has a file of its own.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::{Disposition, observed};
use crate::error::Error;
use crate::path::to_path;
use crate::placeholder::OutputRef;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Begin {
    #[prost(bytes = "vec", tag = "1")]
    pub cwd: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub argv: Vec<Vec<u8>>,
    #[prost(uint64, tag = "3")]
    pub started_us: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Command {
    #[prost(uint32, tag = "1")]
    pub id: u32,
    #[prost(uint32, tag = "2")]
    pub parent: u32,
    #[prost(bytes = "vec", tag = "3")]
    pub cwd: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub argv: Vec<Vec<u8>>,
    #[prost(bytes = "vec", tag = "5")]
    pub program: Vec<u8>,
    #[prost(string, tag = "6")]
    pub kind: String,
    #[prost(uint32, tag = "7")]
    pub disposition: u32,
    #[prost(string, tag = "8")]
    pub reason: String,
    #[prost(string, tag = "9")]
    pub thunk: String,
    #[prost(bytes = "vec", repeated, tag = "10")]
    pub outputs: Vec<Vec<u8>>,
    #[prost(uint64, tag = "11")]
    pub at_us: u64,
    #[prost(uint64, tag = "12")]
    pub took_us: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct End {
    #[prost(int32, tag = "1")]
    pub code: i32,
    #[prost(uint64, tag = "2")]
    pub wall_us: u64,
}

/// One path of a [`Standing`].
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Stands {
    #[prost(bytes = "vec", tag = "1")]
    pub path: Vec<u8>,
    /// `THASH#output`.
    #[prost(bytes = "vec", tag = "2")]
    pub output: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Standing {
    #[prost(message, repeated, tag = "1")]
    pub paths: Vec<Stands>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Packed {}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Record {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    pub kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Kind {
    #[prost(message, tag = "1")]
    Begin(Begin),
    #[prost(message, tag = "2")]
    Command(Command),
    /// A path at which a placeholder may stand from now on: written before one is put there, so that a recorder that is
    /// killed leaves none that no trace names.
    #[prost(bytes, tag = "3")]
    Placed(Vec<u8>),
    #[prost(message, tag = "4")]
    End(End),
    #[prost(message, tag = "5")]
    Tables(observed::wire::Tables),
    #[prost(message, tag = "6")]
    Observed(observed::wire::Observed),
    /// Written when the build is over: where outputs of deferred commands stand then, under whatever name.
    #[prost(message, tag = "7")]
    Standing(Standing),
    /// The trace was taken out of a pack.
    #[prost(message, tag = "8")]
    Packed(Packed),
}

pub(super) fn checked_path(bytes: &[u8]) -> Result<PathBuf, String> {
    if crate::path::is_clean_absolute(bytes) {
        Ok(to_path(bytes))
    } else {
        Err(format!("path \"{}\" is not allowed", bytes[..bytes.len().min(200)].escape_ascii()))
    }
}

pub(super) fn read_command(command: Command) -> Result<super::Command, String> {
    let thunk = match command.thunk.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|e: Error| e.to_string())?),
    };
    Ok(super::Command {
        id: command.id,
        parent: command.parent,
        cwd: to_path(&command.cwd),
        argv: command.argv.into_iter().map(OsString::from_vec).collect(),
        program: to_path(&command.program),
        kind: command.kind,
        disposition: match command.disposition {
            0 => Disposition::Deferred,
            1 => Disposition::Declined,
            2 => Disposition::Ran,
            other => return Err(format!("disposition {other}")),
        },
        reason: command.reason,
        thunk,
        outputs: command.outputs.iter().map(|p| checked_path(p)).collect::<Result<_, _>>()?,
        at_us: command.at_us,
        took_us: command.took_us,
    })
}

pub(super) fn write_standing<'a>(paths: impl IntoIterator<Item = (&'a Path, &'a OutputRef)>) -> Standing {
    let stands = |(path, output): (&Path, &OutputRef)| Stands {
        path: path.as_os_str().as_bytes().to_vec(),
        output: output.to_string().into_bytes(),
    };
    Standing { paths: paths.into_iter().map(stands).collect() }
}

pub(super) fn write_command(command: &super::Command) -> Command {
    Command {
        id: command.id,
        parent: command.parent,
        cwd: command.cwd.as_os_str().as_bytes().to_vec(),
        argv: command.argv.iter().map(|a| a.as_bytes().to_vec()).collect(),
        program: command.program.as_os_str().as_bytes().to_vec(),
        kind: command.kind.clone(),
        disposition: match command.disposition {
            Disposition::Deferred => 0,
            Disposition::Declined => 1,
            Disposition::Ran => 2,
        },
        reason: command.reason.clone(),
        thunk: command.thunk.map(|t| t.to_string()).unwrap_or_default(),
        outputs: command.outputs.iter().map(|p| p.as_os_str().as_bytes().to_vec()).collect(),
        at_us: command.at_us,
        took_us: command.took_us,
    }
}
