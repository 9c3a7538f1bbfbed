"""``python -m securechat`` and the ``securechat`` console script.

Nothing is imported here before signals are heeded but what the interpreter has loaded anyway.
"""

import os
import signal
import sys

_SIGNALLED = 128  # and the number of the signal: the exit code, as shells have it


def main() -> None:
    """Run the command line and leave with its exit code."""
    _end_on_signals(sys.argv[1:])
    os.umask(0o077)  # all that is made is private, and its owner can use it, whatever the umask was
    try:
        from securechat.cli import run
    except KeyboardInterrupt:
        sys.exit(_SIGNALLED + signal.SIGINT)
    sys.exit(run(sys.argv[1:]))


def _end_on_signals(arguments: list[str]) -> None:
    """Let a signal end this program from its first moment on, until the command has handlers of its own.

    The kernel drops what would end the first process of a container, unless that has a handler: SIGTERM in the half
    second of a start would be lost, and the container would be killed ten seconds later. So process 1 gets a handler
    that ends at once; nothing that was acknowledged is lost by that, as with ``kill -9``. For any other process, the
    kernel itself does it, even while a library is busy. What comes while the interpreter starts is kept if the signal
    was blocked before (``env --block-signal=TERM,INT securechat``), and is obeyed here.

    SIGINT would raise KeyboardInterrupt between any two steps of the program, also where Python cannot pass it on and
    drops it. A server that is starting has nothing to clean up, so it ends in the same way. A client keeps Python's
    handler: it may be asking for a passphrase, and the terminal has to show again what is typed.
    """
    is_first = os.getpid() == 1
    is_server = next((argument for argument in arguments if not argument.startswith("-")), "") == "server"
    for number in [signal.SIGTERM] * is_first + [signal.SIGINT] * is_server:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end if is_first else signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):  # not on Windows
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})


def _end(number: int, _frame: object) -> None:
    os._exit(_SIGNALLED + number)


if __name__ == "__main__":
    main()
