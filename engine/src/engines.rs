// SPDX-License-Identifier: Apache-2.0
//! Which back ends and which storage a user wants, and a run with these: what is known elsewhere is fetched before, what
//! is new is stored there afterwards.

use std::path::PathBuf;
use std::rc::Rc;
use std::str::FromStr;

#[cfg(feature = "lambda")]
use anyhow::ensure;
use anyhow::{Context as _, Result, bail};
use clap::Args;
use thunk::{ObjectName, Store};
use tokio::signal::unix::{SignalKind, signal};

use crate::backend::{Backend, With};
use crate::fleet::{Duty, Fleet};
use crate::follow::{Follower, Orders};
use crate::force::{self, Summary};
use crate::home::{Home, Supplied};
#[cfg(feature = "lambda")]
use crate::lambda::client::Lambda;
use crate::local::Local;
use crate::materialise::Target;
use crate::progress::Progress;
use crate::remote::client::Remote;
use crate::remote::key::Key;
use crate::remote::stream::Security;
use crate::schedule::Options;
use crate::sharing::{Shared, Sharing};
use crate::worker::Manner;

/// A back end as it is named on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// This machine.
    Local,
    /// A worker host.
    Remote(String),
    /// AWS Lambda, in this region or the user's.
    Lambda(Option<String>),
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.split_once('=') {
            None if text == "local" => Ok(Self::Local),
            Some(("remote", address)) => match address.rsplit_once(':') {
                Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                    Ok(Self::Remote(address.into()))
                }
                _ => Err("a worker is named remote=HOST:PORT".into()),
            },
            None if text == "lambda" => Ok(Self::Lambda(None)),
            Some(("lambda", region)) if !region.is_empty() => Ok(Self::Lambda(Some(region.into()))),
            _ => Err("engines are local, remote=HOST:PORT and lambda[=REGION]".into()),
        }
    }
}

/// The options about back ends and storage.
#[derive(Args)]
pub struct Chosen {
    /// Where commands run: local, remote=HOST:PORT (a ggforce worker), lambda[=REGION] (ggforce deploy). Several times for
    /// several [default: local].
    #[arg(short, long = "engine", value_name = "ENGINE")]
    engines: Vec<Named>,
    /// Run this many commands at once [default: one per processor; for a remote engine what it says; 100 on Lambda]. With several
    /// engines as often as --engine, in the same order, or once for all.
    #[arg(short, long, value_name = "N")]
    jobs: Vec<usize>,
    /// Where commands run that no engine can run, or that all have failed with: local.
    #[arg(long, value_name = "ENGINE")]
    fallback_engine: Option<Named>,
    /// The key that remote workers must hold too [default: ~/.config/gg/key, if it is there].
    #[arg(long, value_name = "FILE", env = "GG_KEY")]
    key: Option<PathBuf>,
    /// Share results and inputs through this place: s3://BUCKET/PREFIX?region=…, redis://HOST, file:///DIRECTORY.
    #[arg(long, value_name = "URI", env = "GG_STORAGE_URI", hide_env_values = true)]
    storage: Option<String>,
    /// Leave outputs that are nobody's target in the storage.
    #[arg(long, conflicts_with = "follow")]
    no_download: bool,
}

/// How many commands run at once on this machine.
///
/// # Errors
/// None are wanted.
pub fn jobs(wanted: Option<usize>) -> Result<usize> {
    match wanted {
        Some(0) => bail!("-j 0: at least one command must run at once"),
        Some(jobs) => Ok(jobs),
        None => Ok(std::thread::available_parallelism().map_or(1, std::num::NonZero::get)),
    }
}

impl Chosen {
    /// The engines, each with its number of jobs if one is given.
    fn pairs(&self) -> Result<Vec<(Named, Option<usize>)>> {
        let engines = if self.engines.is_empty() { vec![Named::Local] } else { self.engines.clone() };
        if self.jobs.contains(&0) {
            jobs(Some(0))?;
        }
        let jobs: Vec<Option<usize>> = match self.jobs.as_slice() {
            [] => vec![None; engines.len()],
            [all] => vec![Some(*all); engines.len()],
            each if each.len() == engines.len() => each.iter().copied().map(Some).collect(),
            each => bail!("{} engines, but --jobs is given {} times", engines.len(), each.len()),
        };
        Ok(engines.into_iter().zip(jobs).collect())
    }

    /// Is it one engine, and no other instead?
    fn is_one(&self) -> bool {
        self.engines.len() <= 1 && self.fallback_engine.is_none()
    }

    /// The URI of the storage.
    fn storage(&self) -> Option<&str> {
        self.storage.as_deref().filter(|uri| !uri.is_empty())
    }

