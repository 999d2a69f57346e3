// SPDX-License-Identifier: Apache-2.0
//! The few things that every kind of place can do, once each: no repetition, no checks.

use crate::address::{self, Address};
use crate::directory::Directory;
use crate::error::Result;
use crate::keyvalue::Redis;
#[cfg(feature = "s3")]
use crate::s3::S3;

/// Is something that stands there already replaced?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is.
    Replace,
    /// It stays.
    IfAbsent,
}

/// Some of the keys that there are, in their order, none left out between the first and the last.
#[derive(Debug, Default)]
pub struct Page {
    /// The keys.
    pub keys: Vec<String>,
    /// Are there no more after them?
    pub is_last: bool,
}

/// A place.
pub enum Place {
    /// A bucket.
    #[cfg(feature = "s3")]
    S3(Box<S3>),
    /// A Redis server.
    Redis(Box<Redis>),
    /// A directory.
    Directory(Directory),
}

impl Place {
    pub async fn open(uri: &str) -> Result<Self> {
        let label = address::label(uri);
        Ok(match Address::parse(uri)? {
            #[cfg(feature = "s3")]
            Address::S3(bucket) => Self::S3(Box::new(S3::open(bucket, label).await)),
            #[cfg(not(feature = "s3"))]
            Address::S3(_) => {
                let why = "this program was built without S3 (cargo build --release --features engine/s3)";
                return Err(crate::Error::Uri { uri: label, why: why.into() });
            }
            Address::Redis(uri) => Self::Redis(Box::new(Redis::open(&uri, label)?)),
            Address::Directory(path) => Self::Directory(Directory::open(path, label)?),
        })
    }

    /// How many keys [`Place::has`] takes at once.
    pub fn batch(&self) -> usize {
        match self {
            #[cfg(feature = "s3")]
            Self::S3(_) => 1,
            Self::Redis(_) => 1000,
            Self::Directory(_) => 100,
        }
    }

    pub async fn has(&self, keys: &[String]) -> Result<Vec<bool>> {
        match self {
            #[cfg(feature = "s3")]
            Self::S3(s3) => s3.has(keys).await,
            Self::Redis(redis) => redis.has(keys).await,
            Self::Directory(directory) => directory.has(keys).await,
        }
    }

    /// Keys from this one on. Only places that have to be asked for each key are asked for lists.
    pub async fn list(&self, from: &str) -> Result<Page> {
        match self {
            #[cfg(feature = "s3")]
            Self::S3(s3) => s3.list(from).await,
            Self::Redis(_) | Self::Directory(_) => {
                let _ = from;
                Ok(Page::default())
            }
        }
    }

    pub async fn get(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        match self {
            #[cfg(feature = "s3")]
            Self::S3(s3) => s3.get(key, limit).await,
            Self::Redis(redis) => redis.get(key).await,
            Self::Directory(directory) => directory.get(key, limit).await,
        }
    }

    pub async fn put(&self, key: &str, body: &[u8], how: Put) -> Result<()> {
        match self {
            #[cfg(feature = "s3")]
            Self::S3(s3) => s3.put(key, body, how).await,
            Self::Redis(redis) => redis.put(key, body, how).await,
            Self::Directory(directory) => directory.put(key, body, how).await,
        }
    }
}
