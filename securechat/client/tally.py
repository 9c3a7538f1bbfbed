"""What the server has of the messages that this client read: sizes and times, and nothing else."""

from collections import Counter
from typing import NamedTuple

from securechat.client.letters import Letter


class Span(NamedTuple):
    """The first and the last time at which the server took something in, in ms since 1970 UTC."""

    first: int
    last: int


class Tally:
    """Counts envelopes by size. Only those that open count, so a lying server cannot make it grow.

    Attributes:
        sizes: How many envelopes there were of each size in bytes.
        span: When the server took them in; None before the first.
    """

    def __init__(self) -> None:
        self.sizes: Counter[int] = Counter()
        self.span: Span | None = None

    def add(self, letter: Letter, clock: int) -> None:
        """Take in an envelope that came with the server's ``clock`` (ms since 1970 UTC)."""
        if letter.body is None:
            return
        self.sizes[letter.size] += 1
        first, last = self.span or (clock, clock)
        self.span = Span(min(first, clock), max(last, clock))
