"""The README's Python runs, and its first screen shows a figure, the result and the commands."""
import ast
import importlib
import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text("utf-8")


def test_every_notebook_is_on_the_map():
    notebooks = (REPOSITORY / "nbs").glob("*.ipynb")
    assert [path.name for path in sorted(notebooks) if f"(nbs/{path.name})" not in README] == []


def test_the_first_screen_shows_figure_result_and_commands():
    first = README[:README.index("## Results")]
    [figure] = re.findall(r"!\[([^\]]+)\]\((figures/[^)]+\.png)\)", first)
    assert len(figure[0]) > 20 and (REPOSITORY / figure[1]).is_file()
    assert "| joint (this run) |" in first and first.index("make reproduce") < first.index("```python")
    assert len(README.splitlines()) <= 220


def test_the_python_names_what_exists():
    code = re.search(r"```python\n(.*?)```", README, re.S)[1]
    for node in ast.parse(code).body:
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
    system = importlib.import_module("dimabsa_nb.encoder").System
    methods = set(re.findall(r"(?:system|System)\.(\w+)\(", code))
    assert {"from_pretrained", "predict"} <= methods and [name for name in methods if not hasattr(system, name)] == []
