// SPDX-License-Identifier: Apache-2.0
//! The AWS Lambda function, for the runtime `provided.al2023`: takes events from Lambda's runtime interface and has the engine's
//! code do what they ask for. Started again by itself, as the worker that runs commands.

use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use engine::Function;
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;

/// Megabytes that are kept between events where the deployment does not say: half of what Lambda gives a function.
const CACHE: u64 = 256;

fn main() -> Result<()> {
    if let Some(served) = engine::serve_if_asked() {
        return served;
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let memory = number("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").context("this is a function for AWS Lambda")?;
    let cache = number("GG_CACHE_SIZE").unwrap_or(CACHE) << 20;
    let function = Rc::new(Function::open(Path::new(&std::env::temp_dir()), cache, memory)?);
    let handler = service_fn(|event: LambdaEvent<Value>| {
        let function = Rc::clone(&function);
        async move {
            let time = left(event.context.deadline);
            function.attend(&event.payload, time).await.map_err(|error| format!("{error:#}"))
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, lambda_runtime::run(handler)).map_err(|error| anyhow::anyhow!(error))
}

/// Until the deadline, in milliseconds since the epoch.
fn left(deadline: u64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_millis(deadline).saturating_sub(now)
}
