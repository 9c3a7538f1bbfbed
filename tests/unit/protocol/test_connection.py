"""Who may say what, and when, for every state and every message (PROTOCOL.md, CON)."""

import pytest

from securechat.errors import ProtocolError, Violation
from securechat.protocol.connection import ClientConnection, ServerConnection, State
from securechat.protocol.messages import (
    Change,
    Code,
    Deliver,
    Direction,
    Error,
    Goodbye,
    History,
    Join,
    Joined,
    Leave,
    Member,
    MemberChange,
    Message,
    Past,
    Ping,
    Pong,
    Presence,
    Reason,
    Send,
    Welcome,
)

WELCOME = Welcome(bytes(32), 65536, 60, 0)
GOODBYE = Goodbye(Reason.SHUTDOWN, 1, "")
JOIN = Join(1, bytes(32), bytes(64), True, b"p")
JOINED = Joined(1, 9, 1, True, bytes(16), 1, 0, bytes(32), 0)
HISTORY = History(2, 9, Direction.FORWARD, 1, 10)
PAST = Past(2, 9, 1, 0, 1, bytes(32), ())
ERROR = Error(Code.STORAGE, 0, 5, bytes(16), "")
FROM_SERVER: tuple[Message, ...] = (
    WELCOME,
    JOINED,
    Deliver(9, 1, 0, b"e"),
    Member(9, (MemberChange(Change.LEFT, 1, b""),)),
    PAST,
    ERROR,
    GOODBYE,
)
FROM_CLIENT: tuple[Message, ...] = (JOIN, Send(9, b"e"), Presence(9, b"p"), HISTORY, Leave(9))
FROM_BOTH: tuple[Message, ...] = (Ping(bytes(8)), Pong(bytes(8)))


def name(message: object) -> str:
    return type(message).__name__


def open_server() -> ServerConnection:
    connection = ServerConnection()
    connection.send(WELCOME)
    return connection


def open_client() -> ClientConnection:
    connection = ClientConnection()
    list(connection.receive(WELCOME.encode()))
    return connection


def joined_pair() -> tuple[ClientConnection, ServerConnection]:
    """Return both ends in room 9."""
    client, server = open_client(), open_server()
    list(server.receive(client.send(JOIN)))
    list(client.receive(server.send(JOINED)))
    return client, server


def violation(connection: ClientConnection | ServerConnection, message: Message) -> Violation:
    with pytest.raises(ProtocolError) as caught:
        list(connection.receive(message.encode()))
    return caught.value.violation


@pytest.mark.parametrize("message", FROM_SERVER + FROM_BOTH, ids=name)
def test_con_1_a_client_takes_nothing_before_welcome_but_goodbye(message: Message) -> None:
    if isinstance(message, Welcome | Goodbye):
        assert list(ClientConnection().receive(message.encode())) == [message]
    elif message is JOINED or message is PAST:
        assert violation(ClientConnection(), message) is Violation.STATE
    else:
        assert violation(ClientConnection(), message) is Violation.STATE


@pytest.mark.parametrize("message", FROM_CLIENT + FROM_BOTH, ids=name)
def test_con_1_a_server_takes_nothing_before_its_welcome(message: Message) -> None:
    assert violation(ServerConnection(), message) is Violation.STATE


@pytest.mark.parametrize("message", FROM_SERVER, ids=name)
def test_con_2_a_server_takes_nothing_that_only_servers_say(message: Message) -> None:
    assert violation(open_server(), message) is Violation.STATE


@pytest.mark.parametrize("message", FROM_CLIENT, ids=name)
def test_con_2_a_client_takes_nothing_that_only_clients_say(message: Message) -> None:
    assert violation(open_client(), message) is Violation.STATE


def test_con_2_a_second_welcome_is_refused() -> None:
    assert violation(open_client(), WELCOME) is Violation.STATE


@pytest.mark.parametrize("message", FROM_SERVER + FROM_BOTH, ids=name)
def test_con_3_nothing_follows_goodbye(message: Message) -> None:
    client = open_client()
    assert list(client.receive(GOODBYE.encode())) == [GOODBYE]
    assert client.state is State.ENDED
    assert violation(client, message) is Violation.STATE


