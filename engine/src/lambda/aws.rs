// SPDX-License-Identifier: Apache-2.0
//! Calls to the service, through Amazon's SDK, and what its errors mean. Knows which function is ours, not what is said to it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use aws_sdk_lambda::Client;
use aws_sdk_lambda::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use serde_json::Value;
use storage::amazon;

use super::fault::Fault;
use super::message::VERSION;

/// A function may run for a quarter of an hour before it answers.
const ANSWER: Duration = Duration::from_secs(15 * 60 + 30);

type Response = aws_sdk_lambda::config::http::HttpResponse;

/// Our function in one region.
#[derive(Clone)]
pub struct Service {
    pub client: Client,
    pub region: String,
}

/// The function's name says what it understands: one that was made for another version is not found.
pub fn function_name() -> String {
    format!("gg-force-{VERSION}")
}

impl Service {
    /// In this region, else in the one that the environment or the profile names. `option`: how one is named on the command line.
    ///
    /// # Errors
    /// None does.
    pub async fn open(region: Option<&str>, option: &str) -> Result<Self> {
        let shared = amazon::configuration(region.map(Into::into), ANSWER).await;
        let region = shared.region().with_context(|| format!("no region: {option}, or set AWS_REGION"))?;
        Ok(Self { region: region.to_string(), client: Client::new(&shared) })
    }

    /// Could it be called? Nothing runs.
    pub async fn probe(&self) -> Result<(), Fault> {
        let request = self.client.invoke().function_name(function_name());
        match request.invocation_type(InvocationType::DryRun).send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.fault(&error)),
        }
    }

    /// Calls the function.
    pub async fn invoke(&self, event: &Value) -> Result<Value, Fault> {
        let payload = Blob::new(event.to_string());
        let sent = self.client.invoke().function_name(function_name()).payload(payload).send().await;
        let answer = sent.map_err(|error| self.fault(&error))?;
        let payload = answer.payload.map(Blob::into_inner).unwrap_or_default();
        let said: Value = serde_json::from_slice(&payload).unwrap_or_default();
        match answer.function_error {
            None => Ok(said),
            Some(_) => Err(function_fault(&said)),
        }
    }

    /// What the SDK's error means.
    pub fn fault<E>(&self, error: &SdkError<E, Response>) -> Fault
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let status = error.raw_response().map_or(0, |r| r.status().as_u16());
        let code = error.code().unwrap_or_default();
        if let SdkError::ConstructionFailure(_) | SdkError::DispatchFailure(_) = error {
            let why = amazon::reasons(error);
            let user = matches!(error, SdkError::DispatchFailure(failure) if failure.is_user());
            return if amazon::no_credentials(&why) {
                Fault::Refused(
                    "no credentials for AWS: set AWS_ACCESS_KEY_ID and its like, or AWS_PROFILE".into(),
                )
            } else if user || matches!(error, SdkError::ConstructionFailure(_)) {
                Fault::Refused(why)
            } else {
                Fault::Unavailable(why)
            };
        }
        let why = match status {
            0 => amazon::reasons(error),
            status => amazon::answer(status, code, error.message()),
        };
        match (status, code) {
            (_, "TooManyRequestsException" | "EC2ThrottledException" | "ThrottlingException") | (429, _) => {
                Fault::Throttled(why)
            }
            (_, "ResourceNotFoundException") => Fault::Refused(format!(
                "there is no function {} in {}: ggforce deploy makes it",
                function_name(),
                self.region
            )),
            // The function is being made or changed.
            (0 | 408 | 500.., _) | (_, "ResourceConflictException" | "ResourceNotReadyException") => {
                Fault::Unavailable(why)
            }
            _ => Fault::Refused(why),
        }
    }
}

/// Why the function itself ended.
fn function_fault(said: &Value) -> Fault {
    let text = |key: &str| said.get(key).and_then(Value::as_str).unwrap_or_default();
    let (kind, message) = (text("errorType"), text("errorMessage"));
    let why = format!("the function failed: {}", if message.is_empty() { kind } else { message });
    // Older answers have the words only.
    if kind == "Sandbox.Timedout" || message.contains("Task timed out after") {
        Fault::Late(why)
    } else {
        Fault::Crashed(why)
    }
}
