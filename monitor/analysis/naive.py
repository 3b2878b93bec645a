"""Decides what two common rules of thumb would have paged on the same labels: the comparison that the demo prints.

Three sigma: errors over words of each hour (or day) of a slice, against the mean and standard deviation of such chunks
during the first days, as NannyML's default thresholds do. A chunk is judged once, a day after its end, with the labels
that had come by then. Plus 25 %: errors over words of the labels that came within the last 24 hours, against 1.25 times
the WER of the first days, looked at once an hour. A page is a rising edge: a slice that stays above its threshold
pages once. Both rules are given what flatters them: only the worse side pages, and small samples are passed over.
Neither knows of clusters, of the number of slices, or of how often it looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, floor, sqrt

from monitor.core.records import Slice

HOUR = 3600.0
DAY = 86_400.0

SIGMAS = 3.0
INCREASE = 1.25
CHUNKS_MIN = 4
"""Chunks of a baseline: fewer give no standard deviation worth the name. The rules' own authors ask for none."""

WORDS_MIN = 40
"""Reference words (about three utterances) that a chunk or window needs: without this the hourly rule pages more."""


class NaiveRule(StrEnum):
    """The rules that are compared."""

    THREE_SIGMA_HOURLY = "3 sigma, hourly"
    THREE_SIGMA_DAILY = "3 sigma, daily"
    PLUS_25_PERCENT = "+25 %, last 24 h"


@dataclass(frozen=True, slots=True, kw_only=True)
class NaivePage:
    """A rule's verdict on a slice turned bad.

    at            when the pager rings, seconds
    events_until  event time up to which the rule had looked: a page cannot be about anything later
    """

    rule: NaiveRule
    slice: Slice
    at: float
    events_until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How often a rule paged: on what came before the fault, and after it on slices that it touches and others."""

    before: int
    after_faulty: int
    after_other: int
    first_faulty_at: float | None
    """The first page that was right, if any."""


class NaiveRules:
    """All rules at once over a stream of labels, given in the order in which they become available.

    starts_at         event time of the first record, seconds
    baseline_seconds  of event time that thresholds are learned from
    """

    def __init__(self, *, starts_at: float, baseline_seconds: float = 5.0 * DAY, maturity_seconds: float = DAY) -> None:
        until = starts_at + baseline_seconds
        self._now = starts_at
        self._pages: list[NaivePage] = []
        self._rules = (
            _Chunks(NaiveRule.THREE_SIGMA_HOURLY, HOUR, until, maturity_seconds),
            _Chunks(NaiveRule.THREE_SIGMA_DAILY, DAY, until, maturity_seconds),
            _Trailing(NaiveRule.PLUS_25_PERCENT, until, until + maturity_seconds),
        )

    def add(self, available_at: float, event_at: float, slices: Iterable[Slice], errors: int, words: int) -> None:
        """One corrected utterance. A step back in `available_at` counts as now; labels of no words do not count."""
        self._advance(available_at)
        if words <= 0:
            return
        members = tuple(slices)
        for rule in self._rules:
            rule.add(self._now, event_at, members, errors, words)

    def pages_until(self, at: float) -> list[NaivePage]:
        """Every page so far, oldest first, once the rules' clocks have moved on to `at`."""
        self._advance(at)
        return sorted(self._pages, key=lambda page: (page.at, page.rule, page.slice))

    def _advance(self, at: float) -> None:
        self._now = max(self._now, at)
        for rule in self._rules:
            self._pages.extend(rule.advance(self._now))


def tally(pages: Iterable[NaivePage], *, fault_at: float, touches: Callable[[Slice], bool]) -> dict[NaiveRule, Tally]:
    """Counts each rule's pages; those that looked at nothing after the fault are false, whatever they say."""
    kept = list(pages)
    return {rule: _tally([page for page in kept if page.rule is rule], fault_at, touches) for rule in NaiveRule}


def _tally(pages: Sequence[NaivePage], fault_at: float, touches: Callable[[Slice], bool]) -> Tally:
    after = [page for page in pages if page.events_until > fault_at]
    faulty = [page for page in after if touches(page.slice)]
    return Tally(
        before=len(pages) - len(after),
        after_faulty=len(faulty),
        after_other=len(after) - len(faulty),
        first_faulty_at=min((page.at for page in faulty), default=None),
    )


@dataclass(slots=True)
class _Sums:
    errors: int = 0
    words: int = 0

    @property
    def wer(self) -> float:
        return self.errors / self.words


