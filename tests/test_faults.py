"""What is killed, full, read-only, damaged or set back: the same command goes on, or says so in one line, and ends in the same bytes."""
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import pytest
from test_chain import DIMABSA, REPOSITORY, checkout, dimabsa, published, records
from test_weights import llama_file
from typer.testing import CliRunner

from dimabsa_nb import core, weights
from dimabsa_nb.cli import app
from dimabsa_nb.corpus import fetch_corpora
from dimabsa_nb.records import _is_unchanged
from dimabsa_nb.synthetic import synthetic_corpus
from dimabsa_nb.weights import resolve

resource = pytest.importorskip("resource", reason="limits and signals of Unix")
NOBODY = 65534
# loaded by every Python below: SIGKILL at the Nth time that a file of a place is opened for writing, renamed, replaced or removed
SITE = """import os, re, signal, sys, tempfile
left, place = int(os.environ.get("KILL_AT", 0)), re.compile(os.environ.get("KILL_IN", ""))
def count(name, given):
    global left
    writes = name == "open" and isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR)
    if not left or not (writes or name in ("os.rename", "os.remove", "os.rmdir", "os.mkdir")): return
    path = os.path.abspath(given[0]) if isinstance(given[0], (str, os.PathLike)) else ""
    if "/dimabsa-kill/" in path and "__pycache__" not in path and place.search(f"{name} {path}"):
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


def started(command, place, kill_at=0, kill_in="", limit=None):
    """A process of its own group, with a fault to come."""
    def prepare():
        os.setsid()
        if limit is not None: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    (place / "faults").mkdir(exist_ok=True)
    (place / "faults/sitecustomize.py").write_text(SITE)
    path = os.pathsep.join([str(place / "faults"), str(place if (place / "dimabsa_nb").is_dir() else REPOSITORY)])
    return subprocess.Popen([*map(str, command)], cwd=place, env={**os.environ, "PYTHONPATH": path, "KILL_AT": str(kill_at), "KILL_IN": kill_in}, preexec_fn=prepare, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def place_of(folder):
    """A folder whose name the audit hook looks for."""
    folder = folder / "dimabsa-kill"
    folder.mkdir()
    return folder


def small_checkout(folder):
    root = checkout(folder)
    (root / "nbs/profiles/small.toml").write_text(SMALL)
    return root


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    root = small_checkout(tmp_path_factory.mktemp("undisturbed"))
    dimabsa(root, "run", "small", "--publish")
    return root


def end_group(process):
    """End a runner with its kernels; a kernel that another group holds ends by itself."""
    try: os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError: pass
    said = process.communicate()
    time.sleep(3)
    return said


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_in_the_same_bytes(undisturbed, tmp_path, tally, times):
    """Half of the moments are file operations of the runner or its kernels, half are seconds; a run that ends before its kill loses a stage and goes on."""
    root, draw = small_checkout(place_of(tmp_path)), random.Random(0)
    stages = sorted(records(undisturbed, "small"))
    with tally("Disk full", "a run"):
        process = started([*DIMABSA, "run", "small"], root, limit=30_000)
        said, errors = process.communicate(timeout=900)
        assert process.returncode in (1, 2) and "Traceback" not in errors, errors
    killed, tries = 0, times(20, 6)
    for number in range(tries):
        process = started([*DIMABSA, "run", "small", "--publish"], root, kill_at=number % 2 and draw.randrange(1, 60))
        try: process.communicate(timeout=None if number % 2 else draw.uniform(2, 30))
        except subprocess.TimeoutExpired: pass
        died = process.poll() is None or process.returncode in (-signal.SIGKILL, 1)
        end_group(process)
        killed += died
        if not died: shutil.rmtree(root / "runs/small" / draw.choice(stages))
    said = dimabsa(root, "run", "small", "--publish")
    with tally("Killed", "a smoke run, 20 times, then ended: outputs, tables and figures by bytes"):
        assert killed >= times(12, 3) and records(root, "small") == records(undisturbed, "small"), said
        assert published(root) == published(undisturbed)


RENAME = r"os\.rename .*/runs/small/[^/]+\.partial$"
MOMENTS = [  # what is taken from a finished run, where the kill comes, and at which of the operations there
    ("training", "runs/small/31_train_coarse@valence", r"/31_train_coarse@valence\.partial/(checkpoint|adapter)/", 1),
    ("training", "runs/small/31_train_coarse@valence", r"/31_train_coarse@valence\.partial/(checkpoint|adapter)/", 4),
    ("training", "runs/small/33_train_encoder@joint", r"/33_train_encoder@joint\.partial/checkpoint/", 2),
    ("extraction", "runs/small/32_extract_guidance", r"/32_extract_guidance\.partial/(checkpoint/|\.)\S*\.jsonl", 1),
    ("extraction", "runs/small/32_extract_guidance", r"/32_extract_guidance\.partial/(checkpoint/|\.)\S*\.jsonl", 2),
    ("extraction", "runs/small/32_extract_guidance", r"/32_extract_guidance\.partial/(checkpoint/|\.)\S*\.jsonl", 4),
    ("between record and rename", "runs/small/30_prepare_rows", RENAME, 1),
    ("between record and rename", "runs/small/32_extract_guidance", RENAME, 1),
    ("between record and rename", "runs/small/92_main_results", RENAME, 1),
    *[("publishing results", "results/small", r"open .*/(results|figures)/small/", at) for at in (1, 5, 9)]]


def pytest_generate_tests(metafunc):
    """All moments where the counts are recorded, the last one of each kind elsewhere."""
    if "moment" in metafunc.fixturenames:
        some = MOMENTS if metafunc.config.getoption("--record") else [*{moment[0]: moment for moment in MOMENTS}.values()]
        metafunc.parametrize("moment, taken, where, at", some, ids=[f"{moment[0]}-{number}" for number, moment in enumerate(some)])


@pytest.mark.slow
def test_kills_hit_on_purpose_lose_nothing(undisturbed, tmp_path, moment, taken, where, at, tally):
    """The run dies at that very operation; the same command then ends in the same bytes."""
    root = shutil.copytree(undisturbed, place_of(tmp_path) / "root")
    shutil.rmtree(root / taken)
    with tally("Killed", f"a run, on purpose: {moment}"):
        process = started([*DIMABSA, "run", "small", "--publish"], root, kill_at=at, kill_in=where)
        process.wait(timeout=900)
        said = end_group(process)
        assert process.returncode == -signal.SIGKILL or "the kernel died" in said[1], said
        assert (root / f"{taken}.partial/record.json").exists() == (moment == "between record and rename")
        assert dimabsa(root, "run", "small", "--publish")
        assert records(root, "small") == records(undisturbed, "small") and published(root) == published(undisturbed)


CORPUS = "from dimabsa_nb.core import file_sha256; from dimabsa_nb.corpus import fetch_corpora; from pathlib import Path; there = Path('../there').resolve(); " \
         "fetch_corpora('corpus', there.as_uri(), {path.relative_to(there).as_posix(): file_sha256(path) for path in sorted(there.rglob('*.jsonl'))})"
# a model of our own in a wheel, by the ways of the real ones: pip, SHA-256, GGUF to safetensors
CONVERSION = """
import os
from pathlib import Path
from gguf import GGUFReader
from dimabsa_nb import convert, core, weights, wheels
there = Path("../there").resolve()
def change(files, folder):
    reader = GGUFReader(files["tiny.gguf"])
    convert._save_weights(folder, convert._llama_weights(reader), convert._llama_config(reader))
