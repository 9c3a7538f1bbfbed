"""The part that can read: names and passphrases to keys, and envelopes sealed and opened. Pure functions.

Nothing that a server runs imports this package; the build checks it.
"""
