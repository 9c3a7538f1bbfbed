"""The naive threaded chat, without TLS: a thread for each connection, and each message written to every member in turn.

Lines: the first names the room, ``ok`` answers; each later one goes to all of the room.
"""

import contextlib
import socket
import sys
import threading
from collections import defaultdict
from typing import Final

_rooms: Final[dict[bytes, list[socket.socket]]] = defaultdict(list)


def _serve(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    members: list[socket.socket] = []
    with connection, contextlib.suppress(OSError):
        buffer = b""
        while data := connection.recv(4096):
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                if not members:
                    members = _rooms[line]
                    members.append(connection)
                    connection.sendall(b"ok\n")
                    continue
                for member in list(members):
                    with contextlib.suppress(OSError):
                        member.sendall(line + b"\n")
    with contextlib.suppress(ValueError):
        members.remove(connection)


def main() -> None:
    """Serve on the port that the command line names, for ever."""
    threading.stack_size(256 * 1024)
    with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=1024) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
