"""Deciding: pages where a page belongs, silence where it does not, and the same bytes whatever happens."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from monitor.core.deciding import Decider
from monitor.core.records import (
    Direction,
    IncidentKind,
    IncidentState,
    Level,
    Outcome,
    Transition,
    UtteranceKey,
    Verdict,
)
from monitor.core.slicing import SliceSettings
from tests.builders import DAY, HOUR, MARCH_2, observation, outcome
from tests.core.deciding_streams import (
    CALLS,
    Documents,
    Message,
    arrival,
    calls,
    decider,
    feed,
    look_on,
    messages,
    save,
    steady,
    take,
)

ENGLAND, INDIAN = (("accent", "england"),), (("accent", "indian"),)


def england_worse(accent: str, day: float) -> float:
    return 0.4 if accent == "england" and day > 8 else steady(accent, day)


def england_worse_for_three_days(accent: str, day: float) -> float:
    return 0.4 if accent == "england" and 8 < day < 11 else steady(accent, day)


def gist(told: Sequence[Transition]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(t.state.value, t.level.value, t.slices) for t in told if t.kind != IncidentKind.DISPARITY]


# ------------------------------------------------------------------------------------------------------------- changes
def test_an_accent_that_doubles_pages_as_that_accent_and_says_why() -> None:
    """The purpose of it all: one page, the right name, numbers, and since when."""
    told = feed(decider(), messages(england_worse, model=lambda day: "asr-2" if day > 7.9 else "asr-1"))
    assert gist(told) == [("firing", "page", ("accent=england",))]
    (page,) = [t for t in told if t.level == Level.PAGE]
    assert page.reason == "baseline_exceeded" and page.evidence >= 1.0
    assert page.wer is not None and page.wer_before is not None and page.wer > 2 * page.wer_before
    assert page.since is not None and abs(page.since - MARCH_2 - 8 * DAY) < DAY
    assert page.at < MARCH_2 + 11 * DAY
    assert "accent=england: WER " in page.summary and "the rest" in page.summary and "new model asr-2" in page.summary


def test_nothing_happens_to_a_customer_with_whom_nothing_happens() -> None:
    """A standing gap is one ticket, never a page."""
    told = feed(decider(), messages(days=12))
    assert [(t.level, t.kind, t.slices) for t in told] == [(Level.TICKET, IncidentKind.DISPARITY, ("accent=indian",))]


def test_a_fault_of_everybody_is_one_incident() -> None:
    """A bad release pages once, as `all`, not once for each accent."""
    told = feed(decider(), messages(lambda accent, day: steady(accent, day) * (3 if day > 8 else 1)))
    assert gist(told)[0] == ("firing", "page", ("all",))
    assert sum(state == "firing" for state, _, _ in gist(told)) == 1


def test_a_dimension_with_one_value_is_not_watched() -> None:
    """`deployment=wards` is all traffic under another name: it would draw budget and confuse the page."""
    watched = decider()
    feed(watched, messages(england_worse, days=9))
    documents: Documents = {}
    save(watched, documents)
    assert {key for table, key in documents if table == "watches"} == {
        "all", "accent=us", "accent=england", "accent=indian"
    }  # fmt: skip
    alone, everybody = watched.standing((("deployment", "wards"),)), watched.standing(())
    assert alone is not None and everybody is not None
    assert (alone.learning, alone.budget_spent) == (everybody.learning, everybody.budget_spent)


def test_an_incident_resolves_when_the_evidence_says_so() -> None:
    """On-call must be able to see that the rollback worked."""
    told = feed(decider(), messages(england_worse_for_three_days, days=24, a_day=240))
    assert gist(told) == [("firing", "page", ("accent=england",)), ("resolved", "page", ("accent=england",))]
    fired, resolved = (t for t in told if t.level == Level.PAGE)
    assert resolved.incident == fired.incident and resolved.reason == "recovered"


def test_an_improvement_is_a_digest_and_opens_learning_again() -> None:
    """The new level has to become the baseline, or a return to the old one is never seen."""
    watched = decider()
    told = feed(watched, messages(lambda accent, day: 0.1 if day > 8 else 0.3, days=12))
    assert gist(told) == [("firing", "digest", ("all",))]
    assert told[-1].direction == Direction.BETTER
    standing = watched.standing(())
    assert standing is not None and standing.learning


def test_a_fault_that_has_a_page_does_not_become_a_standing_gap() -> None:
    """One cause, one incident: the ticket would say "present all along"."""
    told = feed(decider(), messages(england_worse, days=18))
    assert {t.slices for t in told if t.kind == IncidentKind.DISPARITY} == {("accent=indian",)}


def test_a_few_calls_are_enough_where_bets_have_none() -> None:
    """Earnings calls come three a day: what 5 calls cannot tell by themselves is pooled over all of them."""
    watched = decider(CALLS)
    told = feed(watched, calls(seed=0, worse_from=10))
    assert gist(told) == [("firing", "page", ("sector=tech",))]
    assert told[0].reason == "calls_worse" and told[0].at < MARCH_2 + 15 * DAY
    granted, spent = watched.budget()
    assert spent <= granted


def test_calls_with_which_nothing_happens_page_nobody() -> None:
    """Calls differ by their own nature: a customer with 3 a day must not be paged for that."""
    assert feed(decider(CALLS), calls(seed=0)) == []


def test_an_improvement_of_a_few_calls_ends_after_its_hold_time() -> None:
    """There is no baseline to learn anew: a digest that stays open for ever says nothing."""
    told = feed(decider(CALLS, page_budget=10.0), calls(seed=2, worse_from=0, worse_until=12, days=24))
    better = [t for t in told if t.direction == Direction.BETTER]
    assert [(t.state.value, t.level.value) for t in better] == [("firing", "digest"), ("resolved", "digest")]
    assert DAY <= better[1].at - better[0].at <= DAY + 2 * HOUR


def test_a_standing_gap_that_holds_takes_a_recovery_back() -> None:
    """Resolved and opened again a day later would be a second ticket for what was there all along."""
    watched = decider()
    told = feed(watched, messages(days=12), until=MARCH_2 + 12 * DAY + 2 * HOUR)
    (incident,) = watched._desk.book
    watched._desk.recovered(incident, MARCH_2 + 12 * DAY + 2 * HOUR)
    told += look_on(watched, MARCH_2 + 12 * DAY + 3 * HOUR, until=MARCH_2 + 15 * DAY)
    assert [(t.state, t.kind) for t in told] == [(IncidentState.FIRING, IncidentKind.DISPARITY)]


# ------------------------------------------------------------------------------------------------------------- silence
def test_labels_that_vanish_page() -> None:
    """Nobody sees an accent's WER that nobody labels any more."""
    told = feed(decider(), messages(declared=lambda accent, day: accent if day < 9 else "unknown", days=12))
    assert gist(told) == [("firing", "page", ("accent=unknown",))]


