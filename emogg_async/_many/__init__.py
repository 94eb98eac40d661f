"""Many sessions: listings, and bulks over many ids.

`listing` walks pages. A bulk is a `stream` of `outcomes`, whose workers do `jobs`;
`plan` says which pages save gets.
"""

__all__ = ()
