"""Forms of the results: for programs, and tables and charts for people."""

__all__ = ()
