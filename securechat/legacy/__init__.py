"""The old base64 mode: no security at all, for programs that people still run (PROTOCOL.md, section 8)."""
