"""A hundred honest clients and one hostile peer behind one address, before a real server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from securechat.limits import ServerLimits
from securechat.protocol import proof
from securechat.protocol.messages import Code, Error, Join, Joined
from securechat.server.serve import Configuration, Server, Started
from securechat.transport.certificates import Pair, make_pair, spki_hash
from securechat.transport.tls import ServerTls
from tests.support.hostile import HOSTILE, REFUSED, Hostile
from tests.support.visitors import KEY, OTHER_KEY, open_visitor

CROWD = 100
BOUND = 30.0  # seconds until all are in


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("pair"), ["localhost"])


@pytest.fixture
async def port(pair: Pair, tmp_path: Path) -> AsyncIterator[int]:
    """Run a server whose limits are reached soon, with somebody in a room; yield its port."""
    allowed = ServerLimits(connections_per_address=350)
    server = Server(Configuration(tmp_path, "127.0.0.1", 0, allowed=allowed), ServerTls.load(pair))

    async with trio.open_nursery() as nursery:

        async def run(*, task_status: trio.TaskStatus[Started]) -> None:
            await server.serve(task_status=task_status)

        started = await nursery.start(run)
        async with open_visitor(started.port, KEY) as member:
            yield started.port
            await member.is_well()
        server.stop()


@asynccontextmanager
async def annoyed(port: int, hostile: Hostile) -> AsyncIterator[None]:
    """Let a hostile peer be at work."""
    async with trio.open_nursery() as nursery:
        await nursery.start(hostile, port)
        yield
        nursery.cancel_scope.cancel()


class Crowd:
    """Honest clients, who do what the real one does.

    Attributes:
        created: For each who is in, whether they opened the room.
    """

    def __init__(self, port: int, key: Ed25519PrivateKey) -> None:
        self.created: list[bool] = []
        self._port = port
        self._key = key
        self._all_in = trio.Event()

    async def come(self) -> None:
        """Let all join a room, and stay until the last one is in."""
        with trio.fail_after(BOUND):
            async with trio.open_nursery() as nursery:
                for _ in range(CROWD):
                    nursery.start_soon(self._come)

    async def _come(self) -> None:
        may_create = False
        while True:
            answer = await self._try(may_create=may_create)
            if isinstance(answer, Joined):
                return
            if isinstance(answer, Error):
                assert answer.code in {Code.NO_SUCH_ROOM, Code.RATE}
                may_create = may_create or answer.code == Code.NO_SUCH_ROOM
            await trio.sleep(answer.retry_after if answer else 0.5)

    async def _try(self, *, may_create: bool) -> Joined | Error | None:
        """Connect and ask to join; return the answer, None if the connection ended without one."""
        answer = None
        try:
            async with open_visitor(self._port, None) as visitor:
                address = self._key.public_key().public_bytes_raw()
                signed = proof.signed_bytes(visitor.challenge, spki_hash(visitor.channel.peer_certificate), address)
                visitor.say(Join(1, address, self._key.sign(signed), may_create, b""))
                said = await visitor.next()
                if isinstance(said, Joined | Error):
                    answer = said
                if isinstance(said, Joined):
                    await self._stay(said)
        except* REFUSED:
            pass
        return answer

    async def _stay(self, joined: Joined) -> None:
        self.created.append(joined.created)
        if len(self.created) == CROWD:
            self._all_in.set()
        await self._all_in.wait()


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
async def test_all_get_into_a_room_beside_a_hostile_peer(port: int, hostile: Hostile) -> None:
    crowd = Crowd(port, KEY)
    async with annoyed(port, hostile):
        await crowd.come()
    assert crowd.created == [False] * CROWD


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
async def test_all_open_a_new_room_beside_a_hostile_peer(port: int, hostile: Hostile) -> None:
    crowd = Crowd(port, OTHER_KEY)
    async with annoyed(port, hostile):
        await crowd.come()
    assert sorted(crowd.created) == [False] * (CROWD - 1) + [True]
