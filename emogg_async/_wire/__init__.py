"""The service's language, without a socket.

`requests` builds what is asked, `protocol` reads what is answered, and `converter`
makes models of it.
"""

__all__ = ()
