// SPDX-License-Identifier: Apache-2.0
//! Reductions and objects shared through a storage: what others have computed is fetched, what is computed here is put there.
//! A storage that fails costs time, never a result: it is told once, and the build goes on without it.
//!
//! Knows what a reduction's parts are and in which order they may appear (outputs before the reduction that names them), not
//! who computes.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, stream};
use storage::{Key, Storage, Traffic};
use thunk::{ObjectName, Reduction, Store};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::backend::{Answer, Around, Backend, Forcing};
use crate::distant;
use crate::fact::{self, Fact};
use crate::home::Home;
use crate::remembered::Remembered;

/// Reductions that are fetched or stored at once; each may be several objects, all of them in memory.
const AT_ONCE: usize = 16;

/// A store and the storage behind it.
pub struct Sharing {
    store: Rc<Store>,
    storage: Storage,
    /// Objects and facts that are known to be in the storage.
    there: RefCell<Remembered>,
    /// Thunks whose reduction is not in the storage.
    absent: RefCell<HashSet<ObjectName>>,
    /// What is under way to the storage.
    uploads: RefCell<JoinSet<()>>,
    permits: Rc<Semaphore>,
    /// The first fault that made it useless; nothing is asked of it any more.
    broken: Cell<bool>,
    /// It takes nothing: what it has may be of use all the same.
    full: Cell<bool>,
    /// Something is gone that was there: what is remembered is looked for again before it is relied on.
    emptied: Cell<bool>,
    complaints: RefCell<Vec<String>>,
    home: Rc<Home>,
    fetched: RefCell<HashSet<ObjectName>>,
}

impl Sharing {
    /// The storage behind the store.
    ///
    /// # Errors
    /// The URI names none.
    pub async fn open(store: Rc<Store>, uri: &str, home: Rc<Home>) -> Result<Rc<Self>> {
        let storage = Storage::open(uri).await?;
        let there = Remembered::open(&store, uri);
        Ok(Rc::new(Self {
            store,
            storage,
            there: RefCell::new(there),
            absent: RefCell::default(),
            uploads: RefCell::default(),
            permits: Rc::new(Semaphore::new(AT_ONCE)),
            broken: Cell::new(false),
            full: Cell::new(false),
            emptied: Cell::new(false),
            complaints: RefCell::default(),
            home,
            fetched: RefCell::default(),
        }))
    }

    /// The storage itself.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// What there is to be told, each thing once.
    pub fn complaints(&self) -> Vec<String> {
        std::mem::take(&mut *self.complaints.borrow_mut())
    }

    /// Reductions that were fetched one by one, in place of running their thunks.
    pub fn fetched(&self) -> usize {
        self.fetched.borrow().len()
    }

    /// What went to and fro.
    pub fn traffic(&self) -> Traffic {
        self.storage.traffic()
    }

    /// Has it failed, so that nothing is asked of it any more?
    pub fn is_broken(&self) -> bool {
        self.broken.get()
    }

    /// Is the object in the storage, as far as that is remembered?
    #[cfg(any(feature = "lambda", test))]
    pub fn knows(&self, name: &ObjectName) -> bool {
        self.there.borrow().has(&Key::Object(*name))
    }

    /// These objects are in the storage: whoever put them there says so.
    #[cfg(feature = "lambda")]
    pub fn note(&self, names: impl IntoIterator<Item = ObjectName>) {
        let mut there = self.there.borrow_mut();
        names.into_iter().for_each(|name| there.add(&Key::Object(name)));
    }

    /// Puts those of the objects into the storage again that are not there, or not as they should be. Each is read to find out.
    ///
    /// # Errors
    /// The store does not hold them; the storage fails.
    #[cfg(any(feature = "lambda", test))]
    pub async fn repair(&self, names: &[ObjectName]) -> Result<()> {
        let repairs = stream::iter(names).map(|name| async move {
            let key = Key::Object(*name);
            if !self.is_whole(&key).await? {
                self.storage.put(&key, self.store.read(name)?).await?;
            }
            Ok(())
        });
        let repairs: Vec<Result<()>> = repairs.buffer_unordered(AT_ONCE).collect().await;
        repairs.into_iter().collect()
    }

