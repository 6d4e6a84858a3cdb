"""What a person sees: in a terminal (a pseudo-terminal here) one bar a stage with its place in the chain; in a log neither bars nor repetitions."""
import os
import re
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

pty, termios = (pytest.importorskip(name, reason="terminals of Unix") for name in ("pty", "termios"))
RUN = [sys.executable, "-c", "from dimabsa_nb.cli import app; app()", "run", "toy"]
STAGES = "91_dataset", "92_main_results"


@pytest.fixture
def root(tmp_path):
    """Two stages that ask for the official corpora, where there are none and no network."""
    (tmp_path / "nbs/profiles").mkdir(parents=True)
    code = "import time\nfrom dimabsa_nb.train import progress\nfor step in progress(range(30), 'training'): time.sleep(0.1)\nopen(out + '/n', 'w').write(corpus)"
    for stage in STAGES:
        cells = [new_code_cell("out = ''\ncorpus = 'official'\ndata = ''", metadata={"tags": ["parameters"]}), new_code_cell(code)]
        nbformat.write(new_notebook(cells=cells), tmp_path / f"nbs/{stage}.ipynb")
    (tmp_path / "nbs/profiles/toy.toml").write_text(f"[profile]\nstages = {[*STAGES]}\nfallback = 'synthetic'\n")
    return tmp_path


def environment(root):
    return {**os.environ, "DIMABSA_DATA": "", "DIMABSA_CACHE": str(root / "cache"), "HTTPS_PROXY": "http://127.0.0.1:9", "COLUMNS": "100", "TERM": "xterm"}


def in_terminal(root, *given):
    """All that a command writes to a terminal."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 100))
    process = subprocess.Popen([*RUN, *given], cwd=root, env=environment(root), stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True)
    os.close(theirs)
    said = b""
    while True:
        try: said += (more := os.read(ours, 65536))
        except OSError: break  # the other end is closed
        if not more: break
    os.close(ours)
    assert process.wait() == 0, said
    return said.decode("utf-8")


@pytest.mark.slow
def test_a_terminal_shows_a_bar_a_stage_and_its_place(root, tally):
    first, again = in_terminal(root), in_terminal(root, "--force")
    for number, stage in enumerate(STAGES, 1):
        with tally("Progress", "stages whose place, bar and end a terminal shows"):
            assert f"{stage}: has not run ({number} of 2)" in first and f"{stage}: done in " in first
            assert re.search(rf"{stage}: +\d+%\|.*cell", first) and re.search(r"training: +\d+%\|.*\d\d:\d\d<\d\d:\d\d", first)
        with tally("Progress", "stages whose minutes left a terminal shows once there are records"):
            assert f"{stage}: forced ({number} of 2, about 1 min left in all)" in again
    with tally("Progress", "notes about missing corpora said once"): assert first.count("NOTE: the official corpora are not at hand") == 1


@pytest.mark.slow
def test_a_log_shows_neither_bars_nor_repetitions(root, tally):
    with tally("Progress", "logs without bars, every line once"):
        said = subprocess.run(RUN, cwd=root, env=environment(root), capture_output=True, text=True)
        lines = (said.stdout + said.stderr).splitlines()
        assert said.returncode == 0 and len(lines) == len({*lines}) and not any("%|" in line or "\r" in line for line in lines), lines
        assert [line.split(" (")[0].split(";")[0] for line in lines[:3]] == ["NOTE: the official corpora are not at hand", "91_dataset: has not run", lines[2]]
