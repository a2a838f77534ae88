//! `koobridge topics`: shows or creates the topics that a bridge or a replay needs.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};

use super::{Output, block_on, consuming, schema};
use crate::cli::Topics;
use crate::config;
use crate::kafka::{Cluster, Condition, TopicFacts};
use crate::tools::topics::{Plan, Requested, Step, check, chosen, plan};
use crate::tools::usage_error;

/// How long Kafka may take to show a topic that it has created.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);
/// A topic can't be changed as requested.
const REFUSED: u8 = 2;

pub(super) fn run(args: &Topics) -> anyhow::Result<ExitCode> {
    let (config, settings) = consuming::connection(&args.kafka)?;
    let names = topic_names(args, &config);
    let schema = schema::Registration::of(args, &config)?;
    check("--partitions", &args.partitions, &names).map_err(|why| usage_error(&why))?;
    check("--retention", &args.retention, &names).map_err(|why| usage_error(&why))?;
    let cluster = Cluster::start(&settings)?;
    let brokers = cluster.brokers()?.len();
    let brokers = u32::try_from(brokers).context("too many brokers")?;
    let mut out = Output::new();
    // All topics are planned before the first change: when one is refused, none is changed.
    let mut plans = Vec::new();
    let mut is_refused = false;
    for topic in names {
        let facts = cluster
            .topic(topic)
            .map_err(|why| anyhow!("{topic}: {why}"))?;
        match plan(topic, &facts, &requested(args, topic), brokers) {
            Ok(plan) => plans.push((topic, plan, facts)),
            Err(refused) => {
                is_refused = true;
                out.line(format_args!("{topic}: refused: {refused}"));
            }
        }
    }
    let apply = args.apply && !is_refused;
    for (topic, plan, facts) in &plans {
        show_unchanged(topic, plan, facts, &mut out);
        apply_steps(&cluster, topic, &plan.steps, apply, &mut out)?;
    }
    let mut is_pending = !apply && plans.iter().any(|(_, plan, _)| !plan.steps.is_empty());
    if let Some(schema) = schema {
        is_pending |= block_on(schema.run(apply, &mut out))?;
    }
    if is_pending && !is_refused {
        out.line("\nNothing was changed; add --apply to make the changes.");
    }
    out.end(if is_refused {
        ExitCode::from(REFUSED)
    } else {
        ExitCode::SUCCESS
    })
}

/// Returns the requested topics without duplicates.
fn topic_names<'a>(args: &'a Topics, config: &'a config::Kafka) -> Vec<&'a str> {
    if args.topic.is_empty() {
        return vec![&config.topic, &config.rejected_topic];
    }
    let mut seen = BTreeSet::new();
    let topics = args.topic.iter().map(String::as_str);
    topics.filter(|topic| seen.insert(*topic)).collect()
}

fn requested(args: &Topics, topic: &str) -> Requested {
    let count = |number: NonZeroU16| u32::from(number.get());
    Requested {
        partitions: chosen(&args.partitions, topic).map(count),
        replication: args.replication.map(count),
        retention: chosen(&args.retention, topic),
        min_insync: args.min_insync_replicas.map(count),
    }
}

/// Prints whether a topic needs no change, and any advice for it.
fn show_unchanged(topic: &str, plan: &Plan<'_>, facts: &TopicFacts, out: &mut Output) {
    match (plan.steps.as_slice(), &facts.settings) {
        ([], Some(_)) => out.line(format_args!("{topic}: nothing to change")),
        ([], None) => out.line(format_args!(
            "{topic}: unchanged: Kafka does not show its settings; grant this client DESCRIBE_CONFIGS on it"
        )),
        _ => {}
    }
    if let Some(advice) = plan.advice {
        out.line(format_args!("{topic}: {advice}"));
    }
}

fn apply_steps(
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
        done.map_err(|why| anyhow!("{topic}: the change is not confirmed: {why}"))?;
        if let Step::Create(wanted) = step {
            wait_for(cluster, topic, wanted.partitions)?;
        }
        out.line(format_args!("{topic}: done"));
    }
    Ok(())
}

/// Waits until the partitions have leaders: before, clients can't use the topic.
fn wait_for(cluster: &Cluster, topic: &str, partitions: u32) -> anyhow::Result<()> {
    let until = Instant::now() + READY_TIMEOUT;
    while Instant::now() < until {
        let facts = cluster
            .topic(topic)
            .map_err(|why| anyhow!("{topic}: {why}"))?;
        if facts.condition == Condition::Ready && facts.partitions >= partitions {
            return Ok(());
        }
        std::thread::park_timeout(POLL);
    }
    bail!(
        "{topic}: created, but its partitions are not ready yet; check it with `koobridge topics`"
    )
}
