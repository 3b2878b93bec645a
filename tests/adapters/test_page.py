"""The status page: what is wrong and what is not known, for everybody, from anybody's data."""

from __future__ import annotations

import json
import re

import pytest
from msgspec.structs import replace

from monitor.adapters.page import incidents_document, policy, slices_document
from monitor.adapters.presentation import machine_time, standing_of, stylesheet
from monitor.adapters.site import NOW_ROWS, StatusPages
from monitor.core.records import (
    BlockRatio,
    Changed,
    KindShares,
    ModelMoved,
    SliceRow,
    UnitFit,
    ValueMoved,
    Verdict,
    View,
)
from tests.adapters.documents import checked
from tests.adapters.views import BEGAN, DAY, NOW, transition, view

HOSTILE = '"><script>alert(1)</script>&{{7*7}}'


def now(seen: View) -> bytes:
    return StatusPages().now(seen, {}).body


def coverage(seen: View) -> bytes:
    return StatusPages().coverage(seen, {}).body


def said_by(document: bytes) -> str:
    return re.sub(r"\s+", " ", " ".join(checked(document).words))


def words(seen: View) -> str:
    return said_by(now(seen))


def test_page_is_well_formed_and_self_contained() -> None:
    """It must work in a ward without internet, and under a policy that forbids everything else."""
    document = now(view())
    checked(document)
    assert len(document) < 200_000


def test_style_is_the_one_the_policy_allows() -> None:
    """A hash that does not match leaves the page unstyled in every browser, and no test of ours would see it."""
    document = now(view()).decode()
    style = document.split("<style>")[1].split("</style>")[0]
    assert StatusPages().content_security_policy == policy(style)
    assert style == stylesheet()


def test_three_verdicts_differ_in_word_shape_and_class() -> None:
    """Colour alone tells one man in twelve nothing; `insufficient` must not read as good."""
    document = now(view()).decode()
    badges = dict(re.findall(r'<span class="badge verdict (\w+)">(<svg.*?</svg>\w+)', document))
    assert {"disparity", "parity", "insufficient"} <= badges.keys()
    shapes = {re.sub(r">[^<]*$", ">", badge) for badge in badges.values()}
    assert len(shapes) == len(badges)
    assert all(badges[kind].endswith(kind.capitalize()) for kind in ("disparity", "parity", "insufficient"))


def test_what_is_not_known_is_said() -> None:
    """Silence about a slice reads as health."""
    said = words(view())
    assert "Open: 1 page, 1 ticket; 5 of 21 slices have no verdict yet." in said
    assert re.search(r"not known: needs about [\d ]+ more labelled words", said)
    assert "not known: unlabelled traffic is not compared" in said
    assert "learning" in said
    assert "Traffic without a label" in said_by(coverage(view()))


def test_incidents_come_first_with_their_sentence() -> None:
    """Somebody was woken up: the reason is the first thing to read."""
    said = words(view())
    assert said.index("yoruba at clinical 33.1 %") < said.index("Verdict on the gap")
    assert now(view()).count(b'class="plot wide-only"') == 1, "the page's slice over time"
    assert said.index("Page drift") < said.index("Ticket disparity")


def test_an_incident_of_everything_and_none_at_all() -> None:
    """Both ends of the page's range render."""
    everything = transition("o", NOW, slices=("all",), since=None, ratio_high=None, wer=None)
    assert "all traffic" in words(view(incidents=(everything,)))
    assert "No incident is open; 5 of 21 slices" in words(view(incidents=()))
    assert "No transcript has been read yet" in words(View(at=0.0, started_at=0.0, dimensions=("accent",)))


@pytest.mark.parametrize("hostile", [HOSTILE, "\ud800", "a\x00b", "'+alert(1)+'", "x" * 64, "&amp;"])
def test_hostile_names_are_text(hostile: str) -> None:
    """Group names, summaries and labels are whatever a producer wrote."""
    seen = view()
    row = replace(seen.slices[1], slice=f"accent={hostile}")
    incident = transition("x", NOW, slices=(f"accent={hostile}",), summary=hostile)
    mixed = replace(seen, slices=(*seen.slices, row), incidents=(incident,))
    checker = checked(now(mixed))
    assert any(hostile.replace("\ud800", "?") in text for text in checker.words)


def test_rows_without_standing_or_pairs_say_so() -> None:
    """A slice nobody corrected yet is not known, not fine."""
    bare = replace(view().slices[3], pairs=0, wer=None, wer_low=None, wer_high=None, standing=None)
    assert standing_of(bare).word == "No verdict"
    assert "no corrected transcript yet" in words(view(slices=(bare,)))


@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_verdict_has_words(verdict: Verdict) -> None:
    """Exhaustive: a verdict added to the glossary must be given words here."""
    row = view().slices[2]
    assert row.standing is not None
    assert standing_of(replace(row, standing=replace(row.standing, verdict=verdict))).kind == verdict


def test_page_of_500_slices_stays_light() -> None:
    """A phone on a ward's network gets 200 kB at most; what is left out is named, and is a link."""
    row = view().slices[1]
    rows = tuple(replace(row, slice=f"accent=group{index}", transcripts=index) for index in range(500))
    pages = StatusPages()
    document = pages.now(view(slices=rows), {}).body
    assert len(document) < 200_000
    assert f"{500 - NOW_ROWS} more".encode() in document
    assert len(pages.slices(view(slices=rows), {}).body) < 200_000


