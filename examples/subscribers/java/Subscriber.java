import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.cloudevents.CloudEvent;
import io.cloudevents.CloudEventData;
import io.cloudevents.jackson.JsonCloudEventData;
import io.cloudevents.jackson.JsonFormat;
import io.cloudevents.kafka.KafkaMessageFactory;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import sun.misc.Signal;

/**
 * A subscriber of the events topic that keeps the state of each message in SQLite.
 *
 * <pre>./run 127.0.0.1:9092 koomessage.reports state.db</pre>
 *
 * It drops repeats by {@code ce_id}, merges statuses forward only, commits offsets after the
 * database has the records, and puts records that it can't read into the table {@code dead_letters}
 * instead of stopping.
 */
public final class Subscriber {
    private static final int SQLITE_BUSY = 5;
    private static final String EVENT_TYPE = "com.huaweicloud.koomessage.report.v1";
    private static final Set<String> STATUSES = Set.of("delivered", "read", "failed");

    static {
        // `extra` can contain long numbers and names, which no parser may refuse; koobridge has
        // limited its size already. Must be set before the first parser is created.
        StreamReadConstraints.overrideDefaultStreamReadConstraints(StreamReadConstraints.builder()
                .maxNumberLength(Integer.MAX_VALUE)
                .maxNameLength(Integer.MAX_VALUE)
                .maxStringLength(Integer.MAX_VALUE)
                .build());
    }

    private static final ObjectMapper JSON = new ObjectMapper()
            .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
            .registerModule(JsonFormat.getCloudEventJacksonModule());

    private static volatile boolean stopping = false;

    /** The members of an event's data that this subscriber needs. */
    private record Report(String channelId, String messageId, String status, String receivedAt) {}

    /** A record that can't be read. Its message is the reason. */
    private static final class Poison extends Exception {
        Poison(String reason) {
            super(reason);
        }
    }

    public static void main(String[] arguments) throws IOException {
        if (arguments.length < 3 || arguments.length > 4) {
            System.err.println("usage: subscriber BOOTSTRAP TOPIC DATABASE [GROUP]");
            System.exit(2);
        }
        String group = arguments.length == 4 ? arguments[3] : "conversation-state";
        for (String name : List.of("TERM", "INT")) {
            Signal.handle(new Signal(name), signal -> stopping = true);
        }
        try {
            run(arguments[0], arguments[1], arguments[2], group);
        } catch (SQLException error) {
            System.err.println("subscriber: can't write to the database; no offset was committed: "
                    + error.getMessage());
            System.exit(1);
        } catch (KafkaException error) {
            System.err.println("subscriber: Kafka: " + error);
            System.exit(1);
        }
    }

