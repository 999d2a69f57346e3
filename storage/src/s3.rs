// SPDX-License-Identifier: Apache-2.0
//! An S3 bucket, Amazon's or another server's. Credentials and region come by the SDK's usual chain.

use std::time::Duration;

use aws_config::Region;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;

use crate::address::Bucket;
use crate::amazon;
use crate::error::{Error, Result};
use crate::place::{Page, Put};

/// Until an answer begins.
const ANSWER: Duration = Duration::from_secs(60);

/// A bucket.
pub struct S3 {
    client: Client,
    bucket: String,
    prefix: String,
    label: String,
}

type Response = aws_sdk_s3::config::http::HttpResponse;

impl S3 {
    pub async fn open(bucket: Bucket, label: String) -> Self {
        let shared = amazon::configuration(bucket.region, ANSWER).await;
        let mut config = aws_sdk_s3::config::Builder::from(&shared)
            // Content is checked by name; other servers do not all know the newer checksums.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if shared.region().is_none() {
            config = config.region(Region::new("us-east-1"));
        }
        if let Some(endpoint) = bucket.endpoint {
            config = config.endpoint_url(endpoint).force_path_style(true);
        }
        let client = Client::from_conf(config.build());
        Self { client, bucket: bucket.name, prefix: bucket.prefix, label }
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    pub async fn has(&self, keys: &[String]) -> Result<Vec<bool>> {
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            let request = self.client.head_object().bucket(&self.bucket).key(self.key(key));
            found.push(match request.send().await {
                Ok(_) => true,
                Err(e) if e.as_service_error().is_some_and(|e| e.is_not_found()) => false,
                Err(e) => return Err(self.error(&e)),
            });
        }
        Ok(found)
    }

    pub async fn list(&self, from: &str) -> Result<Page> {
        let from = self.key(from);
        // The list begins after what is named here, which need not be there.
        let mut before = from.chars();
        before.next_back();
        let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(&self.prefix);
        let answer = request.start_after(before.as_str()).send().await.map_err(|e| self.error(&e))?;
        let key = |object: aws_sdk_s3::types::Object| object.key?.strip_prefix(&self.prefix).map(Into::into);
        let is_last = answer.is_truncated == Some(false);
        Ok(Page { keys: answer.contents.unwrap_or_default().into_iter().filter_map(key).collect(), is_last })
    }

    pub async fn get(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let request = self.client.get_object().bucket(&self.bucket).key(self.key(key));
        let mut body = match request.send().await {
            Ok(answer) => answer.body,
            Err(e) if e.as_service_error().is_some_and(|e| e.is_no_such_key()) => return Ok(None),
            Err(e) => return Err(self.error(&e)),
        };
        let mut content = Vec::new();
        while let Some(piece) = body.next().await {
            // The rest of a body that was cut off may come another time.
            let piece = piece.map_err(|e| self.unavailable(&amazon::reasons(&e)))?;
            content.extend_from_slice(&piece);
            if content.len() as u64 > limit {
                break;
            }
        }
        Ok(Some(content))
    }

    pub async fn put(&self, key: &str, body: &[u8], how: Put) -> Result<()> {
        let mut request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.key(key))
            .body(ByteStream::from(body.to_vec()));
        if how == Put::IfAbsent {
            request = request.if_none_match("*");
        }
        match request.send().await {
            Ok(_) => Ok(()),
            Err(e)
                if how == Put::IfAbsent && e.raw_response().is_some_and(|r| r.status().as_u16() == 412) =>
            {
                Ok(())
            }
            Err(e) => Err(self.error(&e)),
        }
    }

    fn unavailable(&self, why: &str) -> Error {
        Error::Unavailable { place: self.label.clone(), why: why.into() }
    }

    fn error<E>(&self, error: &SdkError<E, Response>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let status = error.raw_response().map_or(0, |r| r.status().as_u16());
        let code = error.code().unwrap_or_default();
        let why = match status {
            0 => amazon::reasons(error),
            status => amazon::answer(status, code, error.message()),
        };
        let refused = match error {
            // No credentials, a malformed endpoint.
            SdkError::ConstructionFailure(_) => true,
            SdkError::DispatchFailure(failure) => failure.is_user() || amazon::no_credentials(&why),
            _ => {
                let again = matches!(status, 0 | 408 | 409 | 429 | 500..)
                    || matches!(code, "SlowDown" | "RequestTimeout" | "Throttling");
                !again
            }
        };
        if refused { Error::Refused { place: self.label.clone(), why } } else { self.unavailable(&why) }
    }
}
