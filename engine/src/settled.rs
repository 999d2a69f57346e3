// SPDX-License-Identifier: Apache-2.0
//! What everything looked like when a replay last found nothing to do: if it looks the same now, there is nothing to do, and nothing
//! need be read to know it. Kept in the store's cache; losing it costs time only. Knows paths and times, no traces.

use std::fmt::Write as _;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use thunk::trace::Look;
use thunk::{FileId, ObjectKind, ObjectName, Store, TICK};

const HEADER: &str = "gg-settled 1";

/// The record of one kind of replay.
pub struct Settled {
    path: PathBuf,
}

impl Settled {
    /// The record for a question that is told by these texts. `None` where the store cannot keep any.
    pub fn of(store: &Store, question: &[&[u8]]) -> Option<Self> {
        let mut text = Vec::new();
        for part in question {
            text.extend_from_slice(&(part.len() as u64).to_le_bytes());
            text.extend_from_slice(part);
        }
        let name = ObjectName::of(ObjectKind::Value, &text).to_string();
        Some(Self { path: store.cache_dir("settled").ok()?.join(name) })
    }

    /// Does everything look as it did?
    pub fn holds(&self) -> bool {
        let content = std::fs::read(&self.path).unwrap_or_default();
        let Some(lines) = checked(&content) else { return false };
        let mut now = String::new();
        lines.lines().all(|line| {
            let Some((how, path)) = line.split_once(' ') else { return false };
            let Some(path) = thunk::decode_path(path.as_bytes()) else { return false };
            now.clear();
            look(&path, how.starts_with('l'), &mut now).is_some() && now == how
        })
    }

    /// Everything is as it should be, and this is what that was concluded from.
    pub fn note<'a>(&self, looked: impl Iterator<Item = (&'a Path, Look)>) {
        let mut text = String::new();
        let before = SystemTime::now() - TICK;
        for (path, how) in looked {
            let start = text.len();
            let Some(latest) = look(path, how == Look::Names, &mut text) else { return };
            if latest > before {
                return;
            }
            debug_assert!(!text[start..].contains(' '));
            let _ = writeln!(text, " {}", thunk::encode_path(path));
        }
        let check = ObjectName::of(ObjectKind::Value, text.as_bytes());
        let content = format!("{HEADER} {check}\n{text}");
        // Without it, the next replay takes its time.
        let _ = thunk::write_atomically(&self.path, content.as_bytes(), 0o644);
    }
}

fn checked(content: &[u8]) -> Option<&str> {
    let (header, lines) = std::str::from_utf8(content).ok()?.split_once('\n')?;
    let check = header.strip_prefix(HEADER)?.trim_start().parse::<ObjectName>().ok()?;
    (check == ObjectName::of(ObjectKind::Value, lines.as_bytes())).then_some(lines)
}

/// Appends how a path looks, and tells when that changed last. Of a directory only its existence counts, unless its `names` do.
/// `None` for what cannot be told.
fn look(path: &Path, names: bool, to: &mut String) -> Option<SystemTime> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        to.push('-');
        return Some(SystemTime::UNIX_EPOCH);
    };
    if !metadata.is_symlink() {
        return Some(entry(&metadata, names, to));
    }
    // Neither the link may have changed nor what it leads to.
    let link = entry(&metadata, true, to);
    to.push('>');
    match std::fs::metadata(path) {
        Ok(metadata) => Some(link.max(entry(&metadata, names, to))),
        Err(_) => Some(link),
    }
}

fn entry(metadata: &Metadata, names: bool, to: &mut String) -> SystemTime {
    if metadata.is_dir() && !names {
        to.push('d');
        return SystemTime::UNIX_EPOCH;
    }
    let id = FileId::of(metadata);
    let kind = if metadata.is_dir() { "l" } else { "" };
    let _ = write!(to, "{kind}{}.{}.{}.{}.{}", id.dev, id.ino, id.size, id.mtime, id.ctime);
    let nanoseconds = u64::try_from(id.ctime.max(id.mtime)).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanoseconds)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn any_change_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let at = |name: &str| dir.path().join(name);
        let settle = || {
            std::thread::sleep(TICK * 2);
            let settled = Settled::of(&store, &[b"question"]).unwrap();
            let paths = ["file", "link", "missing", "names", "directory"].map(at);
            let how = |path: &PathBuf| if path.ends_with("names") { Look::Names } else { Look::Entry };
            settled.note(paths.iter().map(|path| (path.as_path(), how(path))));
            assert!(settled.holds());
            settled
        };
        std::fs::write(at("file"), "1").unwrap();
        std::fs::write(at("target"), "1").unwrap();
        symlink("target", at("link")).unwrap();
        std::fs::create_dir(at("names")).unwrap();
        std::fs::create_dir(at("directory")).unwrap();
        settle();
        std::fs::write(at("directory/new"), "").unwrap();
        assert!(Settled::of(&store, &[b"question"]).unwrap().holds(), "its names are of no importance");
        assert!(!Settled::of(&store, &[b"another"]).unwrap().holds());
        let changes: [(&str, &dyn Fn()); 6] = [
            ("content", &|| std::fs::write(at("file"), "2").unwrap()),
            ("content behind a link", &|| std::fs::write(at("target"), "2").unwrap()),
            ("appeared", &|| std::fs::write(at("missing"), "").unwrap()),
            ("gone", &|| std::fs::remove_file(at("file")).unwrap()),
            ("names", &|| std::fs::write(at("names/new"), "").unwrap()),
            ("a file in place of a directory", &|| {
                std::fs::remove_dir_all(at("directory")).unwrap();
                std::fs::write(at("directory"), "").unwrap();
            }),
        ];
        for (what, change) in changes {
            let settled = settle();
            change();
            assert!(!settled.holds(), "{what}");
        }
        // Damage is as good as nothing.
        let settled = settle();
        let mut content = std::fs::read(&settled.path).unwrap();
        content.pop();
        std::fs::write(&settled.path, content).unwrap();
        assert!(!settled.holds());
    }

    #[test]
    fn what_has_just_changed_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let settled = Settled::of(&store, &[]).unwrap();
        settled.note([(file.as_path(), Look::Entry)].into_iter());
        assert!(!settled.holds());
    }
}
