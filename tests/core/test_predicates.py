"""Predicates: read as data, refused with the place, and never a guess about what nobody declared."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.core.predicates import CHARACTERS_MAX, PredicateError, holds, masks, parse, unseen

NAMES = ("accent", "device", "site")


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("site=north&accent = yoruba", "accent=yoruba & site=north"),
        ("accent in (yoruba, igbo, yoruba)", "accent in (igbo, yoruba)"),
        ("accent in (igbo, yoruba) & not accent=igbo", "accent=yoruba"),
        ("not not accent=igbo", "accent=igbo"),
        ("not accent=igbo & not accent in (unknown, twi)", "not accent in (igbo, twi)"),
        ("accent in (igbo, unknown) & not accent=twi", "accent=igbo"),
        ('accent="a \\"quoted\\" & (odd) one"', 'accent="a \\"quoted\\" & (odd) one"'),
        ('accent="not"', 'accent="not"'),
    ],
)
def test_what_means_the_same_is_the_same(written: str, canonical: str) -> None:
    """Else one claim could be submitted as many."""
    assert str(parse(written, NAMES)) == canonical
    assert parse(canonical, NAMES) == parse(written, NAMES)


@pytest.mark.parametrize(
    ("written", "position", "want"),
    [
        ("", 1, "an attribute"),
        ("acent=yoruba", 1, "accent"),
        ("accent=yoruba & sight=north", 17, "site"),
        ("accent > 3", 8, "compared by name"),
        ("accent=yoruba device=phone", 15, "&"),
        ("accent in (a, b", 16, ")"),
        ("accent=", 8, "a value"),
        ("accent=_other", 8, "declared value"),
        ('accent="a', 8, "ends"),
        ("accent=a & accent=b", 12, "can be declared"),
        ("__import__('os').system('x')", 1, "one of accent, device, site"),
        ("accent=a|device=b", 9, "by name"),
        (" & ".join(["accent=a"] * 9), 89, "at most 8"),
        ("accent=" + "a" * CHARACTERS_MAX, CHARACTERS_MAX + 1, "at most"),
        (f"accent in ({','.join(map(str, range(60)))})", 181, "at most 50"),
        (b'accent="\\x07"'.decode("unicode_escape"), 8, "declared value"),
    ],
)
def test_a_refusal_names_the_place_and_what_was_wanted(written: str, position: int, want: str) -> None:
    """Typed by people from outside: they repair it without reading our code, and nothing of it is ever run."""
    with pytest.raises(PredicateError) as refused:
        parse(written, NAMES)
    assert refused.value.position == position
    assert want in str(refused.value)


def test_canonical_names_of_the_configuration_are_used() -> None:
    """A claim on `UK` is about the slice that people see as england."""
    assert str(parse("accent=UK", NAMES, {"accent": {"uk": "england"}})) == "accent=england"


def test_a_value_that_nobody_declared_is_told_with_the_nearest() -> None:
    predicate = parse("accent in (yorba, igbo, unknown)", NAMES)
    assert list(unseen(predicate, {"accent": {"yoruba", "igbo"}})) == [("accent", "yorba", "yoruba")]


@pytest.mark.parametrize(
    ("written", "labels", "inside"),
    [
        ("accent=yoruba", ("yoruba", "phone", "north"), True),
        ("accent=yoruba", ("unknown", "phone", "north"), None),
        ("accent=yoruba", ("_other", "phone", "north"), None),
        ("not accent=yoruba", ("unknown", "phone", "north"), None),
        ("not accent=yoruba", ("igbo", "phone", "north"), True),
        ("accent=unknown", ("unknown", "phone", "north"), True),
        ("not accent=unknown", ("unknown", "phone", "north"), False),
        ("accent=yoruba & device=phone", ("igbo", "unknown", "north"), False),
        ("accent=yoruba & device=phone", ("yoruba", "unknown", "north"), None),
        ("accent=yoruba & not device in (desk, tablet)", ("yoruba", "phone", "north"), True),
    ],
)
def test_unknown_is_never_a_guess(written: str, labels: tuple[str, ...], inside: bool | None) -> None:
    """Who did not say how they speak is neither of the group nor of those it is compared with."""
    predicate = parse(written, NAMES)
    assert holds(predicate, NAMES, labels) is inside
    columns = {name: np.array([value], object) for name, value in zip(NAMES, labels, strict=True)}
    within, without = masks(predicate, columns, 1)
    assert (bool(within[0]), bool(without[0])) == (inside is True, inside is False)
