"""Two gloo processes train what one process trains, started by the runner, and go on from the first one's checkpoint."""
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from dimabsa_nb.core import read_jsonl

REPOSITORY = Path(__file__).resolve().parents[1]
DIMABSA = [sys.executable, "-c", "from dimabsa_nb.cli import app; app()"]
COARSE, ENCODER = "31_train_coarse@valence", "33_train_encoder@separate-valence"
# without dropout, which every process draws for itself; with a checkpoint at each step
SETTINGS = {"dtype": "float32", "lora_dropout": 0.0, "33_train_encoder.dropout": 0.0, "backbone_dropout": 0.0, "start": "random", "checkpoint_seconds": 0.0}
WEIGHTS = {COARSE: "adapter/adapter_model.safetensors", ENCODER: "encoder/model.safetensors"}


def command(name, *arguments, **settings):
    given = [part for key, value in {**SETTINGS, **settings}.items() for part in ("-p", f"{key}={value}")]
    return [*DIMABSA, "run", "smoke", "--name", name, *given, *arguments]


def start(root, *arguments, **settings):
    return subprocess.Popen(command(*arguments, **settings), cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(root, *arguments, **settings):
    process = start(root, *arguments, **settings)
    said, errors = process.communicate(timeout=600)
    assert (process.returncode, errors) == (0, ""), said + errors
    return said


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A repository with run `one`, and run `two` in which two processes train on the same guidance."""
    root = tmp_path_factory.mktemp("repository")
    for part in ("nbs", "dimabsa_nb"):
        shutil.copytree(REPOSITORY / part, root / part, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    run(root, "one", "--only", ENCODER)
    shutil.copytree(root / "runs/one", root / "runs/two")
    run(root, "two", "--only", COARSE, "--only", ENCODER, processes=2)
    return root


def record(root, name, stage):
    return json.loads((root / "runs" / name / stage / "record.json").read_text())


@pytest.mark.parametrize("stage", [COARSE, ENCODER])
def test_two_processes_equal_one(root, stage):
    one, two = (record(root, name, stage) for name in ("one", "two"))
    assert [one["parameters"]["processes"], two["parameters"]["processes"]] == [1, 2]
    assert one["parameters"] | {"processes": 2} == two["parameters"] and one["outputs"].keys() == two["outputs"].keys()
    one, two = (root / "runs" / name / stage for name in ("one", "two"))
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in two.iterdir())
    assert "process 0 of 2" in (two / "notebook.ipynb").read_text()
    losses = [torch.tensor(json.loads((folder / "losses.json").read_text())) for folder in (one, two)]
    torch.testing.assert_close(*losses, atol=1e-3, rtol=1e-3)
    alone, shared = (load_file(folder / WEIGHTS[stage]) for folder in (one, two))
    assert alone.keys() == shared.keys()
    for name in alone:
        torch.testing.assert_close(shared[name], alone[name], atol=2e-4, rtol=1e-3)


def test_two_processes_predict_what_one_predicts(root):
    one, two = (read_jsonl(root / "runs" / name / ENCODER / "predictions.jsonl")["valence"] for name in ("one", "two"))
    assert one.std() > 1e-4 and (one - two).abs().max() < 1e-3


@pytest.mark.parametrize("stage", [COARSE, ENCODER])
def test_killed_processes_go_on_to_the_same_bytes(root, stage):
    name = f"killed-{stage[:2]}"
    shutil.copytree(root / "runs/one", root / "runs" / name)
    process = start(root, name, "--only", stage, processes=2)
    checkpoint = root / "runs" / name / f"{stage}.partial/checkpoint/state.safetensors"
    while not checkpoint.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    for victim in (runner := psutil.Process(process.pid)).children(recursive=True) + [runner]:
        victim.kill()
    process.wait()
    assert not (root / "runs" / name / f"{stage}.partial/losses.json").exists()
    assert "goes on where it was stopped" in run(root, name, "--only", stage, processes=2)
    assert record(root, name, stage)["outputs"] == record(root, "two", stage)["outputs"]


def test_a_batch_that_does_not_divide_is_refused_before_anything_runs(root):
    process = start(root, "uneven", "--only", COARSE, processes=3)
    said, errors = process.communicate(timeout=60)
    assert (process.returncode, said) == (2, "") and not (root / "runs/uneven").exists()
    assert errors == f"{COARSE}: batch_size 16 cannot be divided among 3 processes; give batch_size=18, or other processes\n"


SCRIPT = """
import sys
import torch
from dimabsa_nb.train import Schedule, fit, join_processes, _own_share
rank, count = join_processes(2)
torch.manual_seed(rank) # the first one's parameters count
model = torch.nn.Linear(3, 1)
read = []
def backward(epoch, batch):
    read.append(epoch)
    if epoch == int(sys.argv[2]): raise SystemExit(3)
    own = _own_share([0]) # the second process has no row
    loss = model(torch.ones(len(own), 3)).square().sum()
    if own: loss.backward()
    return loss.item()
fit(model, backward, Schedule(4, 1, 0.1), f"{sys.argv[1]}/{rank}", lambda: float(-rank), every=0.0)
torch.save([read, model.state_dict()], f"{sys.argv[1]}/{rank}.pt")
"""


def test_the_first_process_counts(tmp_path):
    """Its parameters, its score and its checkpoint; the others may be without rows."""
    (tmp_path / "train.py").write_text(SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(tmp_path / "train.py"), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    answers = [subprocess.run([*launch, stop], capture_output=True, text=True, timeout=300, env=environment) for stop in ("2", "9")]
    assert [bool(answer.returncode) for answer in answers] == [True, False], answers[1].stderr
    (read, first), (_, second) = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert read == [2, 3] and not (tmp_path / "1").exists()
    assert all(torch.equal(first[name], second[name]) for name in first)
