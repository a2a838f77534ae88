//! `koobridge topics`: the topics that a bridge needs, shown or made.

use std::num::NonZeroU16;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};

use super::Output;
use crate::cli::Topics;
use crate::config;
use crate::kafka::{self, Cluster, Condition, Settings};
use crate::tools::topics::{Requested, Step, plan};

/// How long Kafka may take to show what it has made.
const SHOWN: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(200);
/// A topic can't be what it should be.
const REFUSED: u8 = 2;

pub(super) fn run(asked: &Topics) -> anyhow::Result<ExitCode> {
    let settings = super::serve::gather(asked.config.as_deref(), &asked.overrides);
    let config = config::Kafka::check(&settings, kafka::check_property)?;
    let cluster = Cluster::start(&Settings::from(&config))?;
    let brokers = cluster.brokers()?.len();
    let brokers = u32::try_from(brokers).context("a handful of brokers")?;
    let count = |number: NonZeroU16| u32::from(number.get());
    let wanted = Requested {
        partitions: asked.partitions.map(count),
        replication: asked.replication.map(count),
        retention: asked.retention,
    };
    let mut out = Output::new();
    // All of them before the first change: a refusal of one leaves the others as they are.
    let mut plans = Vec::new();
    let mut is_refused = false;
    for topic in [&config.topic, &config.rejected_topic] {
        let facts = cluster
            .topic(topic)
            .map_err(|why| anyhow!("{topic}: {why}"))?;
        match plan(topic, &facts, &wanted, brokers) {
            Ok(steps) => plans.push((topic, steps, facts.settings.is_some())),
            Err(refused) => {
                is_refused = true;
                out.line(format_args!("{topic}: refused: {refused}"));
            }
        }
    }
    let (apply, mut is_left) = (asked.apply && !is_refused, false);
    for (topic, steps, is_told) in &plans {
        match (steps.as_slice(), is_told) {
            ([], true) => out.line(format_args!("{topic}: nothing to change")),
            ([], false) => out.line(format_args!(
                "{topic}: left as it is: Kafka does not show its settings"
            )),
            _ => {}
        }
        is_left |= !apply && !steps.is_empty();
        take(&cluster, topic, steps, apply, &mut out)?;
    }
    if is_left && !is_refused {
        out.line("\nNothing was changed yet: `koobridge topics --apply` does it.");
    }
    out.end(if is_refused {
        ExitCode::from(REFUSED)
    } else {
        ExitCode::SUCCESS
    })
}

fn take(
    cluster: &Cluster,
    topic: &str,
    steps: &[Step<'_>],
    apply: bool,
    out: &mut Output,
) -> anyhow::Result<()> {
    for step in steps {
        out.line(format_args!("{topic}: {step}"));
        if !apply {
            continue;
        }
        let done = match step {
            Step::Create(wanted) => cluster.create(wanted),
            Step::AddPartitions { to, .. } => cluster.add_partitions(topic, *to),
            Step::Set(settings) => cluster.change(topic, settings),
        };
        done.map_err(|why| anyhow!("{topic}: Kafka did not do it: {why}"))?;
        if let Step::Create(wanted) = step {
            wait_for(cluster, topic, wanted.partitions)?;
        }
        out.line(format_args!("{topic}: done"));
    }
    Ok(())
}

/// A topic is there for its users once its partitions have leaders.
fn wait_for(cluster: &Cluster, topic: &str, partitions: u32) -> anyhow::Result<()> {
    let until = Instant::now() + SHOWN;
    while Instant::now() < until {
        let facts = cluster
            .topic(topic)
            .map_err(|why| anyhow!("{topic}: {why}"))?;
        if facts.condition == Condition::Ready && facts.partitions >= partitions {
            return Ok(());
        }
        std::thread::park_timeout(LOOK);
    }
    bail!(
        "{topic}: Kafka has made it, and does not show it yet: look again with `koobridge topics`"
    )
}
