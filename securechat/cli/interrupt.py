"""Ctrl-C and other ends for the commands of people: a cancellation, and no exception in the middle of whatever runs."""

import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

Start = Callable[..., object]
_ENDS: Final = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
_SIGNALLED: Final = 128  # and the number of the signal: the exit code, as shells have it


def run(main: Callable[..., Awaitable[None]], *arguments: object, start: Start = trio.run) -> None:
    """Run ``main`` under trio until it returns, or a signal cancels it.

    Python's own handler raises between any two steps of the program, and what it tears apart there is
    cleaned up too late to be quiet. A second SIGINT, while the first is obeyed, still does that.

    Args:
        main: An async function.
        arguments: What it is called with.
        start: Runs an async function under trio.

    Raises:
        BaseExceptionGroup: What ``main`` raised; KeyboardInterrupt; or SystemExit at SIGTERM, and at SIGHUP where
            that is not ignored.
    """
    start(_run, main, arguments)


async def _run(main: Callable[..., Awaitable[None]], arguments: tuple[object, ...]) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(_wait_for_end)
        await main(*arguments)
        nursery.cancel_scope.cancel()


async def _wait_for_end(*, task_status: trio.TaskStatus[None]) -> None:
    heeded = [number for number in _ENDS if signal.getsignal(number) is not signal.SIG_IGN]
    with trio.open_signal_receiver(*heeded) as signals:
        task_status.started()
        number = await anext(signals)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(_SIGNALLED + number)


@contextmanager
def raising() -> Iterator[None]:
    """Let the signals that end a program raise SystemExit where it is, so that it cleans up, as SIGINT does anyway."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(_SIGNALLED + number)

    before = {number: signal.getsignal(number) for number in _ENDS if number != signal.SIGINT}
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, leave)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
