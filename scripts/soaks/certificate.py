"""The certificate is replaced while people talk and others come: old connections go on, new ones see the new key."""

import signal
from pathlib import Path
from random import Random

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from scripts.soaks.report import Report
from scripts.soaks.servers import Machine, open_machine
from securechat.protocol import proof
from securechat.protocol.messages import Code, Deliver, Error, Join
from securechat.transport.certificates import Pair, make_pair, pin_of, spki_hash
from tests.support.visitors import KEY, Visitor, open_visitor

_LOADED = "the certificate was reloaded"
_PATIENCE = 30.0
_COMERS = 2  # who connect again and again meanwhile


class _Tally:
    """What everybody counts together."""

    def __init__(self, machine: Machine, pair: Pair) -> None:
        self.machine = machine
        self.pins = {pin_of(pair)}  # all that the server ever had
        self.echoes = 0
        self.arrivals = 0
        self.strange = 0  # connections under a key that is not, or is no longer, the server's
        self.accepted = 0  # proofs for another key


async def run(directory: Path, random: Random, *, seconds: float, members: int = 10, pause: float = 0.02) -> Report:
    """Replace the certificate again and again.

    Args:
        directory: An empty one.
        random: Chooses the instants.
        seconds: How long; three times at the least.
        members: Who stay and talk all the time.
        pause: Seconds between two messages of each.
    """
    report = Report("certificate")
    pair = make_pair(directory / "pair", ["127.0.0.1"])
    files = ("--cert", str(pair.certificate), "--key", str(pair.key))
    arguments = (*files, "--limit", "refused-joins=100000:1000")  # wrong proofs are the point here
    times = 0
    async with open_machine(directory / "box", *arguments) as machine, trio.open_nursery() as nursery:
        tally = _Tally(machine, pair)
        for _ in range(members):
            await nursery.start(_stay, tally, pause)
        for _ in range(_COMERS):
            nursery.start_soon(_come_and_go, tally)
        until = trio.current_time() + seconds
        while times < 3 or trio.current_time() < until:
            await trio.sleep(random.uniform(0.05, 0.5))
            before = pin_of(pair)
            await _replace(tally, pair)
            times += 1
            await _look(tally, before, pin_of(pair))
        nursery.cancel_scope.cancel()
        report.tell("replacements", times)
        report.tell("connections that stayed all the time", members)
        report.tell("messages that they got back, in order", tally.echoes)
        report.tell("connections made meanwhile", tally.arrivals)
        report.tell("connections under a wrong key", tally.strange, most=0)
        report.tell("proofs for another key that were taken", tally.accepted, most=0)
        report.tell("faults that the server logged", machine.faults(), most=0)
    return report


async def _replace(tally: _Tally, pair: Pair) -> None:
    """Make another pair in the place of the old one, and wait until the server has loaded it."""
    loaded = tally.machine.running.err.count(_LOADED)
    make_pair(pair.certificate.parent, ["127.0.0.1"], overwrite=True)
    tally.pins.add(pin_of(pair))
    tally.machine.running.process.send_signal(signal.SIGHUP)
    with trio.fail_after(_PATIENCE):
        while tally.machine.running.err.count(_LOADED) == loaded:  # noqa: ASYNC110 - it is another process
            await trio.sleep(0.01)


async def _look(tally: _Tally, before: bytes, after: bytes) -> None:
    """Come anew: the key is the new one, and a proof for the old one is refused."""
    async with open_visitor(tally.machine.port, None) as visitor:
        tally.strange += spki_hash(visitor.channel.peer_certificate) != after
        visitor.say(_join_for(visitor, KEY, before))
        error = await visitor.until(Error)
        tally.accepted += error.code != Code.BAD_PROOF
        await visitor.join()


def _join_for(visitor: Visitor, key: Ed25519PrivateKey, pin: bytes) -> Join:
    address = key.public_key().public_bytes_raw()
    return Join(9, address, key.sign(proof.signed_bytes(visitor.challenge, pin, address)), False, b"")


async def _stay(tally: _Tally, pause: float, *, task_status: trio.TaskStatus[None]) -> None:
    """Talk on one connection, for ever; each message has to come back before the next."""
    key = Ed25519PrivateKey.generate()
    async with open_visitor(tally.machine.port, key, keeps_raw=False) as visitor:
        task_status.started()
        while True:
            envelope = b"message %d" % tally.echoes
            visitor.send(envelope)
            assert (await visitor.until(Deliver)).envelope == envelope
            tally.echoes += 1
            await trio.sleep(pause)


async def _come_and_go(tally: _Tally) -> None:
    """Connect and join again and again: whichever key is shown, the proof for it is taken."""
    while True:
        async with open_visitor(tally.machine.port, keeps_raw=False) as visitor:
            tally.strange += spki_hash(visitor.channel.peer_certificate) not in tally.pins
            tally.arrivals += 1
        await trio.sleep(0.05)
