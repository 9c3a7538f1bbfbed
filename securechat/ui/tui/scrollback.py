"""What the screen has to show: events in order, as many as its memory may take."""

from collections.abc import Iterable
from dataclasses import dataclass

from securechat import limits
from securechat.client.conversation import Event, Kind


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in the log.

    Attributes:
        event: What happened.
        is_mark: It parts what is before from what is behind, across the whole width.
        picture: Rows that are shown as they are.
    """

    event: Event
    is_mark: bool = False
    picture: tuple[str, ...] = ()


class Scrollback:
    """Entries by number: each newer one has the next higher, each older one the next lower.

    Attributes:
        first: The number of the oldest entry that is kept.
        forgotten: How many were dropped, to keep the memory bounded or because it was asked for.
    """

    def __init__(self) -> None:
        self.first = 0
        self.forgotten = 0
        self._entries: list[Entry] = []
        self._size = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def end(self) -> int:
        """The number that the next entry gets."""
        return self.first + len(self._entries)

    def __getitem__(self, number: int) -> Entry:
        if not self.first <= number < self.end:
            raise IndexError(number)
        return self._entries[number - self.first]

    def append(self, entry: Entry) -> int:
        """Add the newest entry, perhaps at the cost of the oldest, and return its number."""
        self._entries.append(entry)
        self._size += _size(entry)
        if len(self._entries) > limits.SCREEN_ENTRIES or self._size > limits.SCREEN_CHARACTERS:
            self._shrink()
        return self.end - 1

    def _shrink(self) -> None:
        """Drop the oldest, and some more, so that this is seldom."""
        count = 0
        most, most_size = limits.SCREEN_ENTRIES * 9 // 10, limits.SCREEN_CHARACTERS * 9 // 10
        while count < len(self._entries) - 1 and (len(self._entries) - count > most or self._size > most_size):
            self._size -= _size(self._entries[count])
            count += 1
        del self._entries[:count]
        self.first += count
        self.forgotten += count

    @property
    def has_room(self) -> bool:
        """Whether older entries may be added: nothing between them and what is kept was forgotten."""
        if self.forgotten:
            return False
        page = limits.SCREEN_PAGE
        return len(self._entries) + page < limits.SCREEN_ENTRIES and self._size < limits.SCREEN_CHARACTERS * 9 // 10

    def prepend(self, events: Iterable[Event]) -> None:
        """Add older entries, given in order."""
        entries = [Entry(event) for event in events]
        self._entries[:0] = entries
        self._size += sum(map(_size, entries))
        self.first -= len(entries)

    def replace(self, number: int, entry: Entry) -> None:
        """Put another entry in the place of one, if that is still there."""
        if self.first <= number < self.end:
            self._size += _size(entry) - _size(self[number])
            self._entries[number - self.first] = entry

    def clear(self) -> None:
        """Forget all but the alarms, which stay."""
        end = self.end
        self.forgotten += len(self._entries)
        self._entries = [entry for entry in self._entries if entry.event.is_alarm]
        self._size = sum(map(_size, self._entries))
        self.forgotten -= len(self._entries)
        self.first = end - len(self._entries)

    def find(self, text: str, before: int) -> int | None:
        """Return the number of the last entry below ``before`` that says ``text``, in whatever case."""
        wanted = text.casefold()
        for number in range(min(before, self.end) - 1, self.first - 1, -1):
            if _says(self[number].event, wanted):
                return number
        return None

    def find_forward(self, text: str, after: int) -> int | None:
        """Return the number of the first entry above ``after`` that says ``text``, in whatever case."""
        wanted = text.casefold()
        for number in range(max(after + 1, self.first), self.end):
            if _says(self[number].event, wanted):
                return number
        return None

    def count_messages(self, after: int) -> int:
        """Return how many messages there are above ``after``."""
        return sum(self[n].event.kind is Kind.MESSAGE for n in range(max(after + 1, self.first), self.end))


def _says(event: Event, wanted: str) -> bool:
    return wanted in event.text.casefold() or (event.sender is not None and wanted in event.sender.name.casefold())


def _size(entry: Entry) -> int:
    """Return about how many characters an entry keeps in memory, with what is around them."""
    return len(entry.event.text) + sum(map(len, entry.picture)) + limits.SCREEN_ENTRY_OVERHEAD
