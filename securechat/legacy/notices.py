"""What servers of the old protocol say, as text: notices in fixed Chinese words (PROTOCOL.md, section 8)."""

import itertools
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

NOT_ENCRYPTED: Final = "（注意：本房间未加密 NOT ENCRYPTED）"
_STAMP: Final = r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)：用户"
_NAME: Final = r"(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"  # as Python writes a string
_WELCOME: Final = re.compile(
    rf"您已成功加入房间(.*?)，当前房间内有(\d+)位用户：\[({_NAME}(?:, {_NAME})*)?\](.*)", re.DOTALL
)
_JOINED: Final = re.compile(_STAMP + r"(.*)加入了聊天室。\s*", re.DOTALL)
_SAID: Final = re.compile(_STAMP + r"(.*?)发送消息：(.*)", re.DOTALL)
_LEFT: Final = re.compile(_STAMP + r"(.*)已经退出聊天!\s*", re.DOTALL)
_SAID_HEAD: Final = re.compile(_STAMP + r"((?:(?!发送消息：|加入了聊天室。|已经退出聊天!).)*)发送消息：", re.DOTALL)
_NOTICE: Final = re.compile(rf"(?={_STAMP}|您已成功加入房间)")
_STARTS: Final = ("0000-00-00 00:00:00：用户", "您已成功加入房间")  # digits as 0
_CLEAR_START: Final = 5  # characters that are hardly the end of a message by chance: a year and a hyphen


def welcome(room: str, names: list[str]) -> str:
    """Return what a newcomer is told."""
    return f"您已成功加入房间{room}，当前房间内有{len(names)}位用户：{names}"


def joined(time: str, name: str) -> str:
    """Return what the room is told of a newcomer."""
    return f"{time}：用户{name}加入了聊天室。"


def said(time: str, name: str, text: str) -> str:
    """Return what the room is told of a message."""
    return f"{time}：用户{name}发送消息：{text}"


def left(time: str, name: str) -> str:
    """Return what the room is told of somebody who has left."""
    return f"{time}：用户{name}已经退出聊天!"


class Welcome(NamedTuple):
    """A welcome: the names of those who are here, and what the server adds."""

    names: list[str]
    addition: str


class Joined(NamedTuple):
    """Somebody joined."""

    time: str
    name: str


class Said(NamedTuple):
    """Somebody said something."""

    time: str
    name: str
    text: str


class Left(NamedTuple):
    """Somebody left."""

    time: str
    name: str


class Other(NamedTuple):
    """Text that is no notice: what follows a message, or a server's own words."""

    text: str


Notice = Welcome | Joined | Said | Left | Other


def parse_notice(text: str) -> Notice:
    """Return the one notice that is in a text."""
    if match := _WELCOME.match(text):
        names = [re.sub(r"\\(.)", r"\1", name[1:-1]) for name in re.findall(_NAME, match[3] or "")]
        return Welcome(names, match[4].strip())
    if match := _SAID.fullmatch(text):
        return Said(match[1], match[2], match[3].rstrip(" "))
    if match := _JOINED.fullmatch(text):
        return Joined(match[1], match[2])
    if match := _LEFT.fullmatch(text):
        return Left(match[1], match[2])
    return Other(text.rstrip(" "))


def parse_notices(text: str, awaited: Iterable[str] = ()) -> list[Notice]:
    """Return the notices in what an original server sent, which may be several in one.

    Args:
        text: What was read.
        awaited: Messages that are to come back: where one does, what looks like a notice within it is none.
    """
    awaited = list(awaited)
    bounds = [0]
    while start := _next_notice(text, bounds[-1], awaited):
        bounds.append(start)
    return [parse_notice(text[a:b]) for a, b in itertools.pairwise([*bounds, len(text)]) if text[a:b].strip()]


def _next_notice(text: str, start: int, awaited: list[str]) -> int:
    """Return where the notice after the one at ``start`` begins; 0 for nowhere."""
    following = start + 1
    if head := _SAID_HEAD.match(text, start):
        coming = (len(message) for message in awaited if text.startswith(message, head.end()))
        following = head.end() + max(coming, default=0)
    found = _NOTICE.search(text, following)
    return found.start() if found else 0


def is_unfinished(text: str) -> bool:
    """Tell whether a text ends within the head of a notice or within a welcome: a pause is not its end."""
    *_, last = 0, *(match.start() for match in _NOTICE.finditer(text))
    if _NOTICE.match(text, last):
        match parse_notice(text[last:]):
            case Other() | Said(text=""):
                return True
            case Welcome(addition=text) if text:
                return text != NOT_ENCRYPTED and NOT_ENCRYPTED.startswith(text)
    begun = begun_notice(text)
    return bool(text) and (len(begun) >= _CLEAR_START or begun == text or NOT_ENCRYPTED.startswith(text))


def begins_notice(text: str) -> bool:
    """Tell whether a text begins as a notice does, or is a part of such a beginning."""
    return _NOTICE.match(text) is not None or (bool(text) and begun_notice(text) == text)


def begun_notice(text: str) -> str:
    """Return the end of a text that may be the beginning of the next notice; empty for none."""
    form = re.sub("[0-9]", "0", text[-max(map(len, _STARTS)) :])
    for start in _STARTS:
        for size in range(min(len(start) - 1, len(text)), 0, -1):
            if form.endswith(start[:size]):
                return text[-size:]
    return ""
