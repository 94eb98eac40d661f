"""Async-first SDK for the Emogg emotion-analysis API."""

__version__ = "0.1.0"
