"""The shape of the package, read from its source: who imports whom, and how long."""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import attrs
import pytest

import emogg_async

ROOT = Path(emogg_async.__file__).parent

FLOORS = (
    *("_client", "_core", "_settings", "_sessions"),
    *("_live", "_many", "_caching", "_calls", "_wire"),
    *("events", "models", "_notebook"),
    *("_checks", "_values", "_text", "errors", "_version"),
)
"""The rooms of the client, from the top down: each may import those below it."""

PUBLIC = {"", "errors", "events", "models", "testing"}
"""What the folders beside the client may import of it; "" is the root."""

BESIDE_IMPORTS = {
    "__main__": {"_cli"},
    "_cli": PUBLIC | {"_text", "_wire", "_notebook.series"},
    "integrations": PUBLIC | {"_text"},
    "testing": PUBLIC | {"_text", "_wire"},
}

DEFERRED = {
    ("_caching.opening", "_caching.memory"): "aiocache is slow to import",
    ("_caching.redis", "_caching.redis_backend"): "redis is an extra",
    ("_client", "_core"): "only an open client needs what carries out calls",
    ("_values", "_wire.forms"): "only `to_dict` and pydantic need the wire form",
    ("_wire.live", "_wire.converter"): "cattrs is slow to import",
    ("_many.outcomes", "_notebook.views"): "only notebooks need what draws",
    ("models", "_notebook.views"): "only notebooks need what draws",
}
"""The imports of the client that wait until they are needed, and why."""

UPWARDS = {("_values", "_wire.forms")}
"""The import that waits and points upwards: a model's methods end in its wire form."""

HOMES = {
    "aiohttp": [
        *("_calls.failures", "_calls.transport", "_live.line", "_live.hub"),
        *("integrations", "testing"),
    ],
    "yarl": ["_calls.transport", "testing"],
    "tenacity": ["_calls.retry"],
    "aiocache": ["_caching.memory", "_caching.redis_backend"],
    "cattrs": ["_wire.converter"],
    "orjson": ["_wire.protocol"],
    "click": ["_cli"],
    "rich": ["_cli"],
    "starlette": ["integrations"],
    "pytest": ["testing"],
    "opentelemetry": ["integrations"],
    "redis": ["_caching.redis_backend", "_caching.redis_client"],
    "pydantic": ["_wire.forms"],
    "pydantic_core": ["_wire.forms"],
    "multidict": ["_calls.failures", "testing"],
}
"""The only modules, or folders, that may import a third-party library."""

MAX_AT_THE_TOP = 14
MAX_MODULE = 450
MAX_FUNCTION = 45


@attrs.frozen
class Module:
    """A module of the package, parsed."""

    name: str
    """Dotted, below the package; the package itself is the empty string."""

    is_package: bool
    tree: ast.Module
    source: str

    @property
    def room(self) -> str:
        """The first part of its name."""
        return self.name.partition(".")[0]

    def imports(self) -> set[str]:
        """Return the full names that it imports at run time, wherever it does."""
        return {name for node in _run_time(self.tree) for name in _imported(node)}

    def ours(self, *, deferred: bool | None = None) -> set[str]:
        """Return the modules of ours that it imports at run time; "" is the root.

        Only those inside functions if *deferred*, only the others if that is False.
        """
        at_once = {name for node in self.tree.body for name in _imported(node)}
        names = self.imports()
        if deferred is not None:
            names = names - at_once if deferred else names & at_once
        return {_home(name) for name in names if name.startswith("emogg_async")}

    def below(self) -> set[str]:
        """Return the modules of ours that it stands on, without those of UPWARDS."""
        return {name for name in self.ours() if (self.name, name) not in UPWARDS}


def _home(name: str) -> str:
    """Return the module, below the package, from which a full *name* comes."""
    parts = name.split(".")[1:]
    for length in range(len(parts), 0, -1):
        if (home := ".".join(parts[:length])) in NAMES:
            return home
    return ""


def _run_time(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk *tree*, but not into what stands under `if TYPE_CHECKING:`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        yield from _run_time(node)


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _parse(path: Path) -> Module:
    parts = path.relative_to(ROOT).with_suffix("").parts
    source = path.read_text(encoding="utf-8")
    is_package = parts[-1] == "__init__"
    name = ".".join(parts[:-1] if is_package else parts)
    return Module(name, is_package, ast.parse(source), source)


MODULES = [_parse(path) for path in sorted(ROOT.rglob("*.py"))]
NAMES = {module.name for module in MODULES}
CLIENT = [m for m in MODULES if m.name and m.room not in BESIDE_IMPORTS]
BESIDE = [m for m in MODULES if m.room in BESIDE_IMPORTS]


def each(modules):
    """Run a test for each of *modules*."""
    return pytest.mark.parametrize(
        "module", modules, ids=[module.name or "root" for module in modules]
    )


def code_lines(node: ast.AST, source: str) -> int:
    """Count the lines of *node* that are neither blank nor part of a docstring."""
    first = getattr(node, "lineno", 1)
    last = getattr(node, "end_lineno", len(source.splitlines()))
    lines = source.splitlines()
    counted = {number for number in range(first, last + 1) if lines[number - 1].strip()}
    for part in ast.walk(node):
        if isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant):
            counted -= {*range(part.lineno, part.end_lineno + 1)}
    return len(counted)


