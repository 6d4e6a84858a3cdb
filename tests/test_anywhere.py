"""On anyone's machine: without what only Unix has, whatever git does to line ends, without a GPU by surprise, with any number of threads."""
import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest
import yaml
from test_chain import checkout, dimabsa

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = sorted((REPOSITORY / "dimabsa_nb").rglob("*.py"))
MODULES = [".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__") for path in PACKAGE if path.stem != "__main__"]
# a Python that has what Windows lacks, then hides it from our modules: every dependency is loaded before
WITHOUT_UNIX = """
import importlib, os, sys
for name in sys.argv[1].split(): importlib.import_module(name)
hidden = "resource fcntl pwd grp termios tty pty syslog crypt nis spwd posix readline curses".split()
sys.modules.update(dict.fromkeys(hidden))
for name in ("fork forkpty getuid geteuid getgid getpgid setsid getpgrp killpg uname sysconf getloadavg sched_getaffinity sched_setaffinity mkfifo chown lchown "
             "chroot nice getpriority wait3 wait4 statvfs fstatvfs pread pwrite sync posix_fadvise O_NOFOLLOW O_DIRECTORY O_CLOEXEC O_NONBLOCK").split():
    if hasattr(os, name): delattr(os, name)
for name in sys.argv[2].split():
    importlib.import_module(name)
    print(name)
from dimabsa_nb import records
assert records._peak_memory()["peak_memory_mb"] > 10 and records.machine()["memory_gb"] > 0.1
"""


def test_every_module_loads_without_what_only_unix_has(tally):
    names = [re.split(r"[<>=!\\[]", line)[0].replace("-", "_") for line in tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]]
    names = " ".join({"scikit_learn": "sklearn"}.get(name, name) for name in names)
    done = subprocess.run([sys.executable, "-c", WITHOUT_UNIX, names, " ".join(MODULES)], cwd=REPOSITORY, capture_output=True, encoding="utf-8")
    loaded = done.stdout.split()
    for name in MODULES:
        with tally("Anyone's machine", "modules loaded without what only Unix has"):
            assert name in loaded, done.stderr[-500:]
    assert done.returncode == 0, done.stderr[-500:]


def calls(path):
    """Every call in a module, or in the code of a notebook."""
    source = path.read_text("utf-8")
    if path.suffix == ".ipynb":
        cells = [cell for cell in json.loads(source)["cells"] if cell["cell_type"] == "code"]
        source = "\n".join(re.sub(r"(?m)^[ \t]*[%!].*$", "", "".join(cell["source"])) for cell in cells)
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]


SOURCES = [*PACKAGE, *sorted((REPOSITORY / "docs/builder").glob("*.py")), *[path for path in sorted((REPOSITORY / "nbs").glob("*.ipynb")) if re.match(r"[39]\d_", path.name)]]


def test_line_ends_are_written_as_they_are(tally):
    """A text file that is written says how its lines end, and a table too: bytes, and so hashes, are the same on Windows. (ruff asks for the encodings.)"""
    for path in SOURCES:
        with tally("Anyone's machine", "sources whose text files name their line ends"):
            for call in calls(path):
                name = getattr(call.func, "attr", getattr(call.func, "id", ""))
                words, values = {word.arg for word in call.keywords}, [value.value for value in call.args if isinstance(value, ast.Constant)]
                where = f"{path.name}: {ast.unparse(call)[:80]}"
                if name == "write_text": assert "newline" in words, where
                if name == "to_csv": assert "lineterminator" in words, where
                if name == "open" and {"w", "a", "x", "w+", "a+"} & {*map(str, values)}: assert "newline" in words, where


