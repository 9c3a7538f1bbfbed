"""A terminal that may go away while it is written to."""

from contextlib import suppress
from typing import TextIO


class PatientFile:
    """Writes to a file, and writes nothing once that cannot be written to.

    Args:
        file: Where to.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        """Write text."""
        with suppress(OSError):
            self._file.write(text)

    def flush(self) -> None:
        """Write what was not written yet."""
        with suppress(OSError):
            self._file.flush()

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._file.fileno()
