"""The order of the stages: every message ends under one outcome; restarts and arrival order leave no trace."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.decide_settings import DecideSettings
from monitor.core.pairing_port import MemoryPairTable
from monitor.core.pipeline import Effects, Message, Pipeline, PipelineSettings
from monitor.core.records import (
    Kind,
    Observation,
    Outcome,
    Partial,
    Reason,
    Reference,
    Rejected,
    Review,
    SliceRow,
    Source,
    Tombstone,
    Transcript,
    Transition,
    UtteranceKey,
)
from monitor.core.sampling import Sampler, SamplingSettings
from monitor.core.slicing import SliceSettings
from tests.builders import DAY, HOUR, MARCH_2
from tests.scenario_language import WordByWord

Fed = tuple[Kind, Message]
Documents = dict[tuple[str, str], bytes]

KEY = b"test"


def made(sampling: SamplingSettings | None = None, table: MemoryPairTable | None = None, **changes: object) -> Pipeline:
    fields: dict[str, object] = {"sampling": sampling or SamplingSettings(), **changes}
    return Pipeline(PipelineSettings(**fields), table or MemoryPairTable(), WordByWord(), KEY)  # type: ignore[arg-type]


def said(id_: str, at: float = MARCH_2, **changes: object) -> Fed:
    fields: dict[str, object] = {
        "id": id_, "event_at": at, "customer": "acme", "deployment": "wards",
        "text": "right right", "accent": "scottish", **changes,
    }  # fmt: skip
    digest = sha256(repr(sorted(fields.items())).encode()).digest()
    return Kind.TRANSCRIPT, Transcript(digest=digest, **fields)  # type: ignore[arg-type]


def corrected(id_: str, at: float = MARCH_2 + HOUR, text: str = "right wrong", **changes: object) -> Fed:
    digest = sha256(text.encode()).digest()
    return Kind.REFERENCE, Reference(id=id_, event_at=at, text=text, digest=digest, **changes)  # type: ignore[arg-type]


def feed(pipeline: Pipeline, messages: Iterable[Fed]) -> list[Effects]:
    return [pipeline.feed(kind, message) for kind, message in messages]


def told(effects: Iterable[Effects]) -> list[Transition]:
    return [transition for effect in effects for transition in effect.transitions]


def outcomes(effects: Iterable[Effects]) -> list[Outcome]:
    return [emission for effect in effects for emission in effect.emissions if isinstance(emission, Outcome)]


def counted(pipeline: Pipeline, name: str, *pairs: str) -> int:
    """A counter's value, added up over the series that have these label pairs."""
    return sum(
        value
        for series, value in pipeline.counters.items()
        if series.partition("{")[0] == name and all(pair in series for pair in pairs)
    )


def save(pipeline: Pipeline, documents: Documents) -> None:
    for change in pipeline.changes():
        if change.value is None:
            documents.pop((change.table, change.key), None)
        else:
            documents[change.table, change.key] = change.value


def traffic(days: float = 11.0, a_day: int = 60, *, customer: str = "acme", seed: int = 1) -> list[Fed]:
    """In event-time order, with everything that may happen: a fault from day 8 on, revisions, duplicates, early,
    missing and flagged references, conflicting ids, tombstones, strangers and rejects.
    """
    chance = random.Random(seed)
    dated: list[tuple[float, Fed]] = []
    for number in range(int(days * a_day)):
        at = MARCH_2 + (number + chance.random()) * DAY / a_day
        id_ = f"{customer}-{number}"
        accent = ("english", "english", "scottish", None)[number % 4]
        rate = 0.4 if accent == "scottish" and at > MARCH_2 + 8 * DAY else 0.1
        text = " ".join("wrong" if chance.random() < rate else "right" for _ in range(10))
        speaker = f"p{chance.randrange(40)}"
        transcript = said(id_, at, text=text, accent=accent, speaker=speaker, customer=customer)
        dated.append((at, transcript))
        fate = chance.random()
        if fate < 0.05:
            dated.append((at + 600.0, transcript))
        elif fate < 0.07:
            dated.append((at + 900.0, said(id_, at, text=text, deployment="clinic", customer=customer)))
        elif fate < 0.09:
            dated.append((at + chance.uniform(0, DAY), (Kind.REFERENCE, Tombstone(id=id_))))
        elif fate < 0.11:
            dated.append((at, (Kind.TRANSCRIPT, Partial())))
            dated.append((at, (Kind.REFERENCE, Rejected(reason=Reason("syntax"), digest=b"d"))))
        if chance.random() < 0.15:
            continue
        source = Source.FLAGGED if chance.random() < 0.05 else Source.SAMPLED
        given_at = at + chance.uniform(-600.0, 20 * HOUR)
        dated.append((given_at, corrected(id_, given_at, "right " * 10, source=source)))
        if chance.random() < 0.1:
            later = given_at + chance.uniform(-HOUR, 9 * HOUR)
            dated.append((later, corrected(id_, later, "right " * 9 + "wrong", revision=2)))
    dated.sort(key=lambda pair: pair[0])
    return [fed for _, fed in dated]


