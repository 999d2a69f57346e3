// SPDX-License-Identifier: Apache-2.0
//! The graph of thunks that are to be forced. It owns what is known of each; everybody else holds ids. Unaware of back
//! ends, of files in the tree and of how long anything takes to arrive.
//!
//! ```text
//!            all inputs reduced      dispatched           answered
//!  Waiting ───────────────────▶ Ready ─────────▶ Running ─────────▶ Reduced
//!     │                           │                  │
//!     │ an input failed           │ known reduction  └────────────▶ Failed
//!     └────────▶ Blocked          └────────▶ Reduced
//! ```
//!
//! A thunk that returned others is `Waiting` once more, for these.

use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use anyhow::Result;
use thunk::{ObjectName, Reduction, Store, Thunk};

/// One thunk of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

/// Where a thunk is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Some of its inputs are not reduced yet.
    Waiting,
    /// All inputs are reduced; it can run.
    Ready,
    /// A back end has it.
    Running,
    /// Its outputs are in the store.
    Reduced,
    /// Its command failed.
    Failed,
    /// It needs something that failed.
    Blocked,
}

impl State {
    /// Has it not come to its end?
    fn may_run(self) -> bool {
        matches!(self, Self::Waiting | Self::Ready | Self::Running)
    }
}

struct Node {
    name: ObjectName,
    state: State,
    /// Thunks that it needs and that are not reduced, while `Waiting`.
    missing: u32,
    /// Thunks that need it.
    users: Vec<NodeId>,
    /// Thunks that it needs.
    needs: Vec<NodeId>,
    /// Estimated time that it takes, in microseconds.
    own: u64,
    /// That is more than a guess.
    known: bool,
    /// Estimated time from its start to the end of everything that needs it, in microseconds.
    remaining: u64,
    /// Somebody waits for it, or for something that needs it.
    urgent: bool,
}

/// How many thunks are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All thunks of the graph.
    pub total: usize,
    /// `Ready` ones.
    pub ready: usize,
    /// `Running` ones.
    pub running: usize,
    /// `Reduced` ones.
    pub reduced: usize,
    /// `Failed` ones.
    pub failed: usize,
    /// `Blocked` ones.
    pub blocked: usize,
}

/// The graph.
#[derive(Default)]
pub struct Graph {
    nodes: Vec<Node>,
    by_name: HashMap<ObjectName, NodeId>,
    counts: Counts,
    ready: BinaryHeap<(bool, u64, std::cmp::Reverse<NodeId>)>,
    /// How long all take together that may still run, in microseconds.
    left: u64,
}

/// What a run is taken to last where nothing is known of it.
const USUAL: Duration = Duration::from_millis(200);

impl Graph {
    /// Adds a thunk and everything that it needs, as far as that is not reduced yet. `reduced` is asked once for each thunk
    /// whether it is; `estimate` is shown one that is not, once it is read, and tells how long it may take.
    ///
    /// # Errors
    /// A thunk is not in the store, or is damaged. It has failed, then, and what needs it is blocked.
    pub fn add(
        &mut self,
        store: &Store,
        name: ObjectName,
        estimate: &mut dyn FnMut(&ObjectName, &Thunk) -> Option<Duration>,
        reduced: &mut dyn FnMut(&ObjectName) -> bool,
    ) -> Result<NodeId> {
        if let Some(&id) = self.by_name.get(&name) {
            return Ok(id);
        }
        // Depth first without recursion: chains of thunks can be long.
        let root = self.insert(name, reduced);
        let mut unread = vec![root];
        let mut unreadable = None;
        while let Some(id) = unread.pop() {
            if self.node(id).state != State::Waiting || !self.node(id).needs.is_empty() {
                continue;
            }
            let thunk = match store.thunk(&self.node(id).name) {
                Ok(thunk) => thunk,
                Err(error) => {
                    // Nobody who asks for it later is to wait for it.
                    self.failed(id);
                    unreadable.get_or_insert(error);
                    continue;
                }
            };
            let estimate = estimate(&self.node(id).name, &thunk);
            self.take(id, estimate.unwrap_or(USUAL));
            self.node_mut(id).known = estimate.is_some();
            let mut needs: Vec<ObjectName> = thunk.thunks.iter().map(|t| t.from.thunk).collect();
            needs.sort_unstable();
            needs.dedup();
            for need in needs {
                let (needed, new) = match self.by_name.get(&need) {
                    Some(&needed) => (needed, false),
                    None => (self.insert(need, reduced), true),
                };
                self.node_mut(id).needs.push(needed);
                if self.node(needed).state != State::Reduced {
                    self.node_mut(id).missing += 1;
                    self.node_mut(needed).users.push(id);
                }
                if new {
                    unread.push(needed);
                }
            }
            let needs = &self.node(id).needs;
            if needs.iter().any(|need| matches!(self.node(*need).state, State::Failed | State::Blocked)) {
                self.block(id);
            } else if self.node(id).missing == 0 {
                self.set(id, State::Ready);
            }
        }
        unreadable.map_or(Ok(root), |error| Err(error.into()))
    }

