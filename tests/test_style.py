"""The form of the notebooks, where a linter does not look: cells, columns, titles, outputs, the order of the modules."""
import ast
import re

import pytest
from notebooks import REPOSITORY, read

NOTEBOOKS = sorted((REPOSITORY / "nbs").glob("*.ipynb"))
LIBRARY = {path: re.search(r"default_exp ([\w.]+)", path.read_text("utf-8")) for path in NOTEBOOKS}
MODULES = {match[1]: path for path, match in LIBRARY.items() if match}


def is_run(path):
    """Stages and paper notebooks are papermill's inputs."""
    return re.match(r"[39]\d_", path.name) is not None


def code_cells(path):
    return [cell for cell in read(path)["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_are_read_at_a_glance(path):
    limit = 88 if is_run(path) else 100
    for cell in code_cells(path):
        lines = [line for line in "".join(cell["source"]).splitlines() if line.strip() and not line.startswith("#|")]
        assert len(lines) <= 25 and len("".join(cell["source"])) <= 1400, lines[:2]
        assert all(len(line) <= limit for line in lines), max(lines, key=len)
    assert len(read(path)["cells"]) <= 90


def test_titles_differ():
    titles = ["".join(read(path)["cells"][0]["source"]).splitlines()[0] for path in NOTEBOOKS]
    assert all(title.startswith("# ") for title in titles) and len({*titles}) == len(titles)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_stand_where_a_reader_looks_for_them(path):
    shown = any(cell["outputs"] for cell in code_cells(path))
    assert shown != is_run(path)
    if is_run(path):
        assert sum("parameters" in cell["metadata"].get("tags", []) for cell in code_cells(path)) == 1
        assert not [cell for cell in code_cells(path) if re.search(r"^\s*(def|class) ", "".join(cell["source"]), re.M)]


def imports(path):
    """Modules of ours that a module imports, anywhere in it."""
    folder = path.parent.relative_to(REPOSITORY).parts
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            above = folder[:len(folder) + 1 - node.level] if node.level else ()
            yield ".".join([*above, *filter(None, [node.module])]).removeprefix("dimabsa_nb.")


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_lower_numbers_alone(module):
    below = [name for name in imports(REPOSITORY / "dimabsa_nb" / f"{module.replace('.', '/')}.py") if name in MODULES]
    assert [name for name in below if MODULES[name].name[:2] >= MODULES[module].name[:2]] == []


def test_public_names_are_few_and_differ():
    names = [node.name for module in MODULES if module != "cli"
             for node in ast.parse((REPOSITORY / "dimabsa_nb" / f"{module.replace('.', '/')}.py").read_text("utf-8")).body
             if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")]
    assert len(names) == len({*names}) <= 300
