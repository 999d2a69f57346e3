// SPDX-License-Identifier: Apache-2.0
//! A proxy that does to connections what networks and broken servers do to them. Knows nothing of what goes over them.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What happens to one connection. Bytes are counted in both directions together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    Nothing,
    /// It is closed as soon as it is there.
    Refused,
    /// It is closed after so many bytes, often in the middle of a message.
    Cut(u64),
    /// One bit of this byte is another one.
    Flipped(u64),
    /// After so many bytes nothing passes any more, and nobody is told.
    Silent(u64),
    /// Everything takes longer by this, each time.
    Slow(Duration),
    /// Its first bytes are answered with this, by nobody but the proxy, and it is closed.
    Answered(&'static str),
}

/// A proxy under way, before a server on this machine.
pub struct Proxy {
    /// Where it listens.
    pub port: u16,
    stopped: Arc<AtomicBool>,
    faults: Arc<Mutex<Vec<Fault>>>,
}

impl Proxy {
    /// Listens, and passes on to the port what comes. `fault` is asked for each connection what is to happen to it.
    pub fn start(to: u16, mut fault: impl FnMut() -> Fault + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("this machine has free ports");
        let port = listener.local_addr().expect("it is bound").port();
        let stopped = Arc::new(AtomicBool::new(false));
        let faults = Arc::new(Mutex::new(Vec::new()));
        let (stop, seen) = (Arc::clone(&stopped), Arc::clone(&faults));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let fault = fault();
                seen.lock().expect("nobody panics with it").push(fault);
                if let Fault::Answered(text) = fault {
                    thread::spawn(move || answer(&client, text));
                } else if fault != Fault::Refused
                    && let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to))
                {
                    pass(&client, &server, fault, &stop);
                }
            }
        });
        Self { port, stopped, faults }
    }

    /// What happened to the connections so far.
    ///
    /// # Panics
    /// If the proxy has panicked.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        self.faults.lock().expect("nobody panics with it").clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // So that it looks.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

/// Takes all that comes until the other side has had the answer: a connection that is closed with something unread in it is reset,
/// and the answer may be lost.
fn answer(mut client: &TcpStream, text: &str) {
    let mut buffer = [0u8; 16 << 10];
    if let Ok(1..) = client.read(&mut buffer) {
        let _ = client.write_all(text.as_bytes());
        let _ = client.shutdown(Shutdown::Write);
        let _ = client.set_read_timeout(Some(Duration::from_secs(5)));
        while let Ok(1..) = client.read(&mut buffer) {}
    }
}

fn pass(client: &TcpStream, server: &TcpStream, fault: Fault, stopped: &Arc<AtomicBool>) {
    let passed = Arc::new(AtomicU64::new(0));
    for (from, to) in [(client, server), (server, client)] {
        let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
        let (passed, stopped) = (Arc::clone(&passed), Arc::clone(stopped));
        thread::spawn(move || {
            one_way(&from, &to, fault, &passed, &stopped);
            // The other direction goes with it.
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
}

fn one_way(mut from: &TcpStream, mut to: &TcpStream, fault: Fault, passed: &AtomicU64, stopped: &AtomicBool) {
    let mut buffer = [0u8; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let before = passed.fetch_add(count as u64, Ordering::Relaxed);
        let now = before + count as u64;
        let bytes = &mut buffer[..count];
        match fault {
            Fault::Nothing | Fault::Refused | Fault::Answered(_) => {}
            Fault::Cut(after) if now > after => {
                let left = after.saturating_sub(before) as usize;
                let _ = to.write_all(&bytes[..left]);
                return;
            }
            Fault::Flipped(at) if (before..now).contains(&at) => bytes[(at - before) as usize] ^= 1,
            Fault::Silent(after) if now > after => {
                while !stopped.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(20));
                }
                return;
            }
            Fault::Slow(by) => thread::sleep(by),
            Fault::Cut(_) | Fault::Flipped(_) | Fault::Silent(_) => {}
        }
        if to.write_all(bytes).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a server that sends everything back sends through such a proxy.
    fn echoed(fault: Fault) -> Vec<u8> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 64];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                let _ = stream.write_all(&buffer[..count]);
            }
        });
        let proxy = Proxy::start(port, move || fault);
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).unwrap();
        // That nothing comes is seen by waiting; whatever else is done to a connection ends it, or gives all.
        let patience = if matches!(fault, Fault::Silent(_)) { 300 } else { 60_000 };
        stream.set_read_timeout(Some(Duration::from_millis(patience))).unwrap();
        let _ = stream.write_all(b"0123456789");
        let mut answer = vec![0; 10];
        let mut got = 0;
        while got < answer.len()
            && let Ok(count @ 1..) = stream.read(&mut answer[got..])
        {
            got += count;
        }
        answer.truncate(got);
        assert!(proxy.faults().iter().all(|f| *f == fault));
        answer
    }

    #[test]
    fn faults_are_what_they_are_called() {
        assert_eq!(echoed(Fault::Nothing), b"0123456789");
        assert_eq!(echoed(Fault::Refused), b"");
        assert_eq!(echoed(Fault::Cut(14)), b"0123");
        assert_eq!(echoed(Fault::Flipped(13)), b"0122456789");
        assert_eq!(echoed(Fault::Silent(10)), b"");
        assert_eq!(echoed(Fault::Answered("no")), b"no");
        assert_eq!(echoed(Fault::Slow(Duration::from_millis(10))), b"0123456789");
    }
}
