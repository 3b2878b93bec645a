"""What a scrape may rely on: valid text, honest counters, bounded series."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from monitor.adapters.exposition import Exposition, UndeclaredMetric, process_registry, slice_labels
from monitor.catalog import METRICS, PREFIX
from monitor.core.records import IncidentKind, Slice
from monitor.core.snapshot import MetricsSnapshot, SliceMoments
from tests.adapters.views import NOW, snapshot

LATER = 1_000.0
"""Well past the hold at 0, on the exposition's clock."""

NEWLY: Slice = (("accent", "igbo"),)


def samples(written: bytes) -> dict[str, float]:
    """Every sample by its name and labels, read by Prometheus' own parser for Python."""
    read: dict[str, float] = {}
    for family in text_string_to_metric_families(written.decode()):
        for sample in family.samples:
            key = f"{sample.name}{sorted(sample.labels.items())}"
            assert key not in read, f"{key} is exposed twice"
            read[key] = sample.value
    return read


def shown(written: bytes, name: str, **labels: str) -> list[float]:
    """Values of the metric whose labels contain these."""
    return [
        sample.value
        for family in text_string_to_metric_families(written.decode())
        for sample in family.samples
        if sample.name == PREFIX + name and labels.items() <= sample.labels.items()
    ]


def settled(exposition: Exposition, seen: MetricsSnapshot) -> bytes:
    """The scrape once nothing is held at 0 any more."""
    exposition.render(seen, 0.0)
    return exposition.render(seen, LATER)


def with_moments(seen: MetricsSnapshot, **changed: object) -> MetricsSnapshot:
    """The snapshot with one more slice: a copy of the first with other values."""
    extra: SliceMoments = replace(seen.moments[0], **{"slice": NEWLY, **changed})
    return replace(seen, moments=(*seen.moments, extra))


def test_parses_and_holds_what_the_view_says() -> None:
    """A scrape that Prometheus cannot read blinds every alert at once."""
    seen = snapshot()
    written = settled(Exposition(registry=process_registry(), strict=True), seen)
    read = samples(written)
    england = slice_of("accent", "england")
    assert shown(written, "slice_utterances_total", **england) == [seen.moments[1].utterances]
    assert shown(written, "slice_verdict", **england, verdict="parity") == [1.0]
    assert shown(written, "slice_wer_ratio", **slice_of("all", "all"), window="7d") == [0.127]
    assert shown(written, "event_watermark_timestamp_seconds") == [NOW]
    assert shown(written, "label_missing_utterances_total", dimension="accent") == [2472.0]
    assert any(key.startswith("process_resident_memory_bytes") for key in read)
    assert not any("_created" in key for key in read)


def test_decisions_say_what_the_standing_says() -> None:
    """Alerts compare these with thresholds: a value under the wrong name pages for the wrong reason."""
    seen = snapshot()
    standing = seen.view.slices[1].standing
    assert standing is not None
    written, england = settled(Exposition(), seen), slice_of("accent", "england")
    expected = {
        "slice_wer_gap_lower_ratio": standing.gap_low,
        "slice_wer_gap_upper_ratio": standing.gap_high,
        "slice_evidence_log": math.log(standing.evidence),
        "slice_learning": 0.0,
        "slice_detectable_gap_ratio": standing.detectable_gap,
        "slice_words_missing": standing.words_missing,
        "slice_last_reference_timestamp_seconds": standing.last_reference_at,
    }
    assert {name: shown(written, name, **england)[0] for name in expected} == expected


def test_numbers_of_any_kind_read_as_numbers() -> None:
    """numpy's scalars print as `np.float64(0.1)`, and infinities not as Prometheus spells them."""
    gauges = {"pending_bytes": 1.5, "storage_ok": np.float64(1), "waiting_references": math.inf}
    written = Exposition().render(snapshot(gauges=gauges), 0.0)
    assert b"wervane_storage_ok 1.0\n" in written and b"wervane_waiting_references +Inf\n" in written


def test_every_sample_is_declared_with_help_and_type() -> None:
    """Rules and dashboards are generated from the catalogue: a name outside it is a name nobody watches."""
    declared = {PREFIX + name for metric in METRICS for name in metric.sample_names()}
    lines = settled(Exposition(strict=True), snapshot()).decode().splitlines()
    named = {re.split("[{ ]", line)[0] for line in lines if not line.startswith("#")}
    assert named <= declared
    typed = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(typed) == len(set(typed)), "a family must not be split"


def test_histogram_buckets_come_in_order() -> None:
    """The text format wants buckets ascending, with +Inf last and equal to the count."""
    lines = settled(Exposition(), snapshot()).decode().splitlines()
    bounds = [line for line in lines if "delay_seconds_" in line and not line.startswith("#")]
    assert [re.findall(r'le="(.*)"|_(sum|count)', line)[0] for line in bounds] == [
        ("60", ""),
        ("86400", ""),
        ("+Inf", ""),
        ("", "sum"),
        ("", "count"),
    ]


@pytest.mark.parametrize("value", ['"} 1\nfake 2', "back\\slash\\n", "\ud800", "日本\u202e", "a,b", ""])
def test_hostile_group_names_stay_label_values(value: str) -> None:
    """Groups are customers' data: one lone surrogate or quote must not break every alert."""
    seen = with_moments(snapshot(), slice=(("accent", value), ("deployment", "x")))
    written = settled(Exposition(), seen)
    spelled = value.replace("\\", "\\\\").replace(",", "\\,").replace("\ud800", "\\ud800")
    assert shown(written, "slice_clusters_total", dimension="accent,deployment", group=f"{spelled},x")


