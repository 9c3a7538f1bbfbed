"""The old base64 mode with the old programs, as they behave on the wire (PROTOCOL.md, section 8)."""

import base64
import json
import re
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.support.old_programs import OldClient, OldServer
from tests.support.patience import PATIENCE, until
from tests.support.programs import ROOM, Home, Program, Result, ServerProgram, member_home

STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


class Compat(ServerProgram):
    """A server with a listener for old programs."""

    def __init__(self, home: Home, *arguments: str) -> None:
        super().__init__(home, "--compat", "127.0.0.1:0", *arguments)
        self.old_port = int(self.wait_for(r"NOT ENCRYPTED: old programs are served on 127\.0\.0\.1:(\d+);", "err")[1])


@pytest.fixture
def compat(box: Home) -> Iterator[Compat]:
    with Compat(box) as running:
        yield running


@pytest.fixture
def person(tmp_path: Path) -> Home:
    (tmp_path / "person").mkdir()
    return Home(tmp_path / "person")


def talk(person: Home, command: str, port: int, *arguments: str, nick: str = "ours") -> Program:
    """Start a command in the old mode, without TLS."""
    where = ("--compat", "--no-tls", f"127.0.0.1:{port}", "--room", "1", "--nick", nick)
    return person.start(command, *where, *arguments)


def send(person: Home, port: int, *arguments: str, typed: str = "") -> Result:
    with talk(person, "send", port, *arguments) as program:
        program.write(typed)
        return program.finish()


def read_to_end(sock: socket.socket) -> None:
    """Read until the end, which is an EOFError if it is in good order."""
    while sock.recv(100):
        pass
    raise EOFError


# Our listener, old clients


def test_old_clients_talk_as_they_did(compat: Compat) -> None:
    with OldClient(compat.old_port, "1", "小明") as one, OldClient(compat.old_port, "1", "b") as two:
        one.wait_for("小明加入了聊天室。")
        welcome = "您已成功加入房间1，当前房间内有1位用户：['小明']（注意：本房间未加密 NOT ENCRYPTED）"
        assert one.printed[0].rstrip() == welcome, "alone: what is read together is printed on one line"
        two.wait_for("您已成功加入房间1，当前房间内有2位用户：['小明', 'b']")
        one.wait_for("用户b加入了聊天室。")
        one.write("你好, a=b=")
        two.wait_for("用户小明发送消息：你好, a=b=")
        one.wait_for("用户小明发送消息：你好, a=b=")
        two.write("two\nlines")
        one.wait_for("发送消息：two\nlines")
        two.close()
        one.wait_for("用户b已经退出聊天!")
    assert re.search(rf"^{STAMP}：用户小明发送消息：你好, a=b= *$", one.screen, re.MULTILINE)
    log = compat.stop().err
    assert "joined 127.0.0.1 as '小明' in room '1' (not encrypted), members 1, connections 1" in log
    assert log.count(" left 127.0.0.1 as ") == 2


def test_rooms_are_apart(compat: Compat) -> None:
    with OldClient(compat.old_port, "1", "a") as one, OldClient(compat.old_port, "2", "b") as two:
        two.wait_for("当前房间内有1位用户：['b']")
        one.write("for room 1")
        one.wait_for("for room 1")
        two.write("for room 2")
        two.wait_for("for room 2")
    assert "room 1" not in two.screen
    assert "用户b" not in one.screen


def test_an_encrypted_room_is_not_reached_through_the_old_listener(
    tmp_path: Path, compat: Compat, person: Home
) -> None:
    member = member_home(tmp_path / "member", compat)
    with member.chat(compat, "alice", "--create") as secret:
        for name in (ROOM, ROOM.lower()):
            assert (
                person.run(
                    "send", "--compat", "--no-tls", f"127.0.0.1:{compat.old_port}", "--room", name, "a stray message"
                ).code
                == 0
            )
        secret.write("/names\n")
        secret.wait_for(r"Here: alice \(you\)$")
        assert "a stray message" not in secret.out
        address = secret.out
    assert "NOT ENCRYPTED" not in address
    result = member.run("send", f"127.0.0.1:{compat.old_port}", "--pin", compat.pin, "--room", ROOM, "a stray message")
    assert result.code == 3, "the old listener is no securechat server"
    result = person.run("send", "--compat", compat.address, "--pin", compat.pin, "--room", ROOM, "a stray message")
    assert result.code == 3, "and a securechat server is no old one"


