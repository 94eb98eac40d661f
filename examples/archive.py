"""Keep a whole account as Parquet files; a later run adds what is new.

    python examples/archive.py DIR

DIR gets three tables, which DuckDB, polars, pandas and Spark read as they are:

    sessions.parquet            every session, as the last listing told it
    emotions/000001.parquet …   a row for each session and emotion: its detections
    timelines/000001.parquet …  a row for each minute and emotion of a session

A part has 100 sessions, because thousands of small files are slow to read; its metadata
name them, also those without a row. A run fetches the finished sessions that no part
names. So it goes on where the one before was, however that ended: kill -9 loses no more
than the part under way. Files are written whole under another name, and then renamed.
Memory holds one part, and the sessions of the listing.

The first run after a session's end fetches its emotions, which change until then.
Deleted sessions stay in the archive. Progress and failures go to standard error. The
exit code is 0 when all is kept, 3 when sessions failed, which the next run tries again,
1 when the program gave up, and 130 after Ctrl-C or SIGTERM.

It needs `python -m pip install pyarrow`.
The token comes from EMOGG_API_TOKEN, the service's address from EMOGG_BASE_URL.
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # Ctrl-C ends the slow imports without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import pyarrow as pa
import pyarrow.parquet as pq

from emogg_async import AsyncEmoggClient, EmoggError, NotFoundError, to_columns

if sys.platform != "win32":
    import fcntl

PART = 100  # sessions
GRANULARITY = 60  # seconds in an interval of a timeline
report = partial(print, file=sys.stderr)

KINDS = {
    pa.string(): "id name type state product user session emotion",
    pa.float64(): "duration start end quantity intensity",
    pa.int64(): "sources count people detected_faces",
    pa.timestamp("us", "UTC"): "timestamp expires",
    pa.bool_(): "stale",
}
TYPES = {name: kind for kind, names in KINDS.items() for name in names.split()}

Call = Callable[[str], Awaitable[Any]]


def table_of(columns: dict[str, list[Any]]) -> pa.Table:
    """Make a table whose types do not depend on what is in it."""
    schema = pa.schema([(name, TYPES[name]) for name in columns])
    return pa.table(columns, schema=schema)


def write(table: pa.Table, path: Path) -> None:
    """Write a file whole or not at all."""
    torn = path.with_suffix(".tmp")
    with torn.open("wb") as file:
        pq.write_table(table, file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
    # A power cut may lose the renaming: then the next run fetches the part again.
    os.replace(torn, path)


class Parts:
    """The parts of one table."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sessions: set[str] = set()  # those that the parts name
        self.last = 0
        folder.mkdir(exist_ok=True)
        for torn in folder.glob("[0-9]*.tmp"):  # a killed run left it
            torn.unlink()
        for path in folder.glob("[0-9]*.parquet"):
            try:
                named = pq.read_schema(path).metadata[b"sessions"].decode()
                self.last = max(self.last, int(path.stem))
            except (pa.ArrowException, KeyError, TypeError, ValueError):
                raise OSError(f"{path} is no part of an archive: move it") from None
            self.sessions.update(named.split())

    def append(self, tables: dict[str, pa.Table]) -> None:
        """Write the tables of some sessions as the next part."""
        table = pa.concat_tables(tables.values())
        table = table.replace_schema_metadata({"sessions": " ".join(tables)})
        write(table, self.folder / f"{self.last + 1:06}.parquet")
        self.last += 1


async def list_sessions(client: AsyncEmoggClient, path: Path) -> list[str]:
    """Write the table of all sessions, and return the ids of the finished ones."""
    tables, finished = [table_of(to_columns([]))], []
    async for page in client.list_sessions().pages():
        tables.append(table_of(to_columns(page)))
        finished += [session.id for session in page if session.is_finished]
    listed = pa.concat_tables(tables)
    report(f"sessions: {listed.num_rows:,}, of which {len(finished):,} are finished")
    write(with_deleted(listed, path), path)
    return finished


def with_deleted(listed: pa.Table, path: Path) -> pa.Table:
    """Add the sessions that an older table has, and the listing no longer."""
    if not path.exists():
        return listed
    gone = pq.read_table(path).join(listed.select(["id"]), "id", join_type="left anti")
    return pa.concat_tables([listed, gone.select(listed.column_names)])


async def fetch(
    client: AsyncEmoggClient, call: Call, ids: list[str], parts: Parts
) -> list[str]:
    """Fetch what *parts* lacks of all *ids*, and return a line for each failure."""
    name = parts.folder.name
    failures: list[str] = []
    tables: dict[str, pa.Table] = {}
    missing = [id_ for id_ in ids if id_ not in parts.sessions]
    kept = len(ids) - len(missing)
    async with client.stream(call, missing) as outcomes:
        async for outcome in outcomes:
            try:
                tables[outcome.session_id] = table_of(outcome.unwrap().to_columns())
            except NotFoundError:
                pass  # a session that was deleted after it was listed is no failure
            except EmoggError as error:
                failures.append(f"failed: {name} of {outcome.session_id}: {error}")
            if len(tables) == PART:
                await asyncio.to_thread(parts.append, tables)
                kept += len(tables)
                tables.clear()
                report(f"{name}: {kept:,} of {len(ids):,} sessions")
    if tables:
        await asyncio.to_thread(parts.append, tables)
        report(f"{name}: {kept + len(tables):,} of {len(ids):,} sessions")
    return failures


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Make the directory, and let no other run work in it (but on Windows)."""
    if root.is_file():
        raise NotADirectoryError(f"{root} is a file: name a directory")
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w") as file:
        if sys.platform != "win32":
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the run
            except BlockingIOError:
                raise OSError(f"{root}: another run is at work there") from None
        yield


async def archive(root: Path) -> int:
    """Bring the archive up to date, and return the exit code."""
    async with AsyncEmoggClient(cache=None) as client:  # each answer is wanted once
        timeline_of = partial(client.get_emotions_timeline, granularity=GRANULARITY)
        with alone(root):
            emotions, timelines = Parts(root / "emotions"), Parts(root / "timelines")
            ids = await list_sessions(client, root / "sessions.parquet")
            failures = await fetch(client, client.get_emotions, ids, emotions)
            failures += await fetch(client, timeline_of, ids, timelines)
    for failure in failures:
        report(failure)
    return 3 if failures else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Keep a whole account as Parquet.")
    parser.add_argument("directory", metavar="DIR", type=Path)
    root = parser.parse_args().directory
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        sys.exit(asyncio.run(archive(root)))
    except (EmoggError, OSError, pa.ArrowException) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        report("interrupted")
        sys.exit(130)  # as shells count: 128 and the number of the signal