@pytest.mark.parametrize("message", FROM_CLIENT + FROM_BOTH, ids=name)
def test_con_3_a_server_that_said_goodbye_takes_nothing_and_says_nothing(message: Message) -> None:
    server = open_server()
    server.send(GOODBYE)
    assert violation(server, message) is Violation.STATE
    with pytest.raises(ProtocolError):
        server.send(Ping(bytes(8)))


def test_each_end_refuses_to_say_what_the_other_would_refuse() -> None:
    with pytest.raises(ProtocolError):
        ClientConnection().send(JOIN)
    with pytest.raises(ProtocolError):
        ServerConnection().send(JOINED)
    with pytest.raises(ProtocolError):
        open_client().send(WELCOME)


@pytest.mark.parametrize("message", FROM_BOTH, ids=name)
def test_either_end_may_ping(message: Message) -> None:
    client, server = open_client(), open_server()
    assert list(server.receive(client.send(message))) == [message]
    assert list(client.receive(server.send(message))) == [message]


@pytest.mark.parametrize("message", FROM_CLIENT[1:], ids=name)
def test_con_4_a_server_refuses_a_room_that_was_not_joined(message: Message) -> None:
    assert violation(open_server(), message) is Violation.HANDLE


@pytest.mark.parametrize("message", [FROM_SERVER[2], FROM_SERVER[3]], ids=name)
def test_con_4_a_client_refuses_a_room_that_was_not_joined(message: Message) -> None:
    assert violation(open_client(), message) is Violation.HANDLE


def test_con_4_what_is_said_in_a_joined_room_passes() -> None:
    client, server = joined_pair()
    for message in FROM_CLIENT[1:4]:
        assert list(server.receive(client.send(message))) == [message]
    for message in (*FROM_SERVER[2:4], PAST, ERROR):
        assert list(client.receive(server.send(message))) == [message]


def test_con_5_after_leave_a_server_refuses_the_room_and_a_client_drops_what_was_under_way() -> None:
    client, server = joined_pair()
    assert list(server.receive(client.send(Leave(9)))) == [Leave(9)]
    assert violation(server, Send(9, b"e")) is Violation.HANDLE
    assert list(client.receive(Deliver(9, 1, 0, b"e").encode())) == []


def test_con_5_a_room_may_be_joined_again_under_the_same_handle() -> None:
    client, server = joined_pair()
    list(server.receive(client.send(Leave(9))))
    list(server.receive(client.send(JOIN)))
    list(client.receive(server.send(JOINED)))
    assert list(server.receive(client.send(Send(9, b"e")))) == [Send(9, b"e")]
    assert list(client.receive(Deliver(9, 1, 0, b"e").encode())) == [Deliver(9, 1, 0, b"e")]


@pytest.mark.parametrize("message", [JOINED, PAST, Error(Code.BAD_PROOF, 1, 0, bytes(16), "")], ids=name)
def test_con_6_an_answer_to_nothing_that_was_asked_is_refused(message: Message) -> None:
    assert violation(open_client(), message) is Violation.REFERENCE


def test_con_6_an_answer_of_another_kind_is_refused() -> None:
    client, _ = joined_pair()
    client.send(HISTORY)
    joined = Joined(2, 9, 1, True, bytes(16), 1, 0, bytes(32), 0)
    assert violation(client, joined) is Violation.REFERENCE


def test_con_6_a_second_answer_is_refused() -> None:
    client, _ = joined_pair()
    client.send(HISTORY)
    list(client.receive(PAST.encode()))
    assert violation(client, PAST) is Violation.REFERENCE


def test_con_6_a_refusal_is_an_answer() -> None:
    client, _ = joined_pair()
    client.send(HISTORY)
    refused = Error(Code.STORAGE, 2, 5, bytes(16), "")
    assert list(client.receive(refused.encode())) == [refused]


def test_messages_before_a_violation_come_out_first() -> None:
    server = open_server()
    received = server.receive(Ping(bytes(8)).encode() + Send(9, b"e").encode())
    assert next(received) == Ping(bytes(8))
    with pytest.raises(ProtocolError):
        next(received)
