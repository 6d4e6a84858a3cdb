"""Two gloo processes under torchrun train as one process does, and go on from their checkpoints."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPT = """
import os, sys
import pandas as pd, torch
from pathlib import Path
from dimabsa_nb.coarse import add_lora, load_base, train_coarse
from dimabsa_nb.train import _save_tensors, _trained_parameters, join_processes
rank, count = join_processes()
folder, dropout, stop = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
words = "good bad fine poor loud calm bright dull".split()
rows = pd.DataFrame({"language": ["eng", "rus"] * 4, "domain": "laptop", "text": [f"It is {word}." for word in words for _ in (0, 1)][::2],
                     "aspect": ["fan", "screen"] * 4, "valence": [8.0, 2, 7, 3, 4, 6, 8, 2]})
model, tokenizer = load_base("tiny-random-qwen3-bytes")
tuned = add_lora(model, dropout=dropout)
if stop:
    from dimabsa_nb import train
    step = train._optimizer_step
    def halting(run, backward):
        if run.state["step"] == stop: os._exit(3)
        step(run, backward)
    train._optimizer_step = halting
train_coarse(tuned, tokenizer, rows, "valence", f"{folder}/checkpoint-{rank}", learning_rate=1e-2, batch_size=3, epochs=2, every=0)
_save_tensors(Path(f"{folder}/{rank}.safetensors"), _trained_parameters(tuned))
"""


def train(folder, processes, dropout=0.0, stop=0):
    folder.mkdir(exist_ok=True)
    (folder / "train.py").write_text(SCRIPT)
    launch = [sys.executable]
    if processes > 1:
        launch += ["-m", "torch.distributed.run", "--nproc-per-node", str(processes),
                   "--master-port", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    script = [str(folder / "train.py"), str(folder), str(dropout), str(stop)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1",
                   "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run([*launch, *script], capture_output=True, text=True, timeout=300, env=environment)
    assert (done.returncode != 0) if stop else done.returncode == 0, done.stderr[-3000:]
    return [path.read_bytes() for path in sorted(folder.glob("*.safetensors"))]


def tensors(data):
    from safetensors.torch import load
    return load(data)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    return train(tmp_path_factory.mktemp("two"), 2)


def test_two_processes_agree_with_one(both, tmp_path):
    alone, = train(tmp_path / "one", 1)
    assert len(both) == 2 and both[0] == both[1]
    alone, shared = tensors(alone), tensors(both[0])
    assert set(alone) == set(shared)
    for name in alone:
        torch.testing.assert_close(shared[name], alone[name], atol=2e-4, rtol=1e-3)
    assert any(value.abs().max() > 1e-3 for name, value in alone.items() if "lora_B" in name)


def test_stopped_processes_go_on_to_the_same_bytes(both, tmp_path):
    train(tmp_path / "again", 2, stop=3)
    assert train(tmp_path / "again", 2) == both


def test_processes_whose_checkpoints_differ_start_again(both, tmp_path):
    train(tmp_path / "torn", 2, stop=3)
    shutil.rmtree(tmp_path / "torn" / "checkpoint-1")
    assert train(tmp_path / "torn", 2) == both
