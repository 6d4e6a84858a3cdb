"""What is killed, full, read-only, damaged or set back: the same command goes on, or says so in one line, and ends in the same bytes."""
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from test_chain import DIMABSA, REPOSITORY, checkout, dimabsa, published, records
from typer.testing import CliRunner

from dimabsa_nb import core, weights
from dimabsa_nb.cli import app
from dimabsa_nb.corpus import fetch_corpora
from dimabsa_nb.records import _is_unchanged
from dimabsa_nb.synthetic import synthetic_corpus
from dimabsa_nb.weights import resolve

resource = pytest.importorskip("resource", reason="limits and signals of Unix")
NOBODY = 65534
# loaded by every Python below: SIGKILL before or after the Nth time that a file is opened for writing, renamed, replaced or removed
SITE = """import os, signal, sys, tempfile
left = int(os.environ.get("KILL_AT", 0))
def count(name, given):
    global left
    writes = name == "open" and isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR)
    if not left or not (writes or name in ("os.rename", "os.remove", "os.rmdir", "os.mkdir")): return
    path = os.path.abspath(given[0]) if isinstance(given[0], (str, os.PathLike)) else ""
    if "/dimabsa-kill/" in path and "__pycache__" not in path:
        left -= 1
        if not left: os.kill(os.getpid(), signal.SIGKILL)
if left: sys.addaudithook(count)
"""
SMALL = """[profile]
[parameters]
corpus = "synthetic"
checkpoint_seconds = 0.0
coarse_rows = 6
encoder_rows = 6
test_rows = 3
model = "tiny-random-qwen3"
base = "tiny-random-xlmr"
learning_rate = 1e-3
batch_size = 16
epochs = 1
bootstrap_samples = 50
"""


