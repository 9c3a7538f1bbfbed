"""Ctrl-C for the commands of people: a cancellation, and no exception in the middle of whatever runs."""

import signal
from collections.abc import Awaitable, Callable

import trio


def run(main: Callable[..., Awaitable[None]], *arguments: object) -> None:
    """Run ``main`` under trio until it returns, or SIGINT cancels it.

    Python's own handler raises between any two steps of the program, and what it tears apart there is
    cleaned up too late to be quiet. A second SIGINT, while the first is obeyed, still does that.

    Raises:
        BaseExceptionGroup: What ``main`` raised, or KeyboardInterrupt.
    """
    trio.run(_run, main, arguments)


async def _run(main: Callable[..., Awaitable[None]], arguments: tuple[object, ...]) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(_wait_for_interrupt)
        await main(*arguments)
        nursery.cancel_scope.cancel()


async def _wait_for_interrupt(*, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        task_status.started()
        await anext(signals)
    raise KeyboardInterrupt