class _Edges:
    """Turns a verdict at each look into pages: only when it was not bad at the look before."""

    def __init__(self, rule: NaiveRule) -> None:
        self._rule = rule
        self._bad: set[Slice] = set()

    def judge(self, slice_: Slice, bad: bool, *, at: float, events_until: float) -> list[NaivePage]:
        known = slice_ in self._bad
        if not bad:
            self._bad.discard(slice_)
        elif not known:
            self._bad.add(slice_)
            return [NaivePage(rule=self._rule, slice=slice_, at=at, events_until=events_until)]
        return []


class _Chunks:
    """The three-sigma rule on chunks of event time."""

    def __init__(self, rule: NaiveRule, chunk_seconds: float, baseline_until: float, maturity_seconds: float) -> None:
        self._edges = _Edges(rule)
        self._chunk_seconds = chunk_seconds
        self._maturity_seconds = maturity_seconds
        self._baseline_chunks_end = floor(baseline_until / chunk_seconds)
        self._open: dict[int, dict[Slice, _Sums]] = {}
        self._baseline: dict[Slice, list[float]] = {}
        self._thresholds: dict[Slice, float | None] = {}

    def add(self, available_at: float, event_at: float, slices: Sequence[Slice], errors: int, words: int) -> None:
        chunk = floor(event_at / self._chunk_seconds)
        if self._judged_at(chunk) <= available_at:
            return
        sums = self._open.setdefault(chunk, {})
        for slice_ in slices:
            total = sums.setdefault(slice_, _Sums())
            total.errors += errors
            total.words += words

    def advance(self, at: float) -> list[NaivePage]:
        pages: list[NaivePage] = []
        for chunk in sorted(chunk for chunk in self._open if self._judged_at(chunk) <= at):
            for slice_, total in sorted(self._open.pop(chunk).items()):
                if total.words < WORDS_MIN:
                    continue
                if chunk < self._baseline_chunks_end:
                    self._baseline.setdefault(slice_, []).append(total.wer)
                    continue
                threshold = self._threshold(slice_)
                if threshold is not None:
                    ends_at = (chunk + 1) * self._chunk_seconds
                    bad = total.wer > threshold
                    pages += self._edges.judge(slice_, bad, at=self._judged_at(chunk), events_until=ends_at)
        return pages

    def _judged_at(self, chunk: int) -> float:
        return (chunk + 1) * self._chunk_seconds + self._maturity_seconds

    def _threshold(self, slice_: Slice) -> float | None:
        """Mean and standard deviation of the baseline's chunks; None for slices with too few."""
        if slice_ not in self._thresholds:
            values = self._baseline.get(slice_, [])
            threshold = None
            if len(values) >= CHUNKS_MIN:
                mean = sum(values) / len(values)
                variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
                threshold = mean + SIGMAS * sqrt(variance)
            self._thresholds[slice_] = threshold
        return self._thresholds[slice_]


class _Trailing:
    """The fixed rule on what came in within the last 24 hours, in hourly buckets."""

    def __init__(self, rule: NaiveRule, baseline_until: float, watches_from: float) -> None:
        self._edges = _Edges(rule)
        self._baseline_until = baseline_until
        self._watches_from = watches_from
        self._baseline: dict[Slice, _Sums] = {}
        self._buckets: dict[Slice, dict[int, _Sums]] = {}
        self._next_hour = ceil(watches_from / HOUR)

    def add(self, available_at: float, event_at: float, slices: Sequence[Slice], errors: int, words: int) -> None:
        hour = floor(available_at / HOUR)
        for slice_ in slices:
            into = [self._buckets.setdefault(slice_, {}).setdefault(hour, _Sums())]
            if event_at < self._baseline_until and available_at < self._watches_from:
                into.append(self._baseline.setdefault(slice_, _Sums()))
            for total in into:
                total.errors += errors
                total.words += words

    def advance(self, at: float) -> list[NaivePage]:
        pages: list[NaivePage] = []
        while self._next_hour * HOUR <= at:
            pages += self._look(self._next_hour)
            self._next_hour += 1
        return pages

    def _look(self, hour: int) -> list[NaivePage]:
        """At the full hour `hour`, over the 24 buckets before it."""
        pages: list[NaivePage] = []
        for slice_, buckets in sorted(self._buckets.items()):
            for old in [bucket for bucket in buckets if bucket < hour - 24]:
                del buckets[old]
            errors = sum(total.errors for bucket, total in buckets.items() if bucket < hour)
            words = sum(total.words for bucket, total in buckets.items() if bucket < hour)
            baseline = self._baseline.get(slice_)
            if words < WORDS_MIN or baseline is None or baseline.words < WORDS_MIN:
                continue
            bad = errors / words > INCREASE * baseline.wer
            pages += self._edges.judge(slice_, bad, at=hour * HOUR, events_until=hour * HOUR)
        return pages
