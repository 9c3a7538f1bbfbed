"""The CPU per delivery as a bar chart in SVG, written by hand: three groups of bars in each of two panels."""

from typing import Final
from xml.sax.saxutils import escape

from scripts.benchmarks.report import Results

_PANELS: Final = (("one", "one message in flight"), ("saturated", "saturated"))
_MEMBERS: Final = (10, 100, 500)
_COLOURS: Final = ("#0b6e4f", "#6fbf73", "#4f6d9a", "#8fa8cc", "#b08968", "#d9a05b", "#999999", "#c0c0c0")
_WIDTH: Final = 900
_PANEL: Final = 430
_LEFT, _TOP, _HEIGHT = 40, 64, 220
_GROUP: Final = (_PANEL - 60) // len(_MEMBERS)
_MOST: Final = 15.0  # microseconds shown; a longer bar is cut, and says its value


def to_svg(results: Results) -> str:
    """Return the chart."""
    names = [
        name for name in results.contenders if any(_value(results, name, *place) is not None for place in _places())
    ]
    bars = [_panel(results, names, number, *panel) for number, panel in enumerate(_PANELS)]
    return "\n".join((_head(), *_legend(names), *bars, "</svg>\n"))


def _places() -> list[tuple[str, int]]:
    return [(kind, members) for kind, _ in _PANELS for members in _MEMBERS]


def _value(results: Results, name: str, kind: str, members: int) -> float | None:
    return results.median(name, f"{kind} {members}")


def _head() -> str:
    height = _TOP + _HEIGHT + 50
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        'font-family="sans-serif" font-size="11">\n'
        "<title>Server CPU per delivery in microseconds; less is better</title>\n"
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>\n'
        f"{_text(_LEFT, 18, 'Server CPU per delivery in microseconds (less is better)', size=14)}"
    )


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 11) -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-size="{size}" fill="#222222">{escape(text)}</text>'
    )


def _bar(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def _legend(names: list[str]) -> list[str]:
    parts = []
    x = _LEFT
    for number, name in enumerate(names):
        parts += [_bar(x, 30, 10, 10, _COLOURS[number]), _text(x + 14, 39, name)]
        x += 30 + 6 * len(name)
    return parts


def _panel(results: Results, names: list[str], number: int, kind: str, title: str) -> str:
    left, bottom = _LEFT + number * _PANEL, _TOP + _HEIGHT
    found = [
        value for name in names for members in _MEMBERS if (value := _value(results, name, kind, members)) is not None
    ]
    most = min(_MOST, max(found, default=1.0))
    parts = [_bar(left, bottom, _PANEL - 50, 1, "#222222"), _text(left, bottom + 36, title, size=12)]
    width = (_GROUP - 16) / max(1, len(names))
    for group, members in enumerate(_MEMBERS):
        start = left + 8 + group * _GROUP
        parts.append(_text(start + (_GROUP - 16) / 2, bottom + 16, f"{members} members", anchor="middle"))
        for place, name in enumerate(names):
            value = _value(results, name, kind, members)
            if value is None:
                continue
            height = min(value, most) / most * (_HEIGHT - 20)
            x = start + place * width
            parts.append(_bar(x, bottom - height, width - 1, height, _COLOURS[place]))
            if value > most:
                parts.append(_bar(x, bottom - height + 12, width - 1, 4, "#ffffff"))
            shown = f"{value:.0f}" if value >= 10 else f"{value:.1f}"
            parts.append(_text(x + width / 2, bottom - height - 3, shown, anchor="middle", size=8))
    return "\n".join(parts)
