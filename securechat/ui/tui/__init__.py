"""The full screen of `chat`: textual for the terminal, trio as a guest on its loop."""
