"""What a client in the old mode makes of a stream without boundaries: texts, and its own messages among them."""

from collections import deque
from collections.abc import Iterator

import trio

from securechat import limits
from securechat.client.conversation import Unsent
from securechat.errors import ChannelClosedError
from securechat.legacy import notices
from securechat.legacy.codec import Heard, ServerDecoder
from securechat.transport.channel import SocketChannel


class Texts:
    """The texts that a server sends, one by one.

    Attributes:
        channel: Where they come from.
        decoder: What they are read with.
    """

    def __init__(self, channel: SocketChannel) -> None:
        self.channel = channel
        self.decoder = ServerDecoder()
        self._ready: deque[Heard] = deque()
        self._begun = ""  # the end of the last text, where a pause may have cut the next notice

    async def next(self) -> Heard:
        """Return the next text: up to the end of a unit or, as original servers have none, to a pause.

        Raises:
            ChannelClosedError: The connection has ended, and all was returned.
            LegacyError: What came is no such thing.
        """
        while not self._ready:
            try:
                data = await self._receive()
            except ChannelClosedError:
                if self.decoder.units.text and self.decoder.units.is_whole:
                    return self._take()
                raise
            if not data:
                return self._take()
            for heard in self.decoder.feed(data):
                self._ready.append(heard._replace(text=self._with_begun(heard.text)))
                self._begun = ""
        return self._ready.popleft()

    def _take(self) -> Heard:
        """Return what was read up to a pause, or to the end."""
        text = self._with_begun(self.decoder.units.flush())
        self._begun = notices.begun_notice(text)
        return Heard(text, is_notice=False)

    def _with_begun(self, text: str) -> str:
        """Return a text with the end of the last one before it, where the two make a notice."""
        joined = self._begun + text
        return joined if notices.begins_notice(joined) else text

    async def _receive(self) -> bytes:
        """Return the next bytes; none where there is a pause that ends a text."""
        units = self.decoder.units
        if not units.text or not units.is_whole or self.decoder.is_ours:
            return await self.channel.receive()
        with trio.move_on_after(limits.LEGACY_QUIET):
            return await self.channel.receive()
        if notices.is_unfinished(self._with_begun(units.text)):
            with trio.move_on_after(limits.LEGACY_HEAD_TIMEOUT):
                return await self.channel.receive()
        return b""


class Unacknowledged:
    """What was sent and has not come back, oldest first.

    On a slow way a message may come back in parts, or together with the next one. Spaces, with which
    units are filled up, do not count.
    """

    def __init__(self) -> None:
        self._messages: deque[Unsent] = deque()
        self._heard = ""  # the beginning of the oldest

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[Unsent]:
        return iter(self._messages)

    def append(self, message: Unsent) -> None:
        """Note that a message was sent."""
        self._messages.append(message)

    def take_all(self) -> int:
        """Forget everything and return how many messages that were."""
        count = len(self._messages)
        self._messages.clear()
        self._heard = ""
        return count

    def hear(self, text: str) -> bool:
        """Take in what came back under this member's name; tell whether a message is whole now."""
        text = _bare(text)
        self._heard += text
        before = len(self._messages)
        while self._messages and self._heard.startswith(first := _bare(self._messages[0].text)):
            self._heard = self._heard.removeprefix(first)
            self._messages.popleft()
        waiting = [_bare(message.text) for message in self._messages]
        if not "".join(waiting).startswith(self._heard):  # of another of this name, or one was lost before
            self._heard = ""
            if text in waiting:
                del self._messages[waiting.index(text)]
        return len(self._messages) < before


def _bare(text: str) -> str:
    return text.replace(" ", "")
