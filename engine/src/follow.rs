// SPDX-License-Identifier: Apache-2.0
//! The engine's side of a recording that goes on: takes what the recorder orders, and tells it what stands where. Knows neither graph
//! nor store.

use std::collections::VecDeque;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use thunk::Placeholder;
use thunk::following::{self, News, Order};
use tokio::sync::mpsc::{self, UnboundedReceiver};

use crate::graph::{Graph, NodeId, State};

/// Orders as they come. That they end without a last one means that nothing more is wanted.
pub type Orders = UnboundedReceiver<Order>;

/// Reads orders from the recorder in a thread of its own, which ends with the process.
///
/// # Errors
/// There is no thread to be had.
pub fn orders(mut stream: UnixStream) -> Result<Orders> {
    let (sender, orders) = mpsc::unbounded_channel();
    let read = move || {
        while let Ok(Some(order)) = following::read::<Order>(&mut stream) {
            if sender.send(order).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("orders".into()).spawn(read).context("cannot start a thread")?;
    Ok(orders)
}

/// Whom the recorder's questions come from.
pub struct Follower {
    stream: UnixStream,
    asked: Vec<Asked>,
    /// Where placeholders stand that nobody waits for, where those are done aside only.
    aside: VecDeque<PathBuf>,
}

/// Something that somebody waits for.
pub struct Asked {
    /// The order's number.
    pub number: u32,
    /// What it takes.
    pub nodes: Vec<NodeId>,
    /// What is to be in place then.
    pub paths: Vec<PathBuf>,
}

impl Follower {
    /// Tells the recorder at the other end of this stream.
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, asked: Vec::new(), aside: VecDeque::new() }
    }

    /// Does somebody wait?
    pub fn is_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Placeholders stand at these paths, and may be done aside.
    pub fn note(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        self.aside.extend(paths);
    }

    /// The first of these that has not been taken yet.
    pub fn take(&mut self) -> Option<PathBuf> {
        self.aside.pop_front()
    }

    /// Somebody waits from now on.
    pub fn add(&mut self, asked: Asked) {
        self.asked.push(asked);
    }

    /// A command has failed, and no further one is started but for who waits.
    pub fn stopped(&mut self) {
        self.tell(&News { stopped: true, ..News::default() });
    }

    /// Answers those whose thunks have come to their end.
    pub fn answer(&mut self, graph: &Graph) {
        let ended = |id: &NodeId| matches!(graph.state(*id), State::Reduced | State::Failed | State::Blocked);
        let done: Vec<Asked> = self.asked.extract_if(.., |asked| asked.nodes.iter().all(ended)).collect();
        for Asked { number, paths, .. } in done {
            let done = paths.iter().all(|path| matches!(Placeholder::read(path), Ok(None)));
            self.tell(&News { number, done, stopped: false });
        }
    }

    fn tell(&mut self, news: &News) {
        // A recorder that is gone also ends the orders.
        let _ = following::write(&mut self.stream, news);
    }
}
