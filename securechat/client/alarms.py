"""What a server could tell a person without end, held to what a person can read."""

from collections.abc import Callable

from securechat import limits
from securechat.client.conversation import Event, Kind


class Alarms:
    """Lets so many events of one sort through at once, and then one a minute; none is left out unsaid.

    Args:
        clock: Returns this machine's clock in ms since 1970 UTC.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._sorts: dict[str, _Sort] = {}

    def tell(self, sort: str, event: Event) -> list[Event]:
        """Return ``event``, with what there is to say about others of its sort; or nothing, if there were too many."""
        known = self._sorts.setdefault(sort, _Sort(self._clock()))
        return known.tell(event, self._clock())


class _Sort:
    def __init__(self, now: int) -> None:
        self._left = limits.ALARMS_AT_ONCE
        self._since = now
        self._left_out = 0

    def tell(self, event: Event, now: int) -> list[Event]:
        minutes = (now - self._since) // (limits.ALARMS_INTERVAL * 1000)
        if minutes < 0:  # the clock was set back
            self._since = now
        elif minutes:
            self._left = min(limits.ALARMS_AT_ONCE, self._left + minutes)
            self._since = now
        if not self._left:
            self._left_out += 1
            return []
        self._left -= 1
        events = [event]
        if self._left_out:
            events.append(Event(Kind.NOTICE, now, f"{self._left_out} more like this were not shown."))
            self._left_out = 0
        if not self._left:
            events.append(Event(Kind.NOTICE, now, "If there is more like this, it is shown once a minute."))
        return events
