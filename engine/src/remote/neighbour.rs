// SPDX-License-Identifier: Apache-2.0
//! Whose program is at the other end of a connection that does not leave this machine: every user may connect to the
//! loopback interface, and listen there. The kernel's tables of connections tell. Knows nothing of what is said.

use std::net::SocketAddr;

/// The tables, of IPv4 and IPv6.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// The kernel leaves out of a table, now and then, what changes its place while it is read.
const TRIES: u32 = 5;

/// Is the program at `peer`, which has called `here`, this user's own, or root's, who may do everything anyway? None where nobody can tell:
/// without `/proc`.
pub fn is_ours(here: SocketAddr, peer: SocketAddr) -> Option<bool> {
    // SAFETY: takes nothing.
    let own = unsafe { libc::geteuid() };
    for _ in 0..TRIES {
        let mut tables = TABLES.iter().filter_map(|path| std::fs::read_to_string(path).ok()).peekable();
        tables.peek()?;
        if let Some(owner) = tables.find_map(|table| owner(&table, here, peer)) {
            return Some(owner == own || owner == 0);
        }
    }
    Some(false)
}

/// The user whose socket at `peer` is connected to `here`.
fn owner(table: &str, here: SocketAddr, peer: SocketAddr) -> Option<u32> {
    let (here, peer) = (written(here), written(peer));
    table.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let is_it = words.next() == Some(&peer) && words.next() == Some(&here);
        // State, queues, timer, retransmissions.
        if is_it { words.nth(4)?.parse().ok() } else { None }
    })
}

/// As the tables have it: words as they are in memory, in hexadecimal.
fn written(address: SocketAddr) -> String {
    let word = |bytes: &[u8]| match bytes.try_into() {
        Ok(bytes) => format!("{:08X}", u32::from_ne_bytes(bytes)),
        Err(_) => String::new(),
    };
    let ip = match address {
        SocketAddr::V4(address) => word(&address.ip().octets()),
        SocketAddr::V6(address) => match address.ip().to_ipv4_mapped() {
            Some(ip) => word(&ip.octets()),
            None => address.ip().octets().chunks(4).map(word).collect(),
        },
    };
    format!("{ip}:{:04X}", address.port())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_caller_of_ours_is_ours() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // Not every machine has both.
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, _) = listener.accept().unwrap();
            let ends = (server.local_addr().unwrap(), server.peer_addr().unwrap());
            assert_eq!(is_ours(ends.0, ends.1), Some(true), "{ends:?}");
            assert_eq!(is_ours(ends.0, SocketAddr::new(ends.1.ip(), 1)), Some(false));
            drop(client);
        }
    }

    #[test]
    fn the_owner_is_read_from_the_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:1D26 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0\n   \
            1: 0100007F:C350 0100007F:1D26 01 00000000:00000000 02:000A7214 00000000  1000        0 2 2 0 20 4 30 10 -1\n";
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(owner(table, at(7462), at(50000)), Some(1000));
        assert_eq!(owner(table, at(50000), at(7462)), None);
        assert_eq!(owner("", at(1), at(2)), None);
    }
}
