"""The client core: one conversation with one room, for any screen."""
