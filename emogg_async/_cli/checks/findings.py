"""What the checks of `emogg doctor` find, in text that may go into a ticket."""

import os
from collections.abc import Mapping
from typing import Any, Literal

import attrs

from emogg_async import EmoggError
from emogg_async._cli.exits import SEE_DOCTOR, Exit, exit_of, explain

__all__ = ["Finding", "failed", "failure", "skipped", "warning"]


@attrs.frozen(kw_only=True)
class Finding:
    """What a check found."""

    name: str = ""
    status: Literal["ok", "warn", "fail", "skip"] = "ok"
    text: str
    next_step: str = ""
    code: Exit = Exit.OK
    facts: Mapping[str, Any] = attrs.Factory(dict)
    """The same for programs."""


def warning(text: str, next_step: str, **facts: Any) -> Finding:
    """Make the finding that something may be wrong."""
    return Finding(status="warn", text=text, next_step=next_step, facts=facts)


def failure(text: str, next_step: str, code: Exit = Exit.NETWORK) -> Finding:
    """Make the finding that something is wrong."""
    return Finding(status="fail", text=text, next_step=next_step, code=code)


def skipped(text: str) -> Finding:
    """Make the finding of a check that could not be made."""
    return Finding(status="skip", text=text)


def failed(error: EmoggError) -> Finding:
    """Make the finding that the package itself complains."""
    what, next_step = explain(error).splitlines()
    what = what.removeprefix("Error: ")
    if len(home := os.path.expanduser("~")) > 1:
        what = what.replace(home, "~")  # the user's name is often part of it
    next_step = next_step.rstrip(".").removesuffix(SEE_DOCTOR)
    return failure(what.rstrip("."), next_step, exit_of(error))
