// SPDX-License-Identifier: Apache-2.0
//! The interface: has-many, get, put; in parallel, checked, repeated where that helps.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::sync::Semaphore;

use crate::address;
use crate::envelope;
use crate::error::{Error, Result};
use crate::key::Key;
use crate::place::{Place, Put};
use crate::retry::retry;

/// Requests under way at once.
const PARALLEL: usize = 64;
/// A list of what is there takes the place of requests for single keys where it tells of as many keys at least: for a list, Amazon
/// takes the price of a dozen of those.
const WORTH_A_LIST: usize = 32;
/// More than an envelope adds to its content.
const HEAD: u64 = 1024;
/// What is smaller is packed where it is; the rest where it holds nothing up.
const QUICK: usize = 64 << 10;

/// What went over the network, or would have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests, the repeated ones included.
    pub requests: u64,
    /// Bytes of content sent, as stored.
    pub up: u64,
    /// Bytes of content received, as stored.
    pub down: u64,
}

/// A storage.
pub struct Storage {
    place: Place,
    label: String,
    permits: Semaphore,
    /// Keys under which something else was found: what is put there replaces it.
    damaged: Mutex<HashSet<Key>>,
    requests: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
}

impl Storage {
    /// The storage that the URI names. Servers are not asked yet.
    ///
    /// # Errors
    /// The URI names none; or the directory cannot be made.
    pub async fn open(uri: &str) -> Result<Self> {
        Ok(Self {
            place: Place::open(uri).await?,
            label: address::label(uri),
            permits: Semaphore::new(PARALLEL),
            damaged: Mutex::default(),
            requests: AtomicU64::new(0),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
        })
    }

    /// Its URI without secrets.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// What was sent and received so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Traffic { requests: read(&self.requests), up: read(&self.up), down: read(&self.down) }
    }

    /// Which of these are there? What stands there is not looked at, but what was found damaged does not count.
    ///
    /// # Errors
    /// The storage does not answer, or refuses to.
    pub async fn has(&self, keys: &[Key]) -> Result<Vec<bool>> {
        let texts: Vec<String> = keys.iter().map(Key::to_string).collect();
        // In a box: the futures around it are large and deep enough.
        let listed = Box::pin(self.listed(&texts)).await?;
        let others: Vec<String> =
            texts.iter().filter(|text| !listed.contains_key(text.as_str())).cloned().collect();
        let batches = others.chunks(self.place.batch());
        let mut answers =
            stream::iter(batches).map(|batch| self.request(move || self.place.has(batch))).buffered(PARALLEL);
        let mut asked = Vec::with_capacity(others.len());
        while let Some(answer) = answers.next().await {
            asked.extend(answer?);
        }
        let mut asked = asked.into_iter();
        let found = texts
            .iter()
            .map(|text| listed.get(text.as_str()).copied().or_else(|| asked.next()).unwrap_or_default());
        // What was found damaged is to be stored again.
        let damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(keys.iter().zip(found).map(|(key, there)| there && !damaged.contains(key)).collect())
    }

    /// The same, as far as it takes far fewer requests than there are keys. Of the others nothing is said.
    ///
    /// # Errors
    /// As [`Storage::has`].
    pub async fn has_at_a_glance(&self, keys: &[Key]) -> Result<Vec<Option<bool>>> {
        if self.place.batch() > 1 {
            return Ok(self.has(keys).await?.into_iter().map(Some).collect());
        }
        let texts: Vec<String> = keys.iter().map(Key::to_string).collect();
        let listed = Box::pin(self.listed(&texts)).await?;
        Ok(texts.iter().map(|text| listed.get(text.as_str()).copied()).collect())
    }

    /// What lists of the place tell about these keys, for as long as each tells of enough of them: about all where the place holds
    /// little, about none where it holds so much that a list would hardly meet any.
    async fn listed<'a>(&self, texts: &'a [String]) -> Result<HashMap<&'a str, bool>> {
        let mut known = HashMap::new();
        if self.place.batch() > 1 {
            return Ok(known);
        }
        let mut open: Vec<&str> = texts.iter().map(String::as_str).collect();
        open.sort_unstable();
        open.dedup();
        while open.len() >= WORTH_A_LIST {
            let page = self.request(|| self.place.list(open[0])).await?;
            // Not every server keeps to the order.
            if !page.keys.is_sorted() {
                break;
            }
            let last = page.keys.last().map(String::as_str);
            let told = if page.is_last { open.len() } else { open.partition_point(|key| Some(*key) <= last) };
            let is_there = |key: &str| page.keys.binary_search_by(|there| there.as_str().cmp(key)).is_ok();
            known.extend(open.drain(..told).map(|key| (key, is_there(key))));
            if told < WORTH_A_LIST {
                break;
            }
        }
        Ok(known)
    }

    /// What is stored under the key, if anything is.
    ///
    /// # Errors
    /// The storage does not answer, or refuses to; or what is there is not what it should be.
    pub async fn get(&self, key: &Key) -> Result<Option<Vec<u8>>> {
        let text = key.to_string();
        let limit = key.limit().saturating_add(HEAD);
        let stored = self.request(|| self.place.get(&text, limit)).await?;
        let Some(stored) = stored else { return Ok(None) };
        self.down.fetch_add(stored.len() as u64, Ordering::Relaxed);
        let opened = if stored.len() < QUICK {
            envelope::open(key, &stored)
        } else {
            let key = *key;
            let opened = tokio::task::spawn_blocking(move || envelope::open(&key, &stored)).await;
            opened.unwrap_or_else(|e| Err(e.to_string()))
        };
        opened.map(Some).map_err(|why| self.damaged(key, why))
    }

    /// What was found under the key is of no use, for this reason: what is put there next replaces it.
    #[must_use]
    pub fn damaged(&self, key: &Key, why: String) -> Error {
        self.doubt(key);
        Error::Damaged { place: self.label.clone(), key: *key, why }
    }

    /// What stands under the key, if anything does, is replaced by what is put there next.
    pub fn doubt(&self, key: &Key) {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).insert(*key);
    }

    /// Stores this content. What stands under the key stays: an object is the same, and of two facts the first counts, for
    /// everybody. Only what was found damaged is replaced.
    ///
    /// # Errors
    /// The storage does not answer, or refuses to.
    pub async fn put(&self, key: &Key, content: Vec<u8>) -> Result<()> {
        // Held until it is sent: what is packed ahead of the network would only fill memory.
        let _permit = self.permits.acquire().await;
        let sealed = if content.len() < QUICK {
            envelope::seal(&content)
        } else {
            let sealed = tokio::task::spawn_blocking(move || envelope::seal(&content)).await;
            sealed.map_err(|e| Error::Unavailable { place: self.label.clone(), why: e.to_string() })?
        };
        let damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner).contains(key);
        let how = if damaged { Put::Replace } else { Put::IfAbsent };
        let text = key.to_string();
        retry(|| {
            self.requests.fetch_add(1, Ordering::Relaxed);
            self.up.fetch_add(sealed.len() as u64, Ordering::Relaxed);
            self.place.put(&text, &sealed, how)
        })
        .await?;
        if damaged {
            self.damaged.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        }
        Ok(())
    }

    async fn request<T, F: Future<Output = Result<T>>>(&self, mut make: impl FnMut() -> F) -> Result<T> {
        let _permit = self.permits.acquire().await;
        retry(|| {
            self.requests.fetch_add(1, Ordering::Relaxed);
            make()
        })
        .await
    }
}
