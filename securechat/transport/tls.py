"""TLS contexts: 1.3 only, our ALPN, no session tickets (RFC 8446, RFC 7301)."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from securechat import labels
from securechat.transport import certificates
from securechat.transport.certificates import Pair


@dataclass(frozen=True)
class ServerTls:
    """What a listener serves with; a reload makes another and leaves running connections theirs.

    Attributes:
        context: The server's TLS context.
        pin: SHA-256 of the public key, 32 bytes: what join proofs of its connections cover.
        names: What the certificate is for.
    """

    context: ssl.SSLContext
    pin: bytes
    names: tuple[str, ...]

    @classmethod
    def load(cls, pair: Pair, alpn: str = labels.ALPN) -> Self:
        """Load a pair, to serve the application protocol ``alpn``; the server's own is renewed when it is due.

        Raises:
            SecurechatError: It cannot be used.
        """
        if pair.is_own and pair.is_due():
            pair.renew()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 0  # nothing resumes, and a first write would carry them
        context.set_alpn_protocols([alpn])
        pair.load_into(context)
        leaf = pair.read_leaf()
        return cls(context, certificates.pin_of(pair), tuple(certificates.names_of(leaf)))


def client_context(*, verify: bool, authorities: Path | None = None, alpn: str = labels.ALPN) -> ssl.SSLContext:
    """Return a client's context.

    Args:
        verify: Check chain, dates and name; otherwise the caller compares a pin before it sends a byte.
        authorities: PEM file of the authorities to trust in place of the system's.
        alpn: The application protocol to ask for.

    Raises:
        OSError: ``authorities`` cannot be read, or holds no certificate (ssl.SSLError).
    """
    if verify:
        context = ssl.create_default_context(cafile=authorities)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([alpn])
    return context
