//! The program: parse what was typed, run one command, say how it ended.

use std::process::ExitCode;

use clap::Parser as _;
use koobridge::cli::Cli;
use koobridge::commands::{self, Mistyped};
use koobridge::config::Mistakes;

fn main() -> ExitCode {
    match commands::run(&Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("koobridge: {error:#}");
            // The same code as clap gives for a command line that it can't read.
            if error.is::<Mistakes>() || error.is::<Mistyped>() {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}
