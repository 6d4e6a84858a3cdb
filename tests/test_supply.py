"""What comes from outside: no byte of a lock is installed without its hash, also where one version has two builds."""
import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
LOCKS = {name: (REPOSITORY / f"locks/{name}.txt").read_text("utf-8") for name in ("cpu", "gpu")}
PINS = {name: re.findall(r"(?m)^([\w.-]+==[^\s;]+)( ; [^\\\n]+)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text) for name, text in LOCKS.items()}


@pytest.mark.parametrize("name", LOCKS)
def test_every_line_of_a_lock_has_hashes(name, tally):
    """A lock holds pins with their hashes, comments, and in gpu.txt the other lock: nothing else."""
    left = re.sub(r"(?m)^#.*\n", "", LOCKS[name])
    for pin, marker, hashes in PINS[name]:
        with tally("Supply", f"lines of {name}.txt with hashes"):
            left = left.replace(f"{pin}{marker} \\\n{hashes}", "", 1)
    assert left == ("-r cpu.txt\n" if name == "gpu" else "")


def test_one_version_two_builds_all_systems():
    """torch's line holds its CPU builds for Linux beside what the registry has; what is needed on one system alone carries a marker."""
    [hashes] = [hashes for pin, _, hashes in PINS["cpu"] if pin.startswith("torch==")]
    builds = re.findall(r"(?m)^([0-9a-f]{64})  torch", (REPOSITORY / "locks/make.py").read_text("utf-8"))
    assert len(builds) == 6 and all(digest in hashes for digest in builds) and hashes.count("sha256") > 20
    markers = {pin.split("==")[0]: marker for pin, marker, _ in PINS["cpu"] + PINS["gpu"]}
    assert "darwin" in markers["appnope"] and "nt" in markers["pywinpty"] and "3.12" in markers["aiohttp"] and "linux" in markers["triton"]
    assert not {name for name in markers if name.startswith(("nvidia-", "cuda-", "triton"))} & {pin.split("==")[0] for pin, *_ in PINS["cpu"]}


def wheel(folder, version, content="pass\n"):
    """A wheel of one module, and its SHA-256."""
    about = f"toy-{version}.dist-info"
    files = {"toy.py": content, f"{about}/METADATA": f"Metadata-Version: 2.1\nName: toy\nVersion: {version}\n", f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    record = "".join(f"{name},,\n" for name in [*files, f"{about}/RECORD"])
    path = folder / f"toy-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**files, f"{about}/RECORD": record}.items(): archive.writestr(name, text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def install(folder, *lines):
    """What `make` does with a lock, from a folder of wheels into another."""
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    options = [word for name in ("INSTALL", "LOCKED") for word in re.search(rf"(?m)^{name} := (.*)$", makefile)[1].split()][4:]
    assert {"--require-hashes", "--no-deps"} <= {*options} and makefile.count("$(INSTALL) $(LOCKED)") == 2 and makefile.count("pip install") == 2
    (folder / "lock.txt").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    shutil.rmtree(folder / "site", ignore_errors=True)
    return subprocess.run([sys.executable, "-m", "pip", "install", *options, "--isolated", "--no-index", "--find-links", folder, "--target", folder / "site", "-r", folder / "lock.txt"], capture_output=True, encoding="utf-8")


def test_a_lock_without_a_hash_or_with_another_is_refused(tmp_path, tally):
    plain, cpu, none = wheel(tmp_path, "1.0"), wheel(tmp_path, "1.0+cpu", "cpu = True\n"), "0" * 64
    lines = {"no hash": "toy==1.0", "another file's hash": f"toy==1.0 --hash=sha256:{none}",
             "the hash of the other build alone": f"toy==1.0 --hash=sha256:{plain}"}
    for what, line in lines.items():
        with tally("Supply", "locks with a flaw refused"):
            done = install(tmp_path, line)
            assert done.returncode and not (tmp_path / "site").exists(), what
    both = f"toy==1.0 --hash=sha256:{plain} --hash=sha256:{cpu}"
    for version in ("1.0+cpu", "1.0"):  # the CPU build where pip finds one, the other elsewhere
        with tally("Supply", "two builds of one version"):
            done = install(tmp_path, both)
            assert done.returncode == 0 and (tmp_path / f"site/toy-{version}.dist-info").is_dir(), done.stderr
            (tmp_path / f"toy-{version}-py3-none-any.whl").unlink()
    wheel(tmp_path, "1.0", "import os\n")
    with tally("Supply", "locks with a flaw refused"):
        done = install(tmp_path, both)
        assert done.returncode and "DO NOT MATCH THE HASHES" in done.stderr


def test_what_is_installed_here_is_the_lock():
    """`--no-deps` leaves nothing out: every requirement of every package is met."""
    done = subprocess.run([sys.executable, "-m", "pip", "check", "--disable-pip-version-check"], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout
    from importlib.metadata import version
    assert [pin for pin, marker, _ in PINS["cpu"] if not marker and version(pin.split("==")[0]).partition("+")[0] != pin.split("==")[1]] == []


def test_every_download_is_pinned_and_other_bytes_are_refused(tmp_path, tally):
    """Weights, the wheels that carry them, corpora and scripts of the site: by hash. Models of the hub: by commit."""
    from builder import npm

    from dimabsa_nb import corpus, weights, wheels
    from dimabsa_nb.core import DataUnavailable, UserError
    from dimabsa_nb.emoloom import corpora
    other = tmp_path / "other"
    other.write_bytes(b"other bytes")
    pinned = [digest for model in weights.MODELS.values() for wheel in model.wheels for digest in (wheel.digest, *wheel.files.values())]
    for digest in sorted({*pinned}):
        with tally("Supply", "weights and the wheels that carry them: other bytes refused"), pytest.raises(wheels.WeightsError, match="not " + digest): wheels._check_digest(other, digest)
    for name, digest in corpus.OFFICIAL_FILES.items():
        (tmp_path / "there" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(other, tmp_path / "there" / name)
        with tally("Supply", "corpora: other bytes refused"), pytest.raises(DataUnavailable, match="not the pinned " + digest[:12]):
            corpus.fetch_corpora(tmp_path / "here", (tmp_path / "there").as_uri(), {name: digest})
    for name, files in corpora._SOURCES.items():
        for file, (_, digest) in files.items():
            with tally("Supply", "corpora: other bytes refused"), pytest.raises(DataUnavailable, match="not the pinned " + digest[:12]):
                corpora._fetch_affect(name, tmp_path / "affect", {name: {file: (other.as_uri(), digest)}})
    for name, (version, _) in npm.PACKAGES.items():
        shutil.copy(other, tmp_path / f"{name}-{version}.tgz")
        with tally("Supply", "scripts of the site: other bytes refused"), pytest.raises(UserError, match="as pinned"): npm.package(name, tmp_path)
    assert not list((tmp_path / "here").rglob("*.jsonl")) and not [path for path in (tmp_path / "affect").rglob("*") if path.is_file()]
    for name, pin in weights.HUB.items():
        with tally("Supply", "models of the hub named by a commit"):
            assert re.fullmatch("[0-9a-f]{40}", pin.commit) and weights._commit_of(name) == pin.commit


@pytest.mark.parametrize("trick", ["a pickle", "a pickle named safetensors", "code of its own"])
def test_a_malicious_checkpoint_runs_nothing(tmp_path, trick, tally):
    """What would write a file when it is loaded writes none."""
    import torch

    from dimabsa_nb.coarse import load_base
    from dimabsa_nb.core import UserError
    folder, written = tmp_path / "model", tmp_path / "hacked"

    class Evil:
        def __reduce__(self): return Path.touch, (written,)

    shutil.copytree(Path(load_base("tiny-random-qwen3-bytes")[1].name_or_path), folder)
    if trick == "code of its own":
        (folder / "own.py").write_text(f"import pathlib; pathlib.Path({str(written)!r}).touch()\nclass Own: pass\n", "utf-8")
        (folder / "config.json").write_text('{"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}}', "utf-8")
    else:
        (folder / "model.safetensors").unlink()
        torch.save({"weights": Evil()}, folder / ("pytorch_model.bin" if trick == "a pickle" else "model.safetensors"))
    with tally("Supply", "malicious checkpoints refused, nothing of theirs run"):
        with pytest.raises(UserError): load_base(str(folder))
        assert not written.exists()
    if trick == "a pickle":  # the trap is one
        torch.load(folder / "pytorch_model.bin", weights_only=False)
        assert written.exists()
