"""A QR code made of characters: two rows of it in one line of text."""

from typing import Final

from securechat.errors import SecurechatError

_BLOCKS: Final = {(0, 0): "\N{FULL BLOCK}", (0, 1): "\N{UPPER HALF BLOCK}", (1, 0): "\N{LOWER HALF BLOCK}", (1, 1): " "}
_QUIET: Final = 2  # modules around it; scanners ask for four, and live with two


def qr_rows(text: str) -> list[str]:
    """Return the lines of a QR code for ``text``; what is light in it is drawn, for bright text on a dark ground.

    Raises:
        SecurechatError: The library that makes it is not installed.
    """
    try:
        import segno  # noqa: PLC0415 - an extra, and seldom needed
    except ImportError:
        raise SecurechatError("QR codes need another package.", "Install it: pip install 'securechat[tui]'") from None

    rows = [list(row) for row in segno.make_qr(text, error="l").matrix_iter(border=_QUIET)]
    if len(rows) % 2:
        rows.append([0] * len(rows[0]))
    return ["".join(_BLOCKS[above, below] for above, below in zip(*pair, strict=True)) for pair in _pairs(rows)]


def _pairs(rows: list[list[int]]) -> list[tuple[list[int], list[int]]]:
    return list(zip(rows[::2], rows[1::2], strict=True))
