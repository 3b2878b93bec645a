"""The naive rules: what they would page must be counted as their users would count it."""

from __future__ import annotations

from collections.abc import Iterator

from monitor.analysis.naive import DAY, HOUR, NaivePage, NaiveRule, NaiveRules, tally
from monitor.core.records import Slice

START = 1_772_323_200.0
SCOTTISH: Slice = (("accent", "scottish"),)
WELSH: Slice = (("accent", "welsh"),)
LABELS_PER_HOUR = 4
WORDS = 20


def _label_times(days: float) -> Iterator[float]:
    for step in range(int(days * 24 * LABELS_PER_HOUR)):
        yield START + (step + 0.5) * HOUR / LABELS_PER_HOUR


def _pages(
    errors_of: dict[Slice, tuple[int, int]], *, bad_days: tuple[float, float], days: float = 12.0
) -> list[NaivePage]:
    """Labels that come an hour late; errors per label are (usual, while bad), and one more in every other hour."""
    rules = NaiveRules(starts_at=START)
    for number, at in enumerate(_label_times(days)):
        bad = bad_days[0] <= (at - START) / DAY < bad_days[1]
        wobble = (number // LABELS_PER_HOUR) % 2
        for slice_, (usual, worse) in errors_of.items():
            rules.add(at + HOUR, at, [slice_], (worse if bad else usual) + wobble, WORDS)
    return rules.pages_until(START + days * DAY)


def test_steady_traffic_pages_nowhere() -> None:
    """Otherwise every count of theirs would be the harness's fault."""
    assert _pages({SCOTTISH: (2, 2)}, bad_days=(9.0, 9.0)) == []


def test_every_rule_pages_a_doubling_once() -> None:
    """A slice that stays bad is one page, not one for each look."""
    pages = _pages({SCOTTISH: (2, 6), WELSH: (2, 2)}, bad_days=(8.0, 12.0))
    assert {page.rule for page in pages} == set(NaiveRule)
    assert len(pages) == len(NaiveRule)
    assert {page.slice for page in pages} == {SCOTTISH}


def test_a_slice_that_recovers_and_relapses_pages_again() -> None:
    """Flapping is what the comparison is about."""
    rules = NaiveRules(starts_at=START)
    for at in _label_times(12.0):
        day = int((at - START) / DAY)
        rules.add(at + HOUR, at, [SCOTTISH], 8 if day in (7, 10) else 2, WORDS)
    fixed = [page for page in rules.pages_until(START + 12.0 * DAY) if page.rule is NaiveRule.PLUS_25_PERCENT]
    assert len(fixed) == 2


def test_a_chunk_is_judged_a_day_after_its_end() -> None:
    """Labels are late: a chunk judged at once would see the quick ones only."""
    pages = _pages({SCOTTISH: (2, 8)}, bad_days=(8.0, 12.0))
    daily = next(page for page in pages if page.rule is NaiveRule.THREE_SIGMA_DAILY)
    assert daily.at == START + 10.0 * DAY and daily.events_until == START + 9.0 * DAY
    hourly = next(page for page in pages if page.rule is NaiveRule.THREE_SIGMA_HOURLY)
    assert hourly.at == START + 9.0 * DAY + HOUR


def test_labels_after_judgement_are_not_looked_at() -> None:
    """A running rule cannot know what comes later."""
    rules = NaiveRules(starts_at=START)
    for at in _label_times(8.0):
        rules.add(at + HOUR, at, [SCOTTISH], 2 + int(at // HOUR) % 2, WORDS)
    for _ in range(50):
        rules.add(START + 9.5 * DAY, START + 7.2 * DAY, [SCOTTISH], 20, WORDS)
    chunked = [page for page in rules.pages_until(START + 12.0 * DAY) if page.rule is not NaiveRule.PLUS_25_PERCENT]
    assert chunked == []


def test_a_page_before_the_fault_is_false_and_one_on_another_slice_too() -> None:
    """The demo prints both counts."""
    page = NaivePage(rule=NaiveRule.PLUS_25_PERCENT, slice=SCOTTISH, at=START, events_until=START)
    later = NaivePage(rule=NaiveRule.PLUS_25_PERCENT, slice=SCOTTISH, at=START + DAY, events_until=START + DAY)
    other = NaivePage(rule=NaiveRule.PLUS_25_PERCENT, slice=WELSH, at=START + DAY, events_until=START + DAY)
    counted = tally([page, later, other], fault_at=START + HOUR, touches=lambda slice_: slice_ == SCOTTISH)
    found = counted[NaiveRule.PLUS_25_PERCENT]
    assert (found.before, found.after_faulty, found.after_other) == (1, 1, 1)
    assert found.first_faulty_at == START + DAY
    assert counted[NaiveRule.THREE_SIGMA_DAILY].before == 0


def test_a_label_without_words_changes_nothing() -> None:
    """Empty references have no WER."""
    rules = NaiveRules(starts_at=START)
    rules.add(START + HOUR, START, [SCOTTISH], 3, 0)
    assert rules.pages_until(START + 12.0 * DAY) == []
