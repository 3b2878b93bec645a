"""The agent's pages beside the first one: what each says, whatever customers call their groups."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from msgspec.structs import replace

from monitor.adapters.configuration import shown_configuration
from monitor.adapters.page import headline
from monitor.adapters.presentation import incident_url, slice_url
from monitor.adapters.site import CUSTOMERS_MAX, PAGE_ROWS, StatusPages
from monitor.config import load_settings
from monitor.core.records import Direction, IncidentKind, IncidentState, View
from tests.adapters.documents import checked
from tests.adapters.views import NOW, transition, view

CUSTOMER = "northwind-health"
INDIAN = {"customer": CUSTOMER, "slice": "accent=indian"}
HOSTILE = (
    '"><script>alert(1)</script>&{{7*7}}',
    "'+alert(1)+'",
    "\u202eevil\u2066",  # overrides of direction, never closed
    "عربي‏",
    "a&b=c#d%20?é",
    "\U0001f3f4" * 16,
)
PAGES = ("now", "slices", "incidents", "coverage", "budget", "configuration")


def pages() -> StatusPages:
    settings = load_settings(None, {}, {"decide.margin": 0.03, "kafka.group": "a-group"})
    return StatusPages(shown_configuration(settings))


def document(name: str, seen: View, **query: str) -> bytes:
    return getattr(pages(), name)(seen, query).body  # type: ignore[no-any-return]


def words(name: str, seen: View, **query: str) -> str:
    said = re.sub(r"\s+", " ", " ".join(checked(document(name, seen, **query)).words))
    return said.replace("\u202f", " ")


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("seen", [view(), View(at=0.0, started_at=0.0, dimensions=())], ids=["full", "empty"])
def test_every_page_is_well_formed_light_and_knows_where_it_is(name: str, seen: View) -> None:
    """Without script, form or foreign asset, below 200 kB, and a screen reader hears which page it is on."""
    body = document(name, seen)
    checked(body)
    assert len(body) < 200_000
    assert body.count(b'aria-current="page"') == 1 and body.count(b"<h1") == 1


def test_links_lead_to_pages_that_are_there() -> None:
    """Every slice and incident on the first page opens, by the address that the link gives."""
    links = checked(document("now", view())).links
    asked = [urlsplit(link) for link in links if link.startswith(("slice?", "incident?"))]
    assert len(asked) > 10
    for link in asked:
        query = {name: values[0] for name, values in parse_qs(link.query).items()}
        assert getattr(pages(), link.path)(view(), query).found, link


def test_one_slice_says_all_that_is_known_of_it() -> None:
    """Whoever was woken asks: how bad, how sure, since when, on how much, and against whom."""
    said = words("slice", view(), customer=CUSTOMER, slice="accent=yoruba&deployment=clinical")
    for phrase in (
        "Disparity worse than the rest", "24.0 %", "+12.1", "11.9 %", "a gap of 6.1 would be seen", "WER over time",
        "The same as a table", "1.3 of 1", "baseline learned 2 March 00:00 to 7 March 00:00", "×1.6", "6h",
        "190 of 1 586", "missing, 7 d +", "substitutions", "deletions", "insertions", "Incidents that name it",
    ):  # fmt: skip
        assert phrase.replace(" ", " ") in said.replace(" ", " "), phrase


def test_whom_somebody_was_woken_for_is_wrong_and_who_is_not_seen_is_not_fine() -> None:
    """A page is open for a slice without a standing gap: "0 wrong" above it would send people back to bed."""
    calm = view(incidents=())
    assert three(calm) == [5, 5, 11]
    drift = transition("d", NOW, slices=("accent=welsh&deployment=clinical", "all"))  # not known, and all traffic
    stale = transition("s", NOW, kind=IncidentKind.STALE, slices=("accent=us",))  # was at parity
    better = transition("b", NOW, direction=Direction.BETTER, slices=("accent=england",))
    assert three(view(incidents=(drift, stale, better))) == [7, 5, 10]
    assert three(view(incidents=(drift, replace(drift, state=IncidentState.RESOLVED)))) == [5, 5, 11]
    body = document("slice", view(incidents=(drift,)), slice="accent=welsh&deployment=clinical").decode()
    assert body.index("open drift since") < body.index("badge verdict insufficient")
    fine = view(incidents=(), slices=tuple(row for row in calm.slices if row.slice == "accent=us"))
    assert three(fine) == [0, 0, 1] and b"third disparity none" in document("now", fine)


def three(seen: View) -> list[int]:
    body = document("now", seen).decode()
    return [int(count) for count in re.findall(r"<strong>(\d+)</strong></span> <span class=\"word\">", body)]


def test_what_is_not_known_of_a_slice_is_said() -> None:
    """No number stands where there is none, and a slice without a baseline does not look calm."""
    row = next(row for row in view().slices if row.slice == "accent=welsh")
    assert row.standing is not None
    blank = replace(
        row.standing, learning=True, history=(), windows=(), gap=None, rest_wer=None, last_reference_at=None
    )
    for standing in (None, blank):
        bare = replace(row, standing=standing, pairs=0, wer=None, wer_low=None, wer_high=None, transcripts=0)
        said = words("slice", view(slices=(bare,), incidents=()), slice=bare.slice)
        for phrase in ("No baseline yet", "no corrected day", "No verdict", "never", "which says little"):
            assert phrase in said, phrase


def test_one_incident_is_told_step_by_step() -> None:
    """The morning after, somebody asks what was known when."""
    said = words("incident", view(), id="stale-1")
    assert said.index("Noticed 7 March 2026") < said.index("Resolved 8 March 2026 14:24 UTC")
    steps = tuple(transition("long", NOW + index) for index in range(500))
    many = document("incident", view(incidents=steps), id="long")
    assert b"300 earlier steps" in many and len(many) < 200_000


@pytest.mark.parametrize(("name", "query"), [
    ("slice", {"slice": "accent=nobody"}), ("slice", {"customer": "nobody", "slice": "all"}), ("slice", {}),
    ("incident", {"id": "nothing"}), ("incident", {}),
])  # fmt: skip
def test_what_is_not_there_is_404_and_says_so(name: str, query: dict[str, str]) -> None:
    """A link in an old ticket must not look like an empty, healthy slice."""
    page = getattr(pages(), name)(view(), query)
    assert not page.found
    assert "Not found" in " ".join(checked(page.body).words)


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("name", ["now", "slices", "slice", "incidents", "incident", "coverage", "budget"])
def test_names_are_text_in_every_place(name: str, hostile: str) -> None:
    """Names of customers, groups and incidents are whatever somebody wrote; none leaves its place."""
    seen = view()
    slice_ = f"accent={hostile}"
    rows = tuple(
        replace(row, customer=hostile, slice=slice_ if row.depth == 1 else row.slice) for row in seen.slices[:3]
    )
    incident = transition(hostile, NOW, customer=hostile, slices=(slice_,), summary=hostile)
    account = replace(seen.budget[0], customer=hostile)
    spender = replace(account.spenders[0], slice=slice_)
    mixed = replace(
        seen, slices=rows, incidents=(incident,), budget=(replace(account, spenders=(spender,)),), unit_fits=()
    )
    body = document(name, mixed, customer=hostile, slice=slice_, id=hostile)
    assert any(hostile in said for said in checked(body).words)
    text = body.decode()
    assert "<script" not in text and text.count("<bdi>") == text.count("</bdi>") > 0
    # Beside other words, a name stands in <bdi>; a paragraph, a title and an attribute end what it turned anyway.
    ended = r"<bdi>[^<]*</bdi>|<title>[^<]*</title>|<p class=\"s(ummary|aid)\">[^<]*</p>"
    ended += r"|<text [^>]*>[^<]*</text>|=\"[^\"]*\""
    assert re.findall("[\u202e\u2066\u200f]", re.sub(ended, "", text)) == []


def test_addresses_hold_any_name() -> None:
    """The address is read back as the name that it was made of."""
    for hostile in HOSTILE:
        query = parse_qs(urlsplit(slice_url(hostile, f"accent={hostile}")).query)
        assert query == {"customer": [hostile], "slice": [f"accent={hostile}"]}
        assert parse_qs(urlsplit(incident_url(hostile)).query) == {"id": [hostile]}


def test_many_slices_are_turned_over_and_none_is_lost() -> None:
    """500 slices on one page are 1 MB that nobody reads to the end of."""
    row = view().slices[1]
    seen = view(slices=tuple(replace(row, slice=f"accent=group{index:03d}") for index in range(200)), incidents=())
    shown: list[str] = []
    for first in range(0, 200, PAGE_ROWS):
        body = document("slices", seen, **{"from": str(first), "customer": CUSTOMER}).decode()
        shown += re.findall(r"<bdi>(group\d+)</bdi>", body)
    assert sorted(shown) == [f"group{index:03d}" for index in range(200)]
    assert document("slices", seen, **{"from": "-1e9"}) == document("slices", seen)


def test_many_customers_are_links_but_for_those_with_incidents() -> None:
    """A hundred tenants on one page would hide the one that is in trouble."""
    rows = tuple(replace(view().slices[1], customer=f"tenant-{index:03d}") for index in range(100))
    seen = view(slices=rows, budget=(), incidents=(transition("x", NOW, customer="tenant-099"),))
    body = document("now", seen).decode()
    assert re.findall(r"<h2 id=\"name-c0\"><bdi>(.*?)</bdi>", body) == ["tenant-099"]
    assert body.count('<section class="customer"') == CUSTOMERS_MAX
    assert body.count('href="./?customer=') == 100 - CUSTOMERS_MAX
    assert "tenant-042" in words("now", seen, customer="tenant-042")
    row = view().slices[1]
    many = tuple(replace(row, customer=f"t{index % 20}", slice=f"accent=g{index}") for index in range(2_000))
    assert all(len(document(name, view(slices=many, budget=()))) < 200_000 for name in PAGES)
    assert headline(seen).startswith("Open: 1 page;")


def test_the_configuration_shows_what_is_set_and_no_secret() -> None:
    """A webhook's path is its password."""
    settings = load_settings(None, {}, {
        "notify.webhook.urls": ["https://hooks.example.org:8443/T0KEN/inbox"],
        "kafka.security.password_file": "/run/secrets/kafka",
        "kafka.security.username_file": "/run/secrets/kafka-user",
        "decide.margin": 0.03,
    })  # fmt: skip
    body = StatusPages(shown_configuration(settings)).configuration(view(), {}).body.decode()
    for secret in ("T0KEN", "inbox"):
        assert secret not in body
    assert "https://hooks.example.org:8443/…" in body and "/run/secrets/kafka" in body
    said = re.sub(r"<[^>]+>|\s+", " ", body)
    assert re.search(r"decide\.margin +0\.03 +set +default 0\.05", said)
    assert re.search(r"decide\.page_budget +1\.0 +default", said)