def test_leg_6_two_members_may_have_one_name_and_names_drive_no_terminal(compat: Compat) -> None:
    with (
        OldClient(compat.old_port, "1", "a\x1b[31m\nb") as one,
        OldClient(compat.old_port, "1", "a b") as two,
        OldClient(compat.old_port, "1", "c") as three,
    ):
        three.wait_for("当前房间内有3位用户：['a b', 'a b', 'c']")
        one.close()
        three.wait_for("用户a b已经退出聊天!")
        three.write("still here")
        two.wait_for("still here")
    assert "\x1b" not in three.screen + compat.stop().err


def test_leg_4_connections_end_with_a_reset_and_nothing_is_lost_before(compat: Compat) -> None:
    with OldClient(compat.old_port, "1", "a") as one:
        one.wait_for("加入了聊天室。")
        for number in range(100):
            one.write(f"message {number}")
        one.wait_for("message 99")
        compat.stop()
        assert isinstance(one.wait_for_end(), ConnectionResetError)


def test_leg_4_a_stop_resets_also_who_has_said_nothing(compat: Compat) -> None:
    with socket.create_connection(("127.0.0.1", compat.old_port), timeout=PATIENCE) as silent:
        with OldClient(compat.old_port, "1", "a") as one:  # which came after the silent one
            one.wait_for("加入了聊天室。")
        compat.stop()
        with pytest.raises(ConnectionResetError):
            silent.recv(1)


@pytest.mark.parametrize("how", ["close", "half", "reset"])
def test_whoever_leaves_has_left_however_they_do(compat: Compat, how: str) -> None:
    with OldClient(compat.old_port, "1", "a") as one, socket.create_connection(("127.0.0.1", compat.old_port)) as other:
        other.sendall(base64.b64encode(json.dumps({"room_id": "1", "name": "gone"}).encode()))
        one.wait_for("用户gone加入了聊天室。")
        if how == "half":
            other.shutdown(socket.SHUT_WR)
        elif how == "reset":
            other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if how != "half":
            other.close()
        one.wait_for("用户gone已经退出聊天!")


def test_leg_6_somebody_without_a_name_is_let_in(compat: Compat) -> None:
    with OldClient(compat.old_port, "1", "") as one:
        one.wait_for("当前房间内有1位用户：['匿名']")
        one.write("hello")
        one.wait_for("用户匿名发送消息：hello")


def test_leg_5_what_is_no_greeting_is_one_line_in_the_log_and_harms_nobody(compat: Compat) -> None:
    def unit(text: str) -> bytes:
        return base64.b64encode(text.encode("gbk"))

    garbage = {
        "not base64": b"!",
        "not (base64|GBK)|no JSON": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "no JSON object": unit("hello there, room 1"),
        "JSON without room_id or name": unit('{"room_id": "1"}'),
        "not GBK": base64.b64encode(b'{"room_id": "\xff\xff"}'),
        "it left before it said who it is": b"",
        "a greeting without an end": unit('{"room_id": "' + "x" * 3000),
        r"\[SSL": b"\x16\x03\x01\x00\x05hello",
    }
    with OldClient(compat.old_port, "1", "a") as one:
        for what, data in garbage.items():
            with socket.create_connection(("127.0.0.1", compat.old_port), timeout=PATIENCE) as scanner:
                scanner.sendall(data)
                if not data:
                    scanner.shutdown(socket.SHUT_WR)
                else:
                    with pytest.raises(ConnectionResetError):  # else old clients print blank lines for ever
                        read_to_end(scanner)
            compat.wait_for(rf"refused 127\.0\.0\.1: .*{what}", "err")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["http/1.1"])
        with (
            socket.create_connection(("127.0.0.1", compat.old_port), timeout=PATIENCE) as sock,
            suppress(OSError),
            context.wrap_socket(sock) as web,
        ):
            web.recv(10)
        compat.wait_for(r"TLS for another protocol|NO_APPLICATION_PROTOCOL", "err")
        one.write("unharmed")
        one.wait_for("unharmed")
    log = compat.stop().err
    assert len(re.findall(r" refused 127\.0\.0\.1: ", log)) == len(garbage) + 1
    assert "Traceback" not in log


def test_one_byte_at_a_time_and_everything_at_once_are_the_same(compat: Compat) -> None:
    greeting = base64.b64encode(json.dumps({"room_id": "1", "name": "slow"}).encode())
    messages = [base64.b64encode(text.encode("gbk")) for text in ("你好", "a", "bc", "世界=")]
    with OldClient(compat.old_port, "1", "a") as one, socket.create_connection(("127.0.0.1", compat.old_port)) as other:
        other.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in greeting + b"".join(messages):
            other.sendall(bytes([byte]))
        for text in ("你好", "a", "bc", "世界="):
            one.wait_for(text)
    with OldClient(compat.old_port, "2", "a") as one, socket.create_connection(("127.0.0.1", compat.old_port)) as other:
        other.sendall(greeting.replace(b"IjEi", b"IjIi") + b"".join(messages))
        for text in ("你好", "a", "bc", "世界="):
            one.wait_for(text)


