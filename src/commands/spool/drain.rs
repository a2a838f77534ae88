//! `koobridge spool drain`: delivers the spool of a bridge that no longer runs.

use std::mem;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use indicatif::HumanCount;
use tokio::time::sleep;

use super::{inspect, named_directory};
use crate::bridge::app::{self, Broker, End, Signals};
use crate::bridge::delivery::{Delivery, InFlight, Undelivered};
use crate::bridge::metrics::Metrics;
use crate::cli::SpoolDrain;
use crate::commands::command_line::CommandLine;
use crate::commands::{EXIT_REMAINING, block_on, serve};
use crate::config::{Drain, Log, LogFormat};
use crate::kafka::Condition;
use crate::tools::replay::Progress;
use crate::{kafka, telemetry, try_eprintln};

/// How often to check whether the spool is empty.
const PAUSE: Duration = Duration::from_millis(100);
/// The timeout for counting the undelivered reports at the end.
const COUNTING: Duration = Duration::from_secs(10);
/// A drain admits no reports, but limits of 0 would count as reached.
const NOTHING: InFlight = InFlight {
    reports: 1,
    bytes: 1,
};

pub(super) fn run(typed: &SpoolDrain) -> anyhow::Result<ExitCode> {
    let mut overrides = typed.overrides.clone();
    if let Some(directory) = &typed.directory {
        overrides.set.push((
            "spool.directory".to_owned(),
            directory.display().to_string(),
        ));
    }
    let settings = serve::gather(typed.config.as_deref(), &overrides);
    let directory = named_directory(&settings)?;
    let config = Drain::check(&settings, kafka::check_property)?;
    inspect(&directory)?;
    telemetry::start(log_for_people(config.log))?;
    block_on(async {
        let signals = Signals::new().context("can't wait for signals")?;
        let (end, run) = deliver(&config, signals).await?;
        let (text, code) = match end {
            End::Drained => summary(&run, None, typed),
            End::Undelivered(left) => summary(&run, Some(&left), typed),
            End::Forced => {
                let delivered = reports(run.delivered);
                let text = format!(
                    "stopped at once after a second signal; {delivered} delivered; run the same command again to \
                     deliver the others"
                );
                (text, ExitCode::FAILURE)
            }
        };
        try_eprintln!("{}: {text}", directory.display());
        Ok(code)
    })
}

/// Returns `log` in text unless JSON is configured, because the other lines of a drain are text.
fn log_for_people(mut log: Log) -> Log {
    if log.format == LogFormat::Auto {
        log.format = LogFormat::Text;
    }
    log
}

/// The results of a drain.
struct Run {
    delivered: u64,
    took: Duration,
    quarantined: u64,
    /// Files that this drain or earlier runs have set aside.
    set_aside: usize,
    /// The topics that can't take records, each with the reason.
    troubles: Vec<String>,
}

async fn deliver(config: &Drain, mut signals: Signals) -> anyhow::Result<(End, Run)> {
    let metrics = Metrics::new();
    let (kafka, spool) = (&config.kafka, Some(&config.spool));
    let delivery = app::start_delivery(kafka, spool, NOTHING, &metrics, Broker::Cluster)?;
    let (delivery, started) = (Arc::new(delivery), Instant::now());
    let timeout = tokio::select! {
        () = until_delivered(&delivery, &metrics) => COUNTING,
        () = signals.next() => {
            let timeout = kafka.flush_timeout;
            try_eprintln!("stopping: waiting up to {timeout:?} for records in flight; a second signal stops at once");
            timeout
        }
    };
    let took = started.elapsed();
    let finishing = Arc::clone(&delivery);
    let end = tokio::select! {
        end = app::end_of(move || finishing.finish(timeout)) => end,
        () = signals.next() => End::Forced,
    };
    let level = delivery.spool_level().expect("a drain has a spool");
    // The level is measured once a second, so the directory is inspected again.
    let inspection = inspect(&config.spool.directory)?;
    let troubles = delivery.topics().into_iter();
    let troubles = troubles.filter_map(|(topic, state)| match state.condition {
        Condition::Ready => None,
        trouble => Some(format!("{topic}: {trouble}")),
    });
    let run = Run {
        troubles: troubles.collect(),
        delivered: metrics.acknowledgements(),
        took,
        quarantined: level.quarantined,
        set_aside: inspection.set_aside.len(),
    };
    // All records are flushed. Dropping the producers would only wait for their threads.
    mem::forget(delivery);
    Ok((end, run))
}

