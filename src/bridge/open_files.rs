//! The limit on open files, and the number of connections that it allows.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::spool;

/// Files reserved for everything except the ingress' connections: the producers, the admin listener and its 64
/// connections, reloading, the runtimes, and the spool. A producer has about three per broker, so there is room for
/// eight producers and ten brokers.
const RESERVE: u64 = 512;
/// The part of the reserve that the spool does not use.
const OTHERS: u64 = 384;
const _: () = assert!(
    OTHERS + spool::DESCRIPTORS <= RESERVE,
    "the spool uses more files than reserved for it"
);

/// Returns the number of files that `connections` need.
#[must_use]
pub fn files_needed(connections: u64) -> u64 {
    connections + RESERVE
}

/// Returns how many of `wanted` connections fit into a limit of `allowed` open files. If the limit is small,
/// connections get a quarter of it.
#[must_use]
pub fn connections(wanted: u64, allowed: u64) -> u64 {
    let reserve = RESERVE.min(allowed / 4 * 3);
    wanted.min(allowed - reserve).max(1)
}

/// Returns the current limit, or `None` if there is none.
#[must_use]
pub fn current_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Returns the highest limit that this process can set, or `None` if there is none.
#[must_use]
pub fn highest_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

/// If the limit is below `files_needed`, raises it as far as the system allows. Returns the new current limit, or `None` if
/// there is none.
///
/// # Errors
/// If the system refuses to raise the limit.
pub fn raise(files_needed: u64) -> io::Result<Option<u64>> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= files_needed) {
        return Ok(limit.current);
    }
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised)?;
    Ok(current_limit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_everything_else() {
        for (wanted, allowed, expected) in [
            (10_000, 1_048_576, 10_000),
            (10_000, 10_512, 10_000),
            (10_000, 10_511, 9_999),
            (10_000, 1_024, 512),
            (10_000, 300, 75),
            (50, 300, 50),
            (10_000, 8, 2),
            (10_000, 0, 1),
        ] {
            assert_eq!(connections(wanted, allowed), expected, "{allowed} files");
        }
    }
}
