//! Files of earlier runs that are damaged: the spool opens, keeps what comes, and sets them aside.

use super::*;

impl Fixture {
    /// Leaves one report in a file, and gives its path.
    fn leave_one(&self) -> PathBuf {
        let (spool, _) = self.open();
        self.write(&spool, &lane(0), 1).expect("room");
        close(&spool);
        self.newest_file()
    }

    /// Leaves three reports of a lane in a file; in its bytes one has another number.
    fn leave_three_renumbered(&self, number: u8, other: u8) {
        let (spool, _) = self.open();
        for number in 1..=3 {
            self.write(&spool, &lane(0), number).expect("room");
        }
        close(&spool);
        drop(spool);
        let file = self.newest_file();
        let mut bytes = fs::read(&file).expect("a file");
        // Its id, as SQLite writes it: seven bits a byte.
        let id = [0xa0, 0x80, 0x80, 0x80, 0x80, number];
        let at = bytes.windows(id.len()).position(|window| window == id);
        bytes[at.expect("an id") + id.len() - 1] = other;
        fs::write(&file, bytes).expect("a broken file");
    }

    /// What the SQL makes of a file's contents.
    pub(super) fn damage(path: &Path, sql: &str) {
        let connection = rusqlite::Connection::open(path).expect("a file");
        connection.execute_batch(sql).expect("sound SQL");
    }

    pub(super) fn count_aside(&self) -> usize {
        directory::set_aside_files(&self.path()).len()
    }
}

/// Reads all that is due in lane 0, waiting until damaged files are moved.
fn read_all(spool: &Spool<Ticket>) -> Vec<Row> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        match spool.read(&lane(0), 1, 1 << 30) {
            Ok((rows, is_end)) => {
                assert!(is_end);
                return rows;
            }
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        thread::park_timeout(Duration::from_millis(1));
    }
}

#[test]
fn a_file_of_which_nothing_can_be_read_is_set_aside_and_the_others_are_read() {
    let fixture = Fixture::new();
    let first = fixture.leave_one();
    fs::rename(&first, fixture.path().join("spool-000009.sqlite")).expect("room");
    fs::write(&first, vec![b'?'; 8192]).expect("a broken file");
    let (spool, restored) = fixture.open();
    assert_eq!(restored, [left(lane(0), 1, 1)]);
    assert!(!first.exists());
    let aside = directory::set_aside_files(&fixture.path());
    assert_eq!(aside.len(), 1);
    assert_eq!(fs::read(&aside[0]).expect("kept"), vec![b'?'; 8192]);
    fixture.write(&spool, &lane(0), 3).expect("room");
    assert_eq!(numbers(&read_all(&spool)), [1, 3]);
}

/// A value that is found on the page that it is on.
fn marked(number: u64) -> Arc<Record> {
    let value = format!("<{number:06}>").repeat(if number % 40 == 7 { 1000 } else { 100 });
    Arc::new(Record {
        value: value.into_bytes(),
        ..Record::clone(&row(number).record)
    })
}

#[test]
fn a_page_that_is_damaged_costs_the_reports_on_it_and_no_others() {
    let fixture = Fixture::new();
    let options = Options {
        // A file is turned over at 256 KiB.
        disk_limit: 4 << 20,
        ..fixture.options()
    };
    let (spool, _) = Spool::open(&options, send_answer, drop).expect("a spool");
    let written = 1..=700;
    for number in written.clone() {
        fixture.send(&spool, &lane(0), number, marked(number));
        let (_, result) = fixture.answers.recv().expect("an answer");
        result.expect("room");
    }
    close(&spool);
    drop(spool);
    let files = directory::files(&fixture.path());
    assert!(files.len() > 2, "{files:?}");
    let sound = fs::read(&files[1]).expect("a file");
    // Those of the tables, and some with reports.
    for page in (0..8).chain((8..sound.len() / 4096).step_by(9)) {
        let copy = Fixture::new();
        fs::create_dir(copy.path()).expect("room");
        for file in &files {
            let name = file.file_name().expect("a name");
            fs::copy(file, copy.path().join(name)).expect("room");
        }
        let mut bytes = sound.clone();
        let damaged = &mut bytes[page * 4096..(page + 1) * 4096];
        let before = damaged.to_vec();
        damaged.fill(0xaa);
        let file = copy.path().join(files[1].file_name().expect("a name"));
        fs::write(file, &bytes).expect("a broken file");
        let is_on_page = |number: &u64| {
            let mark = format!("<{number:06}>").into_bytes();
            before.windows(mark.len()).any(|window| window == mark)
        };
        let (spool, _) = copy.open();
        let rows = read_all(&spool);
        let read = numbers(&rows);
        let lost: Vec<u64> = written
            .clone()
            .filter(|number| !read.contains(number))
            .collect();
        let others: Vec<&u64> = lost.iter().filter(|number| !is_on_page(number)).collect();
        assert!(others.is_empty(), "page {page} costs {others:?}");
        // What a page says of its reports is not checked.
        let mut others = rows.iter().filter(|row| !is_on_page(&row.number));
        assert!(others.all(|row| row.record == marked(row.number)));
        assert!(
            read.is_sorted_by(|a, b| a < b),
            "page {page}: each once: {read:?}"
        );
        copy.write(&spool, &lane(0), 1000).expect("room");
        let until = Instant::now() + Duration::from_secs(10);
        while lost.len() as u64 + spool.level().reports != 701 || !spool.level().is_counted {
            assert!(
                Instant::now() < until,
                "page {page}: {:?}, {lost:?}",
                spool.level()
            );
            thread::park_timeout(Duration::from_millis(1));
        }
        close(&spool);
        drop(spool);
        let (spool, _) = copy.open();
        assert_eq!(read_all(&spool).len(), read.len() + 1, "page {page}");
    }
}

