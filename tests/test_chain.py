"""The real notebooks from corpus to Table 2, on the smoke profile: equal bytes, kills, edits, and the system that is left."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dimabsa_nb import ledger
from dimabsa_nb.core import read_jsonl
from dimabsa_nb.ensemble import load_system
from dimabsa_nb.records import read_record
from dimabsa_nb.tables import paper_table

REPOSITORY = Path(__file__).resolve().parents[1]
DIMABSA = [sys.executable, "-c", "from dimabsa_nb.cli import app; app()"]


def checkout(folder):
    """A repository whose smoke profile writes a checkpoint at every step."""
    for part in ("nbs", "dimabsa_nb"):
        shutil.copytree(REPOSITORY / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    profile = folder / "nbs/profiles/smoke.toml"
    profile.write_text(profile.read_text().replace("[parameters]\n", "[parameters]\ncheckpoint_seconds = 0.0\n", 1))
    return folder


def dimabsa(root, *arguments):
    answer = subprocess.run([*DIMABSA, *map(str, arguments)], cwd=root, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(root)})
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def records(root, run="smoke"):
    found = {path.parent.name: json.loads(path.read_text()) for path in sorted((root / "runs" / run).glob("*/record.json"))}
    return {stage: record["outputs"] for stage, record in found.items()}


def published(root):
    """Tables, figures and executed notebooks; the records beside them hold seconds and dates."""
    found = [path for top in ("results", "figures") for path in sorted((root / top).rglob("*")) if path.is_file() and path.parent.name != "records"]
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    root = checkout(tmp_path_factory.mktemp("undisturbed"))
    dimabsa(root, "run", "smoke", "--publish")
    return root


def kill_in_training(root, stage, profile="smoke", *settings):
    """SIGKILL the runner once a training stage has written its first checkpoint."""
    process = subprocess.Popen([*DIMABSA, "run", profile, *settings], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoint = root / f"runs/{profile}/{stage}.partial/checkpoint/state.safetensors"
    started = time.monotonic()
    try:
        while not checkpoint.exists():
            assert process.poll() is None and time.monotonic() - started < 900, f"{stage} never wrote a checkpoint"
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    time.sleep(3)  # a kernel without its runner ends by itself
    assert not (root / f"runs/{profile}/{stage}/record.json").exists()


def test_killed_twice_in_training_it_ends_in_the_same_bytes(undisturbed, tmp_path):
    root = checkout(tmp_path)
    kill_in_training(root, "31_train_coarse@valence")
    kill_in_training(root, "33_train_encoder@joint")
    said = dimabsa(root, "run", "smoke", "--publish")
    assert "33_train_encoder@joint: goes on where it was stopped" in said
    assert records(root) == records(undisturbed)
    assert published(root) == published(undisturbed)


def test_another_seed_gives_other_predictions(undisturbed, tmp_path):
    root = checkout(tmp_path)
    dimabsa(root, "run", "smoke", "-p", "seed=7", "-p", "30_prepare_rows.seed=42", "--only", "30_prepare_rows")
    for stage in ("31_train_coarse", "32_extract_guidance", "33_train_encoder@joint"):
        dimabsa(root, "run", "smoke", "-p", "seed=7", "-p", "30_prepare_rows.seed=42", "--only", stage)
    ours, theirs = (read_jsonl(folder / "runs/smoke/33_train_encoder@joint/predictions.jsonl") for folder in (root, undisturbed))
    assert ours["row"].tolist() == theirs["row"].tolist()
    assert (ours["valence"] != theirs["valence"]).mean() > 0.9
    compared = json.loads(dimabsa(root, "compare", undisturbed / "runs/smoke", "smoke", "--json"))
    [difference] = compared["differences"]
    assert compared["rows"] == len(ours) and difference["system"] == "joint" and difference["low"] < difference["difference"] < difference["high"]


def test_ablations_answer_what_has_run(undisturbed, tmp_path):
    root = shutil.copytree(undisturbed, tmp_path / "copy")
    only = ("33_train_encoder@joint-none", "33_train_encoder@joint-43", "32_extract_guidance@hard", "97_guidance_effect",
            "33_train_encoder@joint-out-of-fold", "33_train_encoder@joint-out-of-sample",
            "38_curve_coarse@valence-1000", "38_curve_encoder@joint-1000", "98_learning_curves")
    dimabsa(root, "run", "smoke", *(word for stage in only for word in ("--only", stage)))
    before = {stage: outputs for stage, outputs in records(root).items() if stage in records(undisturbed)}
    assert before == records(undisturbed)
    folder = root / "runs/smoke/97_guidance_effect/results"
    table, calibration = pd.read_csv(folder / "ablations.csv"), pd.read_csv(folder / "calibration.csv")
    verdicts = table.groupby("question")["verdict"].agg(set)
    assert verdicts["do distributional features help?"] == verdicts["do coarse bins help?"] == {"not run"}
    assert "not run" not in verdicts["does guidance help?"] and calibration["targets"].tolist() == ["soft targets", "hard targets"]
    committed = shutil.copytree(folder, root / "results/laptop")  # as if profile laptop had run: the ledger's verdicts follow by themselves
    shutil.copy(root / "runs/smoke/92_main_results/results/comparisons.csv", committed)
    lines, known = paper_table("statements"), ledger.Evidence(REPOSITORY, None, [committed])
    found = {line.id: ledger._judge(line, known)["verdict"] for line in lines[lines.check.str.startswith("paired")].itertuples()}
    assert {id for id, verdict in found.items() if verdict == "not run"} == {"features_help", "mismatch", "shared_arousal", "shared_error"}
    written = {*pd.read_csv(committed / "comparisons.csv")["comparison"], *table["comparison"]}
    assert {check.removeprefix("paired: ").rsplit(", ", 1)[0] for check in lines.check if check.startswith("paired")} <= written
    settings = {stage: json.loads((root / f"runs/smoke/{stage}/record.json").read_text()) for stage in only[:3]}
    assert settings[only[0]]["parameters"]["guidance"] == "none" and settings[only[1]]["parameters"]["seed"] == 43
    assert settings[only[2]]["upstream"].keys() >= {"31_train_coarse@arousal-hard"}
    rows = read_jsonl(root / f"runs/smoke/{only[2]}/arousal.jsonl")
    assert len(rows) < len(read_jsonl(root / "runs/smoke/32_extract_guidance/arousal.jsonl"))
    assert "not run" not in verdicts["does out-of-fold guidance help?"] | verdicts["is out-of-sample guidance worth half of the rows?"]
    learnt = {stage: json.loads((root / f"runs/smoke/{stage}/record.json").read_text())["metrics"]["rows"]["train"] for stage in only[4:6]}
    assert 0 < learnt[only[5]] < learnt[only[4]]
    usual, second = (read_jsonl(root / f"runs/smoke/32_extract_guidance{name}/valence.jsonl").set_index("row")["probabilities"]
                     for name in ("", "@fold-1"))
    prepared = read_jsonl(root / "runs/smoke/30_prepare_rows/rows.jsonl")
    llms = prepared["row"][prepared["role_coarse"] == "train"]
    assert {*second.index} == {*usual.index} | {*llms}  # the second fold's holds the first's
    seen = llms[llms.isin(usual.index)]
    others = usual.index.difference(llms)
    assert len(seen) and usual[others].equals(second[others]) and usual[seen].ne(second[seen]).all()  # alike where nothing was trained on
    trained, answered = ([json.loads((root / f"runs/smoke/{stage}-{fold}/record.json").read_text())["metrics"]["rows"] for fold in (0, 1)]
                         for stage in ("31_train_coarse@valence-fold", "32_extract_guidance@fold"))
    assert trained == answered[::-1] and sum(trained) == len(llms) and all(trained)  # each trains on what the other answers
    points = pd.read_csv(root / "runs/smoke/98_learning_curves/results/learning_curves.csv")
    assert points["what"].tolist() == ["arousal", "valence", "valence", "joint", "joint"] and (points["rows"] < 1000).all() and points["ratio"].between(0.3, 3).all()


def test_second_run_is_cached_and_quick(undisturbed):
    started = time.monotonic()
    said = dimabsa(undisturbed, "run", "smoke")
    assert said.count("done before") == len(records(undisturbed)) and "goes on" not in said
    assert time.monotonic() - started < 10  # what the README promises; it takes about two


def test_an_edited_plot_reruns_its_notebook_alone(undisturbed):
    path = undisturbed / "nbs/93_ablations.ipynb"
    before = path.read_text()
    notebook = json.loads(before)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code" and "figure" in "".join(cell["source"])][-1]
    code["source"] = [*code["source"], "\nprint('redrawn')"]
    path.write_text(json.dumps(notebook))
    try:
        said = dimabsa(undisturbed, "run", "smoke", "--dry-run").splitlines()
    finally:
        path.write_text(before)
    assert [line.split(":")[0] for line in said if not line.endswith(": done")] == ["93_ablations"], said


def test_papermill_trains_what_the_chain_trains(undisturbed, tmp_path):
    stage = undisturbed / "runs/smoke/33_train_encoder@joint"
    command = [sys.executable, "-m", "papermill", "nbs/33_train_encoder.ipynb", tmp_path / "opened.ipynb", "-f", stage / "parameters.yaml", "-p", "out", tmp_path / "by-hand"]
    answer = subprocess.run([*map(str, command)], cwd=undisturbed, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(undisturbed)})
    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / "by-hand/predictions.jsonl").read_bytes() == (stage / "predictions.jsonl").read_bytes()
    assert dimabsa(undisturbed, "parameters", "smoke", "33_train_encoder@joint") == (stage / "parameters.yaml").read_text()


def test_published_numbers_give_the_same_tables_without_training(undisturbed, tmp_path):
    root = checkout(tmp_path)
    for part in ("results", "figures"):
        shutil.copytree(undisturbed / part, root / part)
    assert not any(text in path.read_text("latin-1") for path in (root / "results/smoke/outputs").rglob("*.gz") for text in ("text", "aspect"))
    said = dimabsa(root, "run", "smoke", "--published", "--publish")
    assert {line.split(": ")[0] for line in said.splitlines() if line.endswith(": has not run")} == {"30_prepare_rows", "91_dataset", "92_main_results", "93_ablations"}
    assert published(root) == published(undisturbed)
    assert not (root / "runs/smoke/33_train_encoder@joint/system").exists()


def test_an_encoder_trains_on_published_guidance(undisturbed, tmp_path):
    root = checkout(tmp_path)
    shutil.copytree(undisturbed / "results", root / "results")
    shutil.rmtree(root / "results/smoke/outputs/33_train_encoder@joint")
    said = dimabsa(root, "run", "smoke", "--published", "--only", "33_train_encoder@joint")
    assert "from results/smoke: 31_train_coarse@valence, 31_train_coarse@arousal, 32_extract_guidance" in said
    place = "runs/smoke/33_train_encoder@joint"
    assert (root / place / "predictions.jsonl").read_bytes() == (undisturbed / place / "predictions.jsonl").read_bytes()
    assert [path.name for path in (root / place / "system").iterdir()] == ["encoder"]


def test_the_second_road_learns_and_predicts_every_test_row(tmp_path):
    root = checkout(tmp_path)
    tiny = {"corpus": "synthetic", "model": "tiny-random-qwen3", "frozen_layers": 1, "epochs": 2, "learning_rate": 3e-3, "test_rows": 8, "checkpoint_seconds": 0.0}
    tiny |= {"39_train_regression@encoder.model": "tiny-random-xlmr", "39_train_regression@encoder-probe.epochs": 0}
    dimabsa(root, "run", "beyond", *(word for name, value in tiny.items() for word in ("-p", f"{name}={value}")))
    run = root / "runs/beyond"
    found = json.loads((run / "39_train_regression@decoder-42/metrics.json").read_text())
    assert found["internal_macro"] < found["internal_constant"] and found["internal_error"][1] < found["internal_error"][0]
    rows = read_jsonl(run / "30_prepare_rows/rows.jsonl")
    test = rows[rows["role_encoder"] == "test"]
    steps = {name: read_jsonl(run / f"39_weigh_members/{name}.jsonl") for name in ("mean", "weighted", "drift")}
    for said in steps.values():
        assert said["row"].tolist() == test["row"].tolist() and said[["valence", "arousal"]].stack().between(1, 9).all()
    members = {path.name.split("@")[1] for path in run.glob("39_train_regression@*")}
    assert members == {name.split("@")[1] for name in tomllib.loads((root / "nbs/profiles/beyond.toml").read_text())["profile"]["stages"] if "@" in name} == {*read_record(run / "39_weigh_members").metrics["members"], "encoder-probe"}
    of_kind = [np.mean([read_jsonl(folder / "predictions.jsonl")["valence"] for folder in run.glob(f"39_train_regression@{kind}-4*")], 0) for kind in ("decoder", "encoder")]
    assert np.allclose(np.mean(of_kind, 0), steps["mean"]["valence"], atol=1e-5)
    system = load_system(run / "39_weigh_members/system", "cpu")
    assert np.allclose(system.predict(test[:6])[["valence", "arousal"]], steps["weighted"][:6][["valence", "arousal"]], atol=1e-3)
    record = read_record(run / "99_second_road")
    assert f"{record.metrics['macro']['mean']:.3f} [" in (run / "99_second_road/results/summary.md").read_text()
    assert record.metrics["read_test"] == 1 and set(record.metrics["macro"]) >= {"mean", "weighted", "drift", "constant", "encoder-probe"}


def test_published_notebooks_show_results_and_no_texts(undisturbed):
    texts = {text for text in read_jsonl(undisturbed / "runs/smoke/30_prepare_rows/rows.jsonl")["text"] if len(text) > 12}
    notebooks = sorted((undisturbed / "results/smoke/notebooks").glob("*.ipynb"))
    assert [path.stem for path in notebooks] == ["91_dataset", "92_main_results", "93_ablations"]
    for path in notebooks:
        source = path.read_text("utf-8")
        assert not [place for place in (undisturbed, REPOSITORY, Path.home()) if f"{place}/" in source]
        assert not re.search(r" at 0x[0-9a-f]{6}|\.partial|widget|duration", source)
        outputs = [output for cell in json.loads(source)["cells"] for output in cell.get("outputs", ())]
        shown = "".join("".join(part) for output in outputs for part in (output.get("text", []), *output.get("data", {}).values()))
        assert shown and not [text for text in texts if text in shown]
        assert ("image/png" in source) == (path.stem == "93_ablations")


def test_the_system_predicts_what_the_chain_predicted(undisturbed, tmp_path):
    run = undisturbed / "runs/smoke"
    rows = read_jsonl(run / "30_prepare_rows/rows.jsonl").merge(read_jsonl(run / "33_train_encoder@joint/predictions.jsonl")[["row"]])
    rows = rows[rows["pair"] == "eng_laptop"]
    asked = [{"ID": text_id, "Text": part["text"].iloc[0], "Aspect": part["aspect"].tolist()} for text_id, part in rows.groupby("id", sort=False)]
    (tmp_path / "eng_laptop.jsonl").write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in asked))
    dimabsa(undisturbed, "predict", run / "33_train_encoder@joint/system", tmp_path / "eng_laptop.jsonl", "-o", tmp_path / "answers.jsonl")
    answered = (tmp_path / "answers.jsonl").read_text()
    submitted = (run / "92_main_results/submission/pred_eng_laptop.jsonl").read_text()
    expected = {item["ID"]: item["Aspect_VA"] for item in map(json.loads, submitted.splitlines())}
    for item in map(json.loads, answered.splitlines()):
        for ours, theirs in zip(item["Aspect_VA"], expected[item["ID"]], strict=True):
            assert ours["Aspect"] == theirs["Aspect"]
            for one, other in zip(ours["VA"].split("#"), theirs["VA"].split("#"), strict=True):
                assert abs(float(one) - float(other)) < 0.011 and 1 <= float(one) <= 9


def test_the_tiny_qwen_reads_the_answer_token(undisturbed):
    settings = json.loads((undisturbed / "runs/smoke/31_train_coarse@arousal/adapter/coarse.json").read_text())
    assert settings["model"] == "tiny-random-qwen3"
    from dimabsa_nb.coarse import _adapter_settings, load_adapters, tokenise
    folder = undisturbed / "runs/smoke/31_train_coarse@arousal/adapter"
    _, tokenizer, found = load_adapters({"arousal": folder})
    assert found == {"arousal": _adapter_settings(folder)}
    rows = read_jsonl(undisturbed / "runs/smoke/30_prepare_rows/rows.jsonl").head(3)
    assert {tokenizer.decode(ids[-1:]) for ids in tokenise(rows, "arousal", tokenizer)} == {"<ANS>"}
