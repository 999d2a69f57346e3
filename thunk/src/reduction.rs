// SPDX-License-Identifier: Apache-2.0
//! Reductions: the stored fact that a thunk gives these outputs, this standard output and error, and this exit code.
//! Only successful runs are stored: a command that failed runs again, and says again why.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::framed;
use crate::name::{ObjectKind, ObjectName};
use crate::path::to_path;

const MAGIC: &[u8] = b"##GGREDUCTION##";

mod wire {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Output {
        #[prost(bytes = "vec", tag = "1")]
        pub path: Vec<u8>,
        #[prost(string, tag = "2")]
        pub value: String,
        #[prost(bool, tag = "3")]
        pub executable: bool,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Reduction {
        #[prost(message, repeated, tag = "1")]
        pub outputs: Vec<Output>,
        #[prost(bytes = "vec", tag = "2")]
        pub stdout: Vec<u8>,
        #[prost(bytes = "vec", tag = "3")]
        pub stderr: Vec<u8>,
        #[prost(uint64, tag = "4")]
        pub wall_us: u64,
        #[prost(uint64, tag = "5")]
        pub cpu_us: u64,
    }
}

/// One output of a reduced thunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReducedOutput {
    /// The output's path, as the thunk names it.
    pub path: PathBuf,
    /// Its content.
    pub value: ObjectName,
    /// Did the command make it executable?
    pub executable: bool,
}

/// What a thunk gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reduction {
    /// The outputs that were written, in the thunk's order.
    pub outputs: Vec<ReducedOutput>,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
    /// How long it ran.
    pub wall: Duration,
    /// How much processor time it used.
    pub cpu: Duration,
}

impl Reduction {
    /// The output at `path`, or the first.
    #[must_use]
    pub fn output(&self, path: Option<&Path>) -> Option<&ReducedOutput> {
        match path {
            Some(path) => self.outputs.iter().find(|o| o.path == path),
            None => self.outputs.first(),
        }
    }

    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let outputs = self
            .outputs
            .iter()
            .map(|o| wire::Output {
                path: o.path.as_os_str().as_bytes().to_vec(),
                value: o.value.to_string(),
                executable: o.executable,
            })
            .collect();
        let message = wire::Reduction {
            outputs,
            stdout: self.stdout.clone(),
            stderr: self.stderr.clone(),
            wall_us: self.wall.as_micros() as u64,
            cpu_us: self.cpu.as_micros() as u64,
        };
        framed::file(MAGIC, &message)
    }

    /// The inverse of [`Reduction::encode`].
    ///
    /// # Errors
    /// The bytes are no reduction.
    pub fn decode(subject: &str, content: &[u8]) -> Result<Self> {
        let bad = |why: String| Error::malformed(subject, "reduction", why);
        let message: wire::Reduction = framed::parse_file(MAGIC, content).map_err(bad)?;
        let outputs = message
            .outputs
            .into_iter()
            .map(|o| {
                let value: ObjectName = o.value.parse()?;
                if value.kind() != ObjectKind::Value {
                    return Err(bad(format!("{value} is no value")));
                }
                Ok(ReducedOutput { path: to_path(&o.path), value, executable: o.executable })
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            outputs,
            stdout: message.stdout,
            stderr: message.stderr,
            wall: Duration::from_micros(message.wall_us),
            cpu: Duration::from_micros(message.cpu_us),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reduction_survives_its_encoding_and_damage_is_told() {
        let reduction = Reduction {
            outputs: vec![ReducedOutput {
                path: "/w/a.o".into(),
                value: ObjectName::of(ObjectKind::Value, b"o"),
                executable: false,
            }],
            stderr: b"a.c:1: warning".to_vec(),
            wall: Duration::from_millis(12),
            ..Reduction::default()
        };
        let bytes = reduction.encode();
        assert_eq!(Reduction::decode("r", &bytes).unwrap(), reduction);
        assert_eq!(reduction.output(None), reduction.output(Some(Path::new("/w/a.o"))));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(Reduction::decode("r", &flipped).is_err(), "byte {at}");
            assert!(Reduction::decode("r", &bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
