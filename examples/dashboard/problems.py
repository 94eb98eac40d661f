"""What went wrong, in words for the visitor, and what to do about it."""

import logging
from typing import Final, NamedTuple

from emogg_async import AsyncEmoggClient, errors
from emogg_async.integrations import answer_to

WORDS: Final = {
    errors.AuthenticationError: "The service refuses the token. Set EMOGG_API_TOKEN to "
    "a valid one, and start the dashboard again.",
    errors.PermissionDeniedError: "The token may not see this. Ask the owner of the "
    "account for one that may.",
    errors.NotFoundError: "There is no such session. It may have been deleted, or "
    "belong to someone else: go back to the list.",
    errors.LiveLimitError: "All live subscriptions of the account are in use. Close "
    "other live pages; this one then begins by itself.",
    errors.ResponseShapeError: "The service answers in a form that this version does "
    "not know. Look for a newer version of emogg-async.",
    errors.RateLimitedError: "The rate limit of the account is used up. Wait a little, "
    "and load the page again.",
    errors.TransportError: "The service does not answer. Check the network, or wait a "
    "little, and load the page again.",
    errors.ServerError: "The service is out of order. Wait a little, and load the page "
    "again.",
    errors.EmoggError: "The service refuses this. Choose something else, or look into "
    "the log of the dashboard.",
}


class Problem(NamedTuple):
    """A failure as a page tells it.

    Attributes:
        words: What is wrong, and what to do about it.
        status: HTTP status of a page that shows nothing else.
        wait: Seconds after which a page asks again by itself; None if it need not.
    """

    words: str
    status: int
    wait: int | None = None


def problem_of(error: errors.EmoggError, client: AsyncEmoggClient) -> Problem:
    """Put an error into words; nothing of the service's own text gets into them."""
    status, headers, _ = answer_to(error)
    if status >= 500:
        logging.getLogger(__name__).warning("answered %d: %s", status, error)
    if isinstance(error, errors.InvalidArgumentError):
        return Problem(f"{error.message}. Correct the address.", status)
    has_waited = isinstance(error, errors.DeadlineError) and is_limited(client)
    kind = errors.RateLimitedError if has_waited else type(error)
    words = next(WORDS[each] for each in kind.__mro__ if each in WORDS)
    is_passing = isinstance(error, errors.TransportError | errors.ServerError)
    wait = int(headers.get("Retry-After", 5 if is_passing else 0))
    return Problem(words, status, wait or None)


def is_limited(client: AsyncEmoggClient, calls: int = 1) -> bool:
    """Tell whether so many calls wait for the rate limit right now."""
    limit = client.rate_limit
    return limit is not None and limit.remaining < calls