def test_hashes_do_not_depend_on_autocrlf(tmp_path, tally):
    """A clone by a git that turns line ends into Windows' own holds the same bytes."""
    if not (REPOSITORY / ".git").exists(): pytest.skip("not a clone: git can say nothing here")
    names = subprocess.run(["git", "ls-files", "--eol"], cwd=REPOSITORY, capture_output=True, encoding="utf-8", check=True).stdout.splitlines()
    texts = [line.split("\t")[1] for line in names if line.startswith("i/lf")]
    assert len(texts) > 200 and not [line for line in names if line.startswith(("i/crlf", "i/mixed"))]
    git = ["git", "-c", "core.autocrlf=true", "-c", "core.eol=crlf"]
    subprocess.run([*git, "init", "-q", tmp_path], check=True)
    chosen = [name for name in texts if name.startswith(("nbs/", "dimabsa_nb/", "results/", "tests/", "locks/"))]
    shutil.copy(REPOSITORY / ".gitattributes", tmp_path)
    for name in chosen:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    subprocess.run([*git, "add", "--", ".gitattributes", *chosen], cwd=tmp_path, check=True, capture_output=True)
    for name in chosen: (tmp_path / name).unlink()
    subprocess.run([*git, "checkout", "-q", "--", "."], cwd=tmp_path, check=True)
    for name in chosen:
        with tally("Anyone's machine", "files with the same bytes where git writes CRLF"):
            assert (tmp_path / name).read_bytes() == (REPOSITORY / name).read_bytes(), name


def test_no_accelerator_is_chosen_in_silence(monkeypatch, tally):
    """Apple's MPS counts only where it is asked for by name: no number of ours was made on it."""
    import torch

    from dimabsa_nb.train import choose_device, choose_dtype
    monkeypatch.delenv("DIMABSA_DTYPE", raising=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    with tally("Anyone's machine", "MPS present, and not chosen"):
        assert choose_device() == choose_device("auto") == torch.device("cpu")
    with tally("Anyone's machine", "MPS asked for by name"):
        assert choose_device("mps").type == "mps" and choose_dtype(choose_device("mps")) == (torch.float32, "bfloat16 has not been measured on mps")
    text = "".join(path.read_text("utf-8") for path in SOURCES)
    assert "backends.mps" not in text and "device_map" not in text and "Accelerator(" not in text


def test_the_command_without_make():
    helped = subprocess.run([sys.executable, "-m", "dimabsa_nb", "--help"], cwd=REPOSITORY, capture_output=True, encoding="utf-8")
    assert helped.returncode == 0 and "Usage: dimabsa " in helped.stdout, helped.stderr
    readme, makefile = ((REPOSITORY / name).read_text("utf-8") for name in ("README.md", "Makefile"))
    for words in ("--require-hashes --only-binary :all:", "--no-build-isolation -e ."):
        assert words in readme and words in makefile


def test_the_workflow_names_three_systems_and_three_pythons():
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/test.yml").read_text("utf-8"))
    job = workflow["jobs"]["anywhere"]
    assert job["strategy"]["matrix"] == {"os": ["ubuntu-latest", "macos-latest", "windows-latest"], "python": ["3.11", "3.12", "3.13"]}
    said = "\n".join(step.get("run", "") for step in job["steps"])
    assert "make" not in said and "locks/cpu.txt" in said and "python -m pytest" in said


@pytest.mark.slow
def test_the_number_of_threads_moves_no_number(tmp_path, monkeypatch, tally, times):
    """A small chain from corpus to tables with 1, 2 and 16 threads: no number moves further than `verify` allows between machines."""
    from test_faults import SMALL
    monkeypatch.setenv("DIMABSA_DTYPE", "float32")
    root = checkout(tmp_path)
    (root / "nbs/profiles/small.toml").write_text(SMALL, "utf-8")
    tables = {}
    for threads in times((1, 2, 16), (1, 16)):
        monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
        dimabsa(root, "run", "small", "--name", f"threads-{threads}")
        tables[threads] = {path.relative_to(root / f"runs/threads-{threads}"): pd.read_csv(path) for path in sorted(root.glob(f"runs/threads-{threads}/*/results/**/*.csv"))}
    for threads in {*tables} - {1}:
        for path, frame in tables[1].items():
            with tally("Anyone's machine", "tables of 2 and 16 threads against those of 1") as facts:
                other = tables[threads][path]
                pd.testing.assert_frame_equal(other.select_dtypes(exclude="number"), frame.select_dtypes(exclude="number"))
                gaps = (other.select_dtypes("number") - frame.select_dtypes("number")).abs().max(axis=None)
                facts["gap"] = max(facts.get("gap", 0.0), 0.0 if pd.isna(gaps) else float(gaps))
                assert facts["gap"] <= 0.05, path  # the tolerance of profiles smoke and quick
    assert any(path.name == "table2.csv" for path in tables[1])