    fn insert(&mut self, name: ObjectName, reduced: &mut dyn FnMut(&ObjectName) -> bool) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        let reduced = reduced(&name);
        let state = if reduced { State::Reduced } else { State::Waiting };
        self.nodes.push(Node {
            name,
            state,
            missing: 0,
            users: Vec::new(),
            needs: Vec::new(),
            own: 0,
            known: false,
            remaining: 0,
            urgent: false,
        });
        self.by_name.insert(name, id);
        self.counts.total += 1;
        self.counts.reduced += usize::from(reduced);
        id
    }

    /// Sets how long each thunk is expected to run.
    ///
    /// # Errors
    /// The name of a thunk of which that is not known.
    pub fn expect(
        &mut self,
        own: impl Fn(&ObjectName) -> Option<Duration>,
    ) -> std::result::Result<(), ObjectName> {
        for id in (0..self.nodes.len() as u32).map(NodeId) {
            let name = self.node(id).name;
            self.take(id, own(&name).ok_or(name)?);
            self.node_mut(id).known = true;
        }
        Ok(())
    }

    /// The thunk takes so long.
    fn take(&mut self, id: NodeId, own: Duration) {
        let before = std::mem::replace(&mut self.node_mut(id).own, own.as_micros() as u64);
        if self.node(id).state.may_run() {
            self.left = self.left - before + self.node(id).own;
        }
    }

    /// Once everything is added: longest remaining path first.
    pub fn prioritise(&mut self) {
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut open: Vec<u32> = self.nodes.iter().map(|n| n.users.len() as u32).collect();
        let mut last: Vec<usize> = (0..self.nodes.len()).filter(|&i| open[i] == 0).collect();
        while let Some(index) = last.pop() {
            order.push(index);
            for need in &self.nodes[index].needs {
                let need = need.0 as usize;
                if open[need] > 0 {
                    open[need] -= 1;
                    if open[need] == 0 {
                        last.push(need);
                    }
                }
            }
        }
        for index in order {
            let after = self.nodes[index].users.iter().map(|u| self.node(*u).remaining).max().unwrap_or(0);
            self.nodes[index].remaining = self.nodes[index].own + after;
        }
        self.ready.clear();
        for index in 0..self.nodes.len() {
            if self.nodes[index].state == State::Ready {
                self.queue(NodeId(index as u32));
            }
        }
    }

    /// The same for a thunk that has been added since, and what it needs.
    pub fn prioritise_from(&mut self, id: NodeId) {
        self.raise(vec![(id, 0)]);
    }

    /// After each of these comes at least so much.
    fn raise(&mut self, mut raised: Vec<(NodeId, u64)>) {
        while let Some((id, after)) = raised.pop() {
            let remaining = self.node(id).own + after;
            if remaining <= self.node(id).remaining {
                continue;
            }
            self.node_mut(id).remaining = remaining;
            if self.node(id).state == State::Ready {
                self.queue(id);
            }
            raised.extend(self.node(id).needs.iter().map(|need| (*need, remaining)));
        }
    }

    /// Somebody waits for this thunk: it and what it needs come before all others. Tells for which of them nobody
    /// has waited so far.
    pub fn hurry(&mut self, id: NodeId) -> Vec<NodeId> {
        let mut hurried = vec![id];
        let mut new = Vec::new();
        while let Some(id) = hurried.pop() {
            if std::mem::replace(&mut self.node_mut(id).urgent, true) {
                continue;
            }
            new.push(id);
            if self.node(id).state == State::Ready {
                self.queue(id);
            }
            hurried.extend(&self.node(id).needs);
        }
        new
    }

    /// Does somebody wait for it?
    pub fn is_urgent(&self, id: NodeId) -> bool {
        self.node(id).urgent
    }

    /// Does somebody wait for the thunk that [`Graph::next_ready`] would tell?
    pub fn next_is_urgent(&mut self) -> Option<bool> {
        while let Some(&(.., std::cmp::Reverse(id))) = self.ready.peek() {
            if self.node(id).state == State::Ready {
                return Some(self.node(id).urgent);
            }
            self.ready.pop();
        }
        None
    }

    fn queue(&mut self, id: NodeId) {
        let node = self.node(id);
        self.ready.push((node.urgent, node.remaining, std::cmp::Reverse(id)));
    }

    /// Where a thunk is on its way.
    pub fn state(&self, id: NodeId) -> State {
        self.node(id).state
    }

    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    /// The thunk's name.
    pub fn name(&self, id: NodeId) -> ObjectName {
        self.node(id).name
    }

    /// The thunk with this name, if it is in the graph.
    pub fn id(&self, name: &ObjectName) -> Option<NodeId> {
        self.by_name.get(name).copied()
    }

    /// The thunks that it needs.
    pub fn needs(&self, id: NodeId) -> impl Iterator<Item = ObjectName> {
        self.node(id).needs.iter().map(|&need| self.name(need))
    }

    /// How long the thunk is expected to run, if that is known.
    pub fn expected(&self, id: NodeId) -> Option<Duration> {
        let node = self.node(id);
        node.known.then(|| Duration::from_micros(node.own))
    }

    /// How long it is expected to take from the thunk's start until all that needs it is done.
    pub fn remaining(&self, id: NodeId) -> Duration {
        Duration::from_micros(self.node(id).remaining)
    }

    /// How long everything takes at least, however many workers there are, and how long one worker takes.
    pub fn bounds(&self) -> (Duration, Duration) {
        let open = self.nodes.iter().filter(|node| node.state.may_run());
        (Duration::from_micros(open.map(|node| node.remaining).max().unwrap_or(0)), self.left())
    }

    /// How long one worker takes for all that may still run.
    pub fn left(&self) -> Duration {
        Duration::from_micros(self.left)
    }

    /// How long it takes at least with so many workers: what all who stand on the longest path need must be done before they begin.
    pub fn least(&self, workers: usize) -> Duration {
        let longest = |ids: &mut dyn Iterator<Item = NodeId>| ids.max_by_key(|id| self.node(*id).remaining);
        let mut next = longest(&mut (0..self.nodes.len() as u32).map(NodeId));
        let mut least = 0;
        while let Some(id) = next {
            let mut before = 0;
            let mut seen = std::collections::HashSet::from([id]);
            let mut open = vec![id];
            while let Some(id) = open.pop() {
                let needs = self.node(id).needs.iter().filter(|need| seen.insert(**need));
                open.extend(needs.inspect(|need| before += self.node(**need).own));
            }
            least = least.max(before / workers as u64 + self.node(id).remaining);
            next = longest(&mut self.node(id).users.iter().copied());
        }
        Duration::from_micros(least)
    }

    /// How many thunks are in which state.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// All `Ready` thunks.
    pub fn all_ready(&self) -> impl Iterator<Item = ObjectName> {
        self.nodes.iter().filter(|node| node.state == State::Ready).map(|node| node.name)
    }

    /// The most urgent `Ready` thunk, which is `Running` from now on.
    pub fn next_ready(&mut self) -> Option<NodeId> {
        while let Some((.., std::cmp::Reverse(id))) = self.ready.pop() {
            if self.node(id).state == State::Ready {
                self.set(id, State::Running);
                return Some(id);
            }
        }
        None
    }

    /// A `Running` thunk is `Reduced`: those that waited for it only are `Ready`.
    pub fn reduced(&mut self, id: NodeId) {
        self.set(id, State::Reduced);
        for user in self.node(id).users.clone() {
            if self.node(user).state == State::Waiting {
                self.node_mut(user).missing -= 1;
                if self.node(user).missing == 0 {
                    self.set(user, State::Ready);
                }
            }
        }
    }

    /// A `Running` thunk has `Failed`: all that need it are `Blocked`.
    pub fn failed(&mut self, id: NodeId) {
        self.set(id, State::Failed);
        for user in self.node(id).users.clone() {
            self.block(user);
        }
    }

    /// A `Running` thunk is done once these are reduced as well: it is `Waiting` for them, and then `Ready`. Tells for which
    /// thunks somebody waits only from now on.
    ///
    /// # Errors
    /// One of them, which this is, needs the thunk itself. It is still `Running`.
    pub fn waits_for(&mut self, id: NodeId, more: &[NodeId]) -> std::result::Result<Vec<NodeId>, NodeId> {
        if let Some(&cyclic) = more.iter().find(|one| self.is_needed_by(id, **one)) {
            return Err(cyclic);
        }
        self.set(id, State::Waiting);
        let after = self.node(id).remaining;
        let mut hurried = Vec::new();
        for &need in more {
            self.node_mut(id).needs.push(need);
            if self.node(need).state != State::Reduced {
                self.node_mut(id).missing += 1;
                self.node_mut(need).users.push(id);
            }
            if self.node(id).urgent {
                hurried.extend(self.hurry(need));
            }
        }
        self.raise(more.iter().map(|&need| (need, after)).collect());
        if more.iter().any(|&need| matches!(self.node(need).state, State::Failed | State::Blocked)) {
            self.block(id);
        } else if self.node(id).missing == 0 {
            self.set(id, State::Ready);
        }
        Ok(hurried)
    }

    /// Is `id` the other one, or does that one need it? What is reduced needs nothing any more.
    fn is_needed_by(&self, id: NodeId, other: NodeId) -> bool {
        let mut seen = std::collections::HashSet::from([other]);
        let mut open = vec![other];
        while let Some(next) = open.pop() {
            if next == id {
                return true;
            }
            if self.node(next).state != State::Reduced {
                open.extend(self.node(next).needs.iter().filter(|need| seen.insert(**need)));
            }
        }
        false
    }

    /// A `Waiting` thunk needs something that failed.
    fn block(&mut self, id: NodeId) {
        let mut blocked = vec![id];
        while let Some(id) = blocked.pop() {
            if self.node(id).state == State::Waiting {
                self.set(id, State::Blocked);
                blocked.extend(&self.node(id).users);
            }
        }
    }

    /// A `Running` thunk did not get an answer, and is `Ready` again.
    pub fn retry(&mut self, id: NodeId) {
        self.set(id, State::Ready);
    }

    /// The one place where a state changes: keeps the counters and the queue.
    fn set(&mut self, id: NodeId, state: State) {
        let old = std::mem::replace(&mut self.node_mut(id).state, state);
        debug_assert_ne!(old, state);
        if old.may_run() && !state.may_run() {
            self.left -= self.node(id).own;
        }
        if let Some(count) = self.counter(old) {
            *count -= 1;
        }
        if let Some(count) = self.counter(state) {
            *count += 1;
        }
        if state == State::Ready {
            self.queue(id);
        }
    }

    fn counter(&mut self, state: State) -> Option<&mut usize> {
        match state {
            State::Waiting => None,
            State::Ready => Some(&mut self.counts.ready),
            State::Running => Some(&mut self.counts.running),
            State::Reduced => Some(&mut self.counts.reduced),
            State::Failed => Some(&mut self.counts.failed),
            State::Blocked => Some(&mut self.counts.blocked),
        }
    }
}

/// The thunk with its thunk inputs replaced by the values that they gave. Two thunks whose inputs turn out the same are
/// one thunk from here on.
///
/// # Errors
/// An input gave no such output.
pub fn resolve(
    thunk: Thunk,
    reduction_of: impl Fn(&ObjectName) -> Option<Reduction>,
) -> std::result::Result<Thunk, String> {
    let mut resolved = thunk;
    let mut known: HashMap<ObjectName, Reduction> = HashMap::new();
    for input in std::mem::take(&mut resolved.thunks) {
        let name = input.from.thunk;
        let reduction = match known.entry(name) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(reduction_of(&name).ok_or_else(|| format!("{name} is not reduced"))?)
            }
        };
        let output = reduction.output(input.from.output.as_deref()).ok_or_else(|| {
            format!("its input {} was not written by the command that should", input.path.display())
        })?;
        let list = if output.executable { &mut resolved.executables } else { &mut resolved.values };
        list.push(thunk::Input { path: input.path, value: output.value });
        if resolved.function == Some(name) {
            resolved.function = Some(output.value);
        }
    }
    resolved.canonicalise();
    Ok(resolved)
}

#[cfg(test)]
pub mod tests;