    #[cfg(any(feature = "lambda", test))]
    async fn is_whole(&self, key: &Key) -> storage::Result<bool> {
        match self.storage.get(key).await {
            Ok(content) => Ok(content.is_some()),
            Err(storage::Error::Damaged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Puts an object into the storage that is not in the store, if it is not there. `doubtful`: somebody did not find it there, or found
    /// something else; so it is read to find out.
    ///
    /// # Errors
    /// The storage fails.
    #[cfg(any(feature = "lambda", test))]
    pub async fn put_content(&self, name: &ObjectName, content: Vec<u8>, doubtful: bool) -> Result<()> {
        let key = Key::Object(*name);
        let there = if doubtful {
            self.is_whole(&key).await?
        } else {
            self.storage.has(&[key]).await?.first() == Some(&true)
        };
        if !there {
            self.storage.put(&key, content).await?;
        }
        Ok(())
    }

    /// The content of an object, which does not come into the store.
    pub async fn content(&self, name: &ObjectName) -> Option<Vec<u8>> {
        if self.broken.get() {
            return None;
        }
        let content = self.storage.get(&Key::Object(*name)).await;
        content.unwrap_or_else(|error| {
            self.complain(&error);
            None
        })
    }

    fn complain(&self, error: &storage::Error) {
        // One object that is damaged says nothing about the others.
        let damaged = matches!(error, storage::Error::Damaged { .. });
        if damaged || !self.broken.replace(true) {
            let and = if damaged { "it is not used" } else { "going on without it" };
            self.complaints.borrow_mut().push(format!("{error}; {and}"));
        }
    }

    /// Fetches what is known of the thunks, and of those that they need where it is not.
    ///
    /// # Errors
    /// The store cannot be used.
    pub async fn pull(&self, thunks: impl Iterator<Item = ObjectName>) -> Result<()> {
        let mut seen = HashSet::new();
        let mut wave: Vec<ObjectName> = thunks.filter(|name| seen.insert(*name)).collect();
        while !wave.is_empty() && !self.broken.get() {
            wave.retain(|name| self.store.reduction(name).is_none());
            self.look_for(&wave).await;
            let found = stream::iter(&wave)
                .map(|name| async move { Ok::<_, anyhow::Error>((*name, self.fetch(name).await?)) })
                .buffer_unordered(AT_ONCE * 4);
            let found: Vec<_> = found.collect().await;
            let mut next = Vec::new();
            for answer in found {
                let (name, reduction) = answer?;
                if reduction.is_some() {
                    continue;
                }
                let needs = self.store.thunk(&name)?.thunks;
                next.extend(needs.into_iter().map(|need| need.from.thunk).filter(|name| seen.insert(*name)));
            }
            wave = next;
        }
        Ok(())
    }

    /// Finds out of which of the thunks nothing is known there, without asking for each.
    async fn look_for(&self, thunks: &[ObjectName]) {
        let keys: Vec<Key> = thunks.iter().map(|name| Key::Fact(*name)).collect();
        match self.storage.has_at_a_glance(&keys).await {
            Ok(there) => {
                for (name, _) in thunks.iter().zip(there).filter(|(_, there)| *there == Some(false)) {
                    self.is_missing(&Key::Fact(*name));
                    self.absent.borrow_mut().insert(*name);
                }
            }
            Err(error) => self.complain(&error),
        }
    }

    /// Which outputs are wanted in the store.
    #[cfg(feature = "lambda")]
    pub fn home(&self) -> &Rc<Home> {
        &self.home
    }

    /// The thunk's reduction, if the storage has it and all its outputs, which are in the store then, if they are wanted there.
    async fn fetch(&self, thunk: &ObjectName) -> Result<Option<Reduction>> {
        if self.broken.get() || self.absent.borrow().contains(thunk) {
            return Ok(None);
        }
        let key = Key::Fact(*thunk);
        let fact = match self.storage.get(&key).await {
            Ok(Some(fact)) => self.understand(thunk, &fact).map(Some),
            Ok(None) => {
                self.is_missing(&key);
                Ok(None)
            }
            Err(error) => Err(error),
        };
        let fact = fact.unwrap_or_else(|error| {
            self.complain(&error);
            None
        });
        let Some(Fact { reduction, contents }) = fact else {
            self.absent.borrow_mut().insert(*thunk);
            return Ok(None);
        };
        for (name, content) in contents {
            if !self.store.contains(&name) {
                self.store.put(name.kind(), &content)?;
            }
        }
        let values: Vec<ObjectName> = fact::outputs(&reduction).into_iter().collect();
        if !self.bring_home(thunk, &values).await? {
            // The next run of its command may give other bytes: then what stands there would never be of use again.
            if !self.broken.get() {
                self.storage.doubt(&key);
            }
            self.absent.borrow_mut().insert(*thunk);
            return Ok(None);
        }
        self.store.put_reduction(thunk, &reduction)?;
        self.there.borrow_mut().add(&key);
        Ok(Some(reduction))
    }

    /// The storage does not have it. If it had, somebody has emptied it.
    fn is_missing(&self, key: &Key) {
        if self.there.borrow_mut().forget(key) {
            self.emptied.set(true);
        }
    }

    /// Reads what is stored of a thunk. Where that is of no use, it is replaced by what is computed.
    fn understand(&self, thunk: &ObjectName, fact: &[u8]) -> storage::Result<Fact> {
        let read = || {
            let fact = Fact::decode(thunk, fact)?;
            // A thunk that came from elsewhere without what it was made of is not always here.
            if let Ok(of) = self.store.thunk(thunk) {
                distant::fits(&of, &fact.reduction)?;
            }
            Ok(fact)
        };
        read().map_err(|why: anyhow::Error| self.storage.damaged(&Key::Fact(*thunk), format!("{why:#}")))
    }

    /// Fetches a thunk's outputs, if they are wanted in the store; else makes sure that they stay to be had.
    async fn bring_home(&self, thunk: &ObjectName, outputs: &[ObjectName]) -> Result<bool> {
        if self.home.wants(thunk) {
            return Ok(self.fetch_objects(outputs).await?.is_empty());
        }
        let lacking = outputs.iter().filter(|name| !self.store.contains(name));
        let keys: Vec<Key> = lacking.map(|name| Key::Object(*name)).collect();
        match self.storage.has(&keys).await {
            Ok(there) => {
                let all = there.iter().all(|there| *there);
                keys.iter()
                    .zip(there)
                    .filter(|(_, there)| *there)
                    .for_each(|(key, _)| self.there.borrow_mut().add(key));
                Ok(all)
            }
            Err(error) => {
                self.complain(&error);
                Ok(false)
            }
        }
    }

    /// Brings objects into the store, as far as the storage has them; gives the names of the others.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub async fn fetch_objects(&self, names: &[ObjectName]) -> Result<Vec<ObjectName>> {
        let lacking = names.iter().filter(|name| !self.store.contains(name));
        let fetched = stream::iter(lacking)
            .map(|name| async move {
                if self.broken.get() {
                    return Ok::<_, anyhow::Error>(Some(*name));
                }
                let key = Key::Object(*name);
                match self.storage.get(&key).await {
                    Ok(Some(content)) => {
                        self.store.put(name.kind(), &content)?;
                        self.there.borrow_mut().add(&key);
                        return Ok(None);
                    }
                    Ok(None) => self.is_missing(&key),
                    Err(error) => {
                        self.is_missing(&key);
                        self.complain(&error);
                    }
                }
                Ok(Some(*name))
            })
            .buffer_unordered(AT_ONCE);
        let missing: Vec<_> = fetched.collect().await;
        Ok(missing.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    /// Puts objects into the storage that are not there yet. `surely`: what was there once is looked for again.
    ///
    /// # Errors
    /// The store does not hold them; the storage fails.
    pub async fn store_objects(&self, names: &[ObjectName], surely: bool) -> Result<()> {
        let mut keys: Vec<Key> = names.iter().map(|name| Key::Object(*name)).collect();
        keys.retain(|key| surely || self.emptied.get() || !self.there.borrow().has(key));
        if keys.is_empty() {
            return Ok(());
        }
        let there = self.storage.has(&keys).await?;
        let (there, lacking): (Vec<_>, Vec<_>) = keys.into_iter().zip(there).partition(|(_, there)| *there);
        there.iter().for_each(|(key, _)| self.there.borrow_mut().add(key));
        self.put_all(lacking.into_iter().map(|(key, _)| key).collect()).await
    }

    /// Puts objects into the storage without asking whether they are there: they are new.
    ///
    /// # Errors
    /// As [`Sharing::store_objects`].
    pub async fn put_objects(&self, names: &[ObjectName]) -> Result<()> {
        self.put_all(names.iter().map(|name| Key::Object(*name)).collect()).await
    }

    async fn put_all(&self, keys: Vec<Key>) -> Result<()> {
        let puts = stream::iter(&keys)
            .map(|key| async move {
                let (Key::Object(name) | Key::Fact(name)) = key;
                self.storage.put(key, self.store.read(name)?).await?;
                Ok::<_, anyhow::Error>(())
            })
            .buffer_unordered(AT_ONCE);
        let puts: Vec<Result<()>> = puts.collect().await;
        puts.into_iter().collect::<Result<()>>()?;
        keys.iter().for_each(|key| self.there.borrow_mut().add(key));
        Ok(())
    }

    async fn store_reduction(&self, thunk: &ObjectName, reduction: &Reduction) -> Result<()> {
        let key = Key::Fact(*thunk);
        if self.there.borrow().has(&key) {
            return Ok(());
        }
        let values: Vec<ObjectName> = fact::outputs(reduction).into_iter().collect();
        self.store_objects(&values, false).await?;
        self.storage.put(&key, Fact::of(&self.store, reduction).encode()).await?;
        self.there.borrow_mut().add(&key);
        Ok(())
    }

    /// Stores a reduction and its outputs there, some time.
    fn store_later(self: &Rc<Self>, thunk: ObjectName, reduction: Reduction) {
        let is_done = |this: &Self| this.broken.get() || this.full.get();
        if is_done(self) || self.there.borrow().has(&Key::Fact(thunk)) {
            return;
        }
        let this = Rc::clone(self);
        let mut uploads = self.uploads.borrow_mut();
        // Those that have ended.
        while uploads.try_join_next().is_some() {}
        uploads.spawn_local(async move {
            let _permit = this.permits.acquire().await;
            if is_done(&this) {
                return;
            }
            // In a box, which those that wait do not have yet: there may be one for each thunk of a build.
            if let Err(error) = Box::pin(this.store_reduction(&thunk, &reduction)).await {
                this.complain_of(error);
            }
        });
    }

    fn complain_of(&self, error: anyhow::Error) {
        match error.downcast::<storage::Error>() {
            Ok(error @ storage::Error::Refused { .. }) => {
                if !self.broken.get() && !self.full.replace(true) {
                    self.complaints.borrow_mut().push(format!("{error}; nothing is put there any more"));
                }
            }
            Ok(error) => self.complain(&error),
            Err(error) => self.complaints.borrow_mut().push(format!("not shared: {error:#}")),
        }
    }

    /// Stores all that is known of the thunks and of those that they need, and waits until everything is there.
    ///
    /// # Errors
    /// The store is damaged.
    pub async fn push(self: &Rc<Self>, thunks: impl Iterator<Item = ObjectName>) -> Result<()> {
        let mut seen = HashSet::new();
        let mut open: Vec<ObjectName> = thunks.filter(|name| seen.insert(*name)).collect();
        while let Some(name) = open.pop() {
            // What others share may come without the thunks that it was computed from.
            let Ok(thunk) = self.store.thunk(&name) else { continue };
            if let Some(reduction) = self.store.reduction(&name) {
                self.store_later(name, reduction);
            }
            open.extend(thunk.thunks.iter().map(|need| need.from.thunk).filter(|name| seen.insert(*name)));
        }
        let mut uploads = std::mem::take(&mut *self.uploads.borrow_mut());
        while let Some(upload) = uploads.join_next().await {
            upload.context("a task of the engine ended early")?;
        }
        self.there.borrow_mut().flush();
        Ok(())
    }
}

/// Around a back end before which the storage is asked, and whose results go there.
pub struct Shared(pub Rc<Sharing>);

impl Shared {
    async fn ask(&self, inner: &dyn Backend, thunk: ObjectName) -> Result<Answer> {
        let sharing = &self.0;
        if let Some(reduction) = sharing.fetch(&thunk).await? {
            sharing.fetched.borrow_mut().insert(thunk);
            return Ok(Answer::Reduced { reduction, completed: Vec::new() });
        }
        let answer = inner.force(thunk).await;
        if let Answer::Reduced { reduction, completed } = &answer {
            let outputs: Vec<ObjectName> = reduction.outputs.iter().map(|output| output.value).collect();
            if sharing.home.wants(&thunk)
                && let Some(missing) = sharing.fetch_objects(&outputs).await?.first()
            {
                anyhow::bail!("the storage does not have its output {missing}, which was put there");
            }
            if completed.is_empty() {
                sharing.store_later(thunk, reduction.clone());
            }
        }
        Ok(answer)
    }
}

impl Around for Shared {
    fn force<'a>(&'a self, inner: &'a dyn Backend, thunk: ObjectName) -> Forcing<'a> {
        Box::pin(async move { self.ask(inner, thunk).await.into() })
    }
}

#[cfg(test)]
mod tests;
