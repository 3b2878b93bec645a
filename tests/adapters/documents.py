"""What every HTML document of ours must be: well formed, self-contained, without script."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"meta", "br", "hr", "img", "input", "link"}
SVG_EMPTY = {"path", "line", "rect", "circle"}
OPTIONAL = {"html", "head", "body"}


class Checker(HTMLParser):
    """Tags must close in the order they opened; everything worth a complaint is collected."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.problems: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self._attributes(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in SVG_EMPTY:
            self.problems.append(f"<{tag}/> does not close in HTML")
        self._attributes(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> closes something else at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        if not {"style", "title"} & set(self.open):
            self.words.append(data)

    def _attributes(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "iframe", "img", "link", "object", "embed", "form"}:
            self.problems.append(f"<{tag}>")
        for name, value in attrs:
            if name.startswith("on") or name in {"style", "src", "srcset"}:
                self.problems.append(f"{tag} {name}={value}")
            if name in {"href", "xlink:href"}:
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")
            if tag == "svg" and name == "viewbox" and "nan" in (value or "").lower():
                self.problems.append(f"viewBox {value}")


def checked(document: bytes) -> Checker:
    """Parse, and fail on anything that is not well formed, self-contained and free of script."""
    checker = Checker()
    text = document.decode("utf-8")
    checker.feed(text)
    checker.close()
    assert not checker.problems, checker.problems[:5]
    assert not checker.open, checker.open
    assert len(checker.ids) == len(set(checker.ids)), "an id occurs twice"
    assert not any(re.match(r"[a-z]+:|/", link, re.IGNORECASE) for link in checker.links), checker.links
    assert not any(foreign in text for foreign in ("http://", "https://", "url(//", "@import", "javascript:"))
    assert "nan" not in text.lower().split() and ">inf<" not in text
    return checker
