// SPDX-License-Identifier: Apache-2.0
//! A Redis server, or one that speaks its protocol. One connection, on which requests do not wait for each other.

use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, ErrorKind, RedisError, ServerErrorKind};
use tokio::sync::OnceCell;

use crate::error::{Error, Result};
use crate::place::Put;

/// Before all keys: a server is often shared with others.
const PREFIX: &str = "gg/";
const CONNECT: Duration = Duration::from_secs(5);
/// A value of half a gigabyte, the most that fits, on a slow line.
const ANSWER: Duration = Duration::from_secs(120);

/// A server.
pub struct Redis {
    client: Client,
    connection: OnceCell<ConnectionManager>,
    label: String,
}

impl Redis {
    pub fn open(uri: &str, label: String) -> Result<Self> {
        // For rediss:. Whoever was first has chosen the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::open(uri).map_err(|e| Error::Uri {
            uri: label.clone(),
            why: e.detail().unwrap_or("it is malformed").into(),
        })?;
        Ok(Self { client, connection: OnceCell::new(), label })
    }

    /// The connection, which is made at the first request, and again after it was lost.
    async fn connection(&self) -> Result<ConnectionManager> {
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER));
        let connect = || ConnectionManager::new_with_config(self.client.clone(), config);
        let connection = self.connection.get_or_try_init(connect).await;
        connection.cloned().map_err(|e| self.error(&e))
    }

    pub async fn has(&self, keys: &[String]) -> Result<Vec<bool>> {
        let mut pipe = redis::pipe();
        for key in keys {
            pipe.exists(format!("{PREFIX}{key}"));
        }
        pipe.query_async(&mut self.connection().await?).await.map_err(|e| self.error(&e))
    }

    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let command = redis::cmd("GET").arg(format!("{PREFIX}{key}")).to_owned();
        command.query_async(&mut self.connection().await?).await.map_err(|e| self.error(&e))
    }

    pub async fn put(&self, key: &str, body: &[u8], how: Put) -> Result<()> {
        let mut command = redis::cmd("SET");
        command.arg(format!("{PREFIX}{key}")).arg(body);
        if how == Put::IfAbsent {
            command.arg("NX");
        }
        // "OK", or nothing where it was there.
        let done: std::result::Result<Option<String>, _> =
            command.query_async(&mut self.connection().await?).await;
        done.map(|_| ()).map_err(|e| self.error(&e))
    }

    fn error(&self, error: &RedisError) -> Error {
        let (place, why) = (self.label.clone(), error.to_string());
        let refused = matches!(
            error.kind(),
            ErrorKind::AuthenticationFailed
                | ErrorKind::InvalidClientConfig
                | ErrorKind::UnexpectedReturnType
                | ErrorKind::Server(
                    ServerErrorKind::ResponseError | ServerErrorKind::NoPerm | ServerErrorKind::ReadOnly
                )
        ) || error.code() == Some("OOM");
        if refused { Error::Refused { place, why } } else { Error::Unavailable { place, why } }
    }
}
