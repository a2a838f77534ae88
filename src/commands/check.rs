//! `koobridge check`: what is wrong, before a report is at stake.

use std::io::Write as _;
use std::process::ExitCode;

use crate::cli::Check;
use crate::tools::check::{self, Finding, Level};

/// There are warnings, and they count.
const WARNED: u8 = 1;
/// The bridge would not run, or reports would be at stake.
const FAILED: u8 = 2;

pub(super) fn run(asked: &Check) -> anyhow::Result<ExitCode> {
    let settings = super::serve::gather(asked.config.as_deref(), &asked.overrides);
    let mut out = std::io::stdout().lock();
    let mut findings = Vec::new();
    let mut unprinted = Ok(());
    check::run(&settings, asked.probe, &mut |finding| {
        // Each as soon as it is known: an answer of Kafka's can take a while.
        if !asked.json && unprinted.is_ok() {
            unprinted = writeln!(out, "{finding}").and_then(|()| out.flush());
        }
        findings.push(finding);
    });
    if unprinted.is_err() {
        return super::printed(unprinted);
    }
    let count = |level| {
        findings
            .iter()
            .filter(|finding| finding.level == level)
            .count()
    };
    let [ok, warned, failed] = [Level::Ok, Level::Warn, Level::Fail].map(count);
    let printed = if asked.json {
        let findings: Vec<_> = findings.iter().map(Finding::to_json).collect();
        let all =
            serde_json::json!({ "ok": ok, "warn": warned, "fail": failed, "findings": findings });
        writeln!(out, "{all:#}")
    } else {
        writeln!(out, "\n{ok} ok, {warned} to think about, {failed} to mend")
    };
    if printed.is_err() {
        return super::printed(printed);
    }
    Ok(match (failed, warned) {
        (1.., _) => ExitCode::from(FAILED),
        (0, 1..) if asked.strict => ExitCode::from(WARNED),
        _ => ExitCode::SUCCESS,
    })
}
