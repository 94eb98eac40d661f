"""How results are written: formats for programs; tables and charts for people."""

__all__ = ()