    /// The storage, open.
    async fn sharing(&self, store: &Rc<Store>, home: &Rc<Home>) -> Result<Option<Rc<Sharing>>> {
        match self.storage() {
            Some(uri) => Sharing::open(Rc::clone(store), uri, Rc::clone(home)).await.map(Some),
            None if home.leaves_some() => bail!(NOWHERE_TO_STAY),
            None => Ok(None),
        }
    }
}

const NOWHERE_TO_STAY: &str =
    "--no-download: outputs can stay only in a storage: --storage URI, or set GG_STORAGE_URI";

/// Back ends on their way to being open.
struct Opening<'a> {
    store: &'a Rc<Store>,
    chosen: &'a Chosen,
    manner: Manner,
    sharing: Option<&'a Rc<Sharing>>,
    /// Once it has been found out.
    security: Option<Security>,
    locals: Vec<Rc<Local>>,
    told: Vec<String>,
}

impl Opening<'_> {
    async fn open(&mut self, engine: Named, wanted: Option<usize>) -> Result<Rc<dyn Backend>> {
        match engine {
            Named::Local => {
                let local = Rc::new(Local::new(jobs(wanted)?, self.store.root(), self.manner));
                self.locals.push(Rc::clone(&local));
                Ok(self.supplied(local))
            }
            Named::Remote(address) => {
                let security = self.security()?;
                let store = Rc::clone(self.store);
                let (remote, error) = Remote::open(store, &address, wanted, security).await;
                if let Some(error) = error {
                    self.told.push(format!("{}: {error:#}", remote.label()));
                }
                Ok(self.supplied(Rc::new(remote)))
            }
            Named::Lambda(region) => self.lambda(region.as_deref(), wanted).await,
        }
    }

    #[cfg(feature = "lambda")]
    async fn lambda(&mut self, region: Option<&str>, wanted: Option<usize>) -> Result<Rc<dyn Backend>> {
        let storage = self.sharing.zip(self.chosen.storage());
        let lambda = Lambda::open(Rc::clone(self.store), region, wanted, storage).await;
        let (lambda, why) = lambda.context("lambda")?;
        if let Some(why) = why.map(|why| format!("{}: {why}", lambda.label())) {
            // Nobody else would compute anything.
            ensure!(!self.chosen.is_one(), why);
            self.told.push(why);
        }
        Ok(Rc::new(lambda))
    }

    #[cfg(not(feature = "lambda"))]
    async fn lambda(&mut self, _: Option<&str>, _: Option<usize>) -> Result<Rc<dyn Backend>> {
        bail!(crate::lambda::ABSENT)
    }

    /// What is left in the storage must come to those who look into this machine's store.
    fn supplied(&self, inner: Rc<dyn Backend>) -> Rc<dyn Backend> {
        match self.sharing {
            Some(sharing) if self.chosen.no_download => {
                let (store, sharing) = (Rc::clone(self.store), Rc::clone(sharing));
                Rc::new(With { inner, around: Supplied { store, sharing } })
            }
            _ => inner,
        }
    }

    /// How to open connections.
    fn security(&mut self) -> Result<Security> {
        if let Some(security) = &self.security {
            return Ok(security.clone());
        }
        let key = Key::find(self.chosen.key.as_deref())?;
        Ok(self.security.insert(Security::by(key.as_ref())?).clone())
    }
}

/// Open back ends, and the storage if there is one.
pub struct Engines {
    backend: Rc<dyn Backend>,
    /// What is to be ended.
    locals: Vec<Rc<Local>>,
    fleet: Option<Rc<Fleet>>,
    sharing: Option<Rc<Sharing>>,
    home: Rc<Home>,
    /// What was said of back ends at the start.
    told: Vec<String>,
}

impl Engines {
    /// Opens what was chosen.
    ///
    /// # Errors
    /// Something is malformed, or takes a key that is not there.
    pub async fn open(
        store: &Rc<Store>,
        chosen: &Chosen,
        manner: Manner,
        progress: &mut Progress,
    ) -> Result<Self> {
        let pairs = chosen.pairs()?;
        let regular = pairs.into_iter().map(|(engine, jobs)| (engine, jobs, Duty::Regular));
        let fallback = chosen.fallback_engine.iter().map(|engine| (engine.clone(), None, Duty::Fallback));
        let home = Rc::new(Home::new(chosen.no_download));
        let sharing = chosen.sharing(store, &home).await?;
        let mut opening = Opening {
            store,
            chosen,
            manner,
            sharing: sharing.as_ref(),
            security: None,
            locals: Vec::new(),
            told: Vec::new(),
        };
        let mut members = Vec::new();
        for (engine, jobs, duty) in regular.chain(fallback) {
            members.push((opening.open(engine, jobs).await?, duty));
        }
        let Opening { locals, told, .. } = opening;
        let (fleet, backend) = match members.pop() {
            Some((only, _)) if chosen.is_one() && only.completes() => (None, only),
            last => {
                members.extend(last);
                let fleet = Rc::new(Fleet::new(members));
                (Some(Rc::clone(&fleet)), fleet as Rc<dyn Backend>)
            }
        };
        told.iter().for_each(|told| progress.say(told));
        Ok(Self { backend, locals, fleet, sharing, home, told })
    }

