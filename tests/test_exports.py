import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
import typing

import pytest

import emogg_async
import emogg_async.events
import emogg_async.integrations.otel
import emogg_async.testing

EXPORTS = [
    "AsyncEmoggClient",
    "AuthenticationError",
    "BadRequestError",
    "Batch",
    "CacheBackend",
    "CachePolicy",
    "ClientClosedError",
    "ConfigurationError",
    "ConnectionLostError",
    "CustomEvent",
    "DeadlineError",
    "EmoggError",
    "EmotionCounts",
    "EmotionIntensities",
    "EmotionInterval",
    "EmotionMeasure",
    "EmotionTotals",
    "EmotionsTimeline",
    "Failed",
    "Feed",
    "Fetched",
    "Frequency",
    "FrozenMapping",
    "Gap",
    "InvalidArgumentError",
    "Live",
    "LiveLimitError",
    "LivePolicy",
    "NotFoundError",
    "NotSentError",
    "OpenEnum",
    "Outcome",
    "OutcomeStream",
    "OutcomeUnknownError",
    "PermissionDeniedError",
    "RateLimit",
    "RateLimitedError",
    "RawResponse",
    "RegisteredSource",
    "ResponseShapeError",
    "RetryPolicy",
    "SentimentInterval",
    "SentimentTimeline",
    "Sentiments",
    "ServerError",
    "Session",
    "SessionConfig",
    "SessionListing",
    "SessionMeta",
    "SessionState",
    "SessionType",
    "SessionWorkerState",
    "Source",
    "Stats",
    "StatusError",
    "TransportError",
    "WorkerState",
    "__version__",
    "from_dict",
    "redis_cache",
    "to_columns",
    "to_dict",
    "to_json",
]
"""Every public name of the root: whoever changes it, changes the promise."""

PUBLIC_MODULES = [
    "emogg_async",
    "emogg_async.errors",
    "emogg_async.events",
    "emogg_async.integrations",
    "emogg_async.integrations.aiohttp_web",
    "emogg_async.integrations.otel",
    "emogg_async.integrations.starlette",
    "emogg_async.models",
    "emogg_async.testing",
]

LIBRARIES = {
    *("aiocache", "aiohttp", "attrs", "cattrs", "click", "opentelemetry", "redis"),
    *("fastapi", "litestar", "msgspec", "orjson", "pydantic", "pydantic_core"),
    *("rich", "starlette"),
    "tenacity",
}

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(emogg_async.__path__, "emogg_async.")
    if not module.name.endswith("__main__")  # importing it would run it
)


