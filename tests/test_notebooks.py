"""Every library notebook runs, each example a test, and shows what its committed outputs show."""
import json
import tempfile
from pathlib import Path

import pytest
from notebooks import REPOSITORY, differences, library_notebooks, read, run

COMMITTED = [path for folder in ("nbs", "results") for path in sorted((REPOSITORY / folder).rglob("*.ipynb"))]


@pytest.mark.parametrize("path", library_notebooks(), ids=lambda path: path.stem)
def test_examples_hold_and_outputs_are_the_committed_ones(path):
    answer = run(path)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_no_widgets_and_no_papermill_metadata(path):
    notebook = read(path)
    assert not {"widgets", "papermill"} & set(notebook["metadata"])
    assert not any("papermill" in cell["metadata"] for cell in notebook["cells"])
    assert "application/vnd.jupyter.widget" not in json.dumps([cell.get("outputs") for cell in notebook["cells"]])


@pytest.mark.parametrize("path", library_notebooks(), ids=lambda path: path.stem)
def test_outputs_name_no_machine(path):
    texts = json.dumps([cell.get("outputs", []) for cell in read(path)["cells"]])
    assert not [word for word in (f"{Path.home()}/", f"{tempfile.gettempdir()}/", "site-packages", " object at 0x") if word in texts]


@pytest.mark.parametrize("path", library_notebooks(), ids=lambda path: path.stem)
def test_figures_have_alternative_text(path):
    drawn = [cell for cell in read(path)["cells"] if any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))]
    assert [cell["id"] for cell in drawn if not "".join(cell["source"]).startswith("#| fig-alt: ")] == []


def test_a_changed_output_is_noticed():
    cell = {"outputs": [{"output_type": "stream", "name": "stdout", "text": ["1.385\n"]}]}
    other = {"outputs": [{"output_type": "execute_result", "data": {"text/plain": ["1.386"]}}]}
    assert differences({"cells": [cell]}, {"cells": [cell]}) == []
    assert differences({"cells": [cell]}, {"cells": [other]}) == ["cell 0: committed '1.385\\n', now '1.386'"]