def started(command, place, kill_at=0, limit=None):
    """A process of its own group, with a fault to come."""
    def prepare():
        os.setsid()
        if limit is not None: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    (place / "faults").mkdir(exist_ok=True)
    (place / "faults/sitecustomize.py").write_text(SITE)
    path = os.pathsep.join([str(place / "faults"), str(place if (place / "dimabsa_nb").is_dir() else REPOSITORY)])
    return subprocess.Popen([*map(str, command)], cwd=place, env={**os.environ, "PYTHONPATH": path, "KILL_AT": str(kill_at)}, preexec_fn=prepare, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def place_of(folder):
    """A folder whose name the audit hook looks for."""
    folder = folder / "dimabsa-kill"
    folder.mkdir()
    return folder


@pytest.mark.slow
def test_a_run_killed_at_twenty_moments_ends_in_the_same_bytes(tmp_path, tally):
    """Half of the moments are file operations of the runner or its kernels, half are seconds; a run that ends before its kill loses a stage and goes on."""
    roots, draw = [], random.Random(0)
    for name in ("undisturbed", "dimabsa-kill"):
        (tmp_path / name).mkdir()
        roots.append(checkout(tmp_path / name))
        (roots[-1] / "nbs/profiles/small.toml").write_text(SMALL)
    undisturbed, root = roots
    dimabsa(undisturbed, "run", "small", "--publish")
    stages = sorted(records(undisturbed, "small"))
    with tally("Disk full", "a run"):
        process = started([*DIMABSA, "run", "small"], root, limit=30_000)
        said, errors = process.communicate(timeout=900)
        assert process.returncode in (1, 2) and "Traceback" not in errors, errors
    killed = 0
    for number in range(20):
        process = started([*DIMABSA, "run", "small", "--publish"], root, kill_at=number % 2 and draw.randrange(1, 60))
        try: process.communicate(timeout=None if number % 2 else draw.uniform(2, 30))
        except subprocess.TimeoutExpired: pass
        died = process.poll() is None or process.returncode in (-signal.SIGKILL, 1)
        try: os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError: pass
        process.communicate()
        time.sleep(3)  # a kernel without its runner ends by itself
        killed += died
        if not died: shutil.rmtree(root / "runs/small" / draw.choice(stages))
    said = dimabsa(root, "run", "small", "--publish")
    with tally("Killed", "a smoke run, 20 times, then ended: outputs, tables and figures by bytes"):
        assert killed >= 12 and records(root, "small") == records(undisturbed, "small"), said
        assert published(root) == published(undisturbed)


CORPUS = "from dimabsa_nb.core import file_sha256; from dimabsa_nb.corpus import fetch_corpora; from pathlib import Path; there = Path('../there').resolve(); " \
         "fetch_corpora('corpus', there.as_uri(), {path.relative_to(there).as_posix(): file_sha256(path) for path in sorted(there.rglob('*.jsonl'))})"
OPERATIONS = {"downloading corpora": 60, "building weights": 8, "writing the explorer": 3, "writing the site's sources": 100}  # kills come within the first so many
PARTS = {
    "downloading corpora": CORPUS,
    "building weights": "from dimabsa_nb.weights import resolve; resolve('tiny-random-qwen3-bytes', 'cache')",
    "writing the explorer": "from dimabsa_nb.explorer import write_example; write_example('page.html')",
    "writing the site's sources": "import sys; sys.path.insert(0, 'docs'); from pathlib import Path; from builder.site import write_sources; write_sources(Path('.'), Path('work'))"}


def run_part(part, place, **fault):
    if "site" in part and not (place / "docs").exists():
        for name in ("docs", "nbs", "dimabsa_nb", "results", "figures", "README.md", "ARTIFACT.md", "CONTRIBUTING.md", "settings.ini", "CITATION.cff"): (place / name).symlink_to(REPOSITORY / name)
    process = started([sys.executable, "-c", PARTS[part]], place, **fault)
    said, errors = process.communicate(timeout=300)
    return process.returncode, said + errors


def made(place):
    return {path.relative_to(place).as_posix(): path.read_bytes() for top in ("corpus", "cache", "page.html", "work") for path in [place / top, *sorted((place / top).rglob("*"))]
            if path.is_file() and not path.relative_to(place).as_posix().startswith("cache/weights/.")}


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_parts_killed_at_five_moments_end_in_the_same_bytes(tmp_path, part, tally):
    synthetic_corpus(tmp_path / "there", texts_per_pair=3)
    (tmp_path / "plain").mkdir()
    assert run_part(part, tmp_path / "plain") == (0, "")
    place, draw, killed = place_of(tmp_path), random.Random(part), 0
    for _ in range(5):
        with tally("Killed", part):
            code, said = run_part(part, place, kill_at=draw.randrange(1, OPERATIONS[part]))
            killed += code == -signal.SIGKILL
            assert code in (0, -signal.SIGKILL), said
            code, said = run_part(part, place)
            assert code == 0 and made(place) == made(tmp_path / "plain"), said
            for top in ("corpus", "cache", "work"): shutil.rmtree(place / top, ignore_errors=True)
            (place / "page.html").unlink(missing_ok=True)
    assert killed >= 4


FULL = {"downloading corpora": 500, "building weights": 20_000, "writing the explorer": 10_000}


@pytest.mark.slow
@pytest.mark.parametrize("part", FULL)
def test_a_full_disk_loses_nothing(tmp_path, part, tally):
    """A limit on the size of files stands for the disk: one error, no half file, and later the same bytes."""
    synthetic_corpus(tmp_path / "there", texts_per_pair=3)
    place = place_of(tmp_path)
    with tally("Disk full", part):
        code, said = run_part(part, place, limit=FULL[part])
        assert code == 1 and ("File too large" in said or "cannot be kept" in said), said
        left = [path for path in place.rglob("*") if path.is_file() and path.name.endswith((".partial", ".safetensors", "page.html"))]
        assert left == [], left
        assert run_part(part, place)[0] == 0 and made(place)


def test_a_full_disk_is_one_line(system, tmp_path, monkeypatch, tally):
    with tally("Disk full", "writing predictions"):
        (tmp_path / "mine.jsonl").write_text('{"ID": "1", "Text": "Fine.", "Aspect": ["lid"], "Language": "eng", "Domain": "laptop"}')

        def full(path, *given): raise OSError(28, "No space left on device", str(path))
        monkeypatch.setattr(core, "open", full, raising=False)
        answer = CliRunner().invoke(app, ["predict", str(system), str(tmp_path / "mine.jsonl"), "-o", str(tmp_path / "out.jsonl")])
        assert answer.exit_code == 2 and answer.stderr.count("\n") == 1, answer.stderr
        assert answer.stderr.endswith(": No space left on device; check the path, its rights and the room on its disk\n")
        assert [path.name for path in tmp_path.iterdir()] == ["mine.jsonl"]


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    before = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("name", ["tiny-random-xlmr", "tiny-random-qwen3-bytes"])
def test_a_flipped_byte_in_cached_weights_is_named_and_mended(tmp_path, name, capsys, tally):
    with tally("Cache", "a flipped byte in weights"):
        folder = resolve(name, tmp_path)
        whole = {path.name: path.read_bytes() for path in folder.iterdir()}
        weights._altered_file.cache_clear()  # as in another process
        flip(folder / "model.safetensors")
        capsys.readouterr()
        assert {path.name: path.read_bytes() for path in resolve(name, tmp_path).iterdir()} == whole
        assert capsys.readouterr().err == f"{folder / 'model.safetensors'}: is not what was built (SHA-256); built again\n"


def test_a_flipped_byte_in_cached_corpora_is_named_and_fetched_again(tmp_path, caplog, tally):
    with tally("Cache", "a flipped byte in corpora"):
        synthetic_corpus(tmp_path / "there", texts_per_pair=3)
        files = {path.relative_to(tmp_path / "there").as_posix(): core.file_sha256(path) for path in sorted((tmp_path / "there").rglob("*.jsonl"))}
        fetch_corpora(tmp_path / "here", (tmp_path / "there").as_uri(), files)
        assert not caplog.records
        flip(broken := tmp_path / "here" / min(files))
        fetch_corpora(tmp_path / "here", (tmp_path / "there").as_uri(), files)
        assert caplog.messages == [f"{broken}: is not the pinned file; fetched again"] and core.file_sha256(broken) == files[min(files)]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="root alone can become nobody")