/// Waits until all reports are delivered, and shows the progress.
async fn until_delivered(delivery: &Delivery, metrics: &Metrics) {
    if delivery.is_delivered() {
        return;
    }
    let [(events, _), (rejected, _)] = delivery.topics();
    try_eprintln!("delivering to {events} and {rejected}; Ctrl-C stops it");
    let mut progress = Progress::start("delivered", "reports", None);
    let mut is_counted = false;
    while !delivery.is_delivered() {
        let delivered = metrics.acknowledgements();
        let level = delivery.spool_level().unwrap_or_default();
        if level.is_counted && !is_counted {
            is_counted = true;
            progress.set_all(delivered + level.reports.saturating_sub(level.quarantined));
        }
        progress.show(delivered, delivered);
        sleep(PAUSE).await;
    }
}

/// Returns a text with the number of delivered reports, and with the remaining reports and the reasons. Also returns
/// the exit code, which is 0 only if the directory can be deleted without a loss.
fn summary(run: &Run, left: Option<&Undelivered>, typed: &SpoolDrain) -> (String, ExitCode) {
    let Run {
        delivered,
        took,
        quarantined,
        set_aside,
        troubles,
    } = run;
    let mut text = match delivered {
        0 if left.is_none_or(|left| !left.is_due) => "nothing to deliver".to_owned(),
        delivered => format!("delivered {} in {took:.1?}", reports(*delivered)),
    };
    let mut code = match left {
        Some(_) => ExitCode::from(EXIT_REMAINING),
        None => ExitCode::SUCCESS,
    };
    let left = left
        .map(|left| remains(left, troubles, typed))
        .unwrap_or_default();
    let quarantined = (*quarantined > 0).then(|| {
        let reports = reports(*quarantined);
        format!("{reports} quarantined: no topic accepts them; `koobridge spool export` shows them")
    });
    let set_aside = (*set_aside > 0).then(|| {
        let files = match set_aside {
            1 => "1 damaged file that was",
            _ => &format!("{set_aside} damaged files that were"),
        };
        format!(
            "{files} set aside, whose readable reports were moved to other files. Keep the output of `koobridge spool \
             export --set-aside`, then move such files away (docs/spool.md, When the disk fails)"
        )
    });
    for line in left.into_iter().chain(quarantined).chain(set_aside) {
        text += "\nleft: ";
        text += &line;
        code = ExitCode::from(EXIT_REMAINING);
    }
    (text, code)
}

/// Returns a line for each group of remaining reports, with the reason.
fn remains(left: &Undelivered, troubles: &[String], typed: &SpoolDrain) -> Vec<String> {
    let &Undelivered {
        spooled, undeleted, ..
    } = left;
    let count = if left.is_counted {
        reports(spooled)
    } else {
        format!("at least {}", reports(spooled))
    };
    let mut lines = Vec::new();
    if left.is_due {
        let troubles = troubles.iter().map(|trouble| format!("; {trouble}"));
        let troubles: String = troubles.collect();
        lines.push(format!(
            "{count}{troubles}; run the same command again to deliver them"
        ));
    } else if !left.is_counted {
        lines.push(format!("{count}; `koobridge spool status` counts them"));
    }
    let is_only = !left.is_due && left.is_counted && left.other_topics.len() == 1;
    let count = if is_only { &count } else { "reports" };
    let others = left.other_topics.iter();
    lines.extend(others.map(|topic| format!("{count} for {topic}, {}", elsewhere(typed, topic))));
    if undeleted > 0 {
        lines.push(format!(
            "{} that Kafka has, but that can't be deleted from the disk: the next drain or start delivers them again \
             with the same ce_id",
            reports(undeleted)
        ));
    }
    lines
}

