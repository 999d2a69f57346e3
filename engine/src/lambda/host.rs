// SPDX-License-Identifier: Apache-2.0
//! The function's side: one thunk after another, each from what the storage holds. Keeps a bounded store below the temporary
//! directory for as long as Lambda keeps the function. Knows nothing of Lambda's runtime, of the engine's graph, or of credentials.
//!
//! # What a command cannot see
//!
//! The function's credentials are in its environment. The worker that runs commands is another process, which is started without
//! them, and where commands share the user with this one, `/proc` does not show it to them: it is not *dumpable*.
//! In which manner commands run is the worker's choice ([`crate::worker::serve`]), here as elsewhere.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures_util::{StreamExt as _, stream};
use prost::Message as _;
use serde_json::Value;
use thunk::{ObjectKind, ObjectName, Reduction, Store};

use super::message::{self, Answer, Content, Event, MOST, VERSION};
use crate::backend::{self, Backend as _};
use crate::cache::Cache;
use crate::local::Local;
use crate::protocol::{self, Done};
use crate::sharing::Sharing;
use crate::worker::Manner;
use crate::{needs, own, packs};

/// It takes this long to stop a command and to say so before Lambda ends everything.
const PARTING: Duration = Duration::from_secs(1);
/// Larger outputs are fetched from the storage by whoever wants them.
const SMALL: u64 = 1 << 20;
/// What a worker says is not larger, but for the output of very talkative commands.
const DONE: usize = MOST / 2;
/// Packs that are fetched at once: each is in memory.
const PACKS: usize = 4;
/// On one machine, as emulators have them.
const INSTANCES: usize = 1000;

/// One instance of the function.
pub struct Function {
    store: Rc<Store>,
    local: Local,
    cache: Cache,
    storages: RefCell<HashMap<String, Rc<Sharing>>>,
    /// What was in the packs that were here.
    packs: RefCell<HashMap<ObjectName, HashSet<ObjectName>>>,
    memory: u64,
    /// Nobody else uses the store while this is open.
    _lock: File,
}

/// An answer to come.
pub type Attending<'a> = Pin<Box<dyn Future<Output = Result<Value>> + 'a>>;

/// What the storage does not have.
#[derive(Default)]
struct Lacking(Vec<ObjectName>);

impl Function {
    /// With a store below the directory that holds up to `cache_size` bytes, and `memory` megabytes, as the bill will have it.
    ///
    /// # Errors
    /// The directory cannot be used.
    pub fn open(directory: &Path, cache_size: u64, memory: u64) -> Result<Self> {
        own::hide();
        let (store, lock) = own_store(directory)?;
        store.sweep();
        let _ = sandbox::sweep(&store.root().join("sandbox"));
        let store = Rc::new(store);
        Ok(Self {
            local: Local::new(1, store.root(), Manner::elsewhere()?),
            cache: Cache::new(Rc::clone(&store), cache_size),
            storages: RefCell::default(),
            packs: RefCell::default(),
            memory,
            _lock: lock,
            store,
        })
    }

    /// Does what the event asks for, and answers before the time is up. In a box: whoever waits for this, in another crate, needs not know
    /// how deep the futures in it are, nor does their compiler.
    ///
    /// # Errors
    /// It is no event that this function understands.
    pub fn attend<'a>(&'a self, event: &'a Value, time: Duration) -> Attending<'a> {
        Box::pin(self.answer(event, time))
    }