def test_references_of_a_group_that_stop_are_a_ticket() -> None:
    """Its WER on the page is from before."""
    told = feed(decider(), messages(labelled=lambda accent, day: accent != "england" or day < 8))
    assert gist(told) == [("firing", "ticket", ("accent=england",))]


def test_traffic_that_nobody_scores_pages_until_somebody_does() -> None:
    """Silence looks like health."""
    told = feed(decider(), messages(labelled=lambda accent, day: day < 8 or day > 13, days=17))
    blind = [t for t in told if t.kind == IncidentKind.BLIND]
    assert [(t.state, t.level) for t in blind] == [
        (IncidentState.FIRING, Level.PAGE), (IncidentState.RESOLVED, Level.PAGE)
    ]  # fmt: skip
    assert 3.0 < (blind[0].at - MARCH_2) / DAY - 8 < 3.5


def test_a_customer_whose_references_never_come_pages_after_three_days() -> None:
    """A reference feed that was never connected must not look like a healthy week."""
    told = feed(decider(), messages(labelled=lambda accent, day: False, days=6))
    assert gist(told) == [("firing", "page", ("all",))] and told[0].kind == IncidentKind.BLIND


# ------------------------------------------------------------------------------------------------------------ maturity
@pytest.mark.parametrize(("delay_hours", "maturity_hours"), [(10, 24), (30, 48), (60, 72), (90, 96), (200, 96)])
def test_maturity_is_the_smallest_by_which_most_first_references_came(delay_hours: int, maturity_hours: int) -> None:
    """24 h would drop 4 of 10 calls where whole calls are corrected; 96 h would delay everybody's page."""
    watched = decider(maturity_seconds=None)
    delay = delay_hours * HOUR
    made = messages(days=6)
    feed(watched, [replace(m, reference_at=m.event_at + delay) if isinstance(m, Outcome) else m for m in made])
    assert watched.settled_at == pytest.approx(MARCH_2 + 6 * DAY + maturity_hours * HOUR + DAY, abs=HOUR)