fn reports(count: u64) -> String {
    match count {
        1 => "1 report".to_owned(),
        count => format!("{} reports", HumanCount(count)),
    }
}

/// Returns why reports for `topic` remain, with the command that delivers them.
fn elsewhere(typed: &SpoolDrain, topic: &str) -> String {
    let mut command = CommandLine::of("spool drain");
    command.add("--config", typed.config.iter().map(|path| path.display()));
    command.add(
        "--directory",
        typed.directory.iter().map(|path| path.display()),
    );
    let set = typed.overrides.set.iter();
    command.add("--set", set.map(|(key, value)| format!("{key}={value}")));
    command.add("--set", [format!("kafka.topic={topic}")]);
    let command = command.into_text();
    format!("a topic that is not configured; this command delivers them:\n  {command}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed() -> SpoolDrain {
        SpoolDrain {
            config: Some("k.toml".into()),
            directory: None,
            overrides: crate::cli::Overrides::default(),
        }
    }

    fn left(spooled: u64) -> Undelivered {
        Undelivered {
            spooled,
            is_counted: true,
            is_due: spooled > 0,
            other_topics: Vec::new(),
            undeleted: 0,
            unpromised: 0,
        }
    }

    fn summary_of(delivered: u64, quarantined: u64, left: Option<&Undelivered>) -> String {
        let run = Run {
            delivered,
            took: Duration::from_millis(3200),
            quarantined,
            set_aside: 0,
            troubles: Vec::new(),
        };
        summary(&run, left, &typed()).0
    }

    #[test]
    fn the_summary_counts_delivered_reports() {
        assert_eq!(summary_of(0, 0, None), "nothing to deliver");
        assert_eq!(summary_of(1, 0, None), "delivered 1 report in 3.2s");
        assert_eq!(
            summary_of(2000, 1, None),
            "delivered 2,000 reports in 3.2s\n\
             left: 1 report quarantined: no topic accepts them; `koobridge spool export` shows them"
        );
    }

    #[test]
    fn the_exit_code_is_0_only_if_nothing_is_left() {
        let code = |quarantined, set_aside, left: Option<&Undelivered>| {
            let run = Run {
                delivered: 2,
                took: Duration::from_secs(1),
                quarantined,
                set_aside,
                troubles: Vec::new(),
            };
            summary(&run, left, &typed()).1
        };
        let remaining = ExitCode::from(EXIT_REMAINING);
        assert_eq!(code(0, 0, None), ExitCode::SUCCESS);
        assert_eq!(code(1, 0, None), remaining);
        assert_eq!(code(0, 1, None), remaining);
        assert_eq!(code(0, 0, Some(&left(3))), remaining);
    }

    #[test]
    fn the_summary_lists_remaining_reports_with_reasons() {
        assert_eq!(
            summary_of(0, 0, Some(&left(3))),
            "delivered 0 reports in 3.2s\nleft: 3 reports; run the same command again to deliver them"
        );
        let uncounted = Undelivered {
            is_counted: false,
            ..left(3)
        };
        assert!(
            summary_of(5, 0, Some(&uncounted))
                .contains("\nleft: at least 3 reports; run the same command")
        );
        let other = Undelivered {
            is_due: false,
            other_topics: vec!["former".to_owned()],
            ..left(3)
        };
        assert_eq!(
            summary_of(0, 0, Some(&other)),
            "nothing to deliver\nleft: 3 reports for former, a topic that is not configured; this command delivers \
             them:\n  \
             koobridge spool drain --config k.toml --set kafka.topic=former"
        );
        let undeleted = Undelivered {
            undeleted: 7,
            ..left(0)
        };
        assert!(summary_of(7, 0, Some(&undeleted)).contains("left: 7 reports that Kafka has, but"));
    }
}
