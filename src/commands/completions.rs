//! `koobridge completions`: what a shell needs to complete what is typed.

use std::io;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use crate::cli::Cli;

pub(super) fn run(shell: Shell) -> anyhow::Result<ExitCode> {
    let mut text = Vec::new();
    generate(shell, &mut Cli::command(), "koobridge", &mut text);
    io::Write::write_all(&mut io::stdout(), &text).context("can't print")?;
    Ok(ExitCode::SUCCESS)
}
