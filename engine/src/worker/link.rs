// SPDX-License-Identifier: Apache-2.0
//! The worker's end of what connects it to the engine ([`crate::local`] has the other): a socket with a packet for each job, from which
//! the engine can take one back, and a stream for answers. Knows nothing of what jobs are.

use std::io::{self, Read as _};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context as _, Result};
use socket2::Socket;

use crate::protocol::{self, Done, Job, LONGEST};

/// Standard input and output of a worker.
pub struct Link {
    jobs: Socket,
    answers: UnixStream,
}

impl Link {
    /// What this process was started with.
    pub fn inherited() -> Self {
        // SAFETY: the engine that started this process put sockets there, and nothing else here uses them.
        let [jobs, answers] = [0, 1].map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        Self { jobs: jobs.into(), answers: answers.into() }
    }

    /// Its end is that of whoever wants answers. Nothing can be read there.
    ///
    /// # Errors
    /// There are too many descriptors.
    pub fn leash(&self) -> Result<OwnedFd> {
        Ok(self.answers.try_clone().context("cannot watch over the engine")?.into())
    }

    /// Answers jobs until there are no more, or nobody to answer to.
    ///
    /// # Errors
    /// What comes is no job.
    pub fn serve(mut self, mut run: impl FnMut(&Job) -> Done) -> Result<()> {
        let mut failed = false;
        while let Some(job) = self.next()? {
            let done =
                if job.behind && failed { Done { not_begun: true, ..Done::default() } } else { run(&job) };
            // The engine may want nothing more of what it has put behind this one: it is to say so, or to ask anew.
            failed = !done.not_begun && !matches!(done.result, Some(protocol::Result::Reduced(_)));
            match protocol::write(&mut self.answers, &done) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
                written => written?,
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Job>> {
        let mut packet = vec![0; LONGEST];
        let len = loop {
            match self.jobs.read(&mut packet) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        packet.truncate(len);
        // Nothing, at the end.
        Ok(protocol::take(&mut packet)?)
    }
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Type};

    use super::*;
    use crate::protocol::Failed;

    /// What a worker answers to jobs that are all there when it begins. Those whose name begins so fail.
    fn answers(jobs: &[(&str, bool)]) -> Vec<Done> {
        let (engine, worker) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        for &(thunk, behind) in jobs {
            engine.send(&protocol::frame(&Job { thunk: thunk.into(), behind })).unwrap();
        }
        drop(engine);
        let (mut listens, answers) = UnixStream::pair().unwrap();
        Link { jobs: worker, answers }
            .serve(|job| {
                let fails = job.thunk.starts_with("fail");
                let result = if fails {
                    protocol::Result::Failed(Failed::default())
                } else {
                    protocol::Result::Reduced(job.thunk.clone().into())
                };
                result.into()
            })
            .unwrap();
        let mut said = Vec::new();
        listens.read_to_end(&mut said).unwrap();
        std::iter::from_fn(|| protocol::take(&mut said).unwrap()).collect()
    }

    #[test]
    fn nothing_begins_behind_a_failure_unless_it_is_asked_for_anew() {
        let done =
            answers(&[("", false), ("fail", true), ("b", true), ("c", true), ("fail", true), ("d", false)]);
        assert_eq!(
            done.iter().map(|done| done.not_begun).collect::<Vec<_>>(),
            [false, false, true, false, false, false]
        );
        assert_eq!(done[2].result, None);
        assert_eq!(done[3].result, Some(protocol::Result::Reduced(b"c".into())));
    }

    #[test]
    fn nobody_to_answer_to_is_the_end() {
        let (engine, worker) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        let (listens, answers) = UnixStream::pair().unwrap();
        drop(listens);
        engine.send(&protocol::frame(&Job { thunk: "a".into(), behind: false })).unwrap();
        Link { jobs: worker, answers }.serve(|_| Done::default()).unwrap();
    }
}
