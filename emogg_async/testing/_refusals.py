"""How the emulated service refuses a request."""

from http import HTTPStatus

__all__ = ["RefusalError", "bad_request", "not_found"]


class RefusalError(Exception):
    """A request that the service refuses, with what it says about it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def bad_request(message: str) -> RefusalError:
    """Make the refusal of what a request asks for."""
    return RefusalError(HTTPStatus.BAD_REQUEST, message)


def not_found(what: str) -> RefusalError:
    """Make the refusal for want of *what*, e.g. `Session`."""
    return RefusalError(HTTPStatus.NOT_FOUND, f"{what} not found")
