"""The service's language, without a socket.

`requests` builds requests, `protocol` reads responses, and `converter` turns JSON into
models.
"""

__all__ = ()
