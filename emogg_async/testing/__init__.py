"""Tools to test code that uses this package, without an account or a network.

`EmoggEmulator` is an HTTP server on loopback that answers as the Emogg API does. The
pytest fixture `emogg_emulator` starts one and points the environment at it. The server
is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from emogg_async.testing._channels import LiveSubscription
    from emogg_async.testing._control import LiveControl
    from emogg_async.testing._emulator import EmoggEmulator
    from emogg_async.testing._faults import FaultRule
    from emogg_async.testing._guesses import LiveGuesses
    from emogg_async.testing._journal import RecordedRequest
    from emogg_async.testing._limits import LiveLimits
    from emogg_async.testing._messages import LiveMessage

__all__ = [
    "EmoggEmulator",
    "FaultRule",
    "LiveControl",
    "LiveGuesses",
    "LiveLimits",
    "LiveMessage",
    "LiveSubscription",
    "RecordedRequest",
]

_HOMES: Final = {
    "EmoggEmulator": "emogg_async.testing._emulator",
    "FaultRule": "emogg_async.testing._faults",
    "LiveControl": "emogg_async.testing._control",
    "LiveGuesses": "emogg_async.testing._guesses",
    "LiveLimits": "emogg_async.testing._limits",
    "LiveMessage": "emogg_async.testing._messages",
    "LiveSubscription": "emogg_async.testing._channels",
    "RecordedRequest": "emogg_async.testing._journal",
}


if not TYPE_CHECKING:  # type checkers would accept every name

    def __getattr__(name: str) -> object:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(home), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
