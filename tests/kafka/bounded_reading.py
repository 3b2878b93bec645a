"""Decides how much memory reading one partition takes, in a process of its own: what was freed before would hide it.

Called with an address, a topic and a partition; prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from monitor.adapters.kafka.consumer import KafkaLogConsumer
from monitor.adapters.kafka.port import Partition


def main(address: str, topic: str, number: str) -> None:
    partition = Partition(topic, int(number))
    consumer = KafkaLogConsumer({"bootstrap_servers": address}, group=f"memory-of-{topic}-{number}", topics=[topic])
    deadline = time.monotonic() + 60
    (end,) = consumer.ends([partition]).values()
    records = 0
    before = None
    while before is None or (consumer.position(partition) or 0) < end:
        assert time.monotonic() < deadline, "not read to its end"
        records += sum(map(len, consumer.poll(2_000, 1.0).values()))
        for change in consumer.changes():
            if change.partition == partition:
                before = _resident("VmRSS")
                consumer.begin(partition, 0)
    problems = [[problem.problem, problem.position, problem.lost] for problem in consumer.problems()]
    peak = _resident("VmHWM")
    consumer.close()
    print(json.dumps({"records": records, "problems": problems, "before": before, "peak": peak}))


def _resident(what: str) -> int:
    """Bytes that are in memory now (VmRSS), or were at most (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(f"{what}:")).split()[1]) * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
