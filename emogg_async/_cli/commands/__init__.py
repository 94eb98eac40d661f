"""One module for each command, imported when it is called, and their parts."""

__all__ = ()