def is_within(name: str, places: list[str] | set[str]) -> bool:
    """Tell whether the module *name* is one of *places*, or lies in one."""
    return any(name == place or name.startswith(f"{place}.") for place in places)


def test_every_room_has_its_floor():
    """Each room of the client is in the list, and no room is left that is gone."""
    assert sorted(FLOORS) == sorted({module.room for module in CLIENT})


def test_the_top_is_small():
    """A newcomer sees rooms, not drawers, in the package's own folder."""
    assert len([*ROOT.glob("*.py")]) <= MAX_AT_THE_TOP


@each(CLIENT)
def test_imports_point_downwards(module):
    """A module imports its own room and those below it."""
    below = FLOORS[FLOORS.index(module.room) :]
    rooms = {name.partition(".")[0] for name in module.below()}
    assert rooms <= {*below}


def test_there_are_no_cycles():
    """No two modules import each other, nor by imports that wait, but for UPWARDS."""
    graph = {module.name: module.below() - {module.name} for module in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_imports_that_wait_have_a_reason():
    """An import inside a function of the client is in the table of those."""
    waiting = {
        (module.name, name) for module in CLIENT for name in module.ours(deferred=True)
    }
    assert waiting == {*DEFERRED}
    assert {*UPWARDS} <= waiting


def test_the_root_imports_nothing():
    """Importing the package loads no module of it but its version."""
    (root,) = (module for module in MODULES if not module.name)
    assert root.ours() == {"_version"}


@each(BESIDE)
def test_folders_beside_the_client_use_public_names(module):
    """What is built on the client uses what any user could, and what is pure."""
    allowed = BESIDE_IMPORTS[module.room] | {module.room}
    strangers = {name for name in module.ours() - {""} if not is_within(name, allowed)}
    assert strangers == set()


def test_nobody_imports_private_names_of_others():
    """A name that begins with an underscore stays in the module that defines it."""
    private = {
        f"{module.name}: {name}"
        for module in MODULES
        for name in module.imports()
        if name.startswith("emogg_async.")
        and name.rpartition(".")[2].startswith("_")
        and name.removeprefix("emogg_async.") not in NAMES
        and not name.endswith(".__version__")
    }
    assert private == set()


@each(MODULES)
def test_libraries_stay_at_home(module):
    """A third-party library is imported only where it belongs."""
    libraries = {name.partition(".")[0] for name in module.imports()} & {*HOMES}
    strangers = {name for name in libraries if not is_within(module.name, HOMES[name])}
    assert strangers == set()


@each(MODULES)
def test_there_are_no_other_libraries(module):
    """What is imported is ours, the standard library, attrs, or in the table."""
    known = {*sys.stdlib_module_names, *HOMES, "attrs", "emogg_async"}
    assert {name.partition(".")[0] for name in module.imports()} <= known


@each(MODULES)
def test_modules_are_short(module):
    """A module can be read in one sitting; docstrings and blank lines are free."""
    assert code_lines(module.tree, module.source) <= MAX_MODULE


@each(MODULES)
def test_functions_are_short(module):
    """A function fits on a screen; its docstring is free."""
    long = {
        node.name: lines
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := code_lines(node, module.source)) > MAX_FUNCTION
    }
    assert long == {}


@each([module for module in MODULES if not module.name.endswith("__main__")])
def test_modules_say_what_they_are_for(module):
    """Every module begins with a docstring and says what it exports."""
    assert ast.get_docstring(module.tree)
    names = {
        target.id
        for node in module.tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert "__all__" in names


def test_modules_of_tests_have_names_of_their_own():
    """No two are called alike, and none imports a `conftest`, of which several are."""
    tests = [*Path(__file__).parent.rglob("*.py")]
    names = Counter(path.stem for path in tests if path.stem != "conftest")
    assert [name for name, count in names.items() if count > 1] == []
    line = re.compile("^(from|import) conftest", re.MULTILINE)
    assert [path for path in tests if line.search(path.read_text())] == []