    private static void run(String bootstrap, String topic, String path, String group)
            throws SQLException, IOException {
        Map<String, Object> settings = Map.of(
                "bootstrap.servers", bootstrap,
                "group.id", group,
                "auto.offset.reset", "earliest",
                "enable.auto.commit", false,
                // A database transaction takes at most this many records.
                "max.poll.records", 500,
                // If a member is killed, Kafka gives its partitions to others after this time.
                "session.timeout.ms", 6000,
                "heartbeat.interval.ms", 2000,
                // koobridge writes replays in transactions. By default, the Java client reads
                // uncommitted records too.
                "isolation.level", "read_committed");
        // Closing the consumer leaves the group, so that its partitions go to others at once.
        try (Connection database = open(path);
                KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(
                        settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            database.createStatement().executeUpdate(shared("schema.sql"));
            database.setAutoCommit(false);
            String merge = shared("merge.sql");
            consumer.subscribe(List.of(topic));
            System.err.println("reading " + topic + " as the group " + group);
            while (!stopping) {
                var batch = consumer.poll(Duration.ofMillis(100));
                keep(database, merge, batch);
                commit(consumer, batch);
            }
        }
    }

    /**
     * Opens the database. If two subscribers open a new one at once, only one can switch the
     * journal mode, which the file keeps.
     */
    private static Connection open(String path) throws SQLException {
        String url = "jdbc:sqlite:" + path + "?busy_timeout=30000";
        try {
            return DriverManager.getConnection(url + "&journal_mode=WAL");
        } catch (SQLException error) {
            if (error.getErrorCode() != SQLITE_BUSY) {
                throw error;
            }
            return DriverManager.getConnection(url);
        }
    }

    private static String shared(String name) throws IOException {
        try (var file = Subscriber.class.getResourceAsStream(name)) {
            return new String(file.readAllBytes(), StandardCharsets.UTF_8);
        }
    }

    /** Writes a whole batch or nothing of it: if this throws, the program ends. */
    private static void keep(
            Connection database, String merge, ConsumerRecords<byte[], byte[]> batch)
            throws SQLException {
        for (ConsumerRecord<byte[], byte[]> record : batch) {
            try {
                CloudEvent event = readEvent(record);
                if (event.getType().equals(EVENT_TYPE)) {
                    apply(database, merge, event.getId(), readReport(event));
                }
                // Events of other types are ignored.
            } catch (Poison poison) {
                bury(database, record, poison.getMessage());
            }
        }
        database.commit();
    }

    /** Reads an event in either content mode of CloudEvents. */
    private static CloudEvent readEvent(ConsumerRecord<byte[], byte[]> record) throws Poison {
        if (record.value() == null) {
            throw new Poison("no-value");
        }
        try {
            return isStructured(record)
                    ? JSON.readValue(utf8(record.value()), CloudEvent.class)
                    : KafkaMessageFactory.createReader(record).toEvent();
        } catch (IOException | RuntimeException error) {
            // A record can be wrong in any way.
            throw new Poison("not-a-cloudevent");
        }
    }

    private static boolean isStructured(ConsumerRecord<byte[], byte[]> record) {
        Header kind = record.headers().lastHeader("content-type");
        return kind != null && kind.value() != null
                && new String(kind.value(), StandardCharsets.ISO_8859_1)
                        .startsWith("application/cloudevents");
    }

    private static Report readReport(CloudEvent event) throws Poison {
        Report report;
        try {
            JsonNode data = json(event.getData());
            report = new Report(
                    text(data, "channel_id"),
                    text(data, "message_id"),
                    text(data, "status"),
                    text(data, "received_at"));
        } catch (IOException | RuntimeException error) {
            throw new Poison("not-a-report");
        }
        if (!STATUSES.contains(report.status())) {
            throw new Poison("unknown-status");
        }
        return report;
    }

    private static JsonNode json(CloudEventData data) throws IOException {
        if (data instanceof JsonCloudEventData parsed) {
            return parsed.getNode();
        }
        return JSON.readTree(utf8(data.toBytes()));
    }

    /**
     * Decodes strictly. If Jackson got bytes, it would guess the encoding, and refuse a member's
     * name with an unpaired surrogate.
     */
    private static String utf8(byte[] bytes) throws CharacterCodingException {
        return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
    }

    private static String text(JsonNode data, String name) throws CharacterCodingException {
        JsonNode member = data.get(name);
        if (!member.isTextual()) {
            throw new IllegalArgumentException(name);
        }
        // Refuses an unpaired surrogate, which a database would change.
        StandardCharsets.UTF_8.newEncoder().encode(CharBuffer.wrap(member.textValue()));
        return member.textValue();
    }

    private static void apply(Connection database, String merge, String eventId, Report report)
            throws SQLException {
        if (update(database, "INSERT OR IGNORE INTO seen VALUES (?)", eventId) == 1) {
            update(database, merge, report.channelId(), report.messageId(), report.status(),
                    report.receivedAt());
        }
    }

    private static void bury(
            Connection database, ConsumerRecord<byte[], byte[]> record, String reason)
            throws SQLException {
        update(database, "INSERT OR IGNORE INTO dead_letters VALUES (?, ?, ?, ?, ?, ?)",
                record.topic(), record.partition(), record.offset(), reason, record.key(),
                record.value());
    }

    private static int update(Connection database, String sql, Object... values)
            throws SQLException {
        try (PreparedStatement statement = database.prepareStatement(sql)) {
            for (int at = 0; at < values.length; at++) {
                statement.setObject(at + 1, values[at]);
            }
            return statement.executeUpdate();
        }
    }

    /**
     * Commits the offsets of a batch that is kept. If another member has the partitions now, it
     * reads some records again and drops them by their ids.
     */
    private static void commit(
            KafkaConsumer<byte[], byte[]> consumer, ConsumerRecords<byte[], byte[]> batch) {
        if (batch.nextOffsets().isEmpty()) {
            return;
        }
        try {
            consumer.commitSync(batch.nextOffsets());
        } catch (KafkaException error) {
            System.err.println("can't commit the offsets: " + error);
        }
    }
}
