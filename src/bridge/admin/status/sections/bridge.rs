//! The bridge itself: what balancers are told of it, its files, its age and its versions.

use std::time::Duration;

use jiff::Timestamp;

use super::{Facts, NO_HEADS, Row, Section, Tone, state, words};

pub(super) fn section(facts: &Facts) -> Section {
    let ready = if facts.is_ready {
        Row::plain("/readyz says", "ready")
    } else {
        Row::plain("/readyz says", "not ready").in_tone(Tone::Warn)
    };
    let mut rows = vec![
        ready.with_note("A change counts there after two seconds."),
        certificate(facts),
    ];
    rows.extend(facts.stale.iter().map(|(part, problem)| {
        Row::plain(format!("Change of the {part}"), "not in force")
            .with_note(problem)
            .in_tone(Tone::Warn)
    }));
    let connections = facts.connections;
    let open = format!(
        "{} of {}",
        words::count(connections.now),
        words::count(connections.limit)
    );
    rows.push(Row::plain("Open connections", open).when(state::is_near(connections), Tone::Warn));
    rows.push(Row::plain("Running for", words::span(facts.running_for)));
    rows.push(Row::plain("koobridge", env!("CARGO_PKG_VERSION")));
    rows.push(Row::plain("librdkafka", &facts.librdkafka));
    Section {
        id: "bridge",
        title: "This bridge",
        heads: NO_HEADS,
        rows,
        foot: String::new(),
    }
}

fn certificate(facts: &Facts) -> Row {
    let Some(expires) = facts.certificate else {
        return Row::plain("Certificate", "none, plain HTTP");
    };
    let left = left(facts, expires);
    let tone = match left {
        Duration::ZERO => Tone::Bad,
        left if left < state::RENEW => Tone::Warn,
        _ => Tone::Good,
    };
    let value = if left.is_zero() {
        "expired".to_owned()
    } else {
        format!("{} left", words::span(left))
    };
    Row::plain("Certificate", value)
        .with_note(format!(
            "Good until {}.",
            expires.strftime("%Y-%m-%d %H:%M UTC")
        ))
        .in_tone(tone)
}

fn left(facts: &Facts, expires: Timestamp) -> Duration {
    Duration::try_from(expires.duration_since(facts.now)).unwrap_or_default()
}
