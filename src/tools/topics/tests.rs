use super::*;

fn facts(partitions: u32, replication: u32, settings: &[(&str, &str)]) -> TopicFacts {
    let settings = settings
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    TopicFacts {
        condition: Condition::Ready,
        partitions,
        replication,
        in_sync: replication,
        settings: Some(settings.collect()),
    }
}

fn missing() -> TopicFacts {
    TopicFacts {
        condition: Condition::Missing,
        partitions: 0,
        replication: 0,
        in_sync: 0,
        settings: None,
    }
}

const SOUND: [(&str, &str); 3] = [
    ("cleanup.policy", "delete"),
    ("min.insync.replicas", "2"),
    ("retention.ms", "604800000"),
];

fn steps<'a>(steps: impl Into<Vec<Step<'a>>>) -> Plan<'a> {
    Plan {
        steps: steps.into(),
        advice: None,
    }
}

fn at_least(min_insync: u32) -> Requested {
    Requested {
        min_insync: Some(min_insync),
        ..Requested::default()
    }
}

fn set(name: &'static str, value: &str) -> Step<'static> {
    Step::Set([(name, value.to_owned())].into())
}

#[test]
fn a_missing_topic_is_created_to_fit_the_brokers() {
    for (brokers, replication, min_insync) in [(1, 1, "1"), (2, 2, "1"), (3, 3, "2"), (9, 3, "2")] {
        let settings = [
            ("cleanup.policy", "delete".to_owned()),
            ("min.insync.replicas", min_insync.to_owned()),
            ("retention.ms", "604800000".to_owned()),
        ];
        let wanted = TopicSpec {
            name: "t",
            partitions: 6,
            replication,
            settings: settings.into(),
        };
        let planned = plan("t", &missing(), &Requested::default(), brokers);
        assert_eq!(planned, Ok(steps([Step::Create(wanted)])));
    }
}

#[test]
fn a_sound_topic_stays_as_it_is() {
    let facts = facts(
        24,
        3,
        &[("min.insync.replicas", "2"), ("retention.ms", "1")],
    );
    assert_eq!(plan("t", &facts, &Requested::default(), 3), Ok(steps([])));
}

#[test]
fn a_low_min_insync_replicas_is_advised_against_and_kept() {
    for (replication, has, is_low) in [
        (3, 1, true),
        (3, 2, false),
        (3, 3, false),
        (5, 1, true),
        (5, 2, false),
        (3, 4, false),
        (2, 1, false),
        (1, 1, false),
    ] {
        let facts = facts(6, replication, &[("min.insync.replicas", &has.to_string())]);
        let advice = is_low.then_some(LowMinInsync { has, replication });
        let plan = plan("t", &facts, &Requested::default(), 3);
        let expected = Plan {
            steps: vec![],
            advice,
        };
        assert_eq!(plan, Ok(expected), "{has} of {replication}");
    }
}

#[test]
fn min_insync_replicas_is_raised_on_request_and_never_lowered() {
    for (has, asked, wanted) in [
        ("1", 2, Some("2")),
        ("1", 3, Some("3")),
        ("2", 2, None),
        ("3", 2, None),
    ] {
        let facts = facts(6, 3, &[("min.insync.replicas", has)]);
        let expected: Vec<_> = wanted
            .map(|value| set(MIN_INSYNC, value))
            .into_iter()
            .collect();
        let planned = plan("t", &facts, &at_least(asked), 3);
        assert_eq!(planned, Ok(steps(expected)), "{has} to {asked}");
    }
}

#[test]
fn a_new_topic_gets_the_requested_min_insync_replicas() {
    let planned = plan("t", &missing(), &at_least(1), 3).expect("a plan");
    let [Step::Create(wanted)] = &planned.steps[..] else {
        panic!("{planned:?}");
    };
    assert_eq!(wanted.settings[MIN_INSYNC], "1");
}

#[test]
fn a_step_that_raises_min_insync_replicas_names_its_cost() {
    assert_eq!(
        set(MIN_INSYNC, "2").to_string(),
        "set min.insync.replicas=2; it then accepts a record only while 2 replicas of the partition are in sync"
    );
}

#[test]
fn only_requested_settings_are_changed() {
    let asked = Requested {
        partitions: Some(12),
        replication: Some(3),
        retention: Some(Duration::from_hours(24)),
        min_insync: None,
    };
    let wanted = [
        Step::AddPartitions { to: 12, from: 6 },
        set(RETENTION_MS, "86400000"),
    ];
    assert_eq!(
        plan("t", &facts(6, 3, &SOUND), &asked, 3),
        Ok(steps(wanted))
    );
}

#[test]
fn impossible_changes_and_settings_that_lose_reports_are_refused() {
    let compacted = [("cleanup.policy", "compact,delete")];
    let asked = |partitions, replication| Requested {
        partitions,
        replication,
        ..Requested::default()
    };
    let unread = TopicFacts {
        settings: None,
        ..facts(6, 3, &[])
    };
    let behind = TopicFacts {
        in_sync: 1,
        ..facts(6, 3, &[("min.insync.replicas", "1")])
    };
    for (facts, asked, refused) in [
        (
            facts(6, 3, &compacted),
            asked(None, None),
            TopicError::Compacted("compact,delete".to_owned()),
        ),
        (
            facts(6, 3, &SOUND),
            asked(Some(5), None),
            TopicError::FewerPartitions { wanted: 5, has: 6 },
        ),
        (
            facts(6, 3, &SOUND),
            asked(None, Some(2)),
            TopicError::OtherReplication { wanted: 2, has: 3 },
        ),
        (
            missing(),
            asked(None, Some(4)),
            TopicError::TooFewBrokers { wanted: 4, has: 3 },
        ),
        (unread, asked(Some(6), None), TopicError::SettingsHidden),
        (
            behind,
            at_least(2),
            TopicError::TooFewInSync {
                wanted: 2,
                in_sync: 1,
            },
        ),
        (
            facts(6, 2, &[("min.insync.replicas", "1")]),
            at_least(3),
            TopicError::AboveReplication {
                wanted: 3,
                replication: 2,
            },
        ),
        (
            missing(),
            at_least(4),
            TopicError::AboveReplication {
                wanted: 4,
                replication: 3,
            },
        ),
        (
            TopicFacts {
                condition: Condition::Rejected("no".to_owned()),
                ..missing()
            },
            asked(None, None),
            TopicError::Hidden("no".to_owned()),
        ),
    ] {
        assert_eq!(plan("t", &facts, &asked, 3), Err(refused));
    }
}

#[test]
fn a_topic_with_hidden_settings_stays_unchanged_without_a_request() {
    let unread = TopicFacts {
        settings: None,
        ..facts(6, 3, &[])
    };
    assert_eq!(plan("t", &unread, &Requested::default(), 3), Ok(steps([])));
}

#[test]
fn one_replica_or_partition_is_singular() {
    let refused = plan("t", &facts(6, 1, &SOUND), &at_least(3), 3).expect_err("too few");
    assert_eq!(
        refused.to_string(),
        "min.insync.replicas can't be 3: it has 1 replica, so it would accept nothing; give \
         --min-insync-replicas 1 at most"
    );
    let behind = TopicFacts {
        in_sync: 1,
        ..facts(6, 3, &SOUND)
    };
    let refused = plan("t", &behind, &at_least(3), 3).expect_err("too few");
    assert_eq!(
        refused.to_string(),
        "min.insync.replicas can't be 3: a partition has only 1 replica in sync, so it would accept nothing; bring the \
         brokers back first"
    );
    let asked = Requested {
        partitions: Some(1),
        ..Requested::default()
    };
    let planned = plan("t", &missing(), &asked, 3).expect("a plan");
    let step = planned.steps[0].to_string();
    assert!(
        step.starts_with("create it: 1 partition, replication 3, "),
        "{step}"
    );
}
