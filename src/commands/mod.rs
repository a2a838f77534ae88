//! The commands, one file each.

mod dev;
mod serve;
mod spool;

use std::path::Path;
use std::process::ExitCode;

use tracing::{info, warn};

use crate::app::End;
use crate::cli::Command;
use crate::delivery::Left;

/// Runs one command to its end.
///
/// # Errors
/// What kept it from running. [`crate::config::Mistakes`] among them means that what was typed is
/// wrong.
pub fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(serve) => serve::run(serve),
        Command::Dev(dev) => dev::run(dev),
        Command::Spool(spool) => spool::run(&spool.command),
    }
}

/// A runtime for the main thread: signals, accepting, and the admin listener.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// Reports are left that Kafka does not have.
const LEFT: u8 = 3;

/// Says how a bridge ended, and gives the code for it.
fn exit_code(end: End, spool: Option<&Path>) -> ExitCode {
    match end {
        End::Drained => info!("stopped"),
        End::Forced => warn!("stopped at once, as a second signal asked"),
        End::Left(left) => say_what_is_left(left, spool),
    }
    match end {
        End::Drained => ExitCode::SUCCESS,
        End::Forced => ExitCode::FAILURE,
        End::Left(_) => ExitCode::from(LEFT),
    }
}

fn say_what_is_left(left: Left, spool: Option<&Path>) {
    let Left {
        spooled,
        unpromised,
    } = left;
    let Some(directory) = spool else {
        return warn!(
            unpromised,
            "stopped with reports that Kafka has not acknowledged; none was promised"
        );
    };
    warn!(
        spooled, unpromised, directory = %directory.display(),
        "stopped with reports in the spool: the next start delivers them, or `koobridge spool drain`"
    );
}
