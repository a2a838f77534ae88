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

fn set(name: &'static str, value: &str) -> Step<'static> {
    Step::Set([(name, value.to_owned())].into())
}

#[test]
fn a_missing_topic_is_made_to_fit_the_brokers() {
    for (brokers, replication, min_insync) in [(1, 1, "1"), (2, 2, "1"), (3, 3, "2"), (9, 3, "2")] {
        let settings = [
            ("cleanup.policy", "delete".to_owned()),
            ("min.insync.replicas", min_insync.to_owned()),
            ("retention.ms", "604800000".to_owned()),
        ];
        let wanted = Wanted {
            name: "t",
            partitions: 6,
            replication,
            settings: settings.into(),
        };
        let steps = plan("t", &missing(), &Requested::default(), brokers);
        assert_eq!(steps, Ok(vec![Step::Create(wanted)]));
    }
}

#[test]
fn a_sound_topic_stays_as_it_is() {
    let facts = facts(
        24,
        3,
        &[("min.insync.replicas", "2"), ("retention.ms", "1")],
    );
    assert_eq!(plan("t", &facts, &Requested::default(), 3), Ok(vec![]));
}

#[test]
fn min_insync_replicas_is_raised_where_a_broker_takes_what_was_promised_with_it() {
    for (replication, has, wanted) in [
        (3, "1", Some("2")),
        (3, "2", None),
        (3, "3", None),
        (5, "2", None),
        (5, "1", Some("4")),
        (3, "4", None),
        (1, "2", None),
        (2, "1", None),
        (1, "1", None),
    ] {
        let facts = facts(6, replication, &[("min.insync.replicas", has)]);
        let expected: Vec<_> = wanted
            .map(|value| set(MIN_INSYNC, value))
            .into_iter()
            .collect();
        assert_eq!(
            plan("t", &facts, &Requested::default(), 3),
            Ok(expected),
            "{has} of {replication}"
        );
    }
}

#[test]
fn what_was_asked_for_is_changed_and_nothing_else() {
    let asked = Requested {
        partitions: Some(12),
        replication: Some(3),
        retention: Some(Duration::from_hours(24)),
    };
    let steps = [
        Step::AddPartitions { to: 12, from: 6 },
        set(RETENTION_MS, "86400000"),
    ];
    assert_eq!(plan("t", &facts(6, 3, &SOUND), &asked, 3), Ok(steps.into()));
}

#[test]
fn what_kafka_can_not_do_and_what_loses_reports_is_refused() {
    let compacted = [("cleanup.policy", "compact,delete")];
    let asked = |partitions, replication| Requested {
        partitions,
        replication,
        retention: None,
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
            Refused::Compacted("compact,delete".to_owned()),
        ),
        (
            facts(6, 3, &SOUND),
            asked(Some(5), None),
            Refused::FewerPartitions { wanted: 5, has: 6 },
        ),
        (
            facts(6, 3, &SOUND),
            asked(None, Some(2)),
            Refused::OtherReplication { wanted: 2, has: 3 },
        ),
        (
            missing(),
            asked(None, Some(4)),
            Refused::TooFewBrokers { wanted: 4, has: 3 },
        ),
        (unread, asked(Some(6), None), Refused::Unread),
        (
            behind,
            asked(None, None),
            Refused::Behind {
                wanted: 2,
                in_sync: 1,
            },
        ),
    ] {
        assert_eq!(plan("t", &facts, &asked, 3), Err(refused));
    }
}

#[test]
fn a_topic_whose_settings_are_not_told_stays_as_it_is_where_nothing_is_asked() {
    let unread = TopicFacts {
        settings: None,
        ..facts(6, 3, &[])
    };
    assert_eq!(plan("t", &unread, &Requested::default(), 3), Ok(vec![]));
}
