"""Reads metrics from standard input and prints the samples of each family, as JSON.

usage: open_metrics.py openmetrics|classic

The parsers come from prometheus_client; the OpenMetrics parser refuses text that the specification does not allow.
"""

import json
import sys

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client import parser as classic

PARSERS = {"openmetrics": openmetrics, "classic": classic}

families = {}
for family in PARSERS[sys.argv[1]].text_string_to_metric_families(sys.stdin.read()):
    samples = [[sample.name, sorted(sample.labels.items()), repr(sample.value)] for sample in family.samples]
    assert family.name not in families, family.name
    families[family.name] = [family.type, family.documentation, sorted(samples)]
print(json.dumps(families))
