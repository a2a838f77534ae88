//! The program: parse what was typed, run one command, say how it ended.

#![deny(clippy::print_stderr, clippy::print_stdout)]

use std::process::ExitCode;

use clap::Parser as _;
use koobridge::cli::Cli;
use koobridge::commands;
use koobridge::config::ConfigErrors;
use koobridge::tools::UsageError;
use koobridge::{telemetry, tell};

fn main() -> ExitCode {
    telemetry::end_on_panic();
    let code = commands::run(&Cli::parse().command).unwrap_or_else(|error| {
        tell!("koobridge: {error:#}");
        // The same code as clap gives for a command line that it can't read.
        if error.is::<ConfigErrors>() || error.is::<UsageError>() {
            ExitCode::from(2)
        } else {
            ExitCode::FAILURE
        }
    });
    telemetry::flush();
    code
}
