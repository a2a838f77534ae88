//! `koobridge completions`: prints a shell's completion script.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use crate::cli::Cli;

pub(super) fn run(shell: Shell) -> anyhow::Result<ExitCode> {
    let mut text = Vec::new();
    generate(shell, &mut Cli::command(), "koobridge", &mut text);
    super::printed(io::stdout().write_all(&text))
}
