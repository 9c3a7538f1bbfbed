"""A server as its service manager runs it: as a user of its own, beside an operator who is root.

Run as a program, this is ``securechat`` as that user: everything is imported first, because the user may not be
allowed to read the interpreter's directory.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.programs import Home

USER: Final = 65534  # nobody, who is in every system and owns nothing
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a server as another user")


class ServiceHome(Home):
    """What the user of the service reads and writes; commands run as that user."""

    command = (sys.executable, str(Path(__file__).resolve()))

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        root = str(Path(__file__).parents[2])
        measured = ("COVERAGE_", "COV_CORE_")  # the user may not write where the figures go
        self.env = {k: v for k, v in self.env.items() if not k.startswith(measured)}
        self.env["PYTHONPATH"] = os.pathsep.join(filter(None, (root, self.env.get("PYTHONPATH"))))

    def as_root(self) -> Home:
        """Return the same machine for an operator."""
        return Home(self.directory)


@contextmanager
def open_service() -> Iterator[ServiceHome]:
    """Make the home of the service's user: pytest's own directories are closed to others."""
    directory = Path(tempfile.mkdtemp(prefix="securechat-service-"))
    try:
        os.chown(directory, USER, USER)
        yield ServiceHome(directory)
    finally:
        shutil.rmtree(directory)


def foreign_files(directory: Path) -> list[str]:
    """Return what below ``directory``, itself among it, the service's user does not own."""
    paths = (directory, *directory.rglob("*"))
    return [str(path) for path in paths if (path.lstat().st_uid, path.lstat().st_gid) != (USER, USER)]


def _import_all() -> None:
    """Import what the program may import later, in its functions too."""
    import ast
    import encodings.idna  # noqa: F401 - looked up by name when a socket is opened
    import importlib
    from contextlib import suppress

    import securechat

    package = Path(securechat.__path__[0])
    for path in sorted(package.rglob("*.py")):
        if {"gui", "tui", "demo.py", "__main__.py"} & set(path.relative_to(package).parts):
            continue
        for node in ast.walk(ast.parse(path.read_bytes())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            for name in names:
                if not name.startswith(("securechat.ui.gui", "securechat.ui.tui")):
                    with suppress(ImportError):
                        importlib.import_module(name)


def _run() -> int:
    _import_all()
    os.setgroups([])
    os.setgid(USER)
    os.setuid(USER)
    from securechat.cli import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(_run())