def test_commas_in_values_do_not_merge_intersections() -> None:
    """Two slices under one name would be refused by Prometheus as duplicates."""
    one = slice_labels("c", (("accent", "a,b"), ("site", "c")))
    other = slice_labels("c", (("accent", "a"), ("site", "b,c")))
    assert one != other


def test_new_slice_is_shown_at_zero_for_two_scrapes() -> None:
    """A counter born at 50 never rose: `increase()` would miss a new group's first day."""
    exposition = Exposition(hold_seconds=30)
    seen = with_moments(snapshot(), utterances=50)
    values = [
        shown(exposition.render(seen, now), "slice_utterances_total", **slice_of("accent", "igbo"))
        for now in (0, 15, 30, 45)
    ]
    assert values == [[0.0], [0.0], [50.0], [50.0]]


def test_restored_slice_is_not_held() -> None:
    """After a restart, 0 would read as a counter reset: the whole total would be counted a second time."""
    seen = snapshot()
    first = Exposition(start=seen).render(seen, 0.0)
    assert shown(first, "slice_utterances_total", **slice_of("all", "all")) == [seen.moments[0].utterances]
    assert shown(first, "references_missing_total") == [18_204.0]


def test_counters_never_fall() -> None:
    """A corrected correction lowers a total; shown, it would read as a restart."""
    exposition, seen = Exposition(), snapshot()
    settled(exposition, seen)
    lower = replace(seen.moments[0], utterances=seen.moments[0].utterances - 5)
    fewer = replace(seen, moments=(lower, *seen.moments[1:]))
    written = exposition.render(fewer, LATER + 15)
    assert shown(written, "slice_utterances_total", **slice_of("all", "all")) == [seen.moments[0].utterances]


def test_series_stop_at_the_cap_and_say_so() -> None:
    """Ten million accents must not take Prometheus down; what matters stays, and the loss is a number."""
    seen = snapshot()
    many = tuple(replace(seen.moments[1], slice=(("accent", f"g{index}"),), traffic=1) for index in range(500))
    crowded = replace(seen, moments=(*many, *seen.moments))
    written = settled(Exposition(series_max=400), crowded)
    assert sum(not line.startswith(b"#") for line in written.splitlines()) <= 400
    assert shown(written, "slice_utterances_total", **slice_of("all", "all"))
    assert shown(written, "slice_utterances_total", **slice_of("accent", "indian")), "an open incident names it"
    assert shown(written, "exposition_series_left_out", reason="cap")[0] > 4_000


@pytest.mark.parametrize(
    "series", ["made_up_total", 'records_consumed_total{topic="x"}', 'fields_clipped_total{field="a"b"}', "storage_ok"]
)
def test_undeclared_series_are_left_out_and_counted(series: str) -> None:
    """A misnamed counter is a fault for a test to find, not a reason to lose the scrape in production."""
    seen = snapshot(counters={series: 1})
    with pytest.raises(UndeclaredMetric):
        Exposition(strict=True).render(seen, 0.0)
    written = Exposition().render(seen, 0.0)
    assert shown(written, "exposition_series_left_out", reason="undeclared") == [1.0]


def test_incidents_are_series_that_fall_back_to_zero() -> None:
    """Alert rules read them: an incident that resolves must say 0, not vanish."""
    written = settled(Exposition(), snapshot())
    assert shown(written, "slice_incident_open", level="page", group="yoruba,clinical", kind="drift") == [1.0]
    assert shown(written, "slice_incident_open", kind="stale") == [0.0]


def test_an_open_incident_has_its_numbers_and_a_resolved_one_none() -> None:
    """An alert tells them: who, by how much, how sure, since when; of what is over, nobody is to be told again."""
    written = settled(Exposition(strict=True), snapshot())
    told = next(each for each in snapshot().view.incidents if each.kind is IncidentKind.DRIFT)
    assert shown(written, "slice_incident_since_timestamp_seconds", kind=told.kind.value) == [told.since]
    assert shown(written, "slice_incident_wer_ratio", kind=told.kind.value, side="after") == [told.wer]
    assert shown(written, "slice_incident_wer_change_ratio", kind=told.kind.value, bound="low") == [told.ratio_low]
    assert shown(written, "slice_incident_wer_ratio", kind="stale") == []


def test_missing_references_are_told_by_age_for_what_is_not_crossed() -> None:
    """A group that nobody corrects any more shows here weeks before its transcripts run out of time."""
    seen = snapshot()
    written = settled(Exposition(strict=True), seen)
    for at, names in ((0, slice_of("all", "all")), (1, slice_of("accent", "england"))):
        for age, _, missing in seen.view.slices[at].missing_by_age:
            assert shown(written, "slice_references_missing_utterances", **names, age=age) == [missing]
    assert not shown(written, "slice_references_missing_utterances", dimension="accent,deployment")


def test_missing_references_give_way_at_the_cap() -> None:
    """They take only what slices leave, all traffic first, and what is left out is counted."""
    seen = snapshot()
    whole = settled(Exposition(), seen)
    series = sum(not line.startswith(b"#") for line in whole.splitlines())
    told = len(shown(whole, "slice_references_missing_utterances"))
    written = settled(Exposition(series_max=series - 6), seen)
    assert shown(whole, "slice_references_missing_utterances", **slice_of("all", "all"))
    assert len(shown(written, "slice_references_missing_utterances")) == told - 8
    assert shown(written, "slice_references_missing_utterances", **slice_of("all", "all"))
    assert len(shown(written, "slice_utterances_total")) == len(shown(whole, "slice_utterances_total"))
    assert shown(written, "exposition_series_left_out", reason="cap") == [8.0]


def slice_of(dimension: str, group: str) -> dict[str, str]:
    return {"customer": "northwind-health", "dimension": dimension, "group": group}
