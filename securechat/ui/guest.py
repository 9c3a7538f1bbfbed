"""Trio as a guest on asyncio's loop, and coroutines of the host that a trio task waits for."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import trio
from outcome import Outcome

from securechat import limits

T = TypeVar("T")


def run(main: Callable[..., Awaitable[object]], *arguments: object) -> object:
    """Run ``main`` under trio, as ``trio.run`` does, on a loop of asyncio's."""
    return asyncio.run(_host(main, arguments)).unwrap()


async def _host(main: Callable[..., Awaitable[object]], arguments: tuple[object, ...]) -> Outcome[object]:
    """Start the guest and return how it ended: an outcome, so that the loop does not look at SystemExit."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Outcome[object]] = loop.create_future()
    trio.lowlevel.start_guest_run(
        main,
        *arguments,
        run_sync_soon_threadsafe=loop.call_soon_threadsafe,
        run_sync_soon_not_threadsafe=loop.call_soon,
        done_callback=ended.set_result,
        host_uses_signal_set_wakeup_fd=True,
    )
    return await ended


async def run_on_host(start: Callable[[], Coroutine[Any, Any, T]], stop: Callable[[], object]) -> T:
    """Run a coroutine of the host from a trio task, and return what it does.

    Args:
        start: Makes the coroutine. It must not raise KeyboardInterrupt or SystemExit: they would end the loop.
        stop: Asks it to end.

    Cancellation:
        ``stop`` is called, and the end of the coroutine is waited for: what it did to the terminal is undone.
    """
    ended = trio.Event()
    token = trio.lowlevel.current_trio_token()
    task = asyncio.get_running_loop().create_task(start())
    task.add_done_callback(lambda _: token.run_sync_soon(ended.set))
    try:
        await ended.wait()
    finally:
        if not ended.is_set():
            stop()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.SCREEN_CLOSE_TIMEOUT):
                await ended.wait()
    return task.result()