os.environ |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(there), "TMPDIR": str(there)}
[archive] = there.glob("*.whl")
wheel = wheels._Wheel("tiny-weights==1", core.file_sha256(archive), {"tiny.gguf": core.file_sha256(there / "tiny.gguf")})
weights.MODELS["tiny"] = weights.Model("our own", change, (wheel,))
weights.resolve("tiny", "cache")"""
SITES_CACHE = """
import base64, hashlib, os, sys
from pathlib import Path
there = Path("../there").resolve()
os.environ["PATH"] = f"{there}:{os.environ['PATH']}"
sys.path.insert(0, "docs")
from builder import npm
npm.PACKAGES["toy"] = "1", base64.b64encode(hashlib.sha512((there / "tiny.gguf").read_bytes()).digest()).decode()
npm.package("toy", Path("cache/npm").resolve())"""
NPM = """#!{python}
import sys
data = open("{there}/tiny.gguf", "rb").read()
for half in (data[:999], data[999:]): open(sys.argv[4] + "/toy-1.tgz", "ab").write(half)
"""  # writes its archive in two halves
OPERATIONS = {"downloading corpora": 60, "building weights": 8, "downloading and converting weights": 12, "writing the explorer": 3, "fetching into the site's cache": 6,
              "writing the site's sources": 100}  # kills come within the first so many
PARTS = {
    "downloading corpora": CORPUS,
    "building weights": "from dimabsa_nb.weights import resolve; resolve('tiny-random-qwen3-bytes', 'cache')",
    "downloading and converting weights": CONVERSION,
    "fetching into the site's cache": SITES_CACHE,
    "writing the explorer": "from dimabsa_nb.explorer import write_example; write_example('page.html')",
    "writing the site's sources": "import sys; sys.path.insert(0, 'docs'); from pathlib import Path; from builder.site import write_sources; write_sources(Path('.'), Path('work'))"}


def supplies(there):
    """What is downloaded, in small: corpora, a model in a wheel, and an npm."""
    synthetic_corpus(there, texts_per_pair=3)
    llama_file(there / "tiny.gguf")
    with zipfile.ZipFile(there / "tiny_weights-1-py3-none-any.whl", "w") as wheel:
        wheel.write(there / "tiny.gguf", "tiny.gguf")
        for name, text in (("METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1\n"), ("WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"), ("RECORD", "")):
            wheel.writestr(f"tiny_weights-1.dist-info/{name}", text)
    core.write_atomic(there / "npm", NPM.format(python=sys.executable, there=there)).chmod(0o755)


def run_part(part, place, **fault):
    if "site's" in part and not (place / "docs").exists():
        for name in ("docs", "nbs", "dimabsa_nb", "results", "figures", "README.md", "ARTIFACT.md", "CONTRIBUTING.md", "settings.ini", "CITATION.cff"): (place / name).symlink_to(REPOSITORY / name)
    process = started([sys.executable, "-c", PARTS[part]], place, **fault)
    said, errors = process.communicate(timeout=300)
    return process.returncode, said + errors


def made(place):
    return {path.relative_to(place).as_posix(): path.read_bytes() for top in ("corpus", "cache", "page.html", "work") for path in [place / top, *sorted((place / top).rglob("*"))]
            if path.is_file() and not re.match(r"cache/\w+/\.", path.relative_to(place).as_posix())}


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_parts_killed_at_random_moments_end_in_the_same_bytes(tmp_path, part, tally, times):
    supplies(tmp_path / "there")
    (tmp_path / "plain").mkdir()
    assert (told := run_part(part, tmp_path / "plain"))[0] == 0, told
    place, draw, killed, tries = place_of(tmp_path), random.Random(part), 0, times(5, 2)
    for _ in range(tries):
        with tally("Killed", part):
            code, said = run_part(part, place, kill_at=draw.randrange(1, OPERATIONS[part]))
            died = code == -signal.SIGKILL or "pip cannot download it (no reason given)" in said or "npm cannot fetch" in said
            killed += died
            assert died or code == 0, said
            code, said = run_part(part, place)
            assert code == 0 and made(place) == made(tmp_path / "plain"), said
            for top in ("corpus", "cache", "work"): shutil.rmtree(place / top, ignore_errors=True)
            (place / "page.html").unlink(missing_ok=True)
    assert killed >= tries - 1


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
