"""Reads the records of a topic with Confluent's deserializer.

usage: read_event.py BOOTSTRAP TOPIC REGISTRY COUNT

Prints a line of JSON for each record: the value, and the name ($id) of the schema that its header names.
"""

import json
import sys

from confluent_kafka import Consumer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.json_schema import JSONDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

bootstrap, topic, url, count = sys.argv[1:]
registry = SchemaRegistryClient({"url": url})
found = []
get_schema = registry.get_schema


def watched(schema_id, *rest, **named):
    schema = get_schema(schema_id, *rest, **named)
    found.append((schema_id, json.loads(schema.schema_str)["$id"]))
    return schema


registry.get_schema = watched
# Without a schema as its argument, it fetches the schema that the record's header names, and validates the value.
deserialize = JSONDeserializer(None, schema_registry_client=registry)
consumer = Consumer(
    {"bootstrap.servers": bootstrap, "group.id": "koobridge-tests-registry", "auto.offset.reset": "earliest"}
)
consumer.subscribe([topic])
for _ in range(int(count)):
    message = consumer.poll(60)
    assert message is not None and message.error() is None, message and message.error()
    context = SerializationContext(topic, MessageField.VALUE, message.headers())
    value = deserialize(message.value(), context)
    print(json.dumps({"value": value, "schema": found[-1]}))
consumer.close()
