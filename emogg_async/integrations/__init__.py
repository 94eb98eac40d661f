"""What fits the client into the programs around it.

`emogg_async.integrations.otel` is for OpenTelemetry.
"""

__all__ = []
