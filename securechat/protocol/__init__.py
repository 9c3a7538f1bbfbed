"""The relay protocol, sans-I/O: bytes in, events out; no clock, no randomness, nothing that can read a message."""