def loaded_by(statement):
    """Return which libraries a new interpreter has loaded after *statement*."""
    script = (
        f"{statement}\n"
        "import json, sys\n"
        "print(json.dumps([name for name in sys.modules if '.' not in name]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return LIBRARIES.intersection(json.loads(done.stdout))


def by_kind(name):
    """Sort constants first, then classes, then functions, as the linter does."""
    return not name.isupper(), not name[0].isupper(), name


def test_root_exports_exactly_what_is_promised():
    """No name becomes public, or vanishes, by accident."""
    assert sorted(EXPORTS) == EXPORTS
    assert emogg_async.__all__ == EXPORTS


def test_dir_lists_what_is_exported():
    """Completion in a shell offers the public names."""
    assert dir(emogg_async) == EXPORTS


@pytest.mark.parametrize("name", EXPORTS)
def test_every_export_resolves(name):
    """Each name is there, and is the same object each time."""
    value = getattr(emogg_async, name)
    assert value is getattr(emogg_async, name)
    if isinstance(value, type):
        assert name == value.__name__
        assert value.__module__.startswith("emogg_async.")


def test_star_import_brings_all_of_them():
    """`from emogg_async import *` works with lazy names, too."""
    namespace = {}
    exec("from emogg_async import *", namespace)
    assert {*EXPORTS} <= {*namespace}


@pytest.mark.parametrize("name", ["nope", "Nope", "NopeError", "_client_", ""])
@pytest.mark.parametrize("module", [emogg_async, emogg_async.testing])
def test_unknown_names_are_attribute_errors(module, name):
    """A name that is not exported is refused as any module does."""
    with pytest.raises(
        AttributeError, match=f"module '{module.__name__}' has no attribute '{name}'"
    ):
        getattr(module, name)


def test_public_modules_share_their_names_with_the_root():
    """What the root exports of models and errors is what those modules export."""
    for module in ("errors", "models"):
        home = importlib.import_module(f"emogg_async.{module}")
        assert {*home.__all__} <= {*EXPORTS}
        for name in home.__all__:
            assert getattr(home, name) is getattr(emogg_async, name)


def test_testing_exports():
    """The tools for tests are pinned as well."""
    assert (emogg_async.testing.__all__) == [
        "EmoggEmulator",
        "FaultRule",
        "LiveControl",
        "LiveGuesses",
        "LiveLimits",
        "LiveMessage",
        "LiveSubscription",
        "RecordedRequest",
    ]
    assert {*emogg_async.testing.__all__} <= {*dir(emogg_async.testing)}


@pytest.mark.parametrize(
    ("name", "exports"),
    [
        ("", ["Answer", "answer_to"]),
        (".aiohttp_web", ["emogg_client", "error_middleware", "get_client"]),
        (
            ".starlette",
            [
                "CancelOnDisconnect",
                "add_error_handlers",
                "emogg_lifespan",
                "get_client",
            ],
        ),
    ],
)
def test_integrations_exports(name, exports):
    """What web backends import is pinned as well."""
    module = importlib.import_module(f"emogg_async.integrations{name}")
    assert exports == module.__all__


def test_events_and_integrations_export():
    """So are what `on_event` is told, and what connects OpenTelemetry."""
    assert (emogg_async.events.__all__) == [
        "AttemptFailed",
        "CacheHit",
        "CacheMiss",
        "Event",
        "GapSeen",
        "LiveConnected",
        "LiveDisconnected",
        "Paced",
        "RateLimited",
        "RetryScheduled",
        "StaleServed",
    ]
    assert (emogg_async.integrations.otel.__all__) == ["instrument", "uninstrument"]


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_exports(name):
    """Each module's `__all__` is sorted, without doubles, and names what is there."""
    module = importlib.import_module(name)
    exported = module.__all__
    assert sorted(set(exported), key=by_kind) == [*exported]
    missing = [export for export in exported if not hasattr(module, export)]
    assert missing == []


def public_objects():
    """Give each public class, and each public function or method, with its name."""
    for module_name in PUBLIC_MODULES:
        module = importlib.import_module(module_name)
        for name in module.__all__:
            found = getattr(module, name)
            kinds = inspect.getmro(found) if inspect.isclass(found) else ()
            ours = [kind for kind in kinds if kind.__module__.startswith("emogg_async")]
            for owner in ours:
                yield f"{module_name}:{name}", owner
                for key, member in vars(owner).items():
                    plain = getattr(member, "fget", inspect.unwrap(member))
                    plain = getattr(plain, "__func__", plain)
                    is_private = key.startswith("_") and not key.endswith("__")
                    if inspect.isfunction(plain) and not is_private:
                        yield f"{module_name}:{name}.{key}", plain
            if inspect.isfunction(found):
                yield f"{module_name}:{name}", inspect.unwrap(found)


@pytest.mark.parametrize(
    "public", [pytest.param(each, id=name) for name, each in public_objects()]
)
def test_every_annotation_resolves(public):
    """What reads annotations, as dependency injection does, can read all of ours."""
    hints = typing.get_type_hints(public)
    assert [] == [name for name, hint in hints.items() if isinstance(hint, str)]


@pytest.mark.parametrize(
    ("expected", "statement"),
    [
        (set(), "import emogg_async"),
        (set(), "import emogg_async; emogg_async.__version__; dir(emogg_async)"),
        (set(), "from emogg_async import EmoggError, NotFoundError"),
        (set(), "import emogg_async.errors"),
        ({"attrs"}, "from emogg_async import Session"),
        ({"attrs"}, "import emogg_async.models"),
        ({"attrs"}, "import emogg_async.events"),
        ({"attrs"}, "from emogg_async import RateLimit, Stats, Batch, Outcome"),
        ({"attrs"}, "from emogg_async import redis_cache"),
        ({"attrs"}, "from emogg_async import SessionListing, OutcomeStream"),
        ({"attrs", "cattrs"}, "from emogg_async import from_dict, to_dict, to_json"),
        (
            {"attrs", "cattrs"},
            "from emogg_async import SessionConfig; SessionConfig().to_dict()",
        ),
        (set(), "import emogg_async.testing"),
        (set(), "from emogg_async.integrations import answer_to"),
        (
            {"aiohttp", "attrs"},
            "from emogg_async import AsyncEmoggClient",
        ),
        (
            {"aiohttp", "attrs"},
            "import emogg_async; emogg_async.AsyncEmoggClient('token')",
        ),
    ],
)
def test_imports_cost_only_what_they_need(expected, statement):
    """A library is loaded when a name that needs it is used, and no sooner."""
    assert expected == loaded_by(statement)


def test_aiocache_is_imported_when_a_client_with_a_cache_opens():
    """Who keeps no cache never pays for it; who does pays when the client opens."""
    script = (
        "import asyncio\n"
        "from emogg_async import AsyncEmoggClient, CachePolicy\n"
        "async def main():\n"
        "    async with AsyncEmoggClient('token', cache={}):\n"
        "        pass\n"
        "asyncio.run(main())\n"
    )
    assert "aiocache" not in loaded_by(script.format("None"))
    assert "aiocache" in loaded_by(script.format("CachePolicy()"))
