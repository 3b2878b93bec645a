"""Decides where in the state file an utterance's row is, without keeping Python objects for each.

A million rows cost 16 MB in an index of this form, and 120 MB in a dictionary. An index inside SQLite was rejected:
keys are hashes, so each insert would dirty a page of its own (4 KB to the write-ahead log for 17 bytes), and every
opening would have to check one against the other.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right

import numpy as np
from numpy.typing import NDArray

CHUNK = 1024
"""Entries of a chunk when it is made; it splits at twice as many. Half: a longer list; double: slower inserts."""

_ABOVE_ALL = 1 << 64


class SortedPairs:
    """A bag of pairs (first, second) in ascending order; `second` is unsigned 64-bit, `first` too or a float.

    Sorted arrays of bounded length, found by their smallest pair.
    """

    def __init__(self, typecode: str) -> None:
        self._typecode = typecode
        self._lows: list[tuple[float, int]] = []
        self._firsts: list[array[float]] = []
        self._seconds: list[array[int]] = []
        self._length = 0

    @classmethod
    def of(
        cls, typecode: str, firsts: NDArray[np.uint64] | NDArray[np.float64], seconds: NDArray[np.uint64]
    ) -> SortedPairs:
        """Build from unordered columns, which is many times faster than adding one by one."""
        made = cls(typecode)
        order = np.lexsort((seconds, firsts))
        for start in range(0, len(order), CHUNK):
            chosen = order[start : start + CHUNK]
            first: array[float] = array(typecode)
            second = array("Q")
            first.frombytes(firsts[chosen].tobytes())
            second.frombytes(seconds[chosen].tobytes())
            made._lows.append((first[0], second[0]))
            made._firsts.append(first)
            made._seconds.append(second)
        made._length = len(order)
        return made

    def __len__(self) -> int:
        return self._length

    def add(self, first: float, second: int) -> None:
        lows = self._lows
        chunk = bisect_right(lows, (first, second)) - 1
        self._length += 1
        if chunk < 0:
            if not lows:
                lows.append((first, second))
                self._firsts.append(array(self._typecode, (first,)))
                self._seconds.append(array("Q", (second,)))
                return
            chunk = 0
            lows[0] = (first, second)
        firsts, seconds = self._firsts[chunk], self._seconds[chunk]
        if first > firsts[-1]:
            firsts.append(first)
            seconds.append(second)
        else:
            at = self._position(firsts, seconds, first, second)
            firsts.insert(at, first)
            seconds.insert(at, second)
        if len(firsts) >= 2 * CHUNK:
            lows.insert(chunk + 1, (firsts[CHUNK], seconds[CHUNK]))
            self._firsts.insert(chunk + 1, firsts[CHUNK:])
            self._seconds.insert(chunk + 1, seconds[CHUNK:])
            del firsts[CHUNK:], seconds[CHUNK:]

    def remove(self, first: float, second: int) -> None:
        """Take one such pair away; there must be one."""
        chunk = max(0, bisect_right(self._lows, (first, second)) - 1)
        firsts, seconds = self._firsts[chunk], self._seconds[chunk]
        at = self._position(firsts, seconds, first, second)
        assert at < len(firsts) and firsts[at] == first and seconds[at] == second, "an index lost a row"
        del firsts[at], seconds[at]
        self._length -= 1
        if not firsts:
            del self._lows[chunk], self._firsts[chunk], self._seconds[chunk]
        elif at == 0:
            self._lows[chunk] = (firsts[0], seconds[0])

    def last(self, first: float) -> int | None:
        """The greatest `second` beside `first`: the only one where `first` is unique."""
        chunk = bisect_right(self._lows, (first, _ABOVE_ALL)) - 1
        if chunk < 0:
            return None
        firsts = self._firsts[chunk]
        at = bisect_right(firsts, first) - 1
        if at < 0 or firsts[at] != first:
            return None
        return self._seconds[chunk][at]

    def all(self, first: float) -> list[int]:
        """Every `second` beside `first`, ascending."""
        found: list[int] = []
        for chunk in range(max(0, bisect_right(self._lows, (first, -1)) - 1), len(self._lows)):
            firsts = self._firsts[chunk]
            start, end = bisect_left(firsts, first), bisect_right(firsts, first)
            found.extend(self._seconds[chunk][start:end])
            if end < len(firsts):
                break
        return found

    def below(self, first: float, limit: int) -> list[tuple[float, int]]:
        """The smallest pairs with a smaller first, at most `limit`."""
        found: list[tuple[float, int]] = []
        for firsts, seconds in zip(self._firsts, self._seconds, strict=True):
            end = min(bisect_left(firsts, first), limit - len(found))
            found.extend(zip(firsts[:end], seconds[:end], strict=True))
            if end < len(firsts):
                break
        return found

    def from_(self, first: float) -> list[tuple[float, int]]:
        """Every pair whose first is at least as great."""
        found: list[tuple[float, int]] = []
        for chunk in range(max(0, bisect_right(self._lows, (first, -1)) - 1), len(self._lows)):
            start = bisect_left(self._firsts[chunk], first)
            found.extend(zip(self._firsts[chunk][start:], self._seconds[chunk][start:], strict=True))
        return found

    @staticmethod
    def _position(firsts: array[float], seconds: array[int], first: float, second: int) -> int:
        """Where in a chunk a pair is, or belongs."""
        at = bisect_left(firsts, first)
        if at < len(firsts) and firsts[at] == first:
            at = bisect_left(seconds, second, at, bisect_right(firsts, first, at))
        return at
