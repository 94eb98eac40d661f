"""Live channels: feeds of events over WebSocket connections.

What decides is plain classes that are told the time: `windows` (messages and
connections in a time), `slots` (subscriptions of a user), `dialogue` (one connection's
messages), `backoff`, `buffers` (events of a feed) and `topics` (one subscription and
its feeds). `line` does the I/O of one connection, and `hub` holds all of a client.
"""

__all__ = ()
