"""The shape of the package, read from its source: who imports whom, and how long."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

import emogg_async

ROOT = Path(emogg_async.__file__).parent

IMPORTS = {
    "errors": set(),
    "_frames": {"errors"},
    "_values": set(),
    "_checks": {"errors"},
    "_markup": set(),
    "_series": {"_markup"},
    "_svg": {"_markup", "_series"},
    "_charts": {"_markup", "_series", "_svg"},
    "_views": {"_charts", "_checks", "_markup", "_series", "errors"},
    "models": {"_values", "_views"},
    "events": {"errors"},
    "_alarms": set(),
    "_config": {"errors"},
    "_network": {"_config", "errors"},
    "_outcomes": {"_views", "errors"},
    "_context": {"errors"},
    "_protocol": {"_checks", "errors"},
    "_requests": {"_checks", "_protocol", "errors"},
    "_stats": {"_requests", "errors", "events"},
    "_converter": {"_values", "errors", "models"},
    "_pacing": {"_protocol"},
    "_gate": {"_context", "_pacing", "_protocol", "errors"},
    "_flight": {"_alarms", "_context", "_frames", "errors"},
    "_lru": set(),
    "_memory": {"_lru"},
    "_backend": {"_converter", "_stats", "errors"},
    "_stale": {"errors"},
    "_shared": {"_backend", "_converter", "_protocol", "_stale", "models"},
    "_cache": {
        "_backend",
        "_checks",
        "_lru",
        "_memory",
        "_protocol",
        "_shared",
        "_stale",
        "errors",
        "models",
    },
    "_redis_pool": {"errors"},
    "_redis_backend": {"_redis_pool"},
    "_redis": {"_cache", "_checks", "_frames", "_redis_backend", "errors"},
    "_connector": set(),
    "_transport": {
        "_alarms",
        "_connector",
        "_frames",
        "_network",
        "_protocol",
        "errors",
    },
    "_retry": {"_checks", "_context", "_frames", "_protocol", "errors"},
    "_listing": {"_checks", "_converter", "_frames", "errors", "models"},
    "_pages": {"_converter", "_listing", "models"},
    "_jobs": {
        "_context",
        "_listing",
        "_outcomes",
        "_pages",
        "_requests",
        "errors",
        "models",
    },
    "_bulk": {"_context", "_frames", "_jobs", "_outcomes", "errors"},
    "_pipeline": {
        "_alarms",
        "_context",
        "_converter",
        "_flight",
        "_frames",
        "_gate",
        "_protocol",
        "_retry",
        "_stats",
        "_transport",
        "errors",
        "events",
        "models",
    },
    "_reads": {
        "_cache",
        "_context",
        "_frames",
        "_listing",
        "_pipeline",
        "_protocol",
        "_requests",
        "_stale",
        "_stats",
        "errors",
        "models",
    },
    "_sessions": {
        "_context",
        "_lru",
        "_protocol",
        "_reads",
        "_requests",
        "_retry",
        "errors",
        "models",
    },
    "_lifecycle": {
        "_alarms",
        "_cache",
        "_checks",
        "_config",
        "_context",
        "_frames",
        "_gate",
        "_network",
        "_pipeline",
        "_protocol",
        "_retry",
        "_sessions",
        "_stale",
        "_stats",
        "_transport",
        "errors",
        "events",
    },
    "_client": {
        "_bulk",
        "_checks",
        "_frames",
        "_gate",
        "_jobs",
        "_lifecycle",
        "_listing",
        "_outcomes",
        "_pages",
        "_requests",
        "errors",
        "models",
    },
}
"""What each module of the client imports of ours: only what stands above it."""

PUBLIC = {"", "errors", "events", "models", "testing"}
"""What the folders beside the client may import of it; "" is the root."""

BESIDE_IMPORTS = {
    "__main__": {"_cli"},
    "_cli": PUBLIC,
    "integrations": PUBLIC,
    "testing": PUBLIC | {"_converter"},
}

HOMES = {
    "aiohttp": ["_connector", "_transport", "integrations", "testing"],
    "yarl": ["_transport", "testing"],
    "tenacity": ["_retry"],
    "aiocache": ["_cache", "_memory", "_redis_backend"],
    "cattrs": ["_converter"],
    "click": ["_cli"],
    "rich": ["_cli"],
    "starlette": ["integrations"],
    "pytest": ["testing"],
    "opentelemetry": ["integrations"],
    "redis": ["_redis_backend", "_redis_pool"],
    "multidict": ["_transport", "testing"],
}
"""The only modules, or folders, that may import a third-party library."""

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
    def top(self) -> str:
        """The first part of its name."""
        return self.name.partition(".")[0]

    def imports(self) -> set[str]:
        """Return the full names that it imports at run time, wherever it does."""
        return {name for node in _run_time(self.tree) for name in _imported(node)}

    def ours(self) -> set[str]:
        """Return the modules of ours that it imports at run time, by their first part.

        Names that the root exports count as the root.
        """
        tops = set()
        for name in self.imports():
            package, _, rest = name.partition(".")
            if package == "emogg_async":
                top = rest.partition(".")[0]
                tops.add(top if top in TOPS else "")
        return tops


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
TOPS = {module.top for module in MODULES} - {""}
CLIENT = [m for m in MODULES if m.name and m.top not in BESIDE_IMPORTS]
BESIDE = [m for m in MODULES if m.top in BESIDE_IMPORTS]


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


def test_table_is_in_layers():
    """Each row imports only what stands above it, so there can be no cycle."""
    above = set()
    for name, imports in IMPORTS.items():
        assert imports <= above, name
        above.add(name)


def test_table_is_complete():
    """Each module has its row, and no row is left of a module that is gone."""
    assert {*IMPORTS} == {module.name for module in CLIENT}


@each(CLIENT)
def test_imports_point_upwards(module):
    """A module imports of ours exactly what the table says."""
    assert IMPORTS[module.name] == module.ours() - {""}


@each(CLIENT)
def test_the_client_does_not_import_the_root(module):
    """The root resolves its names lazily; only its version may be taken from it."""
    of_the_root = {
        name
        for name in module.imports()
        if name.startswith("emogg_async.") and name.split(".")[1] not in TOPS
    }
    assert of_the_root <= {"emogg_async.__version__"}


def test_the_root_imports_nothing():
    """Importing the package loads no module of it."""
    (root,) = (module for module in MODULES if not module.name)
    assert root.ours() == set()


@each(BESIDE)
def test_folders_beside_the_client_use_public_names(module):
    """What is built on the client uses what any user could, with one exception."""
    assert module.ours() - {module.top} <= BESIDE_IMPORTS[module.top]


def test_nobody_imports_private_names_of_others():
    """A name that begins with an underscore stays in the module that defines it."""
    private = {
        f"{module.name}: {name}"
        for module in MODULES
        for name in module.imports()
        if name.startswith("emogg_async.")
        and name.rpartition(".")[2].startswith("_")
        and not any(name == f"emogg_async.{other.name}" for other in MODULES)
        and not name.endswith(".__version__")
    }
    assert private == set()


@each(MODULES)
def test_libraries_stay_at_home(module):
    """A third-party library is imported only where it belongs."""
    libraries = {name.partition(".")[0] for name in module.imports()} & {*HOMES}
    strangers = {name for name in libraries if module.top not in HOMES[name]}
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
