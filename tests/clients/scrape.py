"""Reads /metrics with Prometheus's own parser and prints what it found.

usage: scrape.py URL
"""

import json
import sys
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

text = urllib.request.urlopen(sys.argv[1]).read().decode()
families = list(text_string_to_metric_families(text))
operations = sum(s.value for f in families for s in f.samples if s.name == "weir_operations_total")
for family in families:
    assert family.documentation, family.name
    assert family.type != "unknown", family.name
print(json.dumps({"families": len(families), "operations": operations}))
