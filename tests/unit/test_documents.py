"""What the documents claim of the code and the tests exists."""

import re
from pathlib import Path

import pytest

from securechat.cli.limiting import rows

ROOT = Path(__file__).parents[2]
PROTOCOL = (ROOT / "PROTOCOL.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ([A-Z]+-\d+) \| `(\S+)` \| `(\S+)` `(\w+)` \|$", PROTOCOL, re.MULTILINE)
RULES = set(re.findall(r"\*\*([A-Z]+-\d+)\.\*\*", PROTOCOL))


def test_every_rule_has_its_code_and_its_test() -> None:
    assert {rule for rule, *_ in ROWS} == RULES


@pytest.mark.parametrize(("rule", "code", "file", "test"), ROWS, ids=[f"{row[0]}-{row[1]}" for row in ROWS])
def test_the_code_and_the_test_of_a_rule_exist(rule: str, code: str, file: str, test: str) -> None:
    assert (ROOT / code).is_file()
    assert re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), rule


@pytest.mark.parametrize(
    "page", sorted(str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")))
)
def test_links_between_the_documents_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", (ROOT / page).read_text(encoding="utf-8")):
        assert ((ROOT / page).parent / target).exists(), target


def test_a_line_of_the_readme_has_at_most_150_characters() -> None:
    assert [line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if len(line) > 150] == []


def test_the_examples_of_the_protocol_are_those_of_the_vectors() -> None:
    vectors = "".join((ROOT / "tests" / "vectors" / f"{name}.json").read_text() for name in ("keys", "envelopes"))
    example = PROTOCOL[PROTOCOL.index("Example (`keys.json`)") : PROTOCOL.index("**KEY-4.**")]
    hexadecimal = re.findall(r"\b[0-9a-f]{32,}\b", example)
    assert len(hexadecimal) == 5
    assert all(digits in vectors for digits in hexadecimal)


def test_security_has_every_limit_with_its_default() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    table = [line for line in text.splitlines() if re.match(r"\| `[a-z-]+` \| \S+ \| ", line)]
    assert table == [f"| `{name}` | {default} | {meaning} |" for name, default, meaning in rows()]
