//! The commands, one file each.

mod dev;
mod serve;

use std::process::ExitCode;

use crate::cli::Command;

/// Runs one command to its end.
///
/// # Errors
/// What kept it from running. [`crate::config::Mistakes`] among them means that what was typed is
/// wrong.
pub fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(serve) => serve::run(serve),
        Command::Dev(dev) => dev::run(dev),
    }
}

/// A runtime for the main thread: signals, accepting, and the admin listener.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

fn exit_code(end: crate::app::End) -> ExitCode {
    match end {
        crate::app::End::Drained => ExitCode::SUCCESS,
        crate::app::End::Forced => ExitCode::FAILURE,
    }
}
