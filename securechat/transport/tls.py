"""TLS contexts: 1.3 only, our ALPN, no session tickets (RFC 8446, RFC 7301).

A server takes nothing on trust of the files that it serves with: it shakes hands with itself in memory, as one of our
clients would, and what that client was shown is what the pin, the names and the dates are of. So a pair that no client
can use is refused while nobody depends on it, and one whose files change while they are read is never half of each.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from securechat import labels
from securechat.errors import CertificateError
from securechat.transport.certificates import USABLE_KEYS, Leaf, Pair, read_leaf

_ATTEMPTS: Final = 3  # to read a pair while somebody replaces it
_FLIGHTS: Final = 10  # of a handshake, whose ends take turns; TLS 1.3 needs three


@dataclass(frozen=True)
class ServerTls:
    """What a listener serves with; a reload makes another and leaves running connections theirs.

    Attributes:
        context: The server's TLS context.
        leaf: The certificate that clients are shown.
    """

    context: ssl.SSLContext
    leaf: Leaf

    @property
    def pin(self) -> bytes:
        """SHA-256 of the public key, 32 bytes: what join proofs of its connections cover."""
        return self.leaf.pin

    @property
    def names(self) -> tuple[str, ...]:
        """What the certificate is for."""
        return self.leaf.names

    @classmethod
    def load(cls, pair: Pair, alpn: str = labels.ALPN) -> Self:
        """Load a pair, to serve the application protocol ``alpn``. This reads files: call it in a thread.

        Raises:
            SecurechatError: It cannot be used.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 0  # nothing resumes, and a first write would carry them
        context.set_alpn_protocols([alpn])
        pair.load_into(context)
        try:
            shown = _shake_hands(context, client_context(verify=False, alpn=alpn))
        except ssl.SSLError as error:
            why = (getattr(error, "reason", None) or str(error)).lower().replace("_", " ")
            raise CertificateError(
                f"No client could connect with the key in {pair.key}: TLS 1.3 does not work with it ({why}).",
                USABLE_KEYS,
            ) from error
        return cls(context, read_leaf(shown, str(pair.certificate)))


def load_for_all(pair: Pair, *alpns: str) -> list[ServerTls]:
    """Load one pair for several listeners. This reads files: call it in a thread.

    Args:
        pair: The files.
        alpns: The application protocol of each.

    Raises:
        SecurechatError: It cannot be used, or it changes all the time.
    """
    for _ in range(_ATTEMPTS):
        loaded = [ServerTls.load(pair, alpn) for alpn in alpns]
        if len({tls.leaf.der for tls in loaded}) == 1:
            return loaded
    raise CertificateError(f"{pair.certificate} changes while it is read.", "Reload it when it is complete.")


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> bytes:
    """Do a handshake in memory, and return the certificate, in DER, that the client was shown.

    Raises:
        ssl.SSLError: It failed.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server, server_side=False)
    ends = [near, server.wrap_bio(to_server, to_client, server_side=True)]
    for _ in range(_FLIGHTS):
        for end in ends.copy():
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            ends.remove(end)
    shown = None if ends else near.getpeercert(binary_form=True)
    if shown is None:
        raise ssl.SSLError(ssl.SSL_ERROR_SSL, "the handshake does not end")
    return shown


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