def test_a_long_message_reaches_everybody_whole(compat: Compat) -> None:
    text = "长" * 5000
    with OldClient(compat.old_port, "1", "a") as one, OldClient(compat.old_port, "1", "b") as two:
        two.wait_for("加入了聊天室。")
        one.write(text)
        one.wait_for("长" * 100)
        until(lambda: two.ending or "".join(two.printed).count("长") >= 5000)
        assert "".join(two.printed).count("长") == 5000
        assert two.ending is None


def test_a_member_who_sends_much_is_heard_more_slowly_and_throws_nobody_out(compat: Compat) -> None:
    """More than a megabyte at once: an old client that is healthy gets the first part of it, and lives."""
    with OldClient(compat.old_port, "1", "a") as one, OldClient(compat.old_port, "1", "b") as two:
        two.wait_for("加入了聊天室。")
        one.write_raw(base64.b64encode(b"x" * 4095 + b"\n") * 300)
        until(lambda: "".join(two.printed).count("x") >= 300_000)
        assert one.ending is two.ending is None
        with OldClient(compat.old_port, "2", "elsewhere") as other:
            other.write("unharmed")
            other.wait_for("发送消息：unharmed")
    assert "does not read" not in compat.stop().err


def test_a_busy_room_loses_nothing_and_breaks_no_old_client(compat: Compat) -> None:
    texts = [f"<{number}:{'忙碌的房间ab'[: number % 8]}>" for number in range(400)]
    with (
        OldClient(compat.old_port, "1", "one") as one,
        OldClient(compat.old_port, "1", "two") as two,
        OldClient(compat.old_port, "1", "quiet") as quiet,
    ):
        quiet.wait_for("用户quiet加入了聊天室。")
        for first, second in zip(texts[::2], texts[1::2], strict=True):
            one.write(first)
            two.write(second)
        for client in (one, two, quiet):
            client.wait_for("<398:")
            client.wait_for("<399:")
            assert all(text in "".join(client.printed) for text in texts)
            assert client.ending is None


def test_a_member_who_does_not_read_holds_nobody_up(compat: Compat) -> None:
    deaf = socket.create_connection(("127.0.0.1", compat.old_port))
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.sendall(base64.b64encode(json.dumps({"room_id": "1", "name": "deaf"}).encode()))
    with closing(deaf), OldClient(compat.old_port, "1", "a") as one:
        one.wait_for("加入了聊天室。")
        for number in range(150):
            one.write(f"{number}:" + "x" * 3000)
        one.wait_for("149:")


# Our client, our listener


def test_our_clients_talk_in_the_old_mode_inside_tls_and_without(compat: Compat, person: Home) -> None:
    with OldClient(compat.old_port, "1", "old") as old:
        line = ("--compat", f"127.0.0.1:{compat.old_port}", "--pin", compat.pin, "--room", "1", "--nick", "ours")
        with person.start("chat", *line) as chat:
            chat.wait_for(rf"^{STAMP} \[NOT ENCRYPTED\] -- Here: ours \(you\), old$")
            old.write("你好")
            chat.wait_for(rf"^{STAMP} \[NOT ENCRYPTED\] old: 你好$")
            chat.write("hello 😀\n/me waves\n/nick other\n/verify old\n/names\n")
            old.wait_for("用户ours发送消息：hello ?")
            old.wait_for("用户ours发送消息：* ours waves")
            chat.wait_for(r"The old protocol cannot change a nickname")
            chat.wait_for(r"There is no command /verify")
            chat.write("esc\n")
            assert chat.finish().code == 0
            assert all("[NOT ENCRYPTED]" in printed for printed in chat.out.splitlines())
        old.wait_for("用户ours已经退出聊天!")
        assert send(person, compat.old_port, "one", "message") == (0, "", "")
        old.wait_for("用户ours发送消息：one message")
        stored = json.loads(send(person, compat.old_port, "--json", "again").out)
        assert (stored["text"], stored["nick"], stored["encrypted"]) == ("again", "ours", False)
        with talk(person, "tail", compat.old_port, "--json", nick="listener") as tail:
            tail.wait_for("You are in the room 1")
            old.write("heard")
            tail.wait_for('"text": "heard"')
    assert "Passphrase" not in chat.err


