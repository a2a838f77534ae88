//! Delivery with a spool.

use std::path::Path;

use super::*;

/// A spool that takes reports that have waited so long.
fn hedge(directory: &Path, after: Duration) -> Hedge {
    Hedge {
        spool: Options {
            directory: directory.to_owned(),
            disk_limit: 1 << 30,
            free_space: 0,
            memory: 1 << 20,
        },
        after,
    }
}

async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn what_neither_kafka_nor_the_spool_takes_is_refused_and_has_failed() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut hedge = hedge(directory.path(), LONG);
    hedge.spool.free_space = u64::MAX / 2;
    let fixture = Fixture::hedged("later", 10, &[], Some(hedge));
    let told = fixture.deliver(LONG).await;
    assert_eq!(told, Err(NotTaken::NoRoom));
    assert_eq!(fixture.fates(), ["{fate=\"failed\"} 1"]);
}

#[tokio::test]
async fn a_spooled_report_has_its_fate_and_leaves_the_spool_once_kafka_has_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let hedge = hedge(directory.path(), LONG);
    let fixture = Fixture::hedged("later", 10, &[], Some(hedge));
    assert_eq!(fixture.deliver(LONG).await, Ok(KeptBy::Spool));
    assert_eq!(fixture.fates(), [""; 0]);
    let reports = || fixture.delivery.spool_level().expect("a spool").reports;
    assert_eq!(reports(), 1);
    let broker = fixture.broker.as_ref().expect("a broker");
    broker.create_topic("later", 1).expect("a topic");
    eventually("it is not struck off", || reports() == 0).await;
    assert_eq!(fixture.fates(), ["{fate=\"delivered\"} 1"]);
}

/// Long before they would have waited long enough.
#[tokio::test]
async fn past_half_of_the_ceiling_reports_go_to_the_spool_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let hedge = hedge(directory.path(), LONG);
    let mut fixture = Fixture::hedged("there", 4, &[], Some(hedge));
    assert!(fixture.deliver(LONG).await.is_ok());
    let unplaced = fixture.delivery.events.cells().remove(0);
    eventually("the partitions are not known", || unplaced.is_direct()).await;
    fixture.broker = None;
    let told = tokio::join!(
        fixture.deliver(LONG),
        fixture.deliver(LONG),
        fixture.deliver(LONG)
    );
    assert_eq!(
        told,
        (Ok(KeptBy::Spool), Ok(KeptBy::Spool), Ok(KeptBy::Spool))
    );
}
