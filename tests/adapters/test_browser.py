"""The agent's pages in a real browser: quiet console, accessible, on a phone and on a desk, light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, Page

from monitor.adapters.configuration import shown_configuration
from monitor.adapters.http import StatusServer
from monitor.adapters.presentation import incident_url, slice_url
from monitor.config import load_settings
from monitor.core.records import View
from monitor.core.snapshot import MetricsSnapshot
from tests.adapters.browsing import axe_source, browser
from tests.adapters.views import NOW, transition, view

PATIENCE = 60_000
"""Milliseconds that anything may take on a busy machine."""

PHONE, DESK = (390, 844), (1280, 900)
HOSTILE = "<script>window.broken = 1</script>\u202e\u2066\u0639\u0631\u0628\u064a"
CUSTOMER = "northwind-health"


def seen() -> View:
    """The invented hospital, where somebody calls a group what would run or turn a page."""
    calm = view()
    row = replace(calm.slices[3], slice=f"accent={HOSTILE}")
    incident = transition("odd", NOW, slices=(row.slice,), summary=f"{HOSTILE} is worse than it was.")
    return view(slices=(*calm.slices, row), incidents=(*calm.incidents, incident))


PATHS = (
    "", "slices", slice_url(CUSTOMER, "accent=yoruba&deployment=clinical"),
    slice_url(CUSTOMER, f"accent={HOSTILE}"), "incidents", incident_url("odd"), "coverage",
    "budget", "configuration", "slice?slice=nothing",
)  # fmt: skip


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    shown = MetricsSnapshot(view=seen())
    configuration = shown_configuration(load_settings(None, {}, {"decide.margin": 0.03}))
    with closing(StatusServer("127.0.0.1", 0, lambda: shown, configuration=configuration)) as server:
        yield server.address


@contextmanager
def tab(chromium: Browser, size: tuple[int, int], dark: bool = False) -> Iterator[tuple[Page, list[str]]]:
    """A page, and everything that its console, its script and its network complain of."""
    width, height = size
    context = chromium.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda asked: complaints.append(asked.url) if not asked.is_navigation_request() else None)
    yield page, complaints
    context.close()


@pytest.mark.parametrize(
    ("size", "dark"),
    [
        (PHONE, False),
        (DESK, False),
        pytest.param(PHONE, True, marks=pytest.mark.slow),
        pytest.param(DESK, True, marks=pytest.mark.slow),
    ],
)
def test_every_page_is_accessible_and_quiet(chromium: Browser, address: str, size: tuple[int, int], dark: bool) -> None:
    """A responsible-AI lead with a screen reader, an on-call engineer with a phone at night: the same pages, whole."""
    axe = axe_source()
    with tab(chromium, size, dark) as (page, complaints):
        for path in PATHS:
            response = page.goto(address + path)
            assert response is not None and response.status == (404 if path.endswith("nothing") else 200)
            page.evaluate("() => document.querySelectorAll('details').forEach(one => { one.open = true })")
            page.evaluate(axe)
            found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")["violations"]
            faults = [(fault["id"], [node["html"][:120] for node in fault["nodes"][:3]]) for fault in found]
            assert faults == [], path
            too_wide = page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")
            assert too_wide <= 0, f"{path} is {too_wide} pixels wider than the screen"
            assert page.evaluate("() => window.broken ?? document.scripts.length") == 0, path
        assert [one for one in complaints if "status of 404" not in one] == []


def test_pages_are_walked_by_keyboard(chromium: Browser, address: str) -> None:
    """Without a mouse: the first stop skips to the content, every stop is seen, and links open."""
    with tab(chromium, DESK) as (page, _):
        page.goto(address)
        page.keyboard.press("Tab")
        assert page.evaluate("() => document.activeElement.textContent") == "Skip to the content"
        assert page.evaluate("() => document.activeElement.getBoundingClientRect().left") >= 0
        page.keyboard.press("Enter")
        assert page.evaluate("() => document.activeElement.id || location.hash") in ("main", "#main")
        page.keyboard.press("Tab")
        outline = "() => getComputedStyle(document.activeElement).outlineStyle"
        assert page.evaluate(outline) == "solid"
        page.goto(address)
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("() => document.activeElement.getAttribute('href')") == "budget":
                break
        assert page.evaluate(outline) == "solid"
        page.keyboard.press("Enter")
        page.wait_for_url("**/budget")


def test_a_hostile_name_turns_nothing_around_it(chromium: Browser, address: str) -> None:
    """An override of direction that is never closed would write the numbers beside it backwards."""
    with tab(chromium, DESK) as (page, _):
        page.goto(address + slice_url(CUSTOMER, f"accent={HOSTILE}"))
        # In a heading, a verdict's badge is left of its note whatever stands above it.
        boxes = page.evaluate(
            "() => ['.verdict-line .badge', '.verdict-line .note'].map(s => document.querySelector(s)"
            ".getBoundingClientRect().left)"
        )
        assert boxes[0] < boxes[1]
        assert page.evaluate("() => getComputedStyle(document.querySelector('h1 bdi')).unicodeBidi") == "isolate"


def test_three_verdicts_can_be_told_without_colour(chromium: Browser, address: str) -> None:
    """Printed in black on white, or seen by one man in twelve: a filled, a dashed and a plain box, with words."""
    with tab(chromium, PHONE) as (page, _):
        page.goto(address)
        styles = page.evaluate(
            "() => [...document.querySelectorAll('.three .third')].map(one => [one.querySelector('.word').textContent,"
            " getComputedStyle(one).borderTopStyle, one.querySelector('svg').innerHTML])"
        )
    assert [words for words, _, _ in styles] == ["wrong", "not known", "fine"]
    assert len({shape for _, _, shape in styles}) == 3
    assert styles[1][1] == "dashed" and styles[0][1] == styles[2][1] == "solid"
