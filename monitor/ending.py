"""Decides how a run ends that must not go on: it says why, and leaves its positions where they were."""

from __future__ import annotations

from monitor.adapters.jsonl import InputUnreadable


class TooManyRejected(InputUnreadable):
    """Half of the last minute's messages were rejected: nothing was committed past them."""

    def __init__(self, rejected: int, messages: int) -> None:
        super().__init__(
            "input",
            f"{rejected} of the last {messages} messages were rejected; stopped without committing past them "
            "(`wervane schema` says what is accepted): a producer's release is the likely cause",
        )
