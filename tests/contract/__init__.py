"""What the reference promises, and what was guessed, asked of a service itself.

Run it by `nox -s contract`; CONTRIBUTING says how. Each check is a statement about the
service that only plain HTTP and WebSocket decide, and a row of the table at the end.
"""
