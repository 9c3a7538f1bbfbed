"""How rows are set: the formats of their blocks and of the text in them."""

from typing import Final

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QFont, QTextBlockFormat, QTextCharFormat, QTextFormat

from securechat.ui.gui.rows import Look, Row, Span, Tone
from securechat.ui.gui.theme import Theme, sender_colour

# What is painted around a block is kept with it, under these numbers.
LOOK: Final = QTextFormat.Property.UserProperty + 1
COLOUR: Final = LOOK + 1
INITIAL: Final = LOOK + 2
OWN: Final = LOOK + 3
MENTION: Final = LOOK + 4
TIP: Final = LOOK + 5

GUTTER: Final = 64  # pixels left of the text, where the discs are
_EDGE: Final = 28
_TOP: Final = {
    Look.TOP: 10,
    Look.DAY: 18,
    Look.NEW: 10,
    Look.NAME: 12,
    Look.TEXT: 3,
    Look.ACTION: 10,
    Look.NOTICE: 8,
    Look.ALARM: 14,
    Look.PENDING_NAME: 12,
    Look.PENDING: 3,
}
_CENTRED: Final = frozenset({Look.TOP, Look.DAY, Look.NEW})
_TOLD: Final = frozenset({Look.TOP, Look.DAY, Look.NEW, Look.NOTICE})


class Formats:
    """Makes formats in the colours of a theme."""

    def __init__(self, theme: Theme) -> None:
        self._theme = theme

    def block(self, row: Row) -> QTextBlockFormat:
        """Return how a row is set."""
        made = QTextBlockFormat()
        made.setTopMargin(_TOP[row.look])
        made.setBottomMargin(12 if row.look is Look.ALARM else 3)
        made.setLeftMargin(_EDGE if row.look in _CENTRED else GUTTER)
        made.setRightMargin(_EDGE)
        made.setLineHeight(112, QTextBlockFormat.LineHeightTypes.ProportionalHeight.value)
        if row.look in _CENTRED:
            made.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        made.setProperty(LOOK, int(row.look))
        made.setProperty(COLOUR, self._name_colour(row))
        made.setProperty(INITIAL, initial_of(row.spans[0].text) if row.spans else "")
        made.setProperty(OWN, row.is_own)
        made.setProperty(MENTION, row.is_mention)
        made.setProperty(TIP, row.tip)
        return made

    def span(self, row: Row, span: Span) -> QTextCharFormat:
        """Return how a part of a row is written."""
        made = QTextCharFormat()
        made.setForeground(QColor(self._colour(row, span.tone)))
        if span.tone is Tone.NAME:
            made.setFontWeight(QFont.Weight.DemiBold)
        if span.tone is Tone.MUTED or row.look in _TOLD:
            made.setProperty(QTextFormat.Property.FontSizeAdjustment, -1)
        if row.look is Look.ACTION and span.tone is not Tone.MUTED:
            made.setFontItalic(True)
        if row.look in {Look.ALARM, Look.DAY, Look.NEW}:
            made.setFontWeight(QFont.Weight.DemiBold)
        if span.tone is Tone.LINK:
            made.setAnchor(True)
            made.setAnchorHref(span.text)
            made.setFontUnderline(True)
        return made

    def _colour(self, row: Row, tone: Tone) -> str:
        theme = self._theme
        if row.look in {Look.ALARM, Look.NEW}:
            return theme.danger
        if tone is Tone.NAME:
            return self._name_colour(row)
        if tone is Tone.LINK:
            return theme.accent
        is_quiet = tone is Tone.MUTED or row.look in _TOLD or row.look is Look.PENDING
        return theme.muted if is_quiet else theme.text

    def _name_colour(self, row: Row) -> str:
        if row.is_own or not row.key:
            return self._theme.accent
        return sender_colour(self._theme, row.key)


def initial_of(name: str) -> str:
    """Return the letter for a disc that stands for ``name``."""
    return next((c for c in name if c.isalnum()), "?").upper()[:1]
