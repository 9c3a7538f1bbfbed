"""``chat``: on the full screen where there is one, else in lines."""

import importlib
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
    if not _has_cursor():
        return False
    if importlib.util.find_spec("textual") is None:
        sys.stderr.write("securechat: for the full screen: pip install 'securechat[tui]' (--plain: this mode)\n")
        return False
    return True


def _has_cursor() -> bool:
    """Tell whether there is a terminal that can do more than print one line after another."""
    is_terminal = all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))
    return is_terminal and os.environ.get("TERM", "" if os.name == "posix" else "windows") not in {"", "dumb"}


def on_screen(run: Run, theme: str) -> None:
    """Talk on the full screen."""

    async def main(make: "Make") -> None:
        sys.stderr.write("Opening the room ...\n")
        sys.stderr.flush()
        await _load("securechat.ui.tui.room")
        from securechat.ui.tui import room

        await room.chat(make(), theme)

    run(main, start=_as_guest)


def in_lines(run: Run) -> None:
    """Talk in lines, which are edited with a history where there is a terminal for that."""

    async def main(make: "Make") -> None:
        from securechat.ui import lines

        await lines.chat(make())

    async def main_edited(make: "Make") -> None:
        await _load("securechat.ui.edited")
        from securechat.ui import edited, lines

        with edited.printing_above():
            await lines.chat(make(), edited.edited_lines)

    if _has_cursor() and importlib.util.find_spec("prompt_toolkit") is not None:
        run(main_edited, start=_as_guest)
    else:
        run(main)


async def _load(module: str) -> None:
    """Import a module that takes a while."""
    import trio

    await trio.to_thread.run_sync(importlib.import_module, module)


def _as_guest(*arguments: Any) -> object:
    from securechat.ui import guest

    return guest.run(*arguments)