# -------------------------------------------------------------------------------------------------- exactly one outcome
INSTANTS = st.floats(MARCH_2, MARCH_2 + 40 * DAY).map(lambda at: round(at, 1))
IDS = st.sampled_from(["u1", "u2", "u3", "u4"])
TEXTS = st.sampled_from(["right right", "right wrong", "wrong wrong"])
MESSAGES: st.SearchStrategy[Fed] = st.one_of(
    st.builds(
        said, IDS, INSTANTS, text=TEXTS, customer=st.sampled_from(["acme", "clinic", "stranger"]),
        deployment=st.sampled_from(["wards", "ambulance"]), accent=st.sampled_from([None, "scottish", "english"]),
    ),
    st.builds(corrected, IDS, INSTANTS, TEXTS, revision=st.integers(0, 3), source=st.sampled_from(Source)),
    st.tuples(st.sampled_from(Kind), st.one_of(st.builds(Tombstone, id=IDS), st.just(Partial()))),
    st.tuples(st.sampled_from(Kind), st.just(Rejected(reason=Reason("encoding"), digest=b"d"))),
)  # fmt: skip


@settings(max_examples=150)
@given(st.lists(MESSAGES, max_size=40), st.sampled_from([1.0, 0.4]))
def test_every_message_ends_under_exactly_one_outcome(messages: list[Fed], probability: float) -> None:
    """What came in is what was accepted, clipped or rejected, and each kind's own counters add up to it as well."""
    pipeline = made(SamplingSettings(probability=probability), tenants=frozenset(("acme", "clinic")))
    rejected = 0
    for kind, message in messages:
        rejected += (
            pipeline.feed(kind, message, ("accent",) if isinstance(message, Partial) else ()).rejected is not None
        )
    kinds = [type(message) for _, message in messages]
    assert counted(pipeline, "records_consumed_total") == len(messages)
    assert counted(pipeline, "records_consumed_total", 'outcome="rejected"') == rejected
    assert counted(pipeline, "records_rejected_total") == rejected
    strangers = counted(pipeline, "records_rejected_total", 'reason="tenant_not_allowed"')
    assert counted(pipeline, "transcripts_total") == kinds.count(Transcript) - strangers
    conflicts = counted(pipeline, "transcripts_total", 'outcome="conflict"')
    assert conflicts == counted(pipeline, "records_rejected_total", 'reason="id_conflict"')
    arrived = counted(pipeline, "references_total") - counted(pipeline, "references_total", 'outcome="expired"')
    assert arrived == kinds.count(Reference)
    assert counted(pipeline, "partials_total") == counted(pipeline, "fields_clipped_total") == kinds.count(Partial)
    assert counted(pipeline, "tombstones_total") == kinds.count(Tombstone)


