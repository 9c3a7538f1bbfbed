"""The pair that a server makes for itself, in its data directory.

Clients know the key, by its pin. The certificate around it can be made again at any time and nobody notices. So one
rule holds through crashes, full disks and lost files: **a key that is there is never replaced**, and a certificate
that does not serve is moved aside while the key is signed again. Only where no key is left is a new one made, and the
operator is told that the pin has changed. A pair that somebody else issued is served as it is.

Each step leaves a state from which the next start goes on: the key is written before the certificate that belongs to
it, and each file appears whole or not at all.
"""

import datetime
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from securechat import limits
from securechat.errors import CertificateError, SecurechatError
from securechat.transport.certificates import (
    Leaf,
    Pair,
    belongs,
    cannot_write,
    is_there,
    make_key,
    parse_key,
    parse_leaf,
    read_pem,
    sign_key,
)
from securechat.transport.signing import PrivateKey, is_name

_RENEWAL: Final = datetime.timedelta(days=limits.CERTIFICATE_RENEWAL_DAYS)
_RESTORE: Final = (
    "Restore it from a backup. If it is lost, move it away and start the server again: it makes a new key, "
    "and you have to give everybody the new pin."
)


def is_due(leaf: Leaf, now: datetime.datetime) -> bool:
    """Tell whether a certificate of ours wants new dates: it ends soon, or a wrong clock has dated it."""
    return leaf.is_ours and not leaf.not_before <= now < leaf.not_after - _RENEWAL


class OwnPair:
    """``cert.pem`` and ``key.pem`` of a data directory.

    Args:
        directory: It exists, and no other server uses it.
        names: Returns what a certificate is to be for, one name at least; called only to make one.
        is_known: Whether clients may know a key of this server already.

    Attributes:
        pair: The two files.
    """

    def __init__(self, directory: Path, names: Callable[[], Sequence[str]], *, is_known: bool = False) -> None:
        self.pair = Pair(directory / "cert.pem", directory / "key.pem")
        self._names = names
        self._is_known = is_known

    def settle(self, now: datetime.datetime) -> list[str]:
        """Make, repair or renew what has to be, before a start. This reads and writes files: call it in a thread.

        Args:
            now: The time.

        Returns:
            What the operator should know, one sentence each.

        Raises:
            SecurechatError: There is nothing to serve with. Whatever key there was is still there.
        """
        if not is_there(self.pair.key):
            return self._make()
        if is_there(self.pair.certificate):
            return self._look_at_both(now)
        sign_key(self._read_key(), self._names(), self.pair.certificate)
        return [f"{self.pair.certificate} was missing: the key was signed again, and the pin is the same"]

    def renew(self, now: datetime.datetime) -> list[str]:
        """Renew the certificate if it is due, while it is served. This reads and writes files: call it in a thread.

        Nothing is repaired: files that do not fit are perhaps being replaced, and what is served is still good.

        Args:
            now: The time.

        Returns:
            What the operator should know, one sentence each.

        Raises:
            SecurechatError: A file cannot be read.
        """
        leaf = self.pair.read_leaf()
        if not is_due(leaf, now):
            return []
        key = self._read_key()
        return self._sign_again(key, leaf) if belongs(key, leaf) else []

    def _make(self) -> list[str]:
        """Make a new key and its certificate."""
        names, was_there = self._names(), is_there(self.pair.certificate)
        if was_there:
            with suppress(CertificateError):
                names = _sound(self.pair.read_leaf().names) or names
        key = make_key(self.pair.key)
        aside = self._set_aside() if was_there else None
        sign_key(key, names, self.pair.certificate)
        if aside is None and not self._is_known:
            return []
        where = f". The old certificate is now {aside}" if aside else ""
        return [
            f"{self.pair.key} was missing: the server made a new key, and the pin has changed. "
            f"Give everybody the new line{where}"
        ]

    def _look_at_both(self, now: datetime.datetime) -> list[str]:
        """Renew a certificate of ours, and replace one that cannot be served with the key that is there."""
        content = read_pem(self.pair.certificate, "Check the file and its rights.")
        try:
            leaf = parse_leaf(content, self.pair.certificate)
        except CertificateError:
            return self._replace("cannot be read", self._read_key(), self._names())
        if not leaf.is_ours:
            return []
        key = self._read_key()
        if not belongs(key, leaf):
            return self._replace("belongs to another key", key, _sound(leaf.names) or self._names())
        return self._sign_again(key, leaf) if is_due(leaf, now) else []

    def _read_key(self) -> PrivateKey:
        content = read_pem(self.pair.key, "Check the file and its rights.")
        try:
            return parse_key(content, self.pair.key)
        except CertificateError as error:
            raise CertificateError(error.message, _RESTORE) from error

    def _replace(self, why: str, key: PrivateKey, names: Sequence[str]) -> list[str]:
        """Move a certificate aside that the key cannot be served with, and sign the key."""
        aside = self._set_aside()
        sign_key(key, names, self.pair.certificate)
        return [f"{self.pair.certificate} {why}: it is now {aside}, and the key was signed again; the pin is the key's"]

    def _set_aside(self) -> Path:
        """Rename the certificate, and return its new path.

        Raises:
            CertificateError: It cannot be renamed.
        """
        aside = self.pair.certificate.with_name("cert.pem.old")
        try:
            return self.pair.certificate.replace(aside)
        except OSError as error:
            raise cannot_write(aside.parent, error) from error

    def _sign_again(self, key: PrivateKey, leaf: Leaf) -> list[str]:
        """Sign the same key for the same names; a failure stops nobody, because pins ask for no dates."""
        try:
            sign_key(key, leaf.names, self.pair.certificate)
        except SecurechatError as error:
            return [
                f"the certificate could not be renewed and stays in use (valid until {leaf.not_after:%Y-%m-%d}; "
                f"clients that know the pin ignore that date): {error}"
            ]
        return []


def _sound(names: Sequence[str]) -> list[str]:
    """Return the names that a certificate of ours can be for; others write stranger ones."""
    return [name for name in names if is_name(name)]
