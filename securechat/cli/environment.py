"""A secret in the environment: used once, and then neither inherited nor there to be read.

The kernel shows the environment of a process to its user and to root (proc(5), ``/proc/PID/environ``): it reads the
very bytes that the process was started with, whatever was removed since. What the C library calls ``environ`` points
to these bytes until then, so they are overwritten through it.
"""

import os
import sys


def withdraw(name: str) -> str | None:
    """Return the value of a variable, None for none, and remove it where children and other programs see it.

    Where the bytes cannot be overwritten, as on Windows, children at least do not inherit it.
    """
    value = os.environ.get(name)
    if value is not None:
        if sys.platform != "win32":
            _overwrite(os.fsencode(name) + b"=")
        del os.environ[name]
    return value


def _overwrite(prefix: bytes) -> None:
    """Fill the rest of each entry of the environment that begins with ``prefix`` with zeros."""
    try:
        import ctypes

        entries = ctypes.POINTER(ctypes.c_void_p).in_dll(ctypes.CDLL(None), "environ")
        index = 0
        while address := entries[index]:
            text = ctypes.string_at(address)
            if text.startswith(prefix):
                ctypes.memset(address + len(prefix), 0, len(text) - len(prefix))
            index += 1
    except (ImportError, OSError, ValueError):  # no such library or symbol in this build of Python
        return
