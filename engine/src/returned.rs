// SPDX-License-Identifier: Apache-2.0
//! Thunks that return thunks, as gg allows: an output that is a thunk stands for what that thunk gives first, and forcing goes on
//! until it is known. Only gg's own thunks do so, whose outputs have no directory; a build's command that writes a file
//! with such a beginning means the file.
//!
//! What a thunk gives stays a fact about files: its reduction names the returned thunk's bytes, as a value. So neither workers nor
//! storages need to know of this. Unaware of the graph.

use std::fs::File;
use std::io::Read as _;

use anyhow::{Context as _, Result};
use thunk::{MAGIC, ObjectKind, ObjectName, ReducedOutput, Reduction, Store, Thunk};

/// What a thunk gave while some of it is still thunks.
#[derive(Debug)]
pub struct Returned {
    reduction: Reduction,
    /// Which outputs are thunks, and their names.
    thunks: Vec<(usize, ObjectName)>,
}

impl Returned {
    /// Looks for thunks among the outputs; they are in the store as thunks afterwards. None: the reduction is final.
    ///
    /// # Errors
    /// An output begins like a thunk and is none; the store is damaged or cannot be written to.
    pub fn among(store: &Store, reduction: &Reduction) -> Result<Option<Self>> {
        let mut thunks = Vec::new();
        for (index, output) in reduction.outputs.iter().enumerate().filter(|(_, o)| o.path.is_relative()) {
            if !begins_like_a_thunk(store, output)? {
                continue;
            }
            let content = store.read(&output.value)?;
            Thunk::decode(&output.path.display().to_string(), &content)
                .with_context(|| format!("its output {} is no value", output.path.display()))?;
            thunks.push((index, store.put(ObjectKind::Thunk, &content)?));
        }
        Ok((!thunks.is_empty()).then(|| Self { reduction: reduction.clone(), thunks }))
    }

    /// The thunks that are to be forced.
    pub fn thunks(&self) -> impl Iterator<Item = ObjectName> {
        self.thunks.iter().map(|(_, name)| *name)
    }

    /// What the thunk gives once those that it returned are reduced.
    ///
    /// # Errors
    /// One of them has no output.
    pub fn finish(
        self,
        reduction_of: impl Fn(&ObjectName) -> Option<Reduction>,
    ) -> std::result::Result<Reduction, String> {
        let mut reduction = self.reduction;
        for (index, name) in self.thunks {
            let given = reduction_of(&name).ok_or_else(|| format!("{name} is not reduced"))?;
            let first =
                given.output(None).ok_or_else(|| format!("{name}, which it returned, gave nothing"))?;
            let output = &mut reduction.outputs[index];
            (output.value, output.executable) = (first.value, first.executable);
        }
        Ok(reduction)
    }
}

/// Does this reduction wait for thunks that it returned? What cannot be read is told when somebody forces it.
pub fn is_unfinished(store: &Store, reduction: &Reduction) -> bool {
    let mut outputs = reduction.outputs.iter().filter(|output| output.path.is_relative());
    outputs.any(|output| begins_like_a_thunk(store, output).unwrap_or(true))
}

fn begins_like_a_thunk(store: &Store, output: &ReducedOutput) -> Result<bool> {
    if output.value.size() < MAGIC.len() as u64 {
        return Ok(false);
    }
    let path = store.file(&output.value, output.executable)?;
    let context = || format!("cannot read {}", path.display());
    let mut beginning = Vec::with_capacity(MAGIC.len());
    File::open(&path)
        .and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut beginning))
        .with_context(context)?;
    Ok(beginning == MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reduction(path: &str, value: ObjectName) -> Reduction {
        let outputs = vec![ReducedOutput { path: path.into(), value, executable: false }];
        Reduction { outputs, ..Reduction::default() }
    }

    #[test]
    fn a_returned_thunk_stands_for_its_first_output() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let inner = Thunk {
            function: Some(ObjectName::of(ObjectKind::Value, b"f")),
            args: vec!["f".into()],
            outputs: vec!["out".into()],
            ..Thunk::default()
        };
        let bytes = store.put(ObjectKind::Value, &inner.encode()).unwrap();
        let value = store.put(ObjectKind::Value, b"value").unwrap();
        let broken = store.put(ObjectKind::Value, b"##GGTHUNK##\xff\xff").unwrap();

        let returned = Returned::among(&store, &reduction("out", bytes)).unwrap().unwrap();
        assert_eq!(returned.thunks().collect::<Vec<_>>(), [inner.name()]);
        assert_eq!(store.thunk(&inner.name()).unwrap(), inner);
        assert!(is_unfinished(&store, &reduction("out", bytes)));
        let finished = returned.finish(|_| Some(reduction("out", value))).unwrap();
        assert_eq!(finished.outputs[0].value, value);

        let returned = Returned::among(&store, &reduction("out", bytes)).unwrap().unwrap();
        assert!(returned.finish(|_| Some(Reduction::default())).is_err());
        assert!(Returned::among(&store, &reduction("out", value)).unwrap().is_none());
        assert!(
            Returned::among(&store, &reduction("/w/out", bytes)).unwrap().is_none(),
            "a build's own file"
        );
        assert!(Returned::among(&store, &reduction("out", broken)).is_err());
    }
}