# --------------------------------------------------------------------------------------------------------- same bytes
def run(made: Sequence[Message], cuts: Sequence[int] = (), seed: int = 0) -> tuple[list[Transition], Documents]:
    """Fed in the order of arrival; at each cut, the process dies and a new one restores the documents in any order."""
    watched, documents, told = decider(), Documents(), []
    hour = MARCH_2 + HOUR
    for position, message in enumerate(sorted(made, key=arrival)):
        if position in cuts:
            save(watched, documents)
            watched = decider()
            for table, key in random.Random(seed).sample(sorted(documents), len(documents)):
                watched.restore(table, key, documents[table, key])
        while hour <= arrival(message) - HOUR:
            told += watched.look(hour)
            hour += HOUR
        take(watched, message)
    told += look_on(watched, hour)
    save(watched, documents)
    return told, documents


def test_cut_anywhere_and_restored_it_goes_on_bit_for_bit() -> None:
    """A restart must neither lose an alarm nor make one; the budget spent must survive."""
    made = messages(england_worse, days=11)
    chance = random.Random(5)
    cuts = sorted(chance.sample(range(len(made)), 15))
    assert run(made, cuts) == run(made)


@pytest.mark.parametrize("seed", range(2))
def test_any_order_of_arrival_tells_the_same_bytes(seed: int) -> None:
    """Partitions interleave differently every day."""
    made = messages(england_worse, days=11)
    told, documents = run(made)
    shuffled, again = decider(), Documents()
    for message in random.Random(seed).sample(made, len(made)):
        take(shuffled, message)
    assert look_on(shuffled, MARCH_2 + HOUR) == told
    save(shuffled, again)
    assert again == documents


def test_hours_that_were_skipped_are_caught_up() -> None:
    """Whether a look was called in an hour with nothing to do is an accident of the pipeline."""
    made = messages(england_worse, days=11)
    told, _ = run(made)
    skipping = decider()
    for message in made:
        take(skipping, message)
    assert skipping.look(MARCH_2 + 14 * DAY) == [t for t in told if t.at <= MARCH_2 + 14 * DAY]


# ------------------------------------------------------------------------------------------------------------ to show
def test_three_verdicts_and_insufficient_never_reads_as_good() -> None:
    """What is not known must look different from what is well."""
    watched = decider()
    feed(watched, messages(a_day=240, accents=("us", "us", "us", "us", "england", "england", "england", "indian")))
    standings = {slice_: watched.standing(slice_) for slice_ in (ENGLAND, INDIAN, (("accent", "welsh"),))}
    england, indian, welsh = standings.values()
    assert indian is not None and indian.verdict == Verdict.DISPARITY and indian.words_missing == 0
    assert england is not None and england.verdict == Verdict.PARITY
    assert welsh is not None and welsh.verdict == Verdict.INSUFFICIENT and welsh.learning
    assert [window[0] for window in england.windows] == ["24h", "72h", "7d", "28d"]
    assert len(england.history) == 14


def test_the_budget_spent_never_exceeds_what_was_granted() -> None:
    """A promise on the pager's sheet."""
    watched = decider(page_budget=3.0)
    feed(watched, messages(days=20))
    granted, spent = watched.budget()
    assert 0.0 < spent <= granted <= 3.0 * 21 / 90


