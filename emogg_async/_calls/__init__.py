"""How one call travels, from the join with others to the answer.

In the order of a call: `flights` (one load for all that want the same), `pipeline`,
`retry`, `gate` (slots) with `bucket` (tokens), `transport` (aiohttp).
All share `call` (its record), `alarms` (its deadlines), `telemetry` (events, log lines
and counters) and `frames` (tracebacks).
"""

__all__ = ()