@settings(max_examples=100)
@given(st.lists(MESSAGES, max_size=40))
def test_emissions_add_up_to_what_is_held(messages: list[Fed]) -> None:
    """No sequence of versions, conflicts and tombstones lets an utterance count twice, or less than not at all."""
    pipeline = made(ttl_seconds=400 * DAY)
    seen: dict[tuple[str, int], int] = {}
    for effects in feed(pipeline, messages):
        for emission in effects.emissions:
            key = (type(emission).__name__, emission.utterance)
            seen[key] = seen.get(key, 0) + emission.counts
    assert set(seen.values()) <= {0, 1}
    for (kind, utterance), count in seen.items():
        assert kind == "Observation" or count <= seen["Observation", utterance]
    everything = [row for row in pipeline.slice_rows() if row.depth == 0]
    assert sum(row.transcripts for row in everything) == sum(seen[key] for key in seen if key[0] == "Observation")
    assert pipeline.winners() == sum(seen[key] for key in seen if key[0] == "Outcome")


# -------------------------------------------------------------------------------------------------------------- tenants
def test_a_stranger_leaves_one_counter_and_no_other_trace() -> None:
    """An agent pinned to its customers must not even keep the time by others' messages."""
    pipeline = made(tenants=frozenset(("acme",)))
    (effects,) = feed(pipeline, [said("u1", customer="stranger")])
    assert effects.rejected is not None and effects.rejected.reason == "tenant_not_allowed"
    assert not effects.emissions and not effects.reviews
    assert pipeline.watermark is None and list(pipeline.slice_rows()) == []
    assert {change.table for change in pipeline.changes()} == {"counters"}
    (effects,) = feed(pipeline, [said("u2")])
    assert effects.rejected is None and len(effects.reviews) == 1


def test_customers_beyond_the_bound_are_refused_and_known_ones_go_on() -> None:
    """A producer that invents customers must not fill the memory, nor push anybody out."""
    pipeline = made(customers_max=3)
    effects = feed(pipeline, [said(f"u{number}", customer=f"c{number % 6}") for number in range(12)])
    refused = [number for number, effect in enumerate(effects) if effect.rejected is not None]
    assert refused == [3, 4, 5, 9, 10, 11]
    assert {row.customer for row in pipeline.slice_rows()} == {"c0", "c1", "c2"}
    assert pipeline.bounds()[1]["customers"] == 3


def test_two_customers_do_not_influence_each_other() -> None:
    """Slices, totals, units, money and incidents of one are, byte for byte, what they would be without the other."""
    acme = traffic()
    other = [fed for fed in traffic(days=10.5, a_day=97, customer="other", seed=2) if _event_at(fed) is not None]
    both = sorted([*acme, *other], key=_order_of(acme, other))
    alone, together = made(), made()
    transitions = told(feed(alone, acme))
    shared = told(feed(together, both))
    assert transitions and [one for one in shared if one.customer == "acme"] == transitions
    assert [row for row in together.slice_rows() if row.customer == "acme"] == list(alone.slice_rows())
    assert _documents_of(together, "acme") == _documents_of(alone, "acme")


def _event_at(fed: Fed) -> float | None:
    message = fed[1]
    return message.event_at if isinstance(message, Transcript | Reference) else None


def _order_of(*streams: Sequence[Fed]) -> Callable[[Fed], float]:
    """A sort key that merges streams by event time; what has none stays behind its predecessor."""
    at: dict[int, float] = {}
    for stream in streams:
        last = MARCH_2
        for fed in stream:
            last = max(last, _event_at(fed) or last)
            at[id(fed)] = last
    return lambda fed: at[id(fed)]


def _documents_of(pipeline: Pipeline, customer: str) -> Documents:
    documents: Documents = {}
    save(pipeline, documents)
    return {key: value for key, value in documents.items() if key[1].split("\x1f")[0] == customer}