def test_documents_for_programs_are_json_with_times() -> None:
    """The API says times as people's files do: RFC 3339."""
    slices = json.loads(slices_document(view()))["slices"]
    assert slices[0]["standing"]["history"][0]["day"] == "2026-03-02T00:00:00Z"
    incidents = json.loads(incidents_document(view()))["incidents"]
    assert incidents[0]["since"].startswith("2026-03-10T06:4")


def test_what_changed_with_an_incident_is_beside_it() -> None:
    """On-call compares the range with its deployments, and asks what came with the errors."""
    moved = ValueMoved(
        slice="device=scanner-b", share_before=0.03, share_after=0.31, share_z=5.0,
        wer_before=0.2, wer_after=0.4, wer_ratio=1.9, wer_z=4.0,
    )  # fmt: skip
    model = ModelMoved(model="asr-1", share_before=0.0, share_after=0.97, seen_earlier=True)
    mix = KindShares(substitutions=0.6, deletions=0.3, insertions=0.1)
    changed = Changed(
        since_low=BEGAN, since_high=BEGAN + DAY, kinds_before=mix, kinds_after=mix, kinds_z=mix, rest_shift=0.001,
        moved=(moved,), model_changed=True, models=(model,),
    )  # fmt: skip
    shown = view(incidents=(transition("drift-1", BEGAN + 2 * DAY, changed=changed),))
    document = now(shown).decode().replace(chr(160), " ")
    for said in ("Began between", "60 · 30 · 10 %", "device=scanner-b", "3 % → 31 % of words", "asr-1", "seen before"):
        assert said in document, said
    (fields,) = json.loads(incidents_document(shown))["incidents"]
    assert fields["changed"]["since_low"] == machine_time(BEGAN) and fields["changed"]["moved"][0]["share_z"] == 5.0


def test_units_that_are_too_short_are_said_beside_the_budget() -> None:
    """The budget is a promise about independent units: where it does not hold, nobody may read it as if it did."""
    block = BlockRatio(block="day", ratio=5.6, z=23.0, blocks=80)
    fit = UnitFit(customer="northwind-health", at=NOW, units=900, inflation=3.0, ratios=(block,), longer="day")
    said = said_by(StatusPages().budget(view(unit_fits=(fit,)), {}).body)
    assert "units are too short: sums over a day vary 5.6 times" in said and "Set decide.unit" in said
    fine = view(unit_fits=(replace(fit, longer=None),))
    assert "units are too short" not in said_by(StatusPages().budget(fine, {}).body)


def test_missing_corrections_are_told_by_group_and_age() -> None:
    """A group that nobody corrects shows first, whatever its size; all traffic stands above it to compare."""
    seen = view()
    ages = (("<1d", 10, 10), ("1-3d", 0, 0), ("3-7d", 40, 40), ("7d+", 60, 59))
    rows = tuple(replace(row, missing_by_age=ages) if row.slice == "accent=welsh" else row for row in seen.slices)
    said = said_by(coverage(replace(seen, slices=rows)))
    told = said[said.index("Waiting for a correction, by age") :]
    assert told.index("all traffic") < told.index("welsh") < told.index("england")
    assert "welsh accent 100 % 10 of 10 – 100 % 40 of 40 98 % 59 of 60" in told
    listed = json.loads(slices_document(replace(seen, slices=rows)))["slices"]
    welsh = next(row for row in listed if row["slice"] == "accent=welsh")
    assert welsh["missing_by_age"][3] == {"age": "7d+", "transcripts": 60, "missing": 59}


def test_the_table_by_age_is_a_screenful_and_says_what_it_leaves_out() -> None:
    """Two hundred groups would bury the ones that matter."""
    one = view().slices[1]
    rows = tuple(replace(one, slice=f"accent=group{index}") for index in range(50))
    document = coverage(view(slices=rows)).decode()
    assert document.split('<table class="ages"')[1].split("</table>")[0].count('scope="row"') == 12
    assert "38 more groups" in document
    assert "Waiting for a correction" not in said_by(coverage(view(slices=(replace(one, missing_by_age=()),))))


def test_two_customers_are_apart() -> None:
    """One agent may watch several tenants: their numbers must not run together."""
    seen = view()
    other: tuple[SliceRow, ...] = tuple(replace(row, customer="other-clinic") for row in seen.slices[:3])
    said = words(replace(seen, slices=(*seen.slices, *other)))
    assert said.index("northwind-health") < said.index("other-clinic")


def test_a_process_that_only_reads_and_scores_sends_people_to_the_one_that_decides() -> None:
    """ "Nothing is known yet" beside a million scored pairs is how an on-call engineer is sent the wrong way."""
    gauges = {
        'partitions_assigned{stage="score"}': 12.0,
        'consumer_lag_records{topic="wervane-pairs"}': 3.0,
        'state_behind_records{stage="score"}': 40.0,
    }
    reader = View(at=0.0, started_at=0.0, dimensions=("accent",), gauges=gauges, decides=False)
    page = now(reader).decode()
    assert "Nothing is known" not in page and "wervane run --stages decide" in page
    for row in ("partitions open: score", "not read yet: wervane-pairs", "still to read: score"):
        assert row in page
    assert "partitions open" not in now(replace(reader, gauges={})).decode()
