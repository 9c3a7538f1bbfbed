"""The programs of the plain-TCP chat, as they behave on the wire: one decode for each read, no framing, threads.

Their faults are part of that: an error that they do not expect ends the thread, or the accept loop.
"""

import base64
import contextlib
import json
import queue
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

from tests.support.patience import PATIENCE

READ = 4096
READ_GREETING = 1024


class OldClient:
    """A client: it sends its greeting at once, and prints whatever one read holds.

    Attributes:
        printed: What it has printed, one entry for each read.
        ending: Why it prints nothing sensible any more: ConnectionResetError is what it understands as the end;
            at EOFError (an end in good order) it prints blank lines for ever; at any other its thread has died.
    """

    def __init__(self, port: int, room: str, name: str, host: str = "127.0.0.1") -> None:
        self._sock = socket.create_connection((host, port), timeout=PATIENCE)
        self.printed: list[str] = []
        self.ending: BaseException | None = None
        self._changed = threading.Condition()
        self.write(json.dumps({"room_id": room, "name": name}))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        self._sock.settimeout(None)
        try:
            while data := self._sock.recv(READ):
                self._print(base64.b64decode(data).decode("gbk"))
            raise EOFError
        except (OSError, EOFError, ValueError) as error:
            with self._changed:
                self.ending = error
                self._changed.notify_all()

    def _print(self, text: str) -> None:
        with self._changed:
            self.printed.append(text)
            self._changed.notify_all()

    @property
    def screen(self) -> str:
        """All that it has printed."""
        return "\n".join(self.printed)

    def write(self, text: str) -> None:
        """Send text as one unit."""
        self.write_raw(base64.b64encode(text.encode("gbk")))

    def write_raw(self, data: bytes) -> None:
        """Send bytes."""
        self._sock.sendall(data)

    def wait_for(self, part: str) -> None:
        """Wait until something was printed."""
        with self._changed:
            assert self._changed.wait_for(lambda: part in self.screen, PATIENCE), (part, self.screen, self.ending)

    def wait_for_end(self) -> BaseException | None:
        """Wait until the connection has ended, and return how."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.ending, PATIENCE), self.screen
        return self.ending

    def close(self) -> None:
        """Leave in good order."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE)
        self._sock.close()

    def __enter__(self) -> "OldClient":
        self.wait_for("您已成功加入房间")
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class _User:
    sock: socket.socket
    room: str
    name: str


class OldServer:
    """A server: an accept loop that reads each greeting, and a thread for each client.

    Attributes:
        heard: What came as one message each.
        resets: How many left by a reset, which it understands.
        faults: The errors that ended its accept loop or a thread.
        port: Where it listens.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._users: dict[Any, _User] = {}  # by remote address
        self._names: dict[str, list[str]] = {}
        self._is_closing = False
        self.heard: queue.Queue[str] = queue.Queue()
        self.resets = 0
        self.faults: list[BaseException] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        """Take one client after another; a greeting that cannot be read is the last."""
        try:
            while True:
                sock, address = self._listener.accept()
                fields = json.loads(base64.b64decode(sock.recv(READ_GREETING)).decode("gbk"))
                user = self._users[address] = _User(sock, fields["room_id"], fields["name"])
                self._names.setdefault(user.room, []).append(user.name)
                thread = threading.Thread(target=self._run, args=(address, user), daemon=True)
                self._threads.append(thread)
                thread.start()
        except (ValueError, KeyError, OSError) as error:
            self._end(error)

    def _run(self, address: object, user: _User) -> None:
        try:
            self._serve(address, user)
        except (ValueError, OSError) as error:
            self._end(error)

    def _end(self, error: BaseException) -> None:
        if not self._is_closing:
            self.faults.append(error)

    def _serve(self, address: object, user: _User) -> None:
        """Serve a client: a reset, met in whatever is read or sent here, is taken for its leaving."""
        names = self._names[user.room]
        self._send(user, f"您已成功加入房间{user.room}，当前房间内有{len(names)}位用户：{names}")
        self._tell(user.room, f"{_now()}：用户{user.name}加入了聊天室。")
        try:
            while not self._is_closing:  # at an end in good order, each read returns an empty message
                text = base64.b64decode(user.sock.recv(READ)).decode("gbk")
                self.heard.put(text)
                self._tell(user.room, f"{_now()}：用户{user.name}发送消息：{text}")
        except ConnectionResetError:
            self.resets += 1
            del self._users[address]
            names.remove(user.name)
            self._tell(user.room, f"{_now()}：用户{user.name}已经退出聊天!")
            user.sock.close()

    def _tell(self, room: str, notice: str) -> None:
        for user in list(self._users.values()):
            if user.room == room:
                self._send(user, notice)

    def _send(self, user: _User, notice: str) -> None:
        user.sock.send(base64.b64encode(notice.encode("gbk")))

    def close(self) -> None:
        """Stop."""
        self._is_closing = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for user in list(self._users.values()):
            with contextlib.suppress(OSError):
                user.sock.shutdown(socket.SHUT_RDWR)
            user.sock.close()
        for thread in self._threads:
            thread.join(PATIENCE)

    def __enter__(self) -> "OldServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")
