"""What `emogg doctor` tells of the software: ours, what is beneath, and the machine."""

import platform
import ssl
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from emogg_async import __version__
from emogg_async._cli.checks.findings import Finding

__all__ = ["LIBRARIES", "libraries", "machine", "versions"]

LIBRARIES: Final = (
    *("aiocache", "aiohttp", "attrs", "cattrs", "tenacity"),
    *("click", "rich"),
)


def versions() -> Finding:
    """Tell what this is made of."""
    facts = {
        "emogg-async": __version__,
        platform.python_implementation(): platform.python_version(),
        "OpenSSL": ssl.OPENSSL_VERSION.removeprefix("OpenSSL "),
    }
    return Finding(text=_listed(facts), facts=facts)


def libraries() -> Finding:
    """Tell the versions of what is beneath."""
    facts = {name: _version(name) for name in LIBRARIES}
    return Finding(text=_listed(facts), facts=facts)


def machine() -> Finding:
    """Tell what it runs on."""
    facts = {"platform": platform.platform()}
    return Finding(text=facts["platform"], facts=facts)


def _listed(facts: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "of unknown version"