def test_a_read_only_cache_serves_what_it_holds(tmp_path, tally):
    with tally("Cache", "read-only"):
        name = "tiny-random-qwen3-bytes"
        folder = resolve(name, tmp_path)
        for path in (tmp_path, *tmp_path.parents[:3]): path.chmod(0o711)
        for path in (tmp_path, tmp_path / "weights", folder): path.chmod(0o555)
        weights._altered_file.cache_clear()
        os.seteuid(NOBODY)
        try:
            assert resolve(name, tmp_path) == folder
            with pytest.raises(core.UserError, match="tiny-random-xlmr: cannot be kept in .*Permission denied.*; set DIMABSA_CACHE to a folder with room"): resolve("tiny-random-xlmr", tmp_path)
        finally: os.seteuid(0)


@pytest.mark.parametrize("seconds", [-10**9, -3600, 0, 10**9])
def test_a_clock_set_back_hides_no_change(tmp_path, seconds, tally):
    """An output with another content and any date is noticed; one with the same content and any date is not."""
    with tally("Clock", "set back or forward around an altered output"):
        core.write_atomic(tmp_path / "rows.jsonl", "1")
        recorded = core.file_sha256(tmp_path / "rows.jsonl")
        core.write_atomic(tmp_path / "record.json", "{}")
        now = time.time() + seconds
        os.utime(tmp_path / "rows.jsonl", (now, now))
        assert _is_unchanged(tmp_path, "rows.jsonl", recorded)
        core.write_atomic(tmp_path / "rows.jsonl", "2")
        os.utime(tmp_path / "rows.jsonl", (now, now))
        assert not _is_unchanged(tmp_path, "rows.jsonl", recorded)