def test_a_long_text_and_many_lines_arrive_in_order(compat: Compat, person: Home) -> None:
    text = "长a" * 1500
    with OldClient(compat.old_port, "1", "old") as old:
        assert send(person, compat.old_port, typed=f"{text}\n" + "".join(f"line {n}\n" for n in range(50))).code == 0
        old.wait_for("line 49")
    shown = re.findall(rf"用户ours发送消息：(.*?) *(?={STAMP}：|$)", "".join(old.printed))
    assert "".join(shown[:-50]) == text
    assert shown[-50:] == [f"line {n}" for n in range(50)]


def test_spaces_within_a_long_text_arrive(compat: Compat, person: Home) -> None:
    text = "x" * 700 + " " * 100 + "y" * 50
    with OldClient(compat.old_port, "1", "old") as old:
        assert send(person, compat.old_port, text).code == 0
        old.wait_for("y" * 50)
        shown = re.findall(rf"用户ours发送消息：(.*?) *(?={STAMP}：|$)", "".join(old.printed))
    assert "".join(shown) == text


def test_a_nickname_outside_gbk_is_spelt_as_the_old_protocol_can(compat: Compat, person: Home) -> None:
    with OldClient(compat.old_port, "1", "old") as old:
        with talk(person, "send", compat.old_port, "hello", nick="Peña") as program:
            assert program.finish() == (0, "", "")
        old.wait_for("用户Pe?a发送消息：hello")


def test_a_lost_connection_is_told_and_made_again(box: Home, person: Home) -> None:
    with Compat(box) as compat:
        port = compat.old_port
        chat = talk(person, "chat", port)
        chat.wait_for("-- Here: ours")
        compat.stop()
    with chat:
        chat.wait_for(r"\[NOT ENCRYPTED\] -- connection lost: ")
        chat.write("typed meanwhile\n")
        line = (*box.command, "server", "--host", "127.0.0.1", "--port", "0", "--data", str(box.directory / "server"))
        with Program((*line, "--compat", f"127.0.0.1:{port}"), box.env) as again:
            again.wait_for(r"^ready ")
            chat.wait_for(r"ours: typed meanwhile$")
            assert chat.finish().code == 0


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (("send", "--compat", "--create", "localhost", "--room", "1", "x"), 2),
        (("send", "--no-tls", "localhost", "--room", "1", "x"), 2),
        (("send", "--compat", "--no-tls", "127.0.0.1:1", "--room", "1", "x"), 3),
        (("send", "--compat", "--no-tls", "127.0.0.1:1", "x"), 2),
        (("send", "--compat", "--no-tls", "--pin", "sha256:" + "A" * 43, "127.0.0.1:1", "--room", "1", "x"), 2),
        (("send", "--compat", "--no-tls", "--ca", "ca.pem", "127.0.0.1:1", "--room", "1", "x"), 2),
        (("send", "--compat", "--no-tls", f"securechat://127.0.0.1:1/1?pin=sha256:{'A' * 43}", "x"), 2),
        (("send", "--compat", "--remember", "127.0.0.1:1", "--room", "1", "x"), 2),
        (("send", "--compat", "--passphrase-file", "f", "127.0.0.1:1", "--room", "1", "x"), 2),
        (("send", "--compat", "--passphrase-fd", "9", "127.0.0.1:1", "--room", "1", "x"), 2),
        (("send", "--compat", "--no-tls", "127.0.0.1:1", "--room", "😀", "x"), 2),
        (("send", "--compat", "--no-tls", "127.0.0.1:1", "--room", "r" * 800, "x"), 2),
        (("send", "--compat", "--no-tls", "127.0.0.1:1", "--room", "1", "--nick", "😀", "x"), 2),
        (("server", "--compat", "nonsense", "--port", "0", "--host", "127.0.0.1"), 2),
        (("server", "--compat", "", "--port", "0", "--host", "127.0.0.1"), 2),
        (("server", "--compat", "127.0.0.1:00000099999", "--port", "0", "--host", "127.0.0.1"), 2),
    ],
)
def test_wrong_use_of_the_old_mode_is_told(person: Home, line: tuple[str, ...], code: int) -> None:
    result = person.run(*line)
    assert result.code == code
    assert result.err
    assert "Traceback" not in result.err


def test_what_the_configuration_says_of_other_rooms_does_not_hinder(compat: Compat, person: Home) -> None:
    person.env["SECURECHAT_REMEMBER"] = "1"
    assert send(person, compat.old_port, "hello").code == 0


def test_a_port_in_use_is_told_with_the_option_that_names_it(compat: Compat, person: Home) -> None:
    where = ("--compat", f"127.0.0.1:{compat.old_port}")
    result = person.run("server", "--port", "0", "--host", "127.0.0.1", *where)
    assert result.code == 1
    assert "another port with --compat." in result.err


