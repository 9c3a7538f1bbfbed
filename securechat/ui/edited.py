"""Lines that are edited as they are typed, with a history, while what happens is printed above them.

prompt_toolkit does both, where the standard readline can neither be drawn anew from outside nor be left from
another thread. It runs on asyncio's loop, whose guest trio is here.
"""

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress

from prompt_toolkit import PromptSession
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.patch_stdout import patch_stdout

from securechat.ui.guest import run_on_host


@contextmanager
def printing_above() -> Iterator[None]:
    """Print above the line that is edited what goes to standard output meanwhile."""
    with patch_stdout():
        yield


async def edited_lines() -> AsyncGenerator[str, None]:
    """Yield lines as they are entered, until the end of input.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    session: PromptSession[str] = PromptSession(history=InMemoryHistory())

    async def read() -> str | BaseException:
        try:
            return await session.prompt_async(handle_sigint=False)
        except (EOFError, KeyboardInterrupt) as end:
            return end

    def stop() -> None:
        with suppress(Exception):  # it may be between two lines
            session.app.exit(exception=EOFError())

    while True:
        line = await run_on_host(read, stop)
        if isinstance(line, EOFError):
            return
        if isinstance(line, BaseException):
            raise line
        yield line
