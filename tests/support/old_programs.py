"""The programs of the plain-TCP chat, as they behave on the wire: one decode for each read, no framing, threads."""

import base64
import contextlib
import json
import queue
import socket
import threading
import time
from typing import Any

READ = 4096
PATIENCE = 10.0


class OldClient:
    """A client: it sends its greeting at once, and prints whatever one read holds.

    Attributes:
        printed: What it has printed, one entry for each read.
    """

    def __init__(self, port: int, room: str, name: str, host: str = "127.0.0.1") -> None:
        self._sock = socket.create_connection((host, port), timeout=PATIENCE)
        self.printed: list[str] = []
        self.ending: BaseException | str = ""
        self._changed = threading.Condition()
        self.write(json.dumps({"room_id": room, "name": name}))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                data = self._sock.recv(READ)
                if not data:  # a real one prints blank lines for ever
                    raise EOFError
                text = base64.b64decode(data).decode("gbk")
            except (OSError, EOFError, ValueError) as error:
                with self._changed:
                    self.ending = error
                    self._changed.notify_all()
                return
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

    def wait_for_end(self) -> BaseException | str:
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
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class OldServer:
    """A server: its accept loop reads the greeting in one read, a thread for each client reads 1,024 bytes at once.

    Attributes:
        heard: What came as one message each.
        port: Where it listens.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._rooms: dict[str, dict[str, socket.socket]] = {}
        self.heard: queue.Queue[str] = queue.Queue()
        self.resets = 0
        self.faults: list[BaseException] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            try:
                fields: dict[str, Any] = json.loads(base64.b64decode(connection.recv(1024)).decode("gbk"))
                room, name = fields["room_id"], fields["name"]
            except (ValueError, KeyError) as error:  # glued to a message: the end of the accept loop
                self.faults.append(error)
                return
            members = self._rooms.setdefault(room, {})
            members[name] = connection
            welcome = f"您已成功加入房间{room}，当前房间内有{len(members)}位用户：{list(members)}"
            connection.send(base64.b64encode(welcome.encode("gbk")))
            self._tell(room, f"{self._now()}：用户{name}加入了聊天室。")
            thread = threading.Thread(target=self._serve, args=(room, name, connection), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, room: str, name: str, connection: socket.socket) -> None:
        while True:
            try:
                data = connection.recv(1024)
                if not data:
                    raise ValueError("an orderly close breaks the thread")
                text = base64.b64decode(data).decode("gbk")
            except ConnectionResetError:
                self.resets += 1
                del self._rooms[room][name]
                self._tell(room, f"{self._now()}：用户{name}已经退出聊天!")
                connection.close()
                return
            except (ValueError, OSError) as error:
                self.faults.append(error)
                connection.close()
                return
            self.heard.put(text)
            self._tell(room, f"{self._now()}：用户{name}发送消息：{text}")

    def _now(self) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S")

    def _tell(self, room: str, notice: str) -> None:
        for connection in list(self._rooms[room].values()):
            with contextlib.suppress(OSError):
                connection.send(base64.b64encode(notice.encode("gbk")))

    def drop(self, room: str, name: str) -> None:
        """Cut somebody off."""
        self._rooms[room].pop(name).shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for members in self._rooms.values():
            for connection in members.values():
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)

    def __enter__(self) -> "OldServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
