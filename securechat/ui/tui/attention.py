"""What a person has not seen yet: alarms, messages that came while nobody looked, and who spoke last."""

from collections import deque

from securechat import limits
from securechat.client.conversation import Event, Kind
from securechat.text import legible_line
from securechat.ui.tui.layout import mentions


class Attention:
    """Keeps count of it.

    Attributes:
        alarms: How many alarms nobody has taken note of.
        missed: How many messages came while the terminal had no focus.
        speakers: Nicknames, who spoke last at the end.
    """

    def __init__(self) -> None:
        self.alarms = 0
        self.missed = 0
        self.speakers: deque[str] = deque(maxlen=limits.INPUT_HISTORY)
        self._last_alarm = ""

    def note_alarm(self, event: Event) -> None:
        """Count an event that is an alarm."""
        if event.is_alarm:
            self.alarms += 1
            self._last_alarm = legible_line(event.text)

    def note(self, event: Event, me: str, *, is_looked_at: bool) -> bool:
        """Take in an event as it comes; tell whether it calls for the person named ``me``."""
        self.note_alarm(event)
        sender = event.sender
        if event.kind is not Kind.MESSAGE or sender is None or sender.is_me or event.is_backlog:
            return False
        if sender.nick in self.speakers:
            self.speakers.remove(sender.nick)
        self.speakers.append(sender.nick)
        self.missed += not is_looked_at
        return mentions(event.text, me)

    @property
    def banner(self) -> str:
        """The last alarm, and how many there are."""
        more = f" ({self.alarms} warnings)" if self.alarms > 1 else ""
        return f"!! {self._last_alarm}{more} [Esc: seen; it stays in the log]"