# ------------------------------------------------------------------------------------------------------------- restarts
def run(
    messages: Sequence[Fed], cuts: Sequence[int] = (), sampling: SamplingSettings | None = None, **changes: object
) -> tuple[list[Transition], list[Review], list[SliceRow], dict[str, int], Documents]:
    """Feed it all; at each cut the process dies right after a checkpoint and another one restores what was saved."""
    table, documents = MemoryPairTable(), Documents()
    pipeline = made(sampling, table, **changes)
    transitions: list[Transition] = []
    reviews: list[Review] = []
    for position, (kind, message) in enumerate(messages):
        if position in cuts:
            save(pipeline, documents)
            pipeline = made(sampling, table, **changes)
            for (name, key), value in sorted(documents.items()):
                pipeline.restore(name, key, value)
        effects = pipeline.feed(kind, message)
        transitions += effects.transitions
        reviews += effects.reviews
    transitions += pipeline.finish().transitions
    save(pipeline, documents)
    return transitions, reviews, list(pipeline.slice_rows()), pipeline.counters, documents


@pytest.mark.parametrize(
    "sampling",
    [SamplingSettings(), SamplingSettings(labels_per_day=30, per_stratum_min=5), SamplingSettings(pending_max=300)],
    ids=["everything", "label budget", "storage budget"],
)
def test_restarted_at_random_moments_it_goes_on_bit_for_bit(sampling: SamplingSettings) -> None:
    """A deployment each hour must neither lose an alarm, nor make one, nor spend the budget twice."""
    messages = traffic()
    chance = random.Random(3)
    cuts = sorted(chance.sample(range(len(messages)), 12))
    restarted, through = run(messages, cuts, sampling), run(messages, (), sampling)
    for name, one, other in zip(("told", "reviews", "rows", "counters", "documents"), restarted, through, strict=True):
        assert one == other, name
    assert sampling.labels_per_day is not None or restarted[0], "want traffic that pages"


def test_a_restart_shows_the_same_transitions_and_gauges() -> None:
    """What page and metrics show must not change because the process did."""
    documents, table = Documents(), MemoryPairTable()
    pipeline = made(table=table)
    feed(pipeline, traffic())
    save(pipeline, documents)
    again = made(table=table)
    for (name, key), value in sorted(documents.items()):
        again.restore(name, key, value)
    assert again.transitions == pipeline.transitions != []
    assert again.watermark == pipeline.watermark and again.event_times == pipeline.event_times
    assert again.gauges() == pipeline.gauges()
    assert again.bounds() == pipeline.bounds()
    assert again.budgets() == pipeline.budgets() and again.moments() == pipeline.moments()


def test_folded_groups_are_not_forgotten_by_a_restart() -> None:
    """The counter that says "too many accents" must not fall back to 0 with each deployment."""
    slices = SliceSettings(groups_max=2)
    pipeline, documents = made(slices=slices), Documents()
    feed(pipeline, [said(f"u{number}", accent=f"accent-{number}") for number in range(6)])
    save(pipeline, documents)
    again = made(slices=slices)
    for (name, key), value in sorted(documents.items()):
        again.restore(name, key, value)
    assert pipeline.counters["groups_folded_total"] == again.counters["groups_folded_total"] == 4


# ---------------------------------------------------------------------------------------------------------------- order
def shuffled(messages: Sequence[Fed], within: float, seed: int) -> list[Fed]:
    """Any order in which no record comes `within` seconds or more after one that is that much younger."""
    chance = random.Random(seed)
    dated = [(at + chance.random() * within, fed) for fed in messages if (at := _event_at(fed)) is not None]
    return [fed for _, fed in sorted(dated, key=lambda pair: pair[0])]


def orderly(days: float = 11.0) -> list[Fed]:
    """Traffic without what has no event time, and with one version of each transcript."""
    found: dict[str, Fed] = {}
    references: list[Fed] = []
    for kind, message in traffic(days):
        if isinstance(message, Transcript):
            found.setdefault(message.id, (kind, message))
        elif isinstance(message, Reference):
            references.append((kind, message))
    return [*found.values(), *references]


@pytest.mark.parametrize("seed", range(3))
def test_any_arrival_order_within_the_lateness_gives_the_same_bytes(seed: int) -> None:
    """Partitions and queues interleave differently every day; a replay must tell what the live run told."""
    messages = orderly()
    straight = run(sorted(messages, key=lambda fed: _event_at(fed) or 0.0))
    mixed = run(shuffled(messages, HOUR, seed))
    assert mixed[0] == straight[0] != []
    assert mixed[2] == straight[2]
    assert _decided(mixed[4]) == _decided(straight[4])


