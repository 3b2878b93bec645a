"""Model labels around a change: rollouts, rollbacks, and what is neither."""

from __future__ import annotations

from monitor.core.model_shares import MODELS_A_HOUR_MAX, ModelShares
from tests.builders import DAY, HOUR, MARCH_2


def counted(models: dict[int, str], a_day: int = 48) -> ModelShares:
    """`models`: which label each day has."""
    shares = ModelShares()
    for day, model in models.items():
        for place in range(a_day):
            shares.note(model, MARCH_2 + day * DAY + place * DAY / a_day)
    return shares


def test_a_rollback_is_seen_though_its_label_is_old() -> None:
    """A label that was first seen weeks ago is no new model, and yet it is the cause."""
    shares = counted({0: "asr-1", 1: "asr-1", 2: "asr-2", 3: "asr-2", 4: "asr-1"})
    found = shares.around(MARCH_2 + 4 * DAY, MARCH_2 + 4 * DAY)
    assert found.changed is True
    came, went = found.moved
    assert (came.model, came.share_before, came.share_after, came.seen_earlier) == ("asr-1", 0.0, 1.0, True)
    assert (went.model, went.share_after) == ("asr-2", 0.0)


def test_a_steady_label_and_a_small_canary_are_no_change() -> None:
    """ "Unchanged" is an answer as well."""
    shares = counted(dict.fromkeys(range(6), "asr-1"))
    shares.note("asr-2", MARCH_2 + 4.2 * DAY)
    found = shares.around(MARCH_2 + 3 * DAY, MARCH_2 + 4 * DAY)
    assert (found.changed, found.moved) == (False, ())


def test_without_labels_or_traffic_nothing_is_claimed() -> None:
    """ "Model label unchanged" would send on-call the wrong way."""
    unlabelled = counted(dict.fromkeys(range(6), ""))
    assert unlabelled.around(MARCH_2 + 3 * DAY, MARCH_2 + 4 * DAY).changed is None
    labelled = counted(dict.fromkeys(range(6), "asr-1"))
    assert labelled.around(MARCH_2 + 3 * DAY, MARCH_2 + 9 * DAY).changed is None


def test_what_is_kept_is_bounded_and_survives_a_restart() -> None:
    """A label for each request must not fill the state; hours beyond the horizon go."""
    shares, documents = ModelShares(), {}
    for number in range(100):
        shares.note(f"build-{number}", MARCH_2 + number)
        shares.note("asr-1", MARCH_2 + 5 * DAY)
    for change in shares.changes():
        documents[change.key] = change.value
    assert all(value is not None and value.count(b"build-") < MODELS_A_HOUR_MAX + 1 for value in documents.values())
    again = ModelShares()
    for key, value in reversed(documents.items()):
        assert value is not None
        again.restore(key, value)
    again.forget(MARCH_2 + DAY)
    (gone,) = again.changes()
    assert gone.value is None and gone.key == min(documents)
    assert again.around(MARCH_2 + HOUR, MARCH_2 + 4 * DAY).changed is None, "nothing is left before"
