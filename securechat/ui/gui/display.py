"""Whether a window can be shown at all, found out before Qt is: Qt itself ends the process when it cannot."""

import ctypes
import importlib.util
import os
import sys
from pathlib import Path
from typing import Final

from securechat.errors import SecurechatError

PACKAGES: Final = (
    "libdbus-1-3 libegl1 libfontconfig1 libgl1 libglib2.0-0 libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 "
    "libxcb-shape0 libxkbcommon-x11-0"
)
_INSTALL: Final = "Install what Qt needs; on Debian and Ubuntu: apt install " + PACKAGES


def check() -> None:
    """Check that Qt is there, that it can be loaded, and that there is a screen.

    Raises:
        SecurechatError: Something is missing.
    """
    if importlib.util.find_spec("PySide6") is None or importlib.util.find_spec("segno") is None:
        raise SecurechatError(
            "The desktop client is not installed.", "Install it: pip install 'securechat[gui]'; or use: securechat chat"
        )
    try:
        from PySide6 import QtSvg, QtWidgets  # noqa: PLC0415
    except ImportError as error:
        raise SecurechatError(f"Qt cannot be loaded: {error}.", _INSTALL) from error
    del QtSvg, QtWidgets
    if sys.platform.startswith("linux") and "QT_QPA_PLATFORM" not in os.environ:
        _check_screen()


def _check_screen() -> None:
    if os.environ.get("WAYLAND_DISPLAY"):
        return
    if not os.environ.get("DISPLAY"):
        raise SecurechatError("There is no screen to show a window on.", "Use: securechat chat")
    _check_plugin()
    xcb = ctypes.CDLL("libxcb.so.1")
    xcb.xcb_connect.restype = ctypes.c_void_p
    xcb.xcb_connection_has_error.argtypes = xcb.xcb_disconnect.argtypes = [ctypes.c_void_p]
    connection = xcb.xcb_connect(None, None)
    is_broken = xcb.xcb_connection_has_error(connection)
    xcb.xcb_disconnect(connection)
    if is_broken:
        raise SecurechatError(f"The screen {os.environ['DISPLAY']} cannot be used.", "Set DISPLAY to one that can.")


def _check_plugin() -> None:
    """Load what Qt would load for X11, to hear what is missing instead of being ended."""
    from PySide6.QtCore import QLibraryInfo  # noqa: PLC0415

    plugins = Path(QLibraryInfo.path(QLibraryInfo.LibraryPath.PluginsPath))
    try:
        ctypes.CDLL(str(plugins / "platforms" / "libqxcb.so"))
    except OSError as error:
        raise SecurechatError(f"Qt cannot use the screen: {error}.", _INSTALL) from error
