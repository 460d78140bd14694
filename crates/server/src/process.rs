//! What this process is allowed by the system, and what it takes from itself before it opens a store.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};

/// Open files that are kept for the store itself, whoever connects.
const STORE_FILES: u64 = 200;
/// Connections that have not logged in yet, where there are files enough.
const STRANGERS_MAX: u64 = 1000;

/// How many connections fit into the open files that the system allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub connections: usize,
    pub strangers: usize,
}

/// Files that are made from now on are their owner's alone, and a crash writes no image of memory: passwords and rows stand in it.
pub fn keep_private() {
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    if let Err(error) = setrlimit(Resource::RLIMIT_CORE, 0, 0) {
        tracing::warn!(%error, "a crash may leave an image of the memory (core dumps cannot be switched off)");
    }
}

/// Asks the system for as many open files as it allows, and returns the room that they leave for this many connections.
pub fn room(connections: usize) -> Room {
    let files = open_files();
    let room = room_in(files, connections);
    if room.connections < connections {
        tracing::warn!(
            "the system allows {files} open files: {} connections instead of {connections}. Raise it with ulimit -n or LimitNOFILE.",
            room.connections
        );
    }
    room
}

fn open_files() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 1024 };
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft }
}

/// The store's files come first, then those who are in, then those at the door.
fn room_in(files: u64, connections: usize) -> Room {
    let free = files.saturating_sub(STORE_FILES).max(8);
    let connections = (connections as u64).min(free * 3 / 4);
    // Who is turned away holds a file for a moment, too.
    let strangers = ((free - connections) / 2).clamp(2, STRANGERS_MAX);
    Room { connections: connections as usize, strangers: strangers as usize }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_store() {
        assert_eq!(room_in(1 << 20, 500), Room { connections: 500, strangers: 1000 });
        assert_eq!(room_in(1024, 500), Room { connections: 500, strangers: 162 });
        assert_eq!(room_in(256, 500), Room { connections: 42, strangers: 7 });
        for files in 0..3000 {
            for connections in [1, 10, 500, 100_000] {
                let room = room_in(files, connections);
                assert!(room.connections >= 1 && room.strangers >= 2);
                let taken = (room.connections + 1 + 2 * room.strangers) as u64;
                assert!(files < STORE_FILES + 12 || taken <= files - STORE_FILES + 2, "{files}: {room:?}");
            }
        }
    }
}
