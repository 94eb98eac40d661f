"""What `emogg doctor` checks."""

__all__ = ()