def test_moments_are_what_a_wer_with_its_error_is_made_of() -> None:
    """PromQL gets sums over sessions; their ratio is the WER of the closed units."""
    watched = decider()
    feed(watched, messages(days=4))
    everybody = watched.moments()[0]
    assert everybody.slice == () and everybody.clusters == everybody.utterances == 240
    assert everybody.reference_words == 2400.0 and everybody.substitutions > 200


def test_coverage_counts_what_is_not_seen() -> None:
    """Unlabelled traffic, missing references and late records are numbers, not silence."""
    watched = decider()
    feed(watched, messages(declared=lambda accent, day: "unknown" if accent == "us" else accent, days=4))
    watched.observe(observation(9_999, event_at=MARCH_2))
    seen = watched.coverage()
    assert seen.unlabelled == {"accent": 0.5, "deployment": 0.0}
    assert seen.missing[()] == (240, 0) and seen.counters["observations_late"] == 1


def test_a_late_utterance_that_is_taken_in_counts_as_traffic() -> None:
    """More matured than came in, or more corrected than matured, would be a share that nobody can read."""
    watched = decider()
    times = {1: 10.0, 2: 10.4, 3: 10.2, 4: 10.8}
    said: dict[int, dict[str, Any]] = {}
    said |= {key: {"event_at": MARCH_2 + hours * HOUR, "session": "call"} for key, hours in times.items()}
    for key in (1, 2):
        watched.observe(observation(key, **said[key]))
    watched.look(MARCH_2 + 11 * HOUR)
    for key in (3, 4):
        watched.observe(observation(key, **said[key]))
    for key in times:
        watched.score(outcome(key, errors=1, reference_at=MARCH_2 + 12 * HOUR, **said[key]))
    assert watched.settled_at == MARCH_2 + 10.8 * HOUR + 2 * DAY
    watched.look(MARCH_2 + 60 * HOUR)
    everybody = watched.moments()[0]
    assert (everybody.traffic, everybody.utterances, watched.coverage().missing[()]) == (4, 4, (4, 0))


def restored(documents: Documents, **settings: object) -> Decider:
    again = decider(**settings)  # type: ignore[arg-type]
    for (table, key), value in documents.items():
        again.restore(table, key, value)
    return again


def test_what_was_forgotten_stays_counted_after_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exported as counters: one that falls reads as a reset."""
    monkeypatch.setattr("monitor.core.incidents.INCIDENTS_MAX", 1)
    watched, documents = decider(cells_max=300, traffic_max=300), Documents()
    feed(watched, messages(lambda accent, day: steady(accent, day) * (1 if day < 5 else 0.1 if day < 9 else 4)))
    save(watched, documents)
    counters = watched.coverage().counters
    assert all(counters[f"{name}_forgotten"] > 0 for name in ("cells", "traffic", "incidents"))
    assert restored(documents, cells_max=300, traffic_max=300).coverage().counters == counters


@pytest.mark.parametrize("pages", [0.01, 100.0])
def test_another_page_budget_changes_nothing_of_the_past(pages: float) -> None:
    """Granted below spent reads as a broken promise; money made of the past would be one."""
    watched, documents = decider(), Documents()
    feed(watched, messages(days=12))
    save(watched, documents)
    assert restored(documents, page_budget=pages).budget() == watched.budget()


def test_intersections_are_watched_when_both_dimensions_vary() -> None:
    """A fault of one accent at one site is named as that."""
    slices = SliceSettings(dimensions=("accent", "deployment"), strata=("accent", "deployment"))
    watched = decider(slices)
    sites = [messages(steady, days=14, deployment="wards", seed=3)]
    sites.append(
        messages(
            lambda accent, day: 0.6 if accent == "england" and day > 8 else steady(accent, day),
            days=14,
            deployment="labs",
            seed=4,
        )
    )
    made = [m for site, part in enumerate(sites) for m in renumbered(part, site)]
    assert gist(feed(watched, made))[0] == ("firing", "page", ("accent=england&deployment=labs",))


def renumbered(made: Sequence[Message], site: int) -> list[Message]:
    first = 1_000_000 * site
    return [replace(m, utterance=UtteranceKey(m.utterance + first), speaker=f"{m.speaker}-{site}") for m in made]
