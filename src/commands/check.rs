//! `koobridge check`: looks for problems before the bridge goes live.

use std::process::ExitCode;

use super::Output;
use super::command_line::CommandLine;
use crate::cli::Check;
use crate::tools::check::{self, Finding, Level};

/// There are warnings and `--strict` was given.
const WARNED: u8 = 1;
/// The bridge would not run, or could lose reports.
const FAILED: u8 = 2;

pub(super) fn run(args: &Check) -> anyhow::Result<ExitCode> {
    let settings = super::serve::gather(args.config.as_deref(), &args.overrides);
    let mut out = Output::new();
    let mut findings = Vec::new();
    let mut topics = CommandLine::of("topics --apply");
    topics.add_configuration(args.config.as_deref(), &args.overrides);
    check::run(&settings, &topics.into_text(), args.probe, &mut |finding| {
        // Printed at once: the next finding may have to wait for Kafka.
        if !args.json {
            out.line(&finding);
        }
        findings.push(finding);
    });
    let count = |level| {
        findings
            .iter()
            .filter(|finding| finding.level == level)
            .count()
    };
    let [ok, warned, failed] = [Level::Ok, Level::Warn, Level::Fail].map(count);
    if args.json {
        let findings: Vec<_> = findings.iter().map(Finding::to_json).collect();
        let all =
            serde_json::json!({ "ok": ok, "warn": warned, "fail": failed, "findings": findings });
        out.line(format_args!("{all:#}"));
    } else {
        out.line(format_args!("\n{ok} ok, {warned} warn, {failed} fail"));
    }
    out.end(match (failed, warned) {
        (1.., _) => ExitCode::from(FAILED),
        (0, 1..) if args.strict => ExitCode::from(WARNED),
        _ => ExitCode::SUCCESS,
    })
}
