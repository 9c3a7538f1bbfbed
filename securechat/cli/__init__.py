"""The command line: parse, run, and turn every end into an exit code and one sentence.

Modules that take long to import are imported when a command runs: help and version are instant.
"""

import errno
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from securechat.cli.environment import withdraw
from securechat.cli.group import main
from securechat.cli.options import PASSPHRASE_VARIABLE, Origins
from securechat.errors import SecurechatError
from securechat.text import one_line, sanitise

_INTERRUPTED = 130
_OUTPUT_FAULTS = {errno.ENOSPC, getattr(errno, "EDQUOT", None)}  # Windows has no quotas
_HERE = Path(__file__).parents[1]
_NAME = "securechat"
_COMPLETION = "_SECURECHAT_COMPLETE"  # set by the shell functions that it prints for bash, zsh and fish


def run(arguments: Sequence[str]) -> int:
    """Run ``securechat`` with ``arguments`` and return its exit code."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    origins = Origins(passphrase=withdraw(PASSPHRASE_VARIABLE))
    try:
        code = _invoke(arguments, origins)
        sys.stdout.flush()
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BaseException as error:
        if "--debug" in arguments:
            sys.excepthook = _show_traceback
            raise
        return _explain(error, origins)
    return code if isinstance(code, int) else 0


def _open_closed_streams() -> None:
    """Give a program that was started without one of the standard streams an empty one, in its place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def _invoke(arguments: Sequence[str], origins: Origins) -> object:
    """Run the command; what it raises comes as it is, where click's own way of running hides a broken pipe."""
    if instruction := os.environ.get(_COMPLETION):
        from click.shell_completion import shell_complete

        return shell_complete(main, {}, _NAME, _COMPLETION, instruction)
    with main.make_context(_NAME, list(arguments), obj=origins) as context:
        return main.invoke(context)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors in a group, from whichever depth of nurseries they come."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _show_traceback(_kind: type[BaseException], error: BaseException, _trace: object) -> None:
    """Print a traceback as Python does, without what a server may have written to drive the terminal."""
    for line in "".join(traceback.format_exception(error)).splitlines():
        sys.stderr.write(sanitise(line) + "\n")


def _place(error: BaseException) -> str:
    """Say where in this program an error came up: no text and no value of anything is in that."""
    frames = [(Path(frame.f_code.co_filename), line) for frame, line in traceback.walk_tb(error.__traceback__)]
    own = [(path, line) for path, line in frames if _HERE in path.parents]
    return f" in {own[-1][0].relative_to(_HERE)}, line {own[-1][1]}" if own else ""


def _drop_output() -> None:
    """Keep what Python flushes at exit from complaining."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _explain(error: BaseException, origins: Origins) -> int:
    """Say what went wrong, in one sentence and the next step, and return the exit code."""
    leaves = list(_leaves(error))
    for leaf in leaves:
        if isinstance(leaf, KeyboardInterrupt | EOFError | click.Abort):  # Ctrl-C; Ctrl-D for an answer
            return _INTERRUPTED
        if isinstance(leaf, SystemExit):
            return leaf.code if isinstance(leaf.code, int) else 1
    if all(isinstance(leaf, BrokenPipeError) for leaf in leaves):
        _drop_output()  # the reader has gone, which is its right
        return 0
    if all(isinstance(leaf, OSError) and leaf.errno in _OUTPUT_FAULTS for leaf in leaves):
        _drop_output()
        click.echo("securechat: Standard output cannot be written. Make room, or send it elsewhere.", err=True)
        return 1
    known = [leaf for leaf in leaves if isinstance(leaf, SecurechatError)]
    if known and len(known) == len(leaves):
        said = one_line(origins.describe(known[0]))  # a server may have written a part of it
        click.echo(f"securechat: {said}", err=True)
        return known[0].exit_code
    names = ", ".join(type(leaf).__name__ for leaf in leaves)
    click.echo(
        f"securechat: an internal error ({names}){_place(leaves[0])}. "
        "Run it again with --debug and report what it prints.",
        err=True,
    )
    return 1
