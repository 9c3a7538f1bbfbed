"""Icons as drawn for this program: strokes on a grid of 24, in the colour of the text around them."""

from importlib import resources
from typing import Final

from PySide6.QtCore import QByteArray, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QIcon, QPainter, QPixmap
from PySide6.QtSvg import QSvgRenderer

_PATHS: Final = {
    "add": '<path d="M12 5v14M5 12h14"/>',
    "close": '<path d="M6 6l12 12M18 6L6 18"/>',
    "down": '<path d="M12 5v14M6 13l6 6 6-6"/>',
    "eye": (
        '<path d="M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12z"/><circle cx="12" cy="12" r="3"/>'
    ),
    "info": '<circle cx="12" cy="12" r="9"/><path d="M12 11v5.5M12 7.6v.2"/>',
    "members": (
        '<circle cx="9" cy="8" r="3.6"/><path d="M2.5 20c.4-4 3-6 6.5-6s6.1 2 6.5 6"/>'
        '<path d="M16 4.8a3.6 3.6 0 0 1 0 6.5M17.5 14.3c2.4.6 3.8 2.5 4 5.7"/>'
    ),
    "menu": '<path d="M4 7h16M4 12h16M4 17h16"/>',
    "search": '<circle cx="11" cy="11" r="6.5"/><path d="M16 16l4.5 4.5"/>',
    "send": '<path d="M4 12l16-7.5-5.5 15.5-3-6.5z"/><path d="M11.5 13.5L20 4.5"/>',
    "up": '<path d="M12 19V5M6 11l6-6 6 6"/>',
    "wand": '<path d="M4 20L15 9M14 4.5v3M12.5 6h3M19 10.5v3M17.5 12h3M19.5 4v2M18.5 5h2"/>',
}


def icon(name: str, colour: str, size: int = 20) -> QIcon:
    """Return an icon, ``size`` logical pixels wide, sharp on dense screens too."""
    drawn = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="none" stroke-width="1.8" '
        f'stroke-linecap="round" stroke-linejoin="round" stroke="{QColor(colour).name()}">{_PATHS[name]}</svg>'
    )
    made = QIcon()
    for ratio in (1, 2, 3):
        made.addPixmap(_render(drawn.encode(), size, ratio))
    return made


def application_icon() -> QIcon:
    """Return the icon of the program."""
    drawn = resources.files("securechat.ui.gui").joinpath("securechat.svg").read_bytes()
    made = QIcon()
    for size in (16, 24, 32, 48, 64, 128, 256):
        made.addPixmap(_render(drawn, size, 1))
    return made


def logo(size: int, ratio: float) -> QPixmap:
    """Return the program's icon as a picture, ``size`` logical pixels wide on a screen of that density."""
    drawn = resources.files("securechat.ui.gui").joinpath("securechat.svg").read_bytes()
    return _render(drawn, size, ratio)


def _render(drawn: bytes, size: int, ratio: float) -> QPixmap:
    pixmap = QPixmap(QSize(round(size * ratio), round(size * ratio)))
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    QSvgRenderer(QByteArray(drawn)).render(painter, QRectF(0, 0, pixmap.width(), pixmap.height()))
    painter.end()
    pixmap.setDevicePixelRatio(ratio)
    return pixmap
