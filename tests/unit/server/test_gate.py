"""Who may come in."""

from contextlib import ExitStack

import trio
from trio.testing import MockClock

from securechat import limits
from securechat.limits import Rate, ServerLimits
from securechat.server.gate import Gate


def test_an_address_has_so_many_connections_and_an_ipv6_network_counts_as_one() -> None:
    gate = Gate(ServerLimits(connections_per_address=2))
    with gate.count("192.0.2.1") as first, gate.count("192.0.2.1") as second, gate.count("192.0.2.2") as other:
        assert (first, second, other) == ("", "", "")
        with gate.count("192.0.2.1") as third:
            assert third == "your address has its 2 connections"
            assert gate.total == 4
        with gate.count("192.0.2.2") as again:
            assert again == ""
    with gate.count("2001:db8::1"), gate.count("2001:db8::2"), gate.count("2001:db8::ffff:3") as third:
        assert third
        with gate.count("2001:db8:0:1::1") as neighbour:
            assert neighbour == ""
    assert gate.total == 0
    assert not gate._by_network, "nothing is kept of who has left"


def test_all_together_have_so_many_and_those_over_it_are_told_up_to_a_flood() -> None:
    gate = Gate(ServerLimits(connections=1))
    with gate.count("192.0.2.1") as first, gate.count("192.0.2.2") as second:
        assert (first, second) == ("", "this server has its 1 connections")
        with ExitStack() as stack:
            for _ in range(limits.REFUSED_AT_ONCE - 1):
                stack.enter_context(gate.count("192.0.2.3"))
            assert not gate.is_flooded
            stack.enter_context(gate.count("192.0.2.3"))
            assert gate.is_flooded


async def test_an_address_waits_its_turn_and_not_for_ever(autojump_clock: MockClock) -> None:
    gate = Gate(ServerLimits(handshakes=Rate(1, 0.5), handshake_seconds=3))
    began = trio.current_time()
    assert await gate.wait("192.0.2.1")
    assert await gate.wait("192.0.2.1")
    assert trio.current_time() - began == 2
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gate.wait, "192.0.2.1")
        nursery.start_soon(gate.wait, "192.0.2.1")
        await trio.testing.wait_all_tasks_blocked()
        assert not await gate.wait("192.0.2.1")
        assert await gate.wait("192.0.2.9")
