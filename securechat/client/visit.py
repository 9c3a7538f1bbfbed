"""One stay in the room: what happens between JOINED and the loss of the connection.

A reader takes in what the server says, a writer sends what is pending once the log is followed to its
end, and a third task pings. Only the reader and the pinger end the visit.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import trio

from securechat import limits
from securechat.client.clock import now_ms
from securechat.client.conversation import Event, Kind
from securechat.client.event_queue import Item
from securechat.client.letters import Letter, read_letter, read_letters
from securechat.client.link import Link, clamp
from securechat.client.outbox import Outbox
from securechat.client.roster import Roster
from securechat.client.state import State
from securechat.client.transcript import Transcript, Wanted
from securechat.errors import ChannelBrokenError, ChannelClosedError, SecurechatError
from securechat.protocol import chain
from securechat.protocol.messages import (
    Deliver,
    Error,
    History,
    Joined,
    Member,
    Past,
    Presence,
    Send,
    ServerMessage,
)
from securechat.sealing.keys import RoomKeys

_TICK = 10.0
_OPENED_INLINE = 16  # envelopes; a longer page is opened in a thread


class _Question(NamedTuple):
    """A page that was asked for, and by when it is due."""

    answer: Callable[[Past], Awaitable[None]]
    give_up: Callable[[], None]
    due: float


@dataclass
class Belongings:
    """What a member keeps from one visit to the next.

    Attributes:
        keys: The room's keys.
        transcript: The log as it is followed.
        outbox: What waits for its acknowledgement.
        roster: Who is here.
        state: The profile, where what was heard is remembered; None to remember nothing.
        emit: Shows events, and makes calls once all before them were shown.
        acknowledged: Called when a message was acknowledged or given up.
    """

    keys: RoomKeys
    transcript: Transcript
    outbox: Outbox
    roster: Roster
    state: State | None
    emit: Callable[[Sequence[Item]], Awaitable[None]]
    acknowledged: Callable[[], None]


class Visit:
    """One stay in the room.

    Args:
        own: What the member keeps.
        link: The connection.
        joined: The server's answer to JOIN.
        caught_up: Set when the log is followed to its end.
        is_first: Whether it is the first visit of this run.
    """

    def __init__(self, own: Belongings, link: Link, joined: Joined, caught_up: trio.Event, *, is_first: bool) -> None:
        self._own = own
        self._link = link
        self._joined = joined
        self._caught_up = caught_up
        self._is_first = is_first
        self._handle = joined.handle
        self._scope = trio.CancelScope()
        self._ended: Exception | None = None
        self._work = trio.Event()
        self._presence: bytes | None = None
        self._hold_until = 0.0
        self._holds = 0  # since something was acknowledged
        self._is_showing = False
        self._is_pulling = False
        self._asked: dict[int, _Question] = {}

    async def run(self) -> Exception:
        """Stay until the connection is lost, and return why."""
        channel = self._link.channel
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    channel.on_backlog = partial(nursery.start_soon, channel.drain)
                    nursery.start_soon(self._write)
                    nursery.start_soon(self._keep_alive)
                    try:
                        await self._enter()
                        await self._read()
                    except (ChannelClosedError, SecurechatError) as error:
                        self.end(error)
        finally:
            channel.on_backlog = lambda: None
            for question in self._asked.values():
                question.give_up()
        assert self._ended is not None, "only end() cancels the scope"
        return self._ended

    def end(self, error: Exception) -> None:
        """End the visit; ``run`` returns ``error``."""
        self._ended = self._ended or error
        self._scope.cancel()

    def wake(self) -> None:
        """Let the writer look at the outbox."""
        self._work.set()

    def show_presence(self, sealed: bytes) -> None:
        """Send new presence."""
        self._presence = sealed
        self._work.set()

    def ask(
        self, wanted: Wanted, answer: Callable[[Past], Awaitable[None]], give_up: Callable[[], None] = lambda: None
    ) -> None:
        """Ask for a page of the log.

        Args:
            wanted: Which.
            answer: Called with it by the reader.
            give_up: Called when the visit ends without it.
        """
        ref = self._link.new_ref()
        self._asked[ref] = _Question(answer, give_up, trio.current_time() + limits.REPLY_TIMEOUT)
        self._link.send(History(ref, self._handle, *wanted))

    async def open_page(self, past: Past) -> list[Letter]:
        """Open the envelopes of a page, a long one off the event loop."""
        envelopes = [record.envelope for record in past.records]
        if len(envelopes) <= _OPENED_INLINE:
            return read_letters(self._own.keys, self._joined.log_id, envelopes)
        return await trio.to_thread.run_sync(read_letters, self._own.keys, self._joined.log_id, envelopes)

    # Reading

    async def _enter(self) -> None:
        own, joined = self._own, self._joined
        missed = joined.newest - own.transcript.newest
        events = own.transcript.join(joined)
        is_rolled_back = any(event.kind is Kind.ROLLBACK for event in events)
        own.outbox.resume()
        if not self._is_first:
            what = "1 message" if missed == 1 else f"{missed} messages"
            away = f"; {what} while you were away" if missed > 0 and not events else ""
            events.insert(0, Event(Kind.NOTICE, now_ms(), f"connected again{away}"))
        await self._show([*events, *own.roster.join(joined.member, joined.listed)], is_rolled_back=is_rolled_back)
        self._catch_up()

    def _catch_up(self) -> None:
        """Ask for what is missing, or let the writer begin."""
        wanted = self._own.transcript.wanted()
        if wanted is None:
            self._caught_up.set()
            self._work.set()
        elif not self._is_pulling:
            self._is_pulling = True
            self.ask(wanted, self._take_page)

    async def _take_page(self, past: Past) -> None:
        events = self._own.transcript.page(past, await self.open_page(past))
        self._is_pulling = False
        await self._show(events)
        for record in past.records:
            self._acknowledge(chain.envelope_id(record.envelope))
        self._catch_up()

    async def _show(self, events: Sequence[Event], *, is_rolled_back: bool = False) -> None:
        """Show events, and remember what was heard once they were shown."""
        own = self._own
        items: list[Item] = [*events]
        heard = own.transcript.take_heard()
        if own.state is not None:
            if is_rolled_back:
                items.append(partial(own.state.reset_position, own.keys.address))
            if own.transcript.follows:
                items.append(partial(own.state.save, own.keys.address, own.transcript.position, heard))
        self._is_showing = True
        await own.emit(items)
        self._is_showing = False

    async def _read(self) -> None:
        while True:
            await self._take(await self._link.next())

    async def _take(self, message: ServerMessage) -> None:
        match message:
            case Deliver():
                letter = read_letter(self._own.keys, self._joined.log_id, message.envelope)
                await self._show(self._own.transcript.deliver(message.sequence, message.clock, letter))
                self._acknowledge(letter.digest[: chain.ENVELOPE_ID_BYTES])
                if not self._own.transcript.is_caught_up:
                    self._catch_up()
            case Member():
                await self._show(self._own.roster.take(message.changes))
            case Past():
                await self._asked.pop(message.ref).answer(message)
            case Error():
                await self._take_error(message)

    def _acknowledge(self, envelope_id: bytes) -> None:
        if self._own.outbox.acknowledge(envelope_id):
            self._holds = 0
            self._own.acknowledged()
            self._work.set()

    async def _take_error(self, error: Error) -> None:
        """A refused page ends the visit; a refused message waits, or is given up if the server never takes it."""
        outbox = self._own.outbox
        if error.ref:
            self.end(ChannelBrokenError(f"the server refused the history ({error.text})"))
        elif error.retry_after:
            if outbox.refuse(error.subject):
                await self._hold(error)
        elif (pending := outbox.drop(error.subject)) is not None:
            self._own.acknowledged()
            text = f"the server refused a message of {len(pending.text)} characters ({error.text}); it was not sent"
            await self._show([Event(Kind.NOTICE, now_ms(), text)])

    async def _hold(self, error: Error) -> None:
        """Send nothing for as long as the server says, and longer each time until something is acknowledged."""
        grown = min(limits.RECONNECT_MOST, limits.RECONNECT_FIRST * 2 ** min(self._holds, 10))
        wait = max(clamp(error.retry_after, limits.RETRY_SECONDS), grown)
        self._hold_until = trio.current_time() + wait
        self._holds += 1
        self._work.set()
        if self._holds == 1:
            text = f"the server takes no message now ({error.text}); trying again in {wait:.0f} s"
            await self._show([Event(Kind.NOTICE, now_ms(), text)])

    # Writing

    async def _write(self) -> None:
        while True:
            self._work = trio.Event()
            await self._send_presence()
            if self._own.transcript.is_caught_up:
                await trio.sleep_until(self._hold_until)
                await self._send_messages()
            await self._work.wait()

    async def _send_presence(self) -> None:
        if self._presence is not None:
            self._link.send(Presence(self._handle, self._presence))
            self._presence = None
            await self._link.channel.drain()

    async def _send_messages(self) -> None:
        while trio.current_time() >= self._hold_until and (envelope := self._own.outbox.take()) is not None:
            self._link.send(Send(self._handle, envelope))
            await self._link.channel.drain()
            await trio.lowlevel.checkpoint()

    async def _keep_alive(self) -> None:
        """Ping at first and when nothing was said for long, sooner while an answer is due; silence ends the visit."""
        self._link.ping()
        pinged = trio.current_time()
        while True:
            await trio.sleep(_TICK)
            now = trio.current_time()
            if any(question.due < now for question in self._asked.values()):
                self.end(ChannelBrokenError("the server does not answer"))
            is_due = now - pinged > self._link.welcome.keepalive - _TICK
            if not is_due and not self._own.outbox:
                continue
            pinged = now
            heard = self._link.ping()
            with trio.move_on_after(limits.REPLY_TIMEOUT) as waiting:
                await heard.wait()
            if waiting.cancelled_caught and not self._is_showing:
                self.end(ChannelBrokenError("the server does not answer"))