    /// Forces the targets.
    ///
    /// # Errors
    /// As [`force::force`].
    pub async fn force(
        self,
        store: &Rc<Store>,
        targets: Vec<Target>,
        options: Options,
        recorder: Option<(Orders, Follower)>,
        progress: &mut Progress,
    ) -> Result<Summary> {
        let Some(sharing) = &self.sharing else {
            let (backend, home) = (Rc::clone(&self.backend), Rc::clone(&self.home));
            let summary = force::force(store, targets, backend, home, options, recorder, progress).await;
            self.finish(progress).await;
            return summary;
        };
        let thunks: Vec<ObjectName> = targets.iter().map(|target| target.output.thunk).collect();
        thunks.iter().for_each(|thunk| self.home.want(*thunk));
        sharing.pull(thunks.iter().copied()).await?;
        sharing.complaints().iter().for_each(|complaint| progress.say(complaint));
        // From here on: what comes while workers end is not lost.
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
        let (inner, around) = (Rc::clone(&self.backend), Shared(Rc::clone(sharing)));
        let shared = Rc::new(With { inner, around });
        let summary =
            force::force(store, targets, shared, Rc::clone(&self.home), options, recorder, progress).await;
        self.finish(progress).await;
        let mut summary = summary?;
        // The loop took what came from the storage for runs, but for what came too late.
        let fetched = sharing.fetched().min(summary.run);
        summary.run -= fetched;
        summary.known += fetched;
        if !summary.interrupted {
            tokio::select! {
                pushed = sharing.push(thunks.into_iter()) => pushed?,
                // All is in place; what others would get is not all there.
                _ = interrupt.recv() => {
                    progress.say("interrupted while results were stored for others: the next run stores the rest");
                    summary.interrupted = true;
                }
            }
        }
        sharing.complaints().iter().for_each(|complaint| progress.say(complaint));
        let traffic = sharing.traffic();
        progress.note(&format!(
            "{}: {} requests, {} KB up, {} KB down",
            sharing.storage().label(),
            traffic.requests,
            traffic.up.div_ceil(1024),
            traffic.down.div_ceil(1024)
        ));
        Ok(summary)
    }

    async fn finish(&self, progress: &mut Progress) {
        for local in &self.locals {
            local.finish().await;
        }
        for line in self.backend.report() {
            progress.note(&line);
        }
        let complaints = self.fleet.iter().flat_map(|fleet| fleet.complaints());
        complaints.filter(|said| !self.told.contains(said)).for_each(|said| progress.say(&said));
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        chosen: Chosen,
        /// The program has this, and some of these options do not go with it.
        #[arg(long)]
        follow: bool,
    }

    fn pairs(words: &[&str]) -> Result<Vec<(Named, Option<usize>)>> {
        Line::try_parse_from([&["ggforce"], words].concat())?.chosen.pairs()
    }

    #[test]
    fn jobs_go_with_engines() {
        let far = || Named::Remote("h:1".into());
        assert_eq!(pairs(&[]).unwrap(), [(Named::Local, None)]);
        assert_eq!(pairs(&["-j", "4"]).unwrap(), [(Named::Local, Some(4))]);
        assert_eq!(
            pairs(&["-j1", "--engine", "local", "-j10", "--engine", "remote=h:1"]).unwrap(),
            [(Named::Local, Some(1)), (far(), Some(10))]
        );
        assert_eq!(
            pairs(&["-e", "remote=h:1", "-e", "local"]).unwrap(),
            [(far(), None), (Named::Local, None)]
        );
        assert_eq!(
            pairs(&["-e", "lambda", "-e", "lambda=eu-west-1", "-j", "7"]).unwrap(),
            [(Named::Lambda(None), Some(7)), (Named::Lambda(Some("eu-west-1".into())), Some(7))]
        );
        for bad in [
            &["-j1", "-j2"][..],
            &["-j0"],
            &["-e", "moon"],
            &["-e", "remote=h"],
            &["-e", "remote=h:port"],
            &["-e", "remote=:1"],
            &["-e", "remote"],
            &["-e", "lambda="],
        ] {
            assert!(pairs(bad).is_err(), "{bad:?}");
        }
    }
}
