"""All harnesses, by name."""

from typing import Final

from tests.fuzz import followed, identified, old, sealed, served, shown, wire, written
from tests.fuzz.harness import Harness

_PARTS: Final = (wire, sealed, written, shown, old, followed, served, identified)
HARNESSES: Final[dict[str, Harness]] = {name: harness for part in _PARTS for name, harness in part.HARNESSES.items()}
