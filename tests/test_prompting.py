"""The prompted baselines as stages, on the smoke profile: on demand, both shots, examples, tables, a killed run that goes on."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from dimabsa_nb.core import read_jsonl

REPOSITORY = Path(__file__).resolve().parents[1]
SHOTS = "zero-shot", "one-shot"


def dimabsa(root, *arguments):
    command = [sys.executable, "-c", "from dimabsa_nb.cli import app; app()", *map(str, arguments)]
    answer = subprocess.run(command, cwd=root, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(root)})
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.fixture(scope="module")
def prompted(tmp_path_factory):
    root = tmp_path_factory.mktemp("prompted")
    for folder in ("nbs", "dimabsa_nb"):
        shutil.copytree(REPOSITORY / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    assert "37_prompt_llm" not in dimabsa(root, "run", "smoke", "--dry-run")
    dimabsa(root, "run", "smoke", "--only", "37_prompt_llm", "--publish")
    return root


def stage(root, shots):
    return root / f"runs/smoke/37_prompt_llm@{shots}"


@pytest.mark.parametrize("shots", SHOTS)
def test_every_asked_row_has_both_answers(prompted, shots):
    folder, metrics = stage(prompted, shots), json.loads((stage(prompted, shots) / "metrics.json").read_text())
    digits, free = (read_jsonl(folder / f"predictions_{kind}.jsonl") for kind in ("digits", "free"))
    prepared = read_jsonl(prompted / "runs/smoke/30_prepare_rows/rows.jsonl").set_index("row")
    assert digits.row.tolist() == free.row.tolist() and {*prepared.loc[digits.row].split} == {"test"}
    assert digits.valence.between(1, 8).all() and digits.arousal.between(3, 8).all()
    assert sum(metrics["parsed"].values()) == metrics["rows"] == len(free) and (free.valence[free.parsed != "ok"] == 5).all()
    assert metrics["shots"] == shots and min(metrics["sharing"].values()) > 1


def test_examples_are_training_rows_of_the_same_pair(prompted):
    shown = {shots: json.loads((stage(prompted, shots) / "metrics.json").read_text())["examples"] for shots in SHOTS}
    prepared = read_jsonl(prompted / "runs/smoke/30_prepare_rows/rows.jsonl").set_index("row")
    rows = prepared.loc[list(shown["one-shot"].values())]
    assert shown["zero-shot"] == {} and rows.pair.tolist() == [*shown["one-shot"]] == sorted({*prepared.pair})
    assert {*rows.split} == {*rows.role_coarse} == {"train"} and not {*rows.source_id} & {*prepared.source_id[prepared.role_encoder == "test"]}


def test_tables_show_the_constant_and_count_failures(prompted):
    for shots in SHOTS:
        stem = prompted / f"results/smoke/prompting/{shots}"
        pairs, macro = pd.read_csv(f"{stem}.csv"), pd.read_csv(f"{stem}_macro.csv")
        assert pairs.pair.tolist()[-2:] == ["Macro", "Micro"] and pairs[["constant", "mean digit", "free"]].notna().all(axis=None)
        assert macro.system.tolist()[:4] == ["constant", "mean digit", "likeliest digit", "free"]
        assert macro["RMSE_VA"].tolist()[:4] == pytest.approx(pairs.iloc[-2][macro.system[:4]].tolist())
        assert "could not be read and count as 5#5" in Path(f"{stem}.md").read_text("utf-8") and "SYNTHETIC" in Path(f"{stem}_macro.md").read_text("utf-8")


def test_a_killed_run_goes_on_to_the_same_predictions(prompted, tmp_path):
    done = stage(prompted, "one-shot")
    command = [sys.executable, "-m", "papermill", "nbs/37_prompt_llm.ipynb", tmp_path / "opened.ipynb", "-f", done / "parameters.yaml", "-p", "out", tmp_path / "out"]
    for torn in (False, True):
        if torn:
            for path in (tmp_path / "out/checkpoint").glob("*.jsonl"):
                path.write_bytes(path.read_bytes()[:path.stat().st_size * 2 // 3])
        answer = subprocess.run([*map(str, command)], cwd=prompted, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(prompted)})
        assert answer.returncode == 0, answer.stderr
        for kind in ("digits", "free"):
            name = f"predictions_{kind}.jsonl"
            assert (tmp_path / "out" / name).read_bytes() == (done / name).read_bytes()
