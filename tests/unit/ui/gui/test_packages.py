"""What Qt needs of the system is named alike where it is installed and where it is asked for."""

from pathlib import Path

from securechat.ui.gui.display import PACKAGES

ROOT = Path(__file__).parents[4]


def test_continuous_integration_installs_what_the_program_asks_for() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    start = script.index("packages=(")
    assert set(PACKAGES.split()) <= set(script[start + 10 : script.index(")", start)].split())
