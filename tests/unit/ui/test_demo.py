import tempfile

import pytest

from securechat.errors import SecurechatError
from securechat.ui.demo import play


async def test_without_a_place_for_its_files_the_demonstration_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", refuse)
    with pytest.raises(SecurechatError, match=r"No usable temporary directory found\. Set TMPDIR"):
        await play(print)
