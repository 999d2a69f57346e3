// SPDX-License-Identifier: Apache-2.0
//! What the kernel reads to execute a program, from the program over interpreters to the loader, and what that always looks for: looked at once for
//! each, as long as all of these are where they were. Rests on [`Way`]s for that; knows neither processes nor commands.

use std::ffi::OsString;
use std::path::Path;
use std::sync::{Arc, Mutex};

use foldhash::HashMap;
use observe::Event;

use crate::looks::Way;
use crate::recorder::lock;

/// When this many programs are remembered, all are forgotten.
const MANY: usize = 1 << 12;

/// Programs that were executed.
#[derive(Debug, Default)]
pub struct Executions(Mutex<HashMap<OsString, Known>>);

#[derive(Debug)]
struct Known {
    events: Arc<[Event]>,
    /// Where the program, its interpreters, the loader and what that looks for are, if it can be told when they are elsewhere.
    ways: Option<Vec<Arc<Way>>>,
}

impl Executions {
    /// As [`observe::executed`], in no directory. `way`: where a path leads, if it can be told when it leads elsewhere.
    pub fn of(&self, program: &Path, way: impl Fn(&Path) -> Option<Arc<Way>>) -> Arc<[Event]> {
        let ways =
            |events: &[Event]| events.iter().map(|event| way(named(event)?)).collect::<Option<Vec<_>>>();
        let same = |known: &&Known| {
            known.ways.as_ref().zip(ways(&known.events)).is_some_and(|(then, now)| {
                now.len() == then.len() && now.iter().zip(then).all(|(now, then)| Arc::ptr_eq(now, then))
            })
        };
        if let Some(known) = lock(&self.0).get(program.as_os_str()).filter(same) {
            return Arc::clone(&known.events);
        }
        // Before and after: what was changed meanwhile may have been seen as either.
        let before = way(program);
        let events: Arc<[Event]> = observe::executed(program, None).into();
        let unchanged =
            before.is_some_and(|before| way(program).is_some_and(|now| Arc::ptr_eq(&before, &now)));
        // What is gone is not to be forgotten.
        let is_program = matches!(events.first(), Some(Event::Executed(..)));
        if is_program && events.iter().all(|event| named(event).is_some()) {
            let ways = if unchanged { ways(&events) } else { None };
            let mut known = lock(&self.0);
            if known.len() >= MANY {
                known.clear();
            }
            known.insert(program.into(), Known { events: Arc::clone(&events), ways });
        }
        events
    }

    /// What was last found out about a program that may be gone by now.
    pub fn last(&self, program: &Path) -> Option<Arc<[Event]>> {
        lock(&self.0).get(program.as_os_str()).map(|known| Arc::clone(&known.events))
    }
}

/// What was executed, or looked for by the loader; nothing where it was denied, of which it cannot be told how long that holds.
fn named(event: &Event) -> Option<&Path> {
    match event {
        Event::Executed(place, _) | Event::Opened(place, ..) => Some(&place.named),
        Event::Found(path) | Event::Missing(path) => Some(path),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use wire::log::Changed;

    use super::*;
    use crate::looks::Looks;

    #[test]
    fn a_program_is_looked_at_again_once_it_or_its_interpreter_was_changed() {
        let space = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(space.path()).unwrap();
        let (script, tool) = (root.join("script"), root.join("tool"));
        let write = |path: &Path, interpreter: &Path| {
            fs::write(path, format!("#!{}\n", interpreter.display())).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        write(&script, &tool);
        write(&tool, Path::new("/bin/true"));
        // SAFETY: it is made of atomic integers, for which zero is a value.
        let changed: Box<Changed> = Box::new(unsafe { std::mem::zeroed() });
        let (looks, executions) = (Looks::default(), Executions::default());
        let of = |path: &Path| executions.of(path, |path| Some(looks.path(path, Some(&changed))));
        let first = of(&script);
        assert_eq!(*first, *observe::executed(&script, None));
        assert!(Arc::ptr_eq(&first, &of(&script)));
        write(&tool, Path::new("/bin/sh"));
        assert!(Arc::ptr_eq(&first, &of(&script)), "nobody has told");
        changed.note(b"tool");
        let second = of(&script);
        assert_eq!(*second, *observe::executed(&script, None));
        assert_ne!(*second, *first);
        assert!(executions.last(&tool).is_none());
        fs::remove_file(&script).unwrap();
        changed.note(b"script");
        assert_ne!(*of(&script), *second);
        assert_eq!(executions.last(&script).as_deref(), Some(&*second), "as long as it was there");
        // It is no program.
        let file = root.join("file");
        fs::write(&file, "").unwrap();
        assert!(!Arc::ptr_eq(&of(&file), &of(&file)));
    }
}