    async fn answer(&self, event: &Value, time: Duration) -> Result<Value> {
        let started = Instant::now();
        let event: Event = message::from_json(event)?;
        if event.version != VERSION {
            // Who is told this version has no use in calling again, as after a crash.
            return Ok(message::to_json(&Answer { version: VERSION, ..Answer::default() }));
        }
        let sharing = self.storage(&event.storage).await?;
        let before = sharing.traffic();
        let work = tokio::time::timeout(time.saturating_sub(PARTING), self.work(&sharing, &event));
        let mut answer = match work.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => broken(protocol::Result::Broken(format!("{error:#}")).into()),
            // The command ends with the worker that runs it.
            Err(_) => Answer { late: true, ..Answer::default() },
        };
        // A storage that has failed may answer the next time.
        if sharing.is_broken() {
            self.storages.borrow_mut().remove(&event.storage);
        }
        self.clean_up().await;
        let after = sharing.traffic();
        answer.version = VERSION;
        answer.memory = self.memory;
        answer.requests = after.requests - before.requests;
        answer.up = after.up - before.up;
        answer.down = after.down - before.down;
        answer.millis = started.elapsed().as_millis() as u64;
        Ok(message::to_json(&answer))
    }

    async fn storage(&self, uri: &str) -> Result<Rc<Sharing>> {
        if let Some(sharing) = self.storages.borrow().get(uri) {
            return Ok(Rc::clone(sharing));
        }
        if uri.starts_with("file:") {
            bail!("a directory is no storage for a function");
        }
        let sharing = Sharing::open(Rc::clone(&self.store), uri, Rc::default()).await?;
        self.storages.borrow_mut().insert(uri.into(), Rc::clone(&sharing));
        Ok(sharing)
    }

    async fn work(&self, sharing: &Sharing, event: &Event) -> Result<Answer> {
        let name: ObjectName = event.thunk.parse()?;
        let ready = self.local.ready().await?;
        if ready.result.is_some() {
            return Ok(broken(ready));
        }
        for content in &event.contents {
            self.cache.note([content.put(&self.store, |_| true)?]);
        }
        let packs =
            event.packs.iter().map(|name| name.parse()).collect::<thunk::Result<Vec<ObjectName>>>()?;
        let Lacking(lacking) = self.bring(sharing, &name, packs).await?;
        if !lacking.is_empty() {
            let lacking = lacking.iter().map(ObjectName::to_string).collect();
            return Ok(Answer { lacking, ..Answer::default() });
        }
        self.cache.note(needs::all(&self.store, &name)?);
        if let Some(reduction) = self.store.reduction(&name)
            && reduction.outputs.iter().all(|output| self.store.contains(&output.value))
        {
            // Somebody may have emptied the storage since.
            sharing.store_objects(&values(&reduction), true).await?;
            return self.give(sharing, &reduction).await;
        }
        match self.local.force(name).await {
            backend::Answer::Reduced { reduction, .. } => {
                let values = values(&reduction);
                self.cache.note(values.iter().copied());
                sharing.put_objects(&values).await?;
                self.give(sharing, &reduction).await
            }
            backend::Answer::Failed(failed) => {
                self.say(sharing, protocol::Result::Failed(failed).into()).await
            }
            backend::Answer::Broken(why) => Ok(broken(self.local.broken(&name, why))),
        }
    }

    /// Brings all that the thunk needs into the store; what is left cannot be had.
    async fn bring(&self, sharing: &Sharing, name: &ObjectName, packs: Vec<ObjectName>) -> Result<Lacking> {
        let mut packs = packs;
        loop {
            let lacking = needs::lacking(&self.store, name)?;
            if lacking.is_empty() {
                return Ok(Lacking::default());
            }
            // Of a tree that is lacking nobody knows what it holds: packs come first, each once.
            let wanted: Vec<ObjectName> =
                packs.extract_if(.., |pack| self.may_help(pack, &lacking)).collect();
            let missing = if wanted.is_empty() {
                sharing.fetch_objects(&lacking).await?
            } else {
                self.unpack(sharing, &wanted).await?
            };
            let complaints = sharing.complaints();
            complaints.iter().for_each(|complaint| thunk::say!("{complaint}"));
            if sharing.is_broken() {
                bail!("{}", complaints.join("; "));
            }
            if !missing.is_empty() {
                return Ok(Lacking(missing));
            }
        }
    }

    /// May the pack hold some of what is lacking? Of those that were here it is known.
    fn may_help(&self, pack: &ObjectName, lacking: &[ObjectName]) -> bool {
        let mut small = lacking.iter().filter(|name| packs::is_small(name));
        match self.packs.borrow().get(pack) {
            None => small.next().is_some(),
            Some(members) => small.any(|name| members.contains(name)),
        }
    }

    /// Brings what is in the packs into the store; gives the names of packs that the storage does not have as they should be.
    async fn unpack(&self, sharing: &Sharing, wanted: &[ObjectName]) -> Result<Vec<ObjectName>> {
        let fetched = stream::iter(wanted).map(|pack| async move {
            if !packs::may_be(pack) {
                bail!("{pack} is too large for a pack");
            }
            let Some(content) = sharing.content(pack).await else { return Ok(Some(*pack)) };
            let members = packs::unpack(&self.store, &content).with_context(|| format!("the pack {pack}"))?;
            self.cache.note(members.iter().copied());
            self.packs.borrow_mut().insert(*pack, members.into_iter().collect());
            Ok(None)
        });
        let missing: Vec<Result<Option<ObjectName>>> = fetched.buffer_unordered(PACKS).collect().await;
        Ok(missing.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    /// Answers with the reduction and as many of its outputs as fit.
    async fn give(&self, sharing: &Sharing, reduction: &Reduction) -> Result<Answer> {
        let mut answer = self.say(sharing, protocol::Result::Reduced(reduction.encode()).into()).await?;
        let mut room = MOST - answer.encoded_len().min(MOST);
        for name in values(reduction).iter().take_while(|name| name.size() <= SMALL) {
            // What stands around the content is less than this.
            let Some(content) = Content::of(&self.store, name, room.saturating_sub(256))? else { break };
            room -= content.data.len() + 256;
            answer.contents.push(content);
        }
        Ok(answer)
    }

    async fn say(&self, sharing: &Sharing, done: Done) -> Result<Answer> {
        if done.encoded_len() <= DONE {
            return Ok(Answer { done: Some(done), ..Answer::default() });
        }
        let name = self.store.put(ObjectKind::Value, &done.encode_to_vec())?;
        self.cache.note([name]);
        sharing.put_objects(&[name]).await?;
        Ok(Answer { done_at: name.to_string(), ..Answer::default() })
    }

    /// Between thunks: brings the store back to its size.
    async fn clean_up(&self) {
        if self.cache.is_full() {
            // The worker remembers what is in the store.
            self.local.finish().await;
            self.packs.borrow_mut().clear();
            if let Err(error) = self.cache.shrink() {
                thunk::say!("the cache cannot be made smaller: {error:#}");
            }
        }
    }
}

/// What it gives, the smallest first.
fn values(reduction: &Reduction) -> Vec<ObjectName> {
    let mut names: Vec<ObjectName> = reduction.outputs.iter().map(|output| output.value).collect();
    names.sort_unstable_by_key(|name| (name.size(), *name));
    names.dedup();
    names
}

fn broken(done: Done) -> Answer {
    Answer { done: Some(done), ..Answer::default() }
}

/// The first store below the directory that no other instance uses. On Lambda that is always the same one, also after an
/// instance was ended for taking too long.
fn own_store(directory: &Path) -> Result<(Store, File)> {
    for number in 0..INSTANCES {
        let root = directory.join(format!("gg-function/{number}"));
        std::fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        let path = root.join("lock");
        let lock = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        if thunk::try_lock(&lock) {
            return Ok((Store::open(&root.join("store"))?, lock));
        }
    }
    bail!("{} is full of functions", directory.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It would be called again if it had crashed.
    #[test]
    fn who_speaks_another_version_is_told_which_this_is() {
        let dir = tempfile::tempdir().unwrap();
        let function = Function::open(dir.path(), 1 << 20, 128).unwrap();
        let event = message::to_json(&Event { version: VERSION + 1, ..Event::default() });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let said = runtime.block_on(function.attend(&event, Duration::from_secs(10))).unwrap();
        let answer: Answer = message::from_json(&said).unwrap();
        assert_eq!((answer.version, answer.done), (VERSION, None));
    }
}
