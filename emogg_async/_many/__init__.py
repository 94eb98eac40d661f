"""Many sessions: listings, and bulks over many ids.

`listing` walks pages. A bulk is a `stream` of `outcomes`, whose workers do `jobs`.
`plan` decides which pages of the list save gets.
"""

__all__ = ()
