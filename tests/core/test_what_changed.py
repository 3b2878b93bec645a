"""What is told beside the size of a change: kinds of errors, values that moved, the rest, and never an accident."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.core.cells import Cells, FloatArray
from monitor.core.describing import SENTENCE_MAX, change_sentence, measure
from monitor.core.diagnosing import Diagnosis, Scene
from monitor.core.explaining import ChangePoint, ExplainSettings
from monitor.core.groupings import DAY, mask_of
from monitor.core.model_shares import ModelShares
from monitor.core.records import Changed, Direction, Slice
from monitor.core.what_changed import FALSE_NAMES, what_changed

AT, NOW = 10 * DAY, 20 * DAY
YORUBA: Slice = (("accent", "yoruba"),)


def traffic(
    seed: int = 3, units: int = 1200, people: int = 300, scanner: float = 0.03, scanner_since: float = 0.03
) -> Cells:
    """Two accents, three devices, two sites over 20 days; `scanner`: share of device scanner-b, before and since AT."""
    random = np.random.default_rng(seed)
    ended_at = np.sort(random.uniform(0.0, NOW, units))
    share = np.where(ended_at > AT, scanner_since, scanner)
    other = random.choice(np.array(["phone", "desk", "unknown"], object), units)
    person = random.integers(0, people, units)
    words = np.full(units, 20.0)
    kinds = random.poisson([[1.2, 0.5, 0.3]] * units).astype(np.float64)
    labels = {
        "accent": random.choice(np.array(["yoruba", "england"], object), units),
        "device": np.where(random.random(units) < share, "scanner-b", other).astype(object),
        "site": random.choice(np.array(["lagos", "london"], object), units),
    }
    return with_kinds(
        Cells(
            np.arange(units),
            kinds.sum(axis=1),
            words,
            ended_at,
            np.ones(units, np.int64),
            labels,
            person,
            ended_at,
            kinds,
        ),
        kinds,
    )


def with_kinds(cells: Cells, kinds: FloatArray) -> Cells:
    parts = (cells.words, cells.ended_at, cells.utterances, cells.labels, cells.person, cells.first_at)
    return Cells(cells.unit, kinds.sum(axis=1), *parts, kinds)


def told(cells: Cells, slice_: Slice = YORUBA) -> Changed:
    return what_changed(scene_of(cells), diagnosis_of(cells, slice_), ModelShares())


def scene_of(cells: Cells) -> Scene:
    return Scene(cells, (("accent",),), ("accent",), NOW, False, ExplainSettings())


def diagnosis_of(cells: Cells, slice_: Slice = YORUBA) -> Diagnosis:
    measured = measure(cells, slice_, mask_of(cells, slice_), AT)
    return Diagnosis(slice_, ChangePoint(AT, AT - DAY, AT + DAY), measured, None)


def sentence(cells: Cells, slice_: Slice = YORUBA, changed: Changed | None = None) -> str:
    measured = measure(cells, slice_, mask_of(cells, slice_), AT)
    changed = told(cells, slice_) if changed is None else changed
    return change_sentence(slice_, measured, None, AT, 1.2, Direction.WORSE, [], 3, changed)


def test_a_device_that_came_is_named_with_its_share_before_and_since() -> None:
    """ "New scanners" is what on-call can act on; "WER rose" is not."""
    changed = told(traffic(scanner_since=0.35))
    assert [moved.slice for moved in changed.moved] == ["device=scanner-b"]
    (moved,) = changed.moved
    assert moved.share_before < 0.08 and moved.share_after > 0.3 and moved.share_z > 5
    assert "device=scanner-b " in sentence(traffic(scanner_since=0.35)) and "of its words" in sentence(
        traffic(scanner_since=0.35)
    )


def test_a_device_whose_errors_grew_is_named_with_its_wer() -> None:
    """A share may stand still while one device goes bad: the others of the slice show it."""
    cells = traffic(scanner=0.3, scanner_since=0.3)
    worse = mask_of(cells, (("device", "scanner-b"),)) & (cells.ended_at > AT)
    changed = told(with_kinds(cells, np.where(worse[:, None], 3.0, 1.0) * cells.kinds))
    (moved,) = changed.moved
    assert moved.slice == "device=scanner-b" and moved.wer_z is not None and moved.wer_z > 4
    assert moved.wer_ratio == pytest.approx(3.0, rel=0.25)


def test_what_does_not_move_is_not_named() -> None:
    """A lead that is chance costs on-call an hour. Here nothing moves, and speakers return."""
    named = sum(bool(told(traffic(seed, people=80)).moved) for seed in range(200))
    # At most 5 % each: 19 of 200 is the 0.5 % point of Binomial(200, .05).
    assert named <= 19, FALSE_NAMES


def test_three_long_sessions_prove_no_share() -> None:
    """z by utterances would be enormous; three persons are three."""
    cells = traffic()
    person = np.where(mask_of(cells, (("device", "scanner-b"),)), 299 + np.arange(len(cells)) % 3, cells.person % 299)
    few = Cells(
        cells.unit, cells.errors, cells.words * np.where(person >= 299, 40.0, 1.0), cells.ended_at, cells.utterances,
        cells.labels, person, cells.first_at, cells.kinds,
    )  # fmt: skip
    assert "device=scanner-b" not in [moved.slice for moved in told(few).moved if abs(moved.share_z) > 2]


def test_labels_that_vanish_name_no_value() -> None:
    """`unknown` is nobody; that labels broke has an incident of its own."""
    cells = traffic()
    lost = (cells.ended_at > AT) & (np.arange(len(cells)) % 3 > 0)
    cells.labels["device"][lost] = "unknown"
    assert told(cells).moved == ()


def test_deletions_that_grow_are_told_as_shares_of_all_errors() -> None:
    """Cut-off audio deletes, a noisy line substitutes: the kind of error points at the cause."""
    cells = traffic()
    kinds = cells.kinds.copy()
    kinds[cells.ended_at > AT, 1] *= 4
    changed = told(with_kinds(cells, kinds))
    assert changed.kinds_before is not None and changed.kinds_after is not None and changed.kinds_z is not None
    assert changed.kinds_before.deletions == pytest.approx(0.25, abs=0.05)
    assert changed.kinds_after.deletions == pytest.approx(2.0 / 3.5, abs=0.05)
    assert changed.kinds_z.deletions > 5
    assert "deletions 2" in sentence(with_kinds(cells, kinds)) and "% of errors" in sentence(with_kinds(cells, kinds))


def test_rows_of_an_earlier_version_say_nothing_of_kinds() -> None:
    """Zeros are not a mix. The rest of the incident is told all the same."""
    cells = traffic()
    cells.kinds[cells.ended_at < 5 * DAY] = 0.0
    changed = told(cells)
    assert changed.kinds_before is changed.kinds_after is changed.kinds_z is None
    assert changed.rest_shift is not None


def test_the_rest_s_shift_is_told_with_an_interval_that_holds_it() -> None:
    """ "The rest did not move" is what makes a slice's change its own."""
    held = 0
    for seed in range(100):
        cells = traffic(seed)
        kinds = cells.kinds * np.where(cells.ended_at > AT, 1.5, 1.0)[:, None]
        changed = told(with_kinds(cells, kinds))
        assert changed.rest_shift_low is not None and changed.rest_shift_high is not None
        held += changed.rest_shift_low <= 0.05 <= changed.rest_shift_high
    assert held >= 88, "Binomial(100, .95) has its .3 % point there"
    assert told(traffic(), ()).rest_shift is None, "all traffic has no rest"


def test_a_pager_s_line_stays_short_and_says_between_which_days() -> None:
    """Long names push leads out, never the numbers."""
    cells = traffic(scanner_since=0.35)
    kinds = cells.kinds.copy()
    kinds[cells.ended_at > AT, 1] *= 4
    cells = with_kinds(cells, kinds)
    said = sentence(cells)
    assert len(said) <= SENTENCE_MAX and "(between 10 and 12 January)" in said and "the rest moved by " in said
    cells.labels["device"][:] = [f"{device}{'x' * 120}" for device in cells.labels["device"]]
    assert len(sentence(cells)) <= SENTENCE_MAX and "of errors" in sentence(cells)
