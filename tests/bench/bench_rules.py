"""What the shipped rules cost a Prometheus that holds three days of 2,000 series, by its own metric.

    python tests/bench/bench_rules.py [SECONDS_BETWEEN_SCRAPES]

The budget: 200 ms for all groups. Cost goes with the samples in 72 hours, so with the scrape interval.
"""

from __future__ import annotations

import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from msgspec.structs import replace

from monitor.adapters.exposition import Exposition
from monitor.catalog import SLICE_MOMENTS
from tests.bench.bench_scrape import many_slices
from tests.rules.alertmanagers import asked
from tests.rules.backfill import put
from tests.rules.prometheuses import RULES, prometheus, query

SLICES = 80
HOURS = 73
EVALUATIONS = 8
SPEED = 48
"""Groups are evaluated so many times as often, or a run would take an hour."""

_LINE = re.compile(r"(wervane_\w+)\{(.*)\} (\S+)")


def exposed() -> str:
    """A scrape with 80 slices, at their values."""
    exposition = Exposition(hold_seconds=0.0)
    seen = many_slices(SLICES)
    one = seen.moments[0]
    totals = {name: SLICES * getattr(one, name) for name in one.__struct_fields__ if name not in ("customer", "slice")}
    seen = replace(seen, moments=(replace(one, slice=(), **totals), *seen.moments))
    exposition.render(seen, 0.0)
    return exposition.render(seen, 1.0).decode()


def history(scrape: str, instance: str, step: float, ends: float) -> Iterator[str]:
    """The moments of each slice, growing each hour to their values, at each scrape of three days."""
    counters = {metric.full_name for metric in SLICE_MOMENTS}
    by_name: dict[str, list[tuple[str, float]]] = {}
    for line in scrape.splitlines():
        found = _LINE.fullmatch(line)
        if found and found[1] in counters:
            by_name.setdefault(found[1], []).append((found[2], float(found[3])))
    times = [ends - HOURS * 3600.0 + step * number for number in range(int(HOURS * 3600 / step) + 1)]
    for name, series in by_name.items():
        yield f"# TYPE {name.removesuffix('_total')} counter"
        for labels, value in series:
            begin = f'{name}{{job="wervane",instance="{instance}",{labels}}} '
            for number, at in enumerate(times):
                hours = number * step // 3600.0
                yield f"{begin}{value * hours / HOURS:.6g} {at:.3f}"
    yield "# EOF"


def serving(body: bytes) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def main() -> None:
    step = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    scrape = exposed()
    server = serving(scrape.encode())
    agent = f"127.0.0.1:{server.server_address[1]}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        put(history(scrape, agent, step, time.time() - 5.0), folder)
        rules = re.sub(
            r"interval: '(\d+)m'",
            lambda found: f"interval: '{max(1, int(found[1]) * 60 // SPEED)}s'",
            RULES.read_text(),
        )
        (folder / "rules.yml").write_text(rules)
        settings: dict[str, object] = {
            "global": {"scrape_interval": f"{step:.0f}s"},
            "rule_files": [str(folder / "rules.yml")],
            "scrape_configs": [
                {"job_name": "wervane", "static_configs": [{"targets": [agent]}]},
            ],
        }
        report(folder, settings, step, scrape)


def report(folder: Path, settings: dict[str, object], step: float, scrape: str) -> None:
    series = sum(not line.startswith("#") for line in scrape.splitlines())
    print(f"{series:,} series of {SLICES} slices, a scrape each {step:.0f} s")
    total = 0.0
    with prometheus(folder, settings) as address:
        spent: dict[str, list[float]] = {}
        counts: dict[str, float] = {}

        def enough() -> bool:
            text = metrics(address)
            for group, seconds in re.findall(
                r'prometheus_rule_group_last_duration_seconds\{rule_group="[^;]*;([^"]*)"\} (\S+)', text
            ):
                count = evaluations(text, group)
                if count > counts.get(group, 0.0) and float(seconds) > 0:
                    counts[group] = count
                    spent.setdefault(group, []).append(float(seconds))
            return len(spent.get("wervane-moments", [])) >= EVALUATIONS

        first = cpu(address)
        while not enough():
            time.sleep(2.5)  # asking costs it as much as a rule
        used = cpu(address) - first
        recorded = len(query(address, '{__name__=~"wervane:.*"}'))
    print(f"{1000 * used / EVALUATIONS:.0f} ms of processor time an evaluation, scrapes and all groups included")
    for group, seconds in spent.items():
        total += statistics.median(seconds)
        print(f"{group:16} median {1000 * statistics.median(seconds):7.1f} ms of {len(seconds)} evaluations")
    print(f"all groups       {1000 * total:14.1f} ms; {recorded:,} recorded series")


def metrics(address: str) -> str:
    return str(asked(f"http://{address}/metrics"))


def cpu(address: str) -> float:
    """Seconds that this Prometheus has used."""
    found = re.search(r"^process_cpu_seconds_total (\S+)", metrics(address), re.MULTILINE)
    assert found is not None
    return float(found[1])


def evaluations(text: str, group: str) -> float:
    found = re.search(rf'prometheus_rule_evaluations_total\{{rule_group="[^;]*;{re.escape(group)}"\}} (\S+)', text)
    return float(found[1]) if found else 0.0


if __name__ == "__main__":
    main()
