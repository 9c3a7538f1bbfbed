"""Members who talk while something breaks, and the question afterwards: is all there, once, in order?

They are the real client core over real connections. Each speaker counts its messages; whoever listens
tells a missing one, one that is shown twice and one out of order from the numbers alone.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

import trio

from securechat.client.conversation import ALARMS, Kind
from securechat.client.transcript import Backlog
from tests.support.members import Listener, open_member

_WINDOW = 40  # messages of one speaker that may be unacknowledged


class Verdict(NamedTuple):
    """What became of what was said.

    Attributes:
        said: Messages that were said, all of them acknowledged.
        missing: Of them, those that somebody was not shown.
        twice: Those that somebody was shown more than once.
        misordered: Listeners who were shown a speaker's messages out of order, or another order than others.
        alarms: What clients complained about: gaps, forks, roll-backs.
    """

    said: int
    missing: int
    twice: int
    misordered: int
    alarms: tuple[str, ...]

    @property
    def is_well(self) -> bool:
        """Whether nothing was lost, doubled or moved."""
        return not (self.missing or self.twice or self.misordered or self.alarms)


@dataclass
class Traffic:
    """Made by ``open_traffic``.

    Attributes:
        people: Everybody; the speakers come first.
        pause: Seconds between two messages of a speaker.
        most: Messages of a speaker.
        patience: Seconds to wait for what has to come.
        said: How many messages each speaker has said.
        shown: How many each of ``people`` was shown.
    """

    directory: Path
    port: int
    pin: bytes
    people: list[Listener]
    pause: float
    most: int
    patience: float
    said: dict[str, int] = field(default_factory=dict)
    shown: Counter[int] = field(default_factory=Counter)
    _is_on: bool = True

    @property
    def heard(self) -> int:
        """How many messages the last listener was shown."""
        return self.shown[len(self.people) - 1]

    async def until_heard(self, more: int) -> None:
        """Wait until so many more messages were shown to the last listener."""
        goal = self.heard + more
        await self.until_true(lambda: self.heard >= goal)

    async def until_true(self, is_true: Callable[[], object]) -> None:
        """Look until something is true; fail when it does not come."""
        with trio.move_on_after(self.patience):
            while not is_true():  # noqa: ASYNC110 - what is waited for sets no event
                await trio.sleep(0.005)
            return
        standing = {name: self.people[n].conversation.pending for n, name in enumerate(self.said)}
        raise AssertionError(f"it never came; said {self.said}, pending {standing}, heard {self.heard}")

    async def listen(self, number: int) -> None:
        """Take in a member's events for ever."""
        person = self.people[number]
        while True:
            event = await person.conversation.events.receive()
            person.events.append(event)
            self.shown[number] += event.kind is Kind.MESSAGE

    async def speak(self, name: str, speaker: Listener) -> None:
        """Say one message after the other, as long as the others are acknowledged, until ``settle``."""
        for number in count():
            while speaker.conversation.pending >= _WINDOW and self._is_on:  # noqa: ASYNC110
                await trio.sleep(0.01)
            if not self._is_on or number >= self.most:
                return
            speaker.conversation.say(f"{name}.{number}")
            self.said[name] = number + 1
            await trio.sleep(self.pause)

    async def settle(self) -> Verdict:
        """Stop talking, wait until all is acknowledged and shown, and judge; a newcomer reads it all too."""
        self._is_on = False
        await self.until_true(lambda: not any(person.conversation.pending for person in self.people))
        total = sum(self.said.values())
        with trio.move_on_after(self.patience):  # what is missing for ever is found below
            while any(self.shown[n] < total for n in range(len(self.people))):  # noqa: ASYNC110
                await trio.sleep(0.005)
        nick = f"newcomer{len(list(self.directory.iterdir()))}"
        backlog = Backlog(is_all=True)
        async with open_member(self.directory, self.port, self.pin, nick, backlog=backlog) as newcomer:
            shown = 0
            with trio.move_on_after(self.patience):
                while shown < total:
                    newcomer.events.append(await newcomer.conversation.events.receive())
                    shown += newcomer.events[-1].kind is Kind.MESSAGE
            newcomer.take_rest()
            return self._judge([*self.people, newcomer])

    def _judge(self, listeners: list[Listener]) -> Verdict:
        expected = {name: [f"{name}.{number}" for number in range(said)] for name, said in self.said.items()}
        everything = {text for texts in expected.values() for text in texts}
        missing = twice = misordered = 0
        for listener in listeners:
            texts = listener.texts
            counted = Counter(texts)
            missing += len(everything - counted.keys())
            twice += sum(1 for times in counted.values() if times > 1)
            once = list(dict.fromkeys(texts))
            misordered += any(
                [text for text in once if text.split(".")[0] == name] != [t for t in mine if t in counted]
                for name, mine in expected.items()
            )
            misordered += texts != listeners[0].texts
        alarms = tuple(event.text for person in listeners for event in person.events if event.kind in ALARMS)
        return Verdict(sum(self.said.values()), missing, twice, misordered, alarms)

    def hurry(self) -> None:
        """Let those who are pausing before their next attempt make it now."""
        for person in self.people:
            if not person.conversation.is_connected:
                person.conversation.reconnect()

    def notices(self, part: str) -> int:
        """Return how often anybody was told something that says ``part``."""
        return sum(part in text for person in self.people for text in person.of(Kind.NOTICE))


@asynccontextmanager
async def open_traffic(
    directory: Path,
    port: int,
    pin: bytes,
    *,
    speakers: int = 2,
    followers: int = 1,
    pause: float = 0.005,
    most: int = 1_000_000,
    patience: float = 60.0,
) -> AsyncIterator[Traffic]:
    """Let members join and talk while the context is open.

    Args:
        directory: Where their profiles go.
        port: The server's, or that of a proxy before it.
        pin: The server's.
        speakers: How many talk.
        followers: How many only listen.
        pause: Seconds between two messages of a speaker.
        most: Messages of a speaker.
        patience: Seconds to wait for what has to come.
    """
    names = [f"speaker{n}" for n in range(speakers)]
    async with AsyncExitStack() as stack:
        people = [
            await stack.enter_async_context(open_member(directory, port, pin, nick))
            for nick in (*names, *(f"follower{n}" for n in range(followers)))
        ]
        traffic = Traffic(directory, port, pin, people, pause, most, patience)
        async with trio.open_nursery() as nursery:
            for number in range(len(people)):
                nursery.start_soon(traffic.listen, number)
            for name, person in zip(names, people, strict=False):
                nursery.start_soon(partial(traffic.speak, name, person))
            yield traffic
            nursery.cancel_scope.cancel()
