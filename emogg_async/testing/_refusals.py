"""Refusals of requests by the emulated service."""

from http import HTTPStatus

__all__ = ["RefusalError", "bad_request", "not_found", "phrase"]


class RefusalError(Exception):
    """The service refuses a request.

    Attributes:
        status: HTTP status of the answer.
        message: Message in the answer.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def bad_request(message: str) -> RefusalError:
    """Make the refusal of an invalid request."""
    return RefusalError(HTTPStatus.BAD_REQUEST, message)


def not_found(what: str) -> RefusalError:
    """Make the refusal of a request for a missing thing, e.g. *what* = `Session`."""
    return RefusalError(HTTPStatus.NOT_FOUND, f"{what} not found")


def phrase(status: int) -> str:
    """Return the usual message of an answer with *status*."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:  # such as the 520s of some proxies
        return f"Error {status}"