#[test]
fn damage_that_shows_while_reading_ends_no_lane_before_the_rest_is_read() {
    let fixture = Fixture::new();
    let (spool, _) = fixture.open();
    for number in 1..=200 {
        fixture.send(&spool, &lane(0), number, marked(number));
        fixture.answers.recv().expect("an answer").1.expect("room");
    }
    close(&spool);
    drop(spool);
    let (spool, _) = fixture.open();
    let file = fixture.newest_file();
    let mut bytes = fs::read(&file).expect("a file");
    let pages = bytes.len() / 4096;
    // The pages of the reports in the middle.
    bytes[pages / 2 * 4096..(pages / 2 + 2) * 4096].fill(0xaa);
    fs::write(&file, bytes).expect("a broken file");
    fixture.write(&spool, &lane(0), 300).expect("room");
    let read = numbers(&read_all(&spool));
    assert!(read.len() > 190 && read.len() < 201, "{read:?}");
    assert_eq!((read[0], read[read.len() - 1]), (1, 300));
    close(&spool);
    assert_eq!(fixture.count_aside(), 1);
    assert_eq!(spool.level().reports, read.len() as u64);
}

#[test]
fn a_file_without_a_table_is_set_aside_and_the_reports_that_are_left_are_read() {
    // Without its lanes, the topic of a report is not known; pages of a table that is gone are free.
    for (table, expected) in [("lanes", 0), ("reports", 0), ("topics", 1)] {
        let fixture = Fixture::new();
        let file = fixture.leave_one();
        Fixture::damage(&file, &format!("DROP TABLE {table}"));
        let (spool, restored) = fixture.open();
        assert_eq!(
            (restored.len(), fixture.count_aside()),
            (expected, 1),
            "{table}"
        );
        fixture.write(&spool, &lane(0), 2).expect("room");
    }
}

#[test]
fn a_report_that_no_run_can_have_written_is_kept_and_shown_and_costs_no_other() {
    for sql in [
        "UPDATE reports SET headers = '[[1]]' WHERE id & 7 = 1",
        "UPDATE reports SET headers = CAST(x'ff' AS TEXT) WHERE id & 7 = 1",
        "UPDATE reports SET key = CAST(x'ff' AS TEXT) WHERE id & 7 = 1",
        "UPDATE lanes SET id = 99 WHERE partition = 7",
    ] {
        let fixture = Fixture::new();
        let (spool, _) = fixture.open();
        fixture.write(&spool, &lane(7), 1).expect("room");
        fixture.write(&spool, &lane(0), 2).expect("room");
        close(&spool);
        drop(spool);
        Fixture::damage(&fixture.newest_file(), sql);
        let (spool, _) = fixture.open();
        let until = Instant::now() + Duration::from_secs(10);
        while fixture.count_aside() == 0 {
            assert!(Instant::now() < until, "{sql}");
            let _may_find_it = spool.read(&lane(7), 1, 1 << 20);
        }
        assert_eq!(read_all(&spool), [row(2)], "{sql}");
        close(&spool);
        assert_eq!(spool.level().reports, 1, "{sql}");
        let mut fragments = Vec::new();
        let inspection = Inspection::of(&fixture.path()).expect("a spool");
        let problems = inspection.each_set_aside(|fragment| {
            fragments.extend(
                fragment
                    .err()
                    .map(|fragment| (fragment.number, fragment.value)),
            );
            Ok(())
        });
        let value = row(1).record.value.clone();
        assert_eq!(fragments, [(1, Some(value))], "{sql}");
        let problems = problems.expect("readable");
        assert_eq!((problems.len(), problems[0].fragments), (1, 1), "{sql}");
    }
}

