// SPDX-License-Identifier: Apache-2.0
//! `ggforce deploy`: makes or updates the function, or removes it. Knows how Lambda keeps functions, not what ours does.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use aws_sdk_lambda::error::ProvideErrorMetadata as _;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::{
    Architecture, Environment, EphemeralStorage, FunctionCode, LastUpdateStatus, Runtime, State,
};
use clap::Parser;

use super::aws::{Service, function_name};
use crate::own;

/// Makes the AWS Lambda function that ggforce --engine lambda calls, or updates it. Credentials as for Amazon's own programs.
#[derive(Parser)]
#[command(name = "ggforce deploy", version)]
pub struct Arguments {
    /// The ARN of the role that the function runs as. A function that is there keeps the one that it has.
    #[arg(long, value_name = "ARN", env = "GG_LAMBDA_ROLE")]
    role: Option<String>,
    /// Its memory in megabytes. Processors come with it: one for each 1769 [default: 2048].
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(i32).range(128..=10240))]
    memory: Option<i32>,
    /// How long one command may take, in seconds [default: 300].
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(i32).range(2..=900))]
    timeout: Option<i32>,
    /// The region [default: as AWS_REGION or the profile says].
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// What scripts/package-lambda made [default: gg-function.zip beside this program].
    #[arg(long, value_name = "FILE")]
    zip: Option<PathBuf>,
    /// Remove the function.
    #[arg(long, conflicts_with_all = ["role", "memory", "timeout", "zip"])]
    remove: bool,
}

const MEMORY: i32 = 2048;
const TIMEOUT: i32 = 300;
/// Megabytes of /tmp: a toolchain or two, and what a command writes.
const DISK: i32 = 2048;
/// Of these, what the function keeps from one thunk to the next.
const CACHE: i32 = 1024;
const ZIP: &str = "gg-function.zip";
/// A change takes seconds; a role that has just been made, up to half a minute until Lambda knows it.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(500);

/// `ggforce deploy`.
///
/// # Errors
/// What AWS says.
pub fn main(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let service = Service::open(arguments.region.as_deref(), "--region REGION").await?;
        let name = function_name();
        if arguments.remove {
            remove(&service, &name).await
        } else {
            deploy(&service, &name, arguments).await
        }
    })
}

async fn remove(service: &Service, name: &str) -> Result<()> {
    let removed = service.client.delete_function().function_name(name).send().await;
    removed.map_err(|error| failed(service, &error))?;
    said(&format!("{name} is removed from {}", service.region));
    Ok(())
}

async fn deploy(service: &Service, name: &str, arguments: &Arguments) -> Result<()> {
    let zip = Blob::new(read_zip(arguments.zip.as_deref())?);
    let found = service.client.get_function_configuration().function_name(name).send().await;
    match found {
        Ok(_) => update(service, name, arguments, zip).await?,
        Err(error) if error.code() == Some("ResourceNotFoundException") => {
            create(service, name, arguments, zip).await?;
        }
        Err(error) => return Err(failed(service, &error)),
    }
    settled(service, name).await?;
    said(&format!("{name} is ready in {}", service.region));
    Ok(())
}

/// It is done, whether or not somebody listens.
fn said(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn read_zip(named: Option<&Path>) -> Result<Vec<u8>> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => own::beside(ZIP)?.with_context(|| {
            format!("there is no {ZIP} beside this program: scripts/package-lambda makes it, --zip FILE names another")
        })?,
    };
    std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// What this program is compiled for is what thunks are recorded on.
fn architecture() -> Architecture {
    if cfg!(target_arch = "aarch64") { Architecture::Arm64 } else { Architecture::X8664 }
}

fn disk() -> Result<EphemeralStorage> {
    Ok(EphemeralStorage::builder().size(DISK).build()?)
}

fn environment() -> Environment {
    Environment::builder().variables("GG_CACHE_SIZE", CACHE.to_string()).build()
}

async fn create(service: &Service, name: &str, arguments: &Arguments, zip: Blob) -> Result<()> {
    let role = arguments.role.as_deref();
    let role =
        role.context("the function is new and needs a role: --role ARN, or GG_LAMBDA_ROLE (docs/LAMBDA.md)")?;
    let started = Instant::now();
    loop {
        let request = service.client.create_function().function_name(name).role(role);
        let request =
            request.runtime(Runtime::Providedal2023).handler("bootstrap").architectures(architecture());
        let request = request.memory_size(arguments.memory.unwrap_or(MEMORY));
        let request = request.timeout(arguments.timeout.unwrap_or(TIMEOUT));
        let request = request.ephemeral_storage(disk()?).environment(environment());
        let request = request.description("Runs thunks for ggforce --engine lambda");
        match request.code(FunctionCode::builder().zip_file(zip.clone()).build()).send().await {
            Ok(_) => return Ok(()),
            // The role is not yet known everywhere. Lambda has no code of its own for that.
            Err(error)
                if error.code() == Some("InvalidParameterValueException")
                    && error.message().is_some_and(|message| message.contains("cannot be assumed"))
                    && started.elapsed() < PATIENCE =>
            {
                tokio::time::sleep(LOOK * 4).await;
            }
            Err(error) => return Err(failed(service, &error)),
        }
    }
}

async fn update(service: &Service, name: &str, arguments: &Arguments, zip: Blob) -> Result<()> {
    settled(service, name).await?;
    let request = service.client.update_function_code().function_name(name).architectures(architecture());
    request.zip_file(zip).send().await.map_err(|error| failed(service, &error))?;
    settled(service, name).await?;
    let request = service.client.update_function_configuration().function_name(name);
    let request = request.set_role(arguments.role.clone()).set_memory_size(arguments.memory);
    let request = request.set_timeout(arguments.timeout);
    let request = request.ephemeral_storage(disk()?).environment(environment());
    request.send().await.map_err(|error| failed(service, &error))?;
    Ok(())
}

/// Waits until the function can be called and changed.
async fn settled(service: &Service, name: &str) -> Result<()> {
    let started = Instant::now();
    loop {
        let request = service.client.get_function_configuration().function_name(name);
        let now = request.send().await.map_err(|error| failed(service, &error))?;
        let why =
            || now.last_update_status_reason().or(now.state_reason()).unwrap_or("no more is said").to_owned();
        match (now.state(), now.last_update_status()) {
            (Some(State::Failed), _) | (_, Some(LastUpdateStatus::Failed)) => {
                bail!("{name} failed: {}", why())
            }
            (Some(State::Pending), _) | (_, Some(LastUpdateStatus::InProgress)) => {}
            _ => return Ok(()),
        }
        if started.elapsed() > PATIENCE {
            bail!("{name} is still being changed after {} s: {}", PATIENCE.as_secs(), why());
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn failed<E>(
    service: &Service,
    error: &aws_sdk_lambda::error::SdkError<E, aws_sdk_lambda::config::http::HttpResponse>,
) -> anyhow::Error
where
    E: aws_sdk_lambda::error::ProvideErrorMetadata + std::error::Error + 'static,
{
    anyhow::anyhow!("lambda={}: {}", service.region, service.fault(error).why())
}
