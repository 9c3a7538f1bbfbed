"""securechat: private rooms on your own box, end-to-end encrypted from a shared passphrase."""

__version__ = "0.1.0"
