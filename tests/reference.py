"""Build the API reference and the guides as pages, and check them.

It fails on a public name without a docstring and on a link that leads nowhere. Run it
by `nox -s docs`.
"""

import inspect
import re
import shutil
import sys
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from typing import Final, get_origin
from urllib.parse import unquote, urlsplit

import pdoc
import pdoc.doc
from pdoc.render_helpers import to_html

ROOT: Final = Path(__file__).parent.parent
GUIDES: Final = ROOT / "examples" / "guides"
MODULES: Final = (
    "emogg_async",
    *(f"emogg_async.{name}" for name in ("models", "errors", "events", "testing")),
    "emogg_async.integrations",
    *(f"emogg_async.integrations.{name}" for name in ("starlette", "aiohttp_web")),
    "emogg_async.integrations.otel",
)

LOGGERS: Final = {
    f"emogg_async.{name}" for name in ("http", "cache", "retry", "pacing")
}

_REFERENCE = re.compile(r"`(emogg_async(?:\.\w+)+)`")
_PAGE: Final = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
    '<meta name="viewport" content="width=device-width"><style>body{{max-width:46em;'
    "margin:2em auto;padding:0 1em;font:1rem/1.5 system-ui}}pre{{overflow-x:auto;"
    "padding:.6em;background:#8881}}table{{border-collapse:collapse}}td,th{{border:1px "
    "solid #8886;padding:.2em .5em;text-align:left;vertical-align:top}}</style>"
    '<p><a href="{up}emogg_async.html">emogg_async</a> · <a href="{up}readme.html">'
    "README</a></p>{body}"
)


class Page(HTMLParser):
    """The anchors of a page, and where its links lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an anchor or a link."""
        for name, value in attrs:
            if value and name == "id":
                self.anchors.add(value)
            if value and name == "href" and tag == "a":
                self.links.add(value)


def undocumented(namespace: pdoc.doc.Namespace) -> list[str]:  # type: ignore[type-arg]
    """Return the public names below *namespace* that have no docstring."""
    missing = []
    for member in namespace.own_members:
        if member.name.startswith("_") or not member.modulename.startswith("emogg"):
            continue
        if isinstance(member, pdoc.doc.Class):
            missing += undocumented(member)
        # A field is documented by the class that first has it, in its `Attributes:`.
        if isinstance(member, pdoc.doc.Variable):
            listed = member.docstring or f"{member.name}:" in _docstrings(namespace)
            listed = listed or bool(get_origin(member.default_value))  # an alias
        else:
            listed = member.docstring
        if not listed:
            missing.append(member.fullname)
    return missing


def _docstrings(namespace: pdoc.doc.Namespace) -> str:  # type: ignore[type-arg]
    classes = inspect.getmro(namespace.obj) if inspect.isclass(namespace.obj) else ()
    return "\n".join(each.__doc__ or "" for each in classes) + namespace.docstring


def unresolved(text: str) -> list[str]:
    """Return the names of ours that *text* refers to and that do not exist."""
    return [name for name in {*_REFERENCE.findall(text)} - LOGGERS if not _exists(name)]


def _exists(name: str) -> bool:
    for length in range(name.count(".") + 1, 0, -1):
        parts = name.split(".")
        try:
            found: object = import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def write_guides(target: Path) -> None:
    """Write the texts at the top and the guides as pages that link to each other."""
    (target / "guides").mkdir(exist_ok=True)
    shutil.copytree(GUIDES.parent, target / "examples", dirs_exist_ok=True)
    texts = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(GUIDES.glob("*.md"))]
    for source in texts:
        is_guide = source.parent == GUIDES
        up = "../" if is_guide else ""
        text = source.read_text(encoding="utf-8")
        text = re.sub(r"\]\(examples/guides/([\w-]+)\.md", r"](guides/\1.html", text)
        if is_guide:
            text = re.sub(r"\]\(([\w-]+)\.md", r"](\1.html", text)
            text = re.sub(r"\]\(\.\./(?!\.)", r"](../examples/", text)
        for name in ("README", "CONTRIBUTING"):
            text = re.sub(
                rf"\]\((\.\./)*{name}\.md", f"]({up}{name.lower()}.html", text
            )
        page = (
            f"guides/{source.stem}.html" if is_guide else f"{source.stem.lower()}.html"
        )
        body = to_html(text)
        html = _PAGE.format(title=source.stem, up=up, body=body)
        (target / page).write_text(html, encoding="utf-8")


def broken(target: Path) -> list[str]:
    """Return the links between the pages in *target* that lead nowhere."""
    templates = target / "examples"
    pages = {
        path: Page(path.read_text(encoding="utf-8"))
        for path in target.rglob("*.html")
        if not path.is_relative_to(templates)
    }
    found = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            other = (
                (path.parent / unquote(parts.path)).resolve() if parts.path else path
            )
            anchor = unquote(parts.fragment)
            if other in pages:
                is_there = not anchor or anchor in pages[other].anchors
            else:
                is_there = other.exists() or (ROOT / unquote(parts.path)).exists()
            if not is_there:
                found.append(f"{path.name}: {link}")
    return found


def main(target: Path) -> int:
    """Build all pages in *target*; return how many problems there are."""
    target = target.resolve()
    pdoc.render.configure(docformat="google", footer_text="emogg_async")
    pdoc.pdoc(*MODULES, output_directory=target)
    write_guides(target)
    problems = [f"no docstring: {name}" for name in _all_undocumented()]
    texts = [ROOT / "README.md", *GUIDES.glob("*.md")]
    for path in (*texts, *(ROOT / "emogg_async").rglob("*.py")):
        names = unresolved(path.read_text(encoding="utf-8"))
        problems += [f"no such name: {name} in {path.name}" for name in names]
    problems += [f"a link to nowhere: {link}" for link in broken(target)]
    print(*problems, f"{target / 'index.html'}", sep="\n")
    return len(problems)


def _all_undocumented() -> list[str]:
    modules = [pdoc.doc.Module(import_module(name)) for name in MODULES]
    return sorted({name for module in modules for name in undocumented(module)})


if __name__ == "__main__":
    sys.exit(bool(main(Path(sys.argv[1]))))
