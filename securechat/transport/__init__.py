"""TLS: contexts, certificates, pins, known hosts, and the channel that carries frames under trio."""
