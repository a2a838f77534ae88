"""A subscriber of the events topic that keeps the state of each message in SQLite.

    ./run 127.0.0.1:9092 koomessage.reports state.db

It drops repeats by `ce_id`, merges statuses forward only, commits offsets after the database has the
records, and puts records that it can't read into the table `dead_letters` instead of stopping.
"""

import json
import signal
import sqlite3
import sys
from pathlib import Path

from cloudevents.core.bindings import kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from confluent_kafka import Consumer, KafkaException, TopicPartition

EVENT_TYPE = "com.huaweicloud.koomessage.report.v1"
SHARED = Path(__file__).resolve().parent.parent
MERGE = (SHARED / "merge.sql").read_text()
# A database transaction takes at most this many records, and waits this long for them (seconds).
BATCH = 500
WAIT = 0.1


class Poison(Exception):
    """A record that can't be read. Its argument is the reason."""


class BareData(JSONFormat):
    """Leaves the data unchanged; if it is no JSON, the SDK would guess its meaning."""

    def read_data(self, body, datacontenttype):
        return body


def main():
    if not 4 <= len(sys.argv) <= 5:
        print("usage: subscriber BOOTSTRAP TOPIC DATABASE [GROUP]", file=sys.stderr)
        return 2
    # `extra` can contain numbers of more than 4,300 digits, which no parser may refuse, the SDK's included.
    # koobridge has limited its size already.
    sys.set_int_max_str_digits(0)
    bootstrap, topic, path = sys.argv[1:4]
    group = sys.argv[4] if len(sys.argv) == 5 else "conversation-state"
    stopping = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.append(True))
    try:
        database = open_database(path)
    except sqlite3.Error as error:
        print(f"subscriber: can't open the database: {error}", file=sys.stderr)
        return 1
    consumer = Consumer({
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        # If a member is killed, Kafka gives its partitions to others after this time.
        "session.timeout.ms": 6000,
        "heartbeat.interval.ms": 2000,
        # koobridge writes replays in transactions.
        "isolation.level": "read_committed",
    })
    consumer.subscribe([topic])
    print(f"reading {topic} as the group {group}", file=sys.stderr)
    try:
        while not stopping:
            batch = next_batch(consumer)
            keep(database, batch)
            commit(consumer, batch)
    except sqlite3.Error as error:
        why = "can't write to the database; no offset was committed"
        print(f"subscriber: {why}: {error}", file=sys.stderr)
        return 1
    finally:
        # Leaves the group, so that its partitions go to others at once.
        consumer.close()
    return 0


def open_database(path):
    database = sqlite3.connect(path, timeout=30)
    try:
        database.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        # Another subscriber is switching the mode of the same file.
        if "locked" not in str(error):
            raise
    database.executescript((SHARED / "schema.sql").read_text())
    return database


def next_batch(consumer):
    batch = []
    for record in consumer.consume(BATCH, WAIT):
        if record.error():
            # librdkafka reconnects by itself.
            print(f"Kafka: {record.error()}", file=sys.stderr)
        else:
            batch.append(record)
    return batch


def keep(database, batch):
    """Writes a whole batch or nothing of it."""
    with database:
        for record in batch:
            try:
                event = read_event(record)
                if event.get_type() == EVENT_TYPE:
                    apply(database, event.get_id(), *read_report(event))
                # Events of other types are ignored.
            except Poison as poison:
                bury(database, record, *poison.args)


def read_event(record):
    """Reads an event in either content mode of CloudEvents."""
    if record.value() is None:
        raise Poison("no-value")
    # The SDK decodes each header as text, but headers of other libraries may be no text.
    headers = {
        name: value
        for name, value in record.headers() or []
        if value is not None and (name.startswith("ce_") or name == "content-type")
    }
    # The key is no attribute of the event, and may be no text.
    message = kafka.KafkaMessage(headers, key=None, value=record.value())
    try:
        if headers.get("content-type", b"").startswith(b"application/cloudevents"):
            return kafka.from_structured(message, BareData(), whole_event)
        return kafka.from_binary(message, BareData(), whole_event)
    except Exception as error:  # A record can be wrong in any way.
        raise Poison("not-a-cloudevent") from error


def whole_event(attributes, data):
    """Refuses an event without an id. The SDK would generate one, so that every repeat would be a new event."""
    if not {"id", "specversion"} <= attributes.keys():
        raise ValueError("no id or no specversion")
    return CloudEvent(attributes, data)


def read_report(event):
    data = event.get_data()
    try:
        report = json.loads(data.decode()) if isinstance(data, bytes) else data
        fields = [report[name] for name in ("channel_id", "message_id", "status", "received_at")]
        for field in fields:
            field.encode()  # Text without an unpaired surrogate.
    except Exception as error:
        raise Poison("not-a-report") from error
    if fields[2] not in ("delivered", "read", "failed"):
        raise Poison("unknown-status")
    return fields


def apply(database, event_id, channel_id, message_id, status, received_at):
    insert = "INSERT OR IGNORE INTO seen VALUES (?)"
    if database.execute(insert, (event_id,)).rowcount == 1:
        database.execute(MERGE, (channel_id, message_id, status, received_at))


def bury(database, record, reason):
    database.execute(
        "INSERT OR IGNORE INTO dead_letters VALUES (?, ?, ?, ?, ?, ?)",
        (record.topic(), record.partition(), record.offset(), reason, record.key(), record.value()),
    )


def commit(consumer, batch):
    """Commits the offsets of a batch that is kept. If another member has the partitions now, it reads
    some records again and drops them by their ids."""
    places = {(record.topic(), record.partition()): record.offset() + 1 for record in batch}
    offsets = [TopicPartition(*place, offset) for place, offset in places.items()]
    try:
        if offsets:
            consumer.commit(offsets=offsets, asynchronous=False)
    except KafkaException as error:
        print(f"can't commit the offsets: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
