"""mq-bridge as a webhook-to-Kafka bridge: mq-bridge.py ADDRESS BOOTSTRAP TOPIC.

It has the defaults, except that it answers after Kafka's acknowledgement (delayed_ack), sets the producer's acks and
idempotence, and allows as many concurrent requests as there are connections.
"""

import sys

from mq_bridge import Route

address, bootstrap, topic = sys.argv[1:]
route = Route.from_config(
    {
        "input": {
            "http": {
                "url": address,
                "concurrency_limit": 1024,
                "internal_buffer_size": 1024,
            }
        },
        "output": {
            "kafka": {
                "url": bootstrap,
                "topic": topic,
                "delayed_ack": False,
                "create_topic": False,
                "producer_options": [["acks", "all"], ["enable.idempotence", "true"]],
            }
        },
    }
)
route.run()
