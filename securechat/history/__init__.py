"""The room log: what the server keeps of each room, durable in SQLite or in memory for a while."""
