"""What came while a person was away: from one run to the next, and while the connection was lost."""

from dataclasses import dataclass

from securechat.client.conversation import Event, Kind


@dataclass
class Away:
    """Counts it, so that a mark can part it from what was read.

    Attributes:
        read_before: The sequence up to which an earlier run has shown the log; 0 for none.
        has_caught_up: Whether this run has shown all that was there at first: what comes late after that is new.
        count: How many messages there are behind the last mark.
    """

    read_before: int
    has_caught_up: bool = False
    count: int = 0

    def note(self, event: Event) -> bool:
        """Take in an event as it comes; tell whether it is one more that came while this person was away."""
        if event.kind is Kind.NOTICE and not event.is_alarm:
            self.count = 0  # "connection lost", "connected again": what follows gets a mark of its own
        is_late = event.kind is Kind.MESSAGE and event.is_backlog and not event.is_own
        is_unread = self.has_caught_up or 0 < self.read_before < (event.sequence or 0)
        self.count += is_late and is_unread
        return is_late and is_unread

    @property
    def text(self) -> str:
        """What the mark says."""
        return f"{self.count} while you were away"