#[test]
fn reports_that_are_out_of_order_are_read() {
    let fixture = Fixture::new();
    fixture.leave_three_renumbered(2, 9);
    let (spool, _) = fixture.open();
    assert_eq!(numbers(&read_all(&spool)), [1, 3, 9]);
    close(&spool);
    assert_eq!(fixture.count_aside(), 1);
}

#[test]
fn a_lane_whose_first_report_is_behind_its_last_is_read() {
    let fixture = Fixture::new();
    fixture.leave_three_renumbered(1, 9);
    let (_spool, restored) = fixture.open();
    assert_eq!(restored, [left(lane(0), 2, 9)]);
    assert_eq!(fixture.count_aside(), 1);
}

#[test]
fn a_lane_whose_topic_is_no_text_is_damage() {
    let fixture = Fixture::new();
    let file = fixture.leave_one();
    Fixture::damage(&file, "UPDATE lanes SET topic = CAST(x'ff' AS TEXT)");
    let (_spool, restored) = fixture.open();
    assert_eq!((restored, fixture.count_aside()), (vec![], 1));
}

#[test]
fn a_lane_that_has_used_its_numbers_up_is_damage() {
    let fixture = Fixture::new();
    let file = fixture.leave_one();
    Fixture::damage(&file, "UPDATE reports SET id = (2 << 40) - 1");
    let (_spool, restored) = fixture.open();
    assert_eq!((restored, fixture.count_aside()), (vec![], 1));
}

#[test]
fn a_lane_with_an_id_that_none_can_have_holds_nothing() {
    for id in [i64::MAX, i64::MAX >> 40, -1, 0] {
        let fixture = Fixture::new();
        let file = fixture.leave_one();
        Fixture::damage(&file, &format!("UPDATE lanes SET id = {id}"));
        let (spool, restored) = fixture.open();
        assert_eq!(restored, [], "{id}");
        let (rows, _) = spool.read(&lane(0), 1, 1 << 20).expect("readable");
        assert_eq!(rows, [], "{id}");
    }
}

#[test]
fn a_count_of_free_pages_that_can_not_be_takes_no_room() {
    let fixture = Fixture::new();
    let file = fixture.leave_one();
    let mut bytes = fs::read(&file).expect("a file");
    // Its place in the header (SQLite's file format, section 1.3.9).
    bytes[36..40].fill(0xff);
    fs::write(&file, bytes).expect("a broken file");
    let (spool, restored) = fixture.open();
    assert_eq!(restored.len(), 1);
    fixture.write(&spool, &lane(0), 2).expect("room");
}

#[test]
fn the_reports_of_a_partition_that_can_not_be_are_read_as_the_inboxs() {
    for partition in [-2, i64::from(MAX_PARTITIONS), i64::from(u32::MAX), i64::MAX] {
        let fixture = Fixture::new();
        let (spool, _) = fixture.open();
        let inbox = LaneKey {
            partition: None,
            ..lane(0)
        };
        for (lane, number) in [(&lane(0), 1), (&inbox, 2), (&lane(1), 3), (&lane(0), 4)] {
            fixture.write(&spool, lane, number).expect("room");
        }
        close(&spool);
        drop(spool);
        let sql = format!("UPDATE lanes SET partition = {partition} WHERE partition = 0");
        Fixture::damage(&fixture.newest_file(), &sql);
        let (spool, mut restored) = fixture.open();
        restored.sort_by_key(|left| left.first);
        assert_eq!(restored, [left(inbox.clone(), 1, 4), left(lane(1), 3, 3)]);
        let inspection = Inspection::of(&fixture.path()).expect("a spool");
        assert_eq!(inspection.lanes().0[&inbox].due, 3);
        spool.assign("events", |_| 1);
        let (rows, _) = spool.read(&lane(1), 1, 1 << 20).expect("readable");
        let rows: Vec<_> = rows
            .iter()
            .map(|row| (row.number, row.is_in_inbox))
            .collect();
        assert_eq!(rows, [(1, true), (2, true), (3, false), (4, true)]);
        spool.delete(&inbox, 1);
        spool.mark(&inbox, 2, Mark::Quarantined);
        spool.delete(&inbox, 4);
        close(&spool);
        assert_eq!((spool.level().reports, spool.level().quarantined), (2, 1));
        assert_eq!(fixture.count_aside(), 0);
    }
}

