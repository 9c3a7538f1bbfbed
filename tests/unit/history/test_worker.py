"""A worker's calls: in order, one at a time, and never abandoned."""

import threading
from collections.abc import Iterator

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from securechat.history.worker import Worker


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker("test")
    yield made
    made.close()


async def test_a_call_returns_what_its_function_returns(worker: Worker) -> None:
    assert await worker.run(divmod, 17, 5) == (3, 2)


async def test_a_call_raises_what_its_function_raises(worker: Worker) -> None:
    with pytest.raises(ZeroDivisionError):
        await worker.run(divmod, 17, 0)
    assert await worker.run(divmod, 17, 5) == (3, 2), "and the thread goes on"


async def test_all_calls_are_made_by_one_other_thread_in_order(worker: Worker) -> None:
    threads, order = set(), []

    def note(number: int) -> None:
        threads.add(threading.get_ident())
        order.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(worker.run, note, number)
            await wait_all_tasks_blocked()
    assert order == list(range(20))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_the_loop_goes_on_while_a_call_works(worker: Worker) -> None:
    gate = threading.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run, gate.wait)
        await wait_all_tasks_blocked()
        gate.set()


async def test_a_call_that_has_begun_is_not_cancelled(worker: Worker) -> None:
    gate = threading.Event()
    results = []

    async def call() -> None:
        results.append(await worker.run(gate.wait))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await wait_all_tasks_blocked()
        assert not results
        gate.set()
    assert results == [True]


async def test_a_call_under_a_cancelled_scope_is_not_made(worker: Worker) -> None:
    made: list[int] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        await worker.run(made.append, 1)
    assert not made
    assert scope.cancelled_caught


async def test_a_closed_worker_ends_its_thread_and_may_be_used_again(worker: Worker) -> None:
    first = await worker.run(threading.current_thread)
    worker.close()
    worker.close()
    await trio.to_thread.run_sync(first.join, 10.0)
    assert not first.is_alive()
    assert await worker.run(divmod, 17, 5) == (3, 2)
