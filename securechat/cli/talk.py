"""``chat``: on the full screen where there is one, else in lines."""

import importlib.util
import os
import sys
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from securechat.cli.opening import Main, Make


class Run(Protocol):
    """Finds out what is needed and runs the main function of a chat."""

    def __call__(self, main: "Main", **settings: object) -> None:
        """Run ``main``."""


def has_screen() -> bool:
    """Tell whether the full screen can be used; where only the package for it is lacking, say so."""
    is_terminal = all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))
    if not is_terminal or os.environ.get("TERM", "" if os.name == "posix" else "windows") in {"", "dumb"}:
        return False
    if importlib.util.find_spec("textual") is None:
        sys.stderr.write("securechat: for the full screen: pip install 'securechat[tui]' (--plain: this mode)\n")
        return False
    return True


def on_screen(run: Run, theme: str) -> None:
    """Talk on the full screen."""

    async def main(make: "Make") -> None:
        import trio

        await trio.to_thread.run_sync(importlib.import_module, "securechat.ui.tui.room")  # it takes a while
        from securechat.ui.tui import room

        await room.chat(make(), theme)

    def start(*arguments: Any) -> object:
        from securechat.ui.tui import guest

        return guest.run(*arguments)

    run(main, start=start)


def in_lines(run: Run) -> None:
    """Talk in lines."""

    async def main(make: "Make") -> None:
        from securechat.ui import lines

        await lines.chat(make())

    run(main)
