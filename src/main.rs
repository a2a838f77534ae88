//! Parses the command line, runs one command, and reports its result.

#![deny(clippy::print_stderr, clippy::print_stdout)]

use std::process::ExitCode;

use clap::Parser as _;
use koobridge::cli::Cli;
use koobridge::commands;
use koobridge::config::ConfigErrors;
use koobridge::tools::UsageError;
use koobridge::{telemetry, try_eprintln};

fn main() -> ExitCode {
    telemetry::end_on_panic();
    let code = commands::run(&Cli::parse().command).unwrap_or_else(|error| {
        try_eprintln!("koobridge: {error:#}");
        // The same exit code as clap's for an invalid command line.
        if error.is::<ConfigErrors>() || error.is::<UsageError>() {
            ExitCode::from(2)
        } else {
            ExitCode::FAILURE
        }
    });
    telemetry::flush();
    code
}
