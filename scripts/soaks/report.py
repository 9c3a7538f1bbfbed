"""What a scenario measured, and the bounds that it has to stay within."""

from dataclasses import dataclass, field
from typing import NamedTuple

from tests.support.traffic import Verdict

_SHOWN_ALARMS = 5


class Figure(NamedTuple):
    """One number; ``most`` is its bound, None for one that is only told."""

    name: str
    value: float
    unit: str = ""
    most: float | None = None

    @property
    def is_within(self) -> bool:
        """Whether it keeps to its bound."""
        return self.most is None or self.value <= self.most


@dataclass
class Report:
    """What one scenario found.

    Attributes:
        scenario: Its name.
        figures: In the order in which they are told.
        remarks: Sentences: what was left out, what went wrong.
    """

    scenario: str
    figures: list[Figure] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def is_within(self) -> bool:
        """Whether every number keeps to its bound."""
        return all(figure.is_within for figure in self.figures)

    def tell(self, name: str, value: float, unit: str = "", most: float | None = None) -> None:
        """Add a number."""
        self.figures.append(Figure(name, value, unit, most))

    def tell_verdict(self, verdict: Verdict) -> None:
        """Add what became of the messages."""
        self.tell("messages acknowledged", verdict.said)
        self.tell("missing afterwards", verdict.missing, most=0)
        self.tell("shown twice", verdict.twice, most=0)
        self.tell("out of order", verdict.misordered, most=0)
        self.tell("alarms", len(verdict.alarms), most=0)
        self.remarks += verdict.alarms[:_SHOWN_ALARMS]

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        return [f"{self.scenario}:", *map(_line, self.figures), *(f"    ({remark})" for remark in self.remarks)]


def _line(figure: Figure) -> str:
    bound = "" if figure.most is None else f"at most {_number(figure.most)} {figure.unit}".rstrip()
    broken = "" if figure.is_within else "   BROKEN"
    return f"    {figure.name:<44} {_number(figure.value):>10} {figure.unit:<6} {bound}{broken}".rstrip()


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:,.1f}"
