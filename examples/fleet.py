"""Fetch many sessions by several processes, which share one token and one cache.

    python examples/fleet.py --processes 4 --redis redis://localhost ids.txt > out.jsonl

The file has one id per line; `-` is standard input. Each process gets a part of the
ids, and fetches an id again that comes again. Sessions go to standard output as JSON
lines; failures, and at last a summary of all processes, go to standard error. The exit
code is 0 when all were fetched, 3 when some were not, and 1 when the program gave up:
its output is incomplete then.

The processes do not talk to each other. They share the rate limit, because each reads
the level of the bucket in its answers. They share sessions by Redis, which needs
`python -m pip install '.[redis]'`; without --redis each has a cache of its own.

The token comes from EMOGG_API_TOKEN, the service's address from EMOGG_BASE_URL.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from multiprocessing.connection import Connection, wait
from pathlib import Path
from zlib import crc32

from emogg_async import (
    AsyncEmoggClient,
    CachePolicy,
    EmoggError,
    Failed,
    Fetched,
    redis_cache,
    to_dict,
)

LIVE_TTL = 60.0
"""Seconds for which a session that still changes is kept: a run wants it once."""


def parts_of(ids: list[str], processes: int) -> list[list[str]]:
    """Divide *ids* so that no two processes begin with the same ones.

    Each id belongs to one process, by its checksum. A process begins with the ids of
    its part that belong to itself, and goes on with those of the next process, which
    has put them into the cache by then. In any other order several processes would
    often miss the same id at the same time, and each would ask the service for it.
    """
    return [
        sorted(
            ids[number::processes], key=lambda id_: _distance(id_, number, processes)
        )
        for number in range(processes)
    ]


def _distance(session_id: str, number: int, processes: int) -> int:
    return (crc32(session_id.lower().encode()) - number) % processes


async def one_by_one(ids: list[str]) -> AsyncIterator[str]:
    """Yield *ids* one by one, so that each is looked up when its turn has come.

    A list would be looked up as a whole, before other processes have fetched anything.
    """
    for session_id in ids:
        yield session_id


async def fetch(
    ids: list[str], options: argparse.Namespace, answer: Connection
) -> Counter[str]:
    """Fetch *ids*, send each outcome as it comes, and return the counts."""
    failed = 0
    async with AsyncExitStack() as stack:
        policy = CachePolicy(live_ttl=LIVE_TTL)
        if options.redis:
            backend = await stack.enter_async_context(redis_cache(options.redis))
            policy = CachePolicy(live_ttl=LIVE_TTL, backend=backend)
        client = await stack.enter_async_context(AsyncEmoggClient(cache=policy))
        outcomes = await stack.enter_async_context(
            client.stream_sessions(one_by_one(ids), concurrency=options.concurrency)
        )
        async for outcome in outcomes:
            match outcome:
                case Fetched(value=session):
                    answer.send(("stdout", to_dict(session)))
                case Failed(session_id, error):
                    failed += 1
                    facts = {"id": session_id, "error": type(error).__name__}
                    answer.send(("stderr", {**facts, "message": str(error)}))
        stats = client.stats
    return Counter(
        fetched=len(ids) - failed,
        failed=failed,
        requests=stats.requests,
        refused=stats.rate_limited,
        hits=stats.cache_hits,
        coalesced=stats.coalesced,
    )


def work(ids: list[str], options: argparse.Namespace, answer: Connection) -> None:
    """Do the work of one process, and send its outcomes and its counts."""
    threading.Thread(target=end_with_the_first, daemon=True).start()
    try:
        answer.send("ready")
        answer.recv()
        answer.send(asyncio.run(fetch(ids, options, answer)))
    except EmoggError as error:  # a refused token, for example; it survives pickle
        answer.send(error)
    except (BrokenPipeError, EOFError):  # the first process is gone
        os._exit(1)  # as the thread was about to do


def end_with_the_first() -> None:
    """End this process when the one that started it is gone, even by a kill."""
    first = multiprocessing.parent_process()
    assert first is not None  # noqa: S101 - this one was started
    first.join()
    os._exit(1)


def run_all(ids: list[str], options: argparse.Namespace) -> Counter[str]:
    """Start all processes, write their sessions, and return the sum of counts."""
    context = multiprocessing.get_context("spawn")
    answers: list[Connection] = []
    # Ctrl-C reaches every process of a terminal; only this one heeds it.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    for part in parts_of(ids, options.processes):
        ours, theirs = context.Pipe()
        # A daemon ends with this process, and does not hold it up.
        context.Process(target=work, args=(part, options, theirs), daemon=True).start()
        theirs.close()
        answers.append(ours)
    signal.signal(signal.SIGINT, before)
    # They begin together: one that began early would fetch what others fetch again.
    for answer in answers:
        answer.recv()
    for answer in answers:
        answer.send("go")
    total: Counter[str] = Counter()
    while answers:
        ready = wait(answers)
        for answer in [each for each in answers if each in ready]:
            told = answer.recv()  # an EOFError: the process died
            match told:
                case EmoggError():
                    raise told
                case Counter():
                    total.update(told)
                    answers.remove(answer)
                case stream, facts:
                    print(json.dumps(facts), file=getattr(sys, stream), flush=True)
    return total


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Fetch sessions by several processes.")
    parser.add_argument("ids", help="file of ids, one per line; - is standard input")
    parser.add_argument("--processes", type=positive, default=4, help="default: 4")
    parser.add_argument("--redis", metavar="URL", help="the cache that they share")
    parser.add_argument(
        "--concurrency",
        type=positive,
        default=4,
        help="requests that each has in flight at once (default: 4)",
    )
    return parser.parse_args()


def positive(text: str) -> int:
    """Read a whole number above 0."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def main() -> int:
    """Do what the command line says and return the exit code."""
    options = parse_arguments()
    text = sys.stdin.read() if options.ids == "-" else Path(options.ids).read_text()
    began = time.monotonic()
    total = run_all(text.split(), options)
    facts = {"processes": options.processes, **total}
    facts["seconds"] = round(time.monotonic() - began, 1)
    print(json.dumps(facts), file=sys.stderr)
    return 3 if total["failed"] else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except EOFError:
        sys.exit("error: a process died")
    except BrokenPipeError:  # the reader has left, like `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)  # as shells count: 128 and the number of SIGPIPE
    except (EmoggError, OSError, UnicodeDecodeError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)  # as shells count: 128 and the number of the signal