def test_a_conflict_leaves_the_same_rows_whichever_comes_first() -> None:
    """Neither of two tenants' transcripts under one id is scored, so neither may leave a row behind."""
    wards, clinic = said("u1"), said("u1", deployment="clinic")
    reference = corrected("u1")
    orders = [(wards, clinic, reference), (clinic, wards, reference), (reference, clinic, wards)]
    rows = [[row for row in run(order)[2] if row.transcripts or row.pairs] for order in orders]
    assert rows == [[], [], []]


@pytest.mark.parametrize("lateness", [0.0, HOUR])
def test_a_record_late_by_what_is_allowed_is_still_decided_upon(lateness: float) -> None:
    """`labels.lateness` is a promise; with 0s, records in order are never late."""
    pipeline = made(lateness_seconds=lateness, decide=DecideSettings(maturity_seconds=DAY))
    feed(pipeline, [said("u0", MARCH_2 + 1.0), said("u1", MARCH_2 + HOUR + lateness), said("u2", MARCH_2 + HOUR)])
    assert "observations_late" not in pipeline.bounds()[0]


def _decided(documents: Documents) -> Documents:
    return {key: value for key, value in documents.items() if key[0].startswith("decide/")}


# ----------------------------------------------------------------------------------------------------------------- time
def test_what_nobody_corrects_in_time_is_counted_as_missing() -> None:
    """Missing corrections are a fairness signal: they are counted for each slice, once, on event time."""
    pipeline = made(ttl_seconds=10 * DAY)
    feed(pipeline, [said(f"u{number}", accent="welsh" if number < 3 else "english") for number in range(5)])
    feed(pipeline, [corrected("u4"), corrected("early", MARCH_2 + HOUR)])
    feed(pipeline, [said("later", MARCH_2 + 10 * DAY + 3 * HOUR, accent="english")])
    feed(pipeline, [said("still later", MARCH_2 + 11 * DAY, accent="english")])
    assert counted(pipeline, "references_missing_total") == 4
    assert counted(pipeline, "references_total", 'outcome="expired"') == 1
    missing = {row.slice: row.missing for row in pipeline.slice_rows() if "&" not in row.slice}
    assert (missing["all"], missing["accent=welsh"], missing["accent=english"]) == (4, 3, 1)
    assert pipeline.gauges()["pending_utterances"] == 2 and pipeline.waiting() == 0


def test_a_transcript_older_than_its_time_is_counted_and_not_held() -> None:
    """A replayed archive must not fill the table with what would expire at once."""
    pipeline = made(ttl_seconds=DAY)
    feed(pipeline, [said("now", MARCH_2 + 5 * DAY), said("old", MARCH_2)])
    assert counted(pipeline, "transcripts_total", 'outcome="expired"') == 1
    assert pipeline.gauges()["pending_utterances"] == 1


# -------------------------------------------------------------------------------------------------------------- budgets
def uncorrected(count: int, per_hour: int) -> list[Fed]:
    return [said(f"u{number}", MARCH_2 + HOUR * number / per_hour) for number in range(count)]


def test_a_storage_budget_lowers_the_threshold_and_never_prefers_the_young() -> None:
    """Above the bound exactly the rows over the new threshold go: a uniform sample of a known probability is left."""
    table = MemoryPairTable()
    pipeline = made(SamplingSettings(pending_max=200), table)
    messages = uncorrected(3000, per_hour=40)
    effects = feed(pipeline, messages)
    ceiling = pipeline.gauges()["sampling_ceiling_ratio"]
    assert ceiling in (1 / 16, 1 / 32)
    assert pipeline.gauges()["pending_utterances"] <= 200
    assert counted(pipeline, "storage_budget_reached_total") == round(-math.log2(ceiling))
    kept = {message.id for _, message in messages if isinstance(message, Transcript) and _coin(message.id) < ceiling}
    assert table.pending() == len(kept)
    assert counted(pipeline, "storage_budget_dropped_total") + len(kept) == sum(len(one.reviews) for one in effects)
    old = sum(int(id_[1:]) < 1500 for id_ in kept)
    assert 0.35 < old / len(kept) < 0.65, "both halves of the time are left"  # +-3 sigma of 1/2 at 90 kept is .16
    room = sorted(kept)[: 200 - len(kept)]
    scored = outcomes(feed(pipeline, [corrected(id_, MARCH_2 + 80 * HOUR) for id_ in room]))
    assert {one.inclusion_probability for one in scored} == {ceiling} and len(scored) == len(room) > 0


