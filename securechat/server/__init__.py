"""The server: it verifies, hashes, stores and routes; it has no code that can open."""
