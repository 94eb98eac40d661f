"""The cache: its contents, lifetimes and places.

`policy` is what users choose, and `opening` makes a cache of it: `memory` is the
client's own, `shared` uses a backend that others use too. `guard` keeps a failing
backend away from calls, `outages` knows when past values are served, and `redis` with
`redis_backend` and `redis_client` makes a backend of a Redis.
"""

__all__ = ()
