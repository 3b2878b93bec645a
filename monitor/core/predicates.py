"""Decides which utterances a claim is about: a small language over declared attributes, read as data, never as code.

    predicate := term ("&" term)*
    term      := name "=" value  |  name "in" "(" value ("," value)* ")"  |  "not" term
    value     := a word without spaces and marks, or "in double quotes" with \\" and \\\\ for those two

A term is true, false, or open: of an utterance that does not declare the attribute, nobody knows. Only what is true
for certain is inside, only what is false for certain is outside. `unknown` can be asked for by its name
(`accent=unknown`), and `not accent=yoruba` leaves it out. Two predicates that mean the same are the same value.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from monitor.core.cells import BoolArray, LabelArray
from monitor.core.groupings import encode
from monitor.core.nearest import nearest
from monitor.core.records import OTHER, UNKNOWN, Labels, Record, Slice

CHARACTERS_MAX = 500
"""A predicate is read by people; ten times as much is a program."""
TERMS_MAX = 8
"""More conditions than three already leave hardly anybody to compare; eight leaves room for exceptions."""
VALUES_MAX = 50
"""Values of one term: a quarter of the groups that a dimension can have."""

EXAMPLE = "accent=yoruba & device in (phone, tablet) & not site=north"

_TOKEN = re.compile(r'\s*(?:(?P<mark>[&(),=])|(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<word>[^\s&(),="<>!|~*?;\'`\\]+))')
_PLAIN = re.compile(r'[^\s&(),="<>!|~*?;\'`\\]+')
_KEYWORDS = ("not", "in", "and", "or")


class PredicateError(ValueError):
    """A predicate that cannot be read: where, what stands there, what was wanted."""

    def __init__(self, position: int, got: str, want: str) -> None:
        super().__init__(f"position {position}: got {got}, want {want}, e.g. {EXAMPLE}")
        self.position, self.got, self.want = position, got, want


class Term(Record, frozen=True):
    """One attribute: among these values, or known and none of them. Values are sorted."""

    name: str
    values: tuple[str, ...]
    excluded: bool = False


class Predicate(Record, frozen=True):
    """A conjunction with one term for each attribute, sorted by name: equal meaning, equal value."""

    terms: tuple[Term, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(term.name for term in self.terms)

    def __str__(self) -> str:
        """Canonical form, which `parse` reads back.

        >>> str(parse('device in (tablet, phone)&accent = "west yoruba"', ["accent", "device"]))
        'accent="west yoruba" & device in (phone, tablet)'
        """
        return " & ".join(map(_written, self.terms))


def parse(text: str, names: Sequence[str], canonical: Mapping[str, Mapping[str, str]] | None = None) -> Predicate:
    """Read a predicate over these attributes. Raises PredicateError.

    canonical  dimension -> {declared value: canonical value}, as configured

    >>> parse("accent=uk & accent=england", ["accent"], {"accent": {"uk": "england"}})
    Predicate(terms=(Term(name='accent', values=('england',), excluded=False),))
    """
    if len(text) > CHARACTERS_MAX:
        raise PredicateError(CHARACTERS_MAX + 1, f"{len(text)} characters", f"at most {CHARACTERS_MAX}")
    reader = _Reader(text, names)
    found: list[tuple[int, Term]] = []
    while True:
        found.append(reader.term())
        if len(found) > TERMS_MAX:
            raise PredicateError(found[-1][0], f"more than {TERMS_MAX} terms", f"at most {TERMS_MAX}")
        if reader.kind == "end":
            break
        reader.take("&", "& and another term, or the end")
    return Predicate(terms=tuple(_merged(found, canonical or {})))


def of_slice(slice_: Slice) -> Predicate:
    """The predicate of a slice, which must not be `all`."""
    return Predicate(terms=tuple(Term(name=name, values=(value,)) for name, value in sorted(slice_)))


def unseen(predicate: Predicate, seen: Mapping[str, Collection[str]]) -> Iterator[tuple[str, str, str]]:
    """(attribute, value, nearest value that was seen) of each value that no utterance declared so far."""
    for term in predicate.terms:
        for value in term.values:
            if value != UNKNOWN and value not in seen.get(term.name, ()):
                yield term.name, value, _nearest(value, seen.get(term.name, ()))


# ---------------------------------------------------------------------------------------------------------- evaluation
def holds(predicate: Predicate, names: Sequence[str], labels: Labels) -> bool | None:
    """Whether labels lie inside (True) or outside (False); None where nobody knows."""
    answer: bool | None = True
    for term in predicate.terms:
        value = labels[names.index(term.name)]
        found = _term_holds(term, value)
        if found is False:
            return False
        if found is None:
            answer = None
    return answer


def masks(predicate: Predicate, labels: Mapping[str, LabelArray], size: int) -> tuple[BoolArray, BoolArray]:
    """Where (n,) labels lie inside, and where outside."""
    inside, outside = np.ones(size, np.bool_), np.zeros(size, np.bool_)
    for term in predicate.terms:
        values, number = encode(labels[term.name])
        found = [_term_holds(term, value) for value in values]
        inside &= np.array([one is True for one in found], np.bool_)[number]
        outside |= np.array([one is False for one in found], np.bool_)[number]
    return inside, outside


def _term_holds(term: Term, value: str) -> bool | None:
    if value in term.values:
        return not term.excluded
    if value in (UNKNOWN, OTHER):
        return None
    return term.excluded


# -------------------------------------------------------------------------------------------------------------- reading
class _Reader:
    """One token ahead."""

    def __init__(self, text: str, names: Sequence[str]) -> None:
        self._text, self._names = text, names
        self._at = 0
        self.kind, self.value, self.position = "end", "", 1
        self._next()

    def _next(self) -> None:
        rest = self._text[self._at :]
        self.position = self._at + len(rest) - len(rest.lstrip()) + 1
        if not rest.strip():
            self.kind, self.value = "end", ""
            return
        found = _TOKEN.match(self._text, self._at)
        if found is None:
            got = self._text[self.position - 1]
            if got == '"':
                raise PredicateError(self.position, "a quote that does not end", 'one that ends with "')
            raise PredicateError(
                self.position, f'"{got}"', '&, =, "in (...)" or a name: attributes are compared by name, not by size'
            )
        self._at = found.end()
        self.kind = str(found.lastgroup)
        self.value = found[self.kind]
        if self.kind == "quoted":
            self.value = re.sub(r"\\(.)", r"\1", self.value[1:-1])
        elif self.kind == "mark":
            self.kind = self.value

    def take(self, kind: str, want: str) -> str:
        if self.kind != kind:
            raise PredicateError(self.position, self._got(), want)
        value = self.value
        self._next()
        return value

    def _got(self) -> str:
        return "the end" if self.kind == "end" else f'"{self.value}"'

    def _is(self, keyword: str) -> bool:
        return self.kind == "word" and self.value.casefold() == keyword

    def term(self) -> tuple[int, Term]:
        """Where it begins, and the term."""
        position, excluded = self.position, False
        while self._is("not"):
            excluded = not excluded
            self._next()
        name = self._name()
        if self.kind == "=":
            self._next()
            values = [self._declared()]
        elif self._is("in"):
            self._next()
            values = self._list()
        else:
            raise PredicateError(self.position, self._got(), f'= or "in (...)" after {name}')
        return position, Term(name=name, values=tuple(values), excluded=excluded)

    def _name(self) -> str:
        position = self.position
        if self.kind not in ("word", "quoted"):
            raise PredicateError(position, self._got(), f"an attribute, one of {', '.join(self._names)}")
        if self.value not in self._names:
            nearest = _nearest(self.value, self._names)
            want = f"{nearest}" if nearest else f"one of {', '.join(self._names)}"
            raise PredicateError(position, f'attribute "{self.value}"', f"a declared one: {want}")
        name = self.value
        self._next()
        return name

    def _list(self) -> list[str]:
        self.take("(", "( and values")
        values = [self._declared()]
        while self.kind == ",":
            self._next()
            values.append(self._declared())
        if len(values) > VALUES_MAX:
            raise PredicateError(self.position, f"{len(values)} values", f"at most {VALUES_MAX}")
        self.take(")", ", and another value, or )")
        return values

    def _declared(self) -> str:
        if self.kind not in ("word", "quoted"):
            raise PredicateError(self.position, self._got(), "a value: a word, or text in double quotes")
        if self.value == OTHER:
            raise PredicateError(
                self.position, f'"{OTHER}"', "a declared value: which groups are folded depends on who came first"
            )
        if not self.value or not self.value.isprintable():
            raise PredicateError(self.position, "an empty or unprintable value", "a declared value, or unknown")
        value = self.value
        self._next()
        return value


def _merged(found: Sequence[tuple[int, Term]], canonical: Mapping[str, Mapping[str, str]]) -> Iterator[Term]:
    """One term for each attribute. Raises PredicateError if nobody can satisfy them all."""
    for name in sorted({term.name for _, term in found}):
        terms = [(position, term) for position, term in found if term.name == name]
        known = {declared.casefold(): value for declared, value in canonical.get(name, {}).items()}
        among: set[str] | None = None
        without: set[str] = set()
        for _, term in terms:
            values = {known.get(value.casefold(), value) for value in term.values}
            if term.excluded:
                without |= values
            else:
                among = values if among is None else among & values
        if among is None:
            # What is not known is not among "all others" anyway.
            yield Term(name=name, values=tuple(sorted(without - {UNKNOWN} or without)), excluded=True)
            continue
        among -= without | ({UNKNOWN} if without else set())
        if not among:
            raise PredicateError(
                terms[-1][0], f"terms of {name} that exclude each other", "values that can be declared"
            )
        yield Term(name=name, values=tuple(sorted(among)))


def _nearest(wanted: str, known: Collection[str]) -> str:
    found = {one.casefold(): one for one in known}
    return found.get(nearest(wanted.casefold(), found, 0.5), "")


# -------------------------------------------------------------------------------------------------------------- writing
def _written(term: Term) -> str:
    values = [_quoted(value) for value in term.values]
    said = f"={values[0]}" if len(values) == 1 else f" in ({', '.join(values)})"
    return f"{'not ' if term.excluded else ''}{_quoted(term.name)}{said}"


def _quoted(value: str) -> str:
    if _PLAIN.fullmatch(value) and value.casefold() not in _KEYWORDS:
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
