"""The desktop client: a Qt window on the conversation core, with trio as a guest on Qt's loop.

Needs the extra ``gui``. Whatever a peer wrote reaches a widget as sanitised plain text, never as HTML.
"""