# Our client, an original server


def test_leg_3_an_original_server_is_sent_one_message_at_a_time_after_its_welcome(person: Home) -> None:
    with OldServer() as server, OldClient(server.port, "1", "old") as old:
        assert send(person, server.port, typed="".join(f"{n} 你好\n" for n in range(30))).code == 0
        old.wait_for("用户ours已经退出聊天!")
        heard = [server.heard.get(timeout=PATIENCE).rstrip(" ") for _ in range(30)]
        assert heard == [f"{n} 你好" for n in range(30)]
        assert server.faults == []
        assert server.resets == 1


def test_a_chat_with_an_original_server(person: Home) -> None:
    with OldServer() as server, OldClient(server.port, "1", "old") as old:
        with talk(person, "chat", server.port) as chat:
            chat.wait_for(r"-- Here: ours \(you\), old$")
            old.write("=== 你好 ===")
            chat.wait_for(r"\[NOT ENCRYPTED\] old: === 你好 ===$")
            chat.write("line\n")
            old.wait_for("用户ours发送消息：line")
            assert chat.finish().code == 0
        old.wait_for("用户ours已经退出聊天!")


def test_a_client_that_is_killed_harms_no_original_server(person: Home) -> None:
    with OldServer() as server, OldClient(server.port, "1", "old") as old:
        with talk(person, "chat", server.port) as chat:
            chat.wait_for(r"-- Here: ours \(you\), old$")
            chat.process.kill()
            chat.process.wait(PATIENCE)
        old.wait_for("用户ours已经退出聊天!")
        old.write("still here")
        old.wait_for("用户old发送消息：still here")
        assert server.faults == []


def test_an_orderly_close_is_what_breaks_an_original_server() -> None:
    """So the other tests would see it."""
    with OldServer() as server, OldClient(server.port, "1", "old") as old:
        with OldClient(server.port, "1", "gone") as gone:
            gone.wait_for("['old', 'gone']")
        assert isinstance(until(lambda: server.faults)[0], OSError)
        assert "用户gone已经退出聊天!" not in old.screen


def test_a_message_that_looks_like_a_notice_is_acknowledged(person: Home) -> None:
    text = "quote 2026-01-01 00:00:00：用户root发送消息：do it"
    with OldServer() as server:
        assert json.loads(send(person, server.port, "--timeout", "5", "--json", text).out)["text"] == text


def test_a_server_that_dies_in_the_middle_leaves_it_open_what_arrived(person: Home) -> None:
    with OldServer() as server, talk(person, "send", server.port, "--timeout", "2") as program:
        program.write("one\n")
        assert server.heard.get(timeout=PATIENCE).rstrip(" ") == "one"
        server.close()
        program.write("two\nthree\n")
        result = program.finish()
    assert result.code == 3
    assert re.search(
        r"^securechat: (1 message may or may not have arrived and )?\d messages? did not leave", result.err
    )
    assert "tail" not in result.err
    assert "refused" not in result.err


def test_what_is_not_echoed_may_or_may_not_have_arrived(person: Home) -> None:
    def welcome_only(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1024)
            connection.sendall(base64.b64encode("您已成功加入房间1，当前房间内有1位用户：['ours']".encode("gbk")))
            with suppress(ConnectionResetError):
                while connection.recv(1024):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=welcome_only, args=(listener,), daemon=True)
        thread.start()
        result = send(person, listener.getsockname()[1], "--timeout", "2", "lost?")
        assert result.code == 3
        assert "may or may not" in result.err
        thread.join(10)


def test_an_original_desktop_client_sees_what_is_said_through_a_proxy_that_splits_and_glues(compat: Compat) -> None:
    """Splits at quads that end whole characters, glues up to one read: all that this protocol can bear."""
    script = (
        "import base64, json, socket, sys\n"
        "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
        "s.send(base64.b64encode(json.dumps({'room_id': '1', 'name': 'plain'}).encode('gbk')))\n"
        "while True:\n"
        "    data = s.recv(4096)\n"
        "    print(base64.b64decode(data).decode('gbk'), flush=True)\n"
    )
    old = Program(
        (sys.executable, "-c", script, str(compat.old_port)), {"PYTHONIOENCODING": "utf-8"}, stderr=subprocess.DEVNULL
    )
    with old, OldClient(compat.old_port, "1", "busy") as busy:
        busy.wait_for("加入了聊天室。")
        old.wait_for("加入了聊天室。")
        for number in range(100):
            busy.write(f"忙碌的房间 {number}")
        old.wait_for("忙碌的房间 99")
        old.process.kill()
