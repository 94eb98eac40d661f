"""The notebook among the examples, executed cell by cell as Jupyter would."""

import ast
import inspect
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "emotions_notebook.ipynb"
CONTENT = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
CODE = ["".join(c["source"]) for c in CONTENT["cells"] if c["cell_type"] == "code"]


async def run_cell(source, namespace):
    """Run a cell and return the value of its last expression, or None."""
    tree = ast.parse(source)
    last = tree.body[-1]
    if isinstance(last, ast.Expr):
        tree.body[-1] = ast.copy_location(
            ast.Assign([ast.Name("_", ast.Store())], last.value), last
        )
    namespace["_"] = None
    code = compile(
        ast.fix_missing_locations(tree),
        str(NOTEBOOK),
        "exec",
        flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
    )
    result = eval(code, namespace)
    if inspect.iscoroutine(result):
        await result
    return namespace["_"]


async def test_every_cell_runs(tmp_path, monkeypatch, capsys):
    """The whole notebook runs without an account, and what it shows can be drawn."""
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    shown = []
    try:
        for source in CODE:
            value = await run_cell(source, namespace)
            if value is not None:
                ET.fromstring(value._repr_html_())
                shown.append(type(value).__name__)
    finally:
        namespace["emulator"].stop()
        await namespace["client"].aclose()
    assert shown == [
        "Session",
        "EmotionTotals",
        "EmotionsTimeline",
        "SentimentTimeline",
        "Batch",
    ]
    assert {*namespace["timelines"].errors} == {"f" * 24}
    assert "was strongest" in capsys.readouterr().out
    ET.parse(tmp_path / "timeline.svg")


def test_it_is_a_valid_notebook():
    """It has the fields that format 4.5 demands, and an id for each cell."""
    assert (CONTENT["nbformat"], CONTENT["nbformat_minor"]) == (4, 5)
    assert CONTENT["metadata"]["kernelspec"]["name"] == "python3"
    ids = [cell["id"] for cell in CONTENT["cells"]]
    assert len(ids) == len({*ids})
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in ids)
    for cell in CONTENT["cells"]:
        assert cell["cell_type"] in {"code", "markdown"}
        assert isinstance(cell["metadata"], dict)
        assert all(isinstance(line, str) for line in cell["source"])


def test_its_outputs_are_stripped():
    """The repository holds no output of a run."""
    for cell in CONTENT["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
    assert len(NOTEBOOK.read_bytes()) < 10_000


@pytest.mark.parametrize("word", ["token", "http"])
def test_it_holds_no_secret(word):
    """It names no address and no token: the emulator knows both."""
    assert word not in "".join(CODE)