def test_the_storage_bound_holds_when_event_time_stands_still() -> None:
    """A burst within one hour, or a backlog older than the newest record, must not fill the memory either."""
    pipeline = made(SamplingSettings(pending_max=100))
    feed(pipeline, [said("newest", MARCH_2 + DAY)])
    held = []
    for number in range(1000):
        feed(pipeline, [said(f"u{number}", MARCH_2 + number)])
        held.append(pipeline.gauges()["pending_utterances"])
    assert max(held) <= 100 + 10, "a check now and then is enough"


def test_the_storage_bound_counts_corrected_utterances_too() -> None:
    """`state.pending_max` says "utterances and references held at most"; corrected ones are held until their time."""
    table = MemoryPairTable()
    pipeline = made(SamplingSettings(pending_max=100), table)
    for fed in uncorrected(1000, per_hour=10):
        feed(pipeline, [fed, corrected(fed[1].id, _event_at(fed) or 0.0)])  # type: ignore[union-attr]
    held = sum(table.transcript(_key(fed[1].id)) is not None for fed in uncorrected(1000, 10))  # type: ignore[union-attr]
    assert held <= 100 + 10


def test_the_ceiling_is_lifted_when_nothing_from_before_can_be_held() -> None:
    """A burst must not cost the sample for good."""
    pipeline = made(SamplingSettings(pending_max=100), ttl_seconds=5 * DAY)
    feed(pipeline, uncorrected(400, per_hour=40))
    assert pipeline.gauges()["sampling_ceiling_ratio"] < 1.0
    feed(pipeline, [said(f"late{day}", MARCH_2 + day * DAY) for day in range(2, 9)])
    assert pipeline.gauges()["sampling_ceiling_ratio"] == 1.0


def test_reviews_carry_the_probability_that_they_were_chosen_with() -> None:
    """The list for correctors is a random sample: any prefix of it, by priority, too; and it costs what was planned."""
    budget = SamplingSettings(labels_per_day=200, per_stratum_min=40, strata=("accent",))
    pipeline = made(budget)
    messages = [
        said(f"u{number}", MARCH_2 + number * 60.0, accent="welsh" if number % 20 == 0 else "english")
        for number in range(4 * 1440)
    ]
    effects = feed(pipeline, messages)
    reviews = [review for one in effects for review in one.reviews]
    observed = {
        e.utterance: e.inclusion_probability for one in effects for e in one.emissions if isinstance(e, Observation)
    }
    assert len(reviews) == len(observed) < len(messages)
    for review in reviews:
        assert review.priority < review.inclusion_probability <= 1.0
        assert observed[_key(review.id)] == review.inclusion_probability
        assert review.labels == {"accent": review.labels["accent"], "deployment": "wards"}
    last_day = [review for review in reviews if review.event_at >= MARCH_2 + 3 * DAY]
    welsh = [review for review in last_day if review.labels["accent"] == "welsh"]
    assert abs(len(last_day) - 200) < 3 * 200**0.5  # Poisson, 3 sigma
    assert len(welsh) > 40 - 3 * 40**0.5, "the floor of a rare stratum"


def test_no_reviews_when_they_are_switched_off() -> None:
    """The one way out for text can be closed."""
    effects = feed(made(reviews=False), uncorrected(20, per_hour=10))
    assert not any(one.reviews for one in effects) and all(one.emissions for one in effects)


def _key(id_: str) -> UtteranceKey:
    return Sampler(SamplingSettings(), KEY, DAY).coin(id_)


def _coin(id_: str) -> float:
    return _key(id_) / 2.0**64
