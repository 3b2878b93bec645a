"""Each alert of the decider's incidents, by promtool: it fires with its numbers, stays over a restart, resolves."""

from __future__ import annotations

from pathlib import Path

from monitor.alerting.incidents import SELECTORS
from tests.rules.promtool import BY_NAME, At, Case, Series, check

SLICE = {"customer": "clinic", "dimension": "accent", "group": "yoruba"}
ALL = {"customer": "clinic", "dimension": "all", "group": "all"}
UNKNOWN = {"customer": "clinic", "dimension": "accent", "group": "unknown"}
SINCE = "since 2026-03-08 22:30:00 +0000 UTC"
NUMBERS = "WER 21.9 %, before 10.0 %, others 10.4 %; errors x2.20 [1.80, 2.70]; gap 11.5 points [6.0, 17.0]; " + SINCE
OPEN_20_MINUTES = "0x4 1x20 0x60"
"""Opens at 5 min, is over at 26 min."""

TOLD = {
    "WervaneAccentRegression": ("drift", "page", SLICE, f"clinic: accent=yoruba: {NUMBERS}"),
    "WervaneOverallRegression": ("overall", "page", ALL, f"clinic: all traffic: {NUMBERS}"),
    "WervaneDisparity": ("disparity", "page", SLICE, f"clinic: accent=yoruba: {NUMBERS}"),
    "WervaneBlind": ("blind", "page", ALL, "clinic: traffic flows and nobody scores it: "),
    "WervaneLabelsVanished": (
        "coverage", "page", UNKNOWN, f"clinic: many more utterances come without accent than before; {SINCE}",
    ),
    "WervaneEarlyWarning": ("drift", "ticket", SLICE, f"clinic: accent=yoruba may be getting worse: {NUMBERS}"),
    "WervaneStandingGap": ("disparity", "ticket", SLICE, f"clinic: accent=yoruba has a standing gap: {NUMBERS}"),
    "WervaneReferencesStale": ("stale", "ticket", SLICE, "clinic: accent=yoruba: no session is corrected any more"),
    "WervaneImprovement": ("drift", "digest", SLICE, f"clinic: accent=yoruba got better: {NUMBERS}"),
}  # fmt: skip


def incident(name: str, values: str = OPEN_20_MINUTES, *, replica: str = "a") -> Series:
    """One incident that this alert is for, with all its numbers."""
    kind, level, labels, _ = TOLD[name]
    direction = "better" if name == "WervaneImprovement" else "worse"
    said = {**labels, "kind": kind, "level": level, "direction": direction, "instance": replica}

    def series(metric: str, **more: str) -> str:
        pairs = ",".join(f'{key}="{value}"' for key, value in {**said, **more}.items())
        return f"wervane_slice_incident_{metric}{{{pairs}}}"

    return {
        series("open"): values,
        series("since_timestamp_seconds"): "1773009000x100",
        series("wer_ratio", side="after"): ".219x100",
        series("wer_ratio", side="before"): ".1x100",
        series("wer_ratio", side="rest"): ".104x100",
        series("wer_change_ratio", bound="estimate"): "2.2x100",
        series("wer_change_ratio", bound="low"): "1.8x100",
        series("wer_change_ratio", bound="high"): "2.7x100",
        series("wer_gap_ratio", bound="estimate"): ".115x100",
        series("wer_gap_ratio", bound="low"): ".06x100",
        series("wer_gap_ratio", bound="high"): ".17x100",
    }


def fires(name: str, moment: str) -> At:
    labels = TOLD[name][2]
    return At(moment=moment, labels={key: labels[key] for key in BY_NAME[name].labels}, summary=TOLD[name][3])


def test_every_alert_of_incidents_is_tested_here() -> None:
    """One that is not has never fired before the night it is needed."""
    assert set(TOLD) == set(SELECTORS)


def test_an_incident_fires_is_kept_over_a_restart_and_resolves(tmp_path: Path) -> None:
    """Two minutes pending; at 35 min it is over, but kept for 15 min. Two replicas are one alert."""
    cases = []
    for name in TOLD:
        both = {**incident(name), **incident(name, replica="b")}
        life = [At(moment="6m"), fires(name, "8m"), fires(name, "20m"), fires(name, "35m"), At(moment="43m")]
        restart = incident(name, "1x10 _x10 1x20")  # shown to nobody for 11 min
        cases += [
            Case(alert=name, why="fires, is kept, resolves", series=both, at=life),
            Case(alert=name, why="outlasts a restart", series=restart, at=[fires(name, "20m"), fires(name, "25m")]),
        ]
    check(cases, tmp_path)


def test_a_flash_and_everybody_else_s_incidents_are_not_this_alert(tmp_path: Path) -> None:
    """While an agent catches up, old incidents come and go; and one cause must have one message."""
    quiet = [At(moment=f"{minutes}m") for minutes in (5, 8, 20, 40)]
    cases = []
    for name in TOLD:
        others = {series: values for other in TOLD if other != name for series, values in incident(other).items()}
        flash = incident(name, "0x4 1 0x40")
        cases += [
            Case(alert=name, why="a flash", series=flash, at=quiet),
            Case(alert=name, why="incidents of others", series=others, at=quiet),
        ]
    check(cases, tmp_path)


def test_numbers_that_are_missing_leave_their_words_out(tmp_path: Path) -> None:
    """An incident without a comparator is told all the same."""
    name = "WervaneAccentRegression"
    kept = ("incident_open", 'side="after"')
    only = {series: values for series, values in incident(name).items() if any(part in series for part in kept)}
    labels = TOLD[name][2]
    told = At(moment="10m", labels=labels, summary="clinic: accent=yoruba: WER 21.9 %")
    check([Case(alert=name, why="few numbers", series=only, at=[told])], tmp_path)


def test_an_intersection_s_escaped_comma_finds_its_numbers(tmp_path: Path) -> None:
    """The label holds a backslash; unescaped in a query it would find nothing."""
    name = "WervaneAccentRegression"
    renamed = {
        series.replace('dimension="accent"', 'dimension="accent,site"').replace(
            "yoruba", r"yoruba,st\\, brigid"
        ): values
        for series, values in incident(name).items()
    }
    labels = {**SLICE, "dimension": "accent,site", "group": r"yoruba,st\, brigid"}
    summary = rf"clinic: accent,site=yoruba,st\, brigid: {NUMBERS}"
    told = At(moment="10m", labels=labels, summary=summary)
    check([Case(alert=name, why="an intersection", series=renamed, at=[told])], tmp_path)