#[test]
fn a_count_of_partitions_that_can_not_be_is_not_believed() {
    for count in [0, -1, i64::from(MAX_PARTITIONS) + 1, i64::MAX] {
        let fixture = Fixture::new();
        let (spool, _) = fixture.open();
        fixture.write(&spool, &lane(0), 1).expect("room");
        spool.remember("events", 6);
        spool.remember("rejected", MAX_PARTITIONS);
        close(&spool);
        drop(spool);
        let sql = format!("UPDATE topics SET partitions = {count} WHERE name = 'events'");
        Fixture::damage(&fixture.newest_file(), &sql);
        let (_spool, remains) =
            Spool::open(&fixture.options(), send_answer, drop).expect("a spool");
        let known = vec![("rejected".to_owned(), MAX_PARTITIONS)];
        assert_eq!((remains.partitions, remains.lanes.len()), (known, 1));
        assert_eq!(fixture.count_aside(), 0);
    }
}

#[test]
fn an_empty_file_is_removed_and_is_no_damage() {
    let fixture = Fixture::new();
    let (spool, _) = fixture.open();
    close(&spool);
    drop(spool);
    fs::write(fixture.newest_file(), []).expect("room");
    let inspection = Inspection::of(&fixture.path()).expect("a spool");
    assert_eq!(inspection.lanes().0.len(), 0);
    let (_spool, restored) = fixture.open();
    assert_eq!((restored, fixture.count_aside()), (vec![], 0));
    assert_eq!(directory::files(&fixture.path()).len(), 1);
}

#[test]
fn a_file_that_a_kill_left_unfinished_is_no_damage() {
    let fixture = Fixture::new();
    let (spool, _) = fixture.open();
    close(&spool);
    drop(spool);
    let file = fixture.newest_file();
    let unfinished = fixture.path().join("new.sqlite");
    fs::rename(&file, &unfinished).expect("room");
    let (spool, restored) = fixture.open();
    assert_eq!((restored, fixture.count_aside()), (vec![], 0));
    fixture.write(&spool, &lane(0), 1).expect("room");
    assert!(!unfinished.exists());
    let (_spool, restored) = fixture.reopen(spool);
    assert_eq!(restored.len(), 1);
}

#[test]
fn reports_of_another_spool_that_were_brought_here_are_read_too() {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    for (fixture, value) in [(&fixture, 1), (&other, 100)] {
        let (spool, _) = fixture.open();
        for number in 1..=3 {
            fixture.send(&spool, &lane(0), number, row(number * value).record);
            fixture.answers.recv().expect("an answer").1.expect("room");
        }
        close(&spool);
    }
    for name in ["spool-000000.sqlite", "spool-000009.sqlite"] {
        let brought = fixture.path().join(name);
        fs::copy(other.newest_file(), &brought).expect("room");
        let (spool, restored) = fixture.open();
        let mut keys: Vec<_> = read_all(&spool)
            .iter()
            .map(|row| row.record.key.clone())
            .collect();
        keys.sort();
        keys.dedup();
        // A key is missing in every fifth.
        let expected = [None, Some("m1"), Some("m2"), Some("m3")];
        assert_eq!(keys, expected.map(|key| key.map(str::to_owned)), "{name}");
        assert_eq!(restored.len(), 1);
        close(&spool);
    }
    let (spool, _) = fixture.open();
    // The second time they are the same.
    assert_eq!(numbers(&read_all(&spool)), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn deletions_while_a_damaged_file_is_moved_are_not_forgotten() {
    let fixture = Fixture::new();
    let (spool, _) = fixture.open();
    for number in 1..=4000 {
        fixture.send(&spool, &lane(0), number, marked(number));
    }
    for _ in 1..=4000 {
        fixture.answers.recv().expect("an answer").1.expect("room");
    }
    close(&spool);
    drop(spool);
    Fixture::damage(
        &fixture.newest_file(),
        "UPDATE reports SET headers = '[[1]]' WHERE id & 4095 = 3999",
    );
    let (spool, _) = fixture.open();
    // Reading finds the damage; it is moved while these are deleted.
    let read = || spool.read(&lane(0), 3990, 1 << 20);
    let found = read();
    assert!(
        found.is_err(),
        "{:?}",
        found.map(|(rows, _)| numbers(&rows))
    );
    for number in 1..=2000 {
        spool.delete(&lane(0), number);
    }
    let rows = read_all(&spool);
    let until = Instant::now() + Duration::from_secs(10);
    while spool.level().reports != 1999 {
        assert!(
            Instant::now() < until,
            "{:?}, read {}",
            spool.level(),
            rows.len()
        );
        thread::park_timeout(Duration::from_millis(1));
    }
    close(&spool);
    let kept = numbers(&read_all(&fixture.reopen(spool).0));
    assert_eq!((kept.len(), kept[0], kept[1998]), (1999, 2001, 4000));
}
