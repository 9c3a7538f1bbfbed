"""Screens: what people type and read. The one place where text of peers is sanitised."""
