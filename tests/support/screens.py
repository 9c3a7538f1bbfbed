"""The full screen without a terminal: keys in, what is on it as text out."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from textual.pilot import Pilot

from securechat.client.conversation import Event, Kind, Present, Sender
from securechat.ui.tui.app import Calls, ChatApp
from securechat.ui.tui.panels import View
from securechat.ui.tui.scrollback import Entry

TIME = 1_700_000_000_000  # 22:13:20 UTC
ME = Sender("alice", b"", verified=True, is_me=True)
BOB = Sender("bob", b"\xb0" * 32, verified=True, is_me=False)
EVE = Sender("eve", b"\xee" * 32, verified=False, is_me=False)
VIEW = View(
    "tea house",
    "192.0.2.7:7443",
    is_encrypted=True,
    me=ME,
    lag=0.023,
    present=(Present(BOB, is_reader=False), Present(EVE, is_reader=True)),
)
COMMANDS = ["help", "history", "names", "quit", "verify"]


@dataclass
class Screen:
    """A screen that runs.

    Attributes:
        app: The screen.
        pilot: Presses keys.
        entered: What was typed and entered.
        asked_older: How often older messages were asked for.
    """

    app: ChatApp
    pilot: Pilot[None]
    entered: list[str] = field(default_factory=list)
    asked_older: int = 0

    def ask_older(self) -> None:
        """Count a question for older messages."""
        self.asked_older += 1

    def hear(self, text: str, sender: Sender = BOB, *, after: int = 0, **more: bool) -> None:
        """Let somebody say something, so many seconds after the first."""
        self.app.add(Entry(Event(Kind.MESSAGE, TIME + after * 1000, text, 1, sender, **more)))

    def alarm(self, text: str, kind: Kind = Kind.GAP) -> None:
        """Let something be wrong."""
        self.app.add(Entry(Event(kind, TIME, text)))

    async def press(self, *keys: str) -> None:
        """Press keys, and wait until they had their effect."""
        await self.pilot.press(*keys)
        await self.settle()

    async def type(self, text: str) -> None:
        """Type a text, and do not enter it."""
        await self.press(*("space" if c == " " else "slash" if c == "/" else c for c in text))

    async def settle(self) -> None:
        """Wait until all that happened is drawn."""
        await self.pilot.pause()
        while self.app.is_dirty:
            await asyncio.sleep(0.01)
            await self.pilot.pause()

    @property
    def typed(self) -> str:
        """What is in the input."""
        return self.app.prompt.text

    @property
    def lines(self) -> list[str]:
        """What is on the screen, each line without the spaces at its end."""
        return [strip.text.rstrip() for strip in self.app.screen._compositor.render_strips()]

    @property
    def text(self) -> str:
        """All lines."""
        return "\n".join(self.lines)


Scene = Callable[[Screen], Awaitable[None]]


def play(scene: Scene, *, size: tuple[int, int] = (80, 24), view: View = VIEW, theme: str = "dark") -> None:
    """Run a scene on a screen of so many columns and rows."""

    async def run() -> None:
        calls = Calls(lambda _: None, lambda: None, COMMANDS)
        app = ChatApp(view, calls, theme)
        async with app.run_test(size=size) as pilot:
            screen = Screen(app, pilot)
            calls.enter, calls.load_older = screen.entered.append, screen.ask_older
            await scene(screen)

    asyncio.run(run())
