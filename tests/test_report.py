"""Prepare and the paper's notebooks, from a synthetic corpus and invented predictions to the published files."""
import json
import os
import re
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import papermill
import pytest

from dimabsa_nb.core import UserError, read_jsonl, write_atomic, write_jsonl
from dimabsa_nb.metrics import MEASURES, match, read_predictions, score
from dimabsa_nb.prompts import DIGITS
from dimabsa_nb.records import _input_digest
from dimabsa_nb.report import _with_predictions, arousal_figure
from dimabsa_nb.tables import (
    averages_note,
    paper_table,
    profile_words,
    save_figure,
    write_table,
)

ROOT = Path(__file__).parents[1]
NOTEBOOKS = "30_prepare_rows", "91_dataset", "92_main_results", "93_ablations"
ENCODERS = {"joint": "33_train_encoder@joint", "separate_valence": "33_train_encoder@separate-valence", "separate_arousal": "33_train_encoder@separate-arousal"}


def execute(run, notebook, **parameters):
    out = run/notebook
    out.mkdir(parents=True, exist_ok=True)
    os.environ["PYTHONPATH"] = str(ROOT)
    papermill.execute_notebook(ROOT/"nbs"/f"{notebook}.ipynb", out/"notebook.ipynb", {"out": str(out), **parameters},
                               kernel_name="python3", progress_bar=False, cwd=ROOT)
    return out


def invent(run):
    """Distributions for every prepared row, predictions for every test row."""
    rows, chance = read_jsonl(run/"30_prepare_rows"/"rows.jsonl"), np.random.default_rng(0)
    for dimension, digits in DIGITS.items():
        weights = np.exp(-(np.array(digits) - rows[dimension].to_numpy()[:, None] - chance.normal(0, 1, (len(rows), 1)))**2 / 2)
        probabilities = (weights / weights.sum(axis=1, keepdims=True)).tolist()
        write_jsonl(run/"32_extract_guidance"/f"{dimension}.jsonl", pd.DataFrame({"row": rows.row, "probabilities": probabilities}))
    test = rows[rows.role_encoder == "test"]
    for encoder, noise, lost in [("joint", 0.5, []), ("separate-valence", 0.9, ["arousal"]), ("separate-arousal", 0.9, ["valence"])]:
        said = test[["row", "pair", "split", "id", "aspect"]].copy()
        said[["valence", "arousal"]] = np.clip(test[["valence", "arousal"]] + chance.normal(0, noise, (len(test), 2)), 1, 9)
        write_jsonl(run/f"33_train_encoder@{encoder}"/"predictions.jsonl", said.drop(columns=lost))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    execute(run, "30_prepare_rows", corpus="synthetic", coarse_rows=20, encoder_rows=30, test_rows=10, disjoint=True, seed=1)
    invent(run)
    folders = {"prepare_rows": str(run/"30_prepare_rows"), "profile": "toy", "bootstrap_samples": 50}
    folders |= {name: str(run/folder) for name, folder in ENCODERS.items()}
    execute(run, "91_dataset", prepare_rows=folders["prepare_rows"], profile="toy")
    folders["extract_guidance"] = str(run/"32_extract_guidance")
    execute(run, "92_main_results", **folders)
    execute(run, "93_ablations", **folders)
    return run


def test_roles_do_not_leak(run):
    rows = read_jsonl(run/"30_prepare_rows"/"rows.jsonl")
    assert rows.row.is_unique and rows.usable.all()
    coarse, encoder = (rows[rows[role] == "train"] for role in ("role_coarse", "role_encoder"))
    assert not set(coarse.source_id) & set(encoder.source_id), "disjoint = True"
    assert set(coarse.split) == {"train"} and "dev" in set(encoder.split)
    for role in ("role_coarse", "role_encoder"):
        held = rows[rows[role].isin(["internal", "test"])]
        assert not set(held.source_id) & (set(coarse.source_id) | set(encoder.source_id))
    assert set(rows.role_coarse[rows.split == "test"]) == set(rows.role_encoder[rows.split == "test"]) == {"test"}


def test_prepare_metrics(run):
    known = json.loads((run/"30_prepare_rows"/"metrics.json").read_text())
    rows = read_jsonl(run/"30_prepare_rows"/"rows.jsonl")
    assert known["corpus"] == "synthetic" and "not comparable" in known["corpus_words"]
    assert known["in_sample_guidance"] == 0 and known["unusable_rows"] == 3
    assert known["test_rows"] == (rows.split == "test").sum()
    assert f"{known['test_rows']:,} of {known['test_rows_in_corpus']:,} rows, balanced by pair" in known["test_words"]
    assert sum(pair["encoder"]["train"] for pair in known["counts"].values()) == (rows.role_encoder == "train").sum()


def test_too_small_a_subset_is_refused(tmp_path):
    with pytest.raises(papermill.PapermillExecutionError, match="no rows for .*encoder, train.*; raise coarse_rows"):
        execute(tmp_path, "30_prepare_rows", corpus="synthetic", synthetic_texts=20, encoder_uses_dev=False, disjoint=True)


def test_dev_can_be_held_out(tmp_path):
    out = execute(tmp_path, "30_prepare_rows", corpus="synthetic", encoder_uses_dev=False, dev_rows=8)
    rows = read_jsonl(out/"rows.jsonl")
    assert set(rows.role_encoder[rows.split == "dev"]) == set(rows.role_coarse[rows.split == "dev"]) == {"dev"}
    assert rows[rows.split == "dev"].groupby("pair").size().between(1, 8).all()


def test_table1_is_captioned(run):
    text = (run/"91_dataset"/"results"/"table1.md").read_text()
    assert "SYNTHETIC corpus, not comparable with the paper" in text and "| Grand total |" in text
    table = pd.read_csv(run/"91_dataset"/"results"/"table1.csv")
    assert table.total.iloc[:-1].sum() == table.total.iloc[-1] and table.paper.iloc[-1] == 58522
    for ending in ("csv", "md", "tex"): assert "16.50" not in (run/"91_dataset"/"results"/f"defects.{ending}").read_text()


def test_table2(run):
    folder = run/"92_main_results"/"results"
    text, table = (folder/"table2.md").read_text(), pd.read_csv(folder/"table2.csv").set_index("pair")
    assert "SYNTHETIC corpus, not comparable" in text and "profile toy" in text and "Kimi-K2 averages 1.873" in text
    assert "released predictions were not given" in text and "released_rmse_va" not in table
    assert table.loc["macro", "paper_joint_rmse_va"] == 1.097 and table.loc["eng_laptop", "kimi_k2_rmse_va"] == 2.1893
    pairs = table.drop(["macro", "micro"])
    assert table.loc["macro", "joint_rmse_va"] == pytest.approx(pairs.joint_rmse_va.mean(), abs=1e-5)
    assert (table.joint_rmse_va_low <= table.joint_rmse_va_high).all()
    latex = (folder/"table2.tex").read_text()
    assert latex.count("\\begin{table*}") == latex.count("\\end{table*}") == 3 and "_VA" not in latex.replace("\\_VA", "")


def test_every_figure_of_this_run_has_an_interval(run):
    folder = run/"92_main_results"/"results"
    text, table = (folder/"table2.md").read_text(), pd.read_csv(folder/"table2.csv")
    for stem in [f"{system}_{measure}" for system in ("joint", "separate") for measure in MEASURES]:
        assert (table[f"{stem}_low"] <= table[f"{stem}_high"]).all() and table[f"{stem}_low"].notna().all()
    heads = [line for line in text.splitlines() if line.startswith("| pair ")]
    assert [head.count("95 %") for head in heads] == [6, 5, 5] and all(len(set(head.split(" | "))) == head.count(" | ") + 1 for head in heads)


def own_corpus(folder):
    """A clean corpus of one pair that the paper does not have."""
    for split, count in (("train", 40), ("dev", 8), ("test", 16)):
        lines = [{"ID": f"{split}{n}", "Text": f"Text {n} of {split}.", "Aspect_VA": [{"Aspect": "lid", "VA": f"{2 + n % 6}.50#{3 + n % 5}.25"}]} for n in range(count)]
        write_atomic(folder/f"deu_device_{split}.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_an_own_corpus_without_defects(tmp_path):
    prepared = execute(tmp_path, "30_prepare_rows", corpus="official", data=str(own_corpus(tmp_path/"own")), seed=1)
    invent(tmp_path)
    dataset = execute(tmp_path, "91_dataset", prepare_rows=str(prepared))
    text = (dataset/"results"/"table1.md").read_text()
    assert "| Grand total | 40 | 8 | 16 | 64 | 58522 | no |" in text and "| DEU device | 40 | 8 | 16 | 64 | – | no |" in text
    assert "entries" in (dataset/"results"/"defects.md").read_text()
    folders = {name: str(tmp_path/folder) for name, folder in ENCODERS.items()}
    folders["extract_guidance"] = str(tmp_path/"32_extract_guidance")
    main = execute(tmp_path, "92_main_results", prepare_rows=str(prepared), bootstrap_samples=20, **folders)
    text = (main/"results"/"table2.md").read_text()
    assert "Kimi-K2" not in text and "E5-VA" not in text and "95 % intervals: bootstrap by source." in text


@pytest.mark.parametrize("rows", [0, 2])
def test_a_table_is_written_whatever_its_rows(tmp_path, rows):
    table = pd.DataFrame({"kind": ["a", "b"], "entries": [1, 2], "share": [0.5, None]})[:rows]
    write_table(table, tmp_path/"t", "Words.")
    assert len((tmp_path/"t.md").read_text().splitlines()) == rows + 4
    assert (tmp_path/"t.csv").read_text().splitlines() == ["kind,entries,share", "a,1,0.500000", "b,2,"][:rows + 1]


def test_hidden_files_are_no_input(tmp_path):
    write_atomic(tmp_path/"eng_laptop_test.jsonl", "{}")
    before = _input_digest(tmp_path)
    write_atomic(tmp_path/".git"/"objects"/"pack", "x"), write_atomic(tmp_path/".DS_Store", "x")
    assert _input_digest(tmp_path) == before
    write_atomic(tmp_path/"eng_laptop_test.jsonl", "{ }")
    assert _input_digest(tmp_path) != before


def test_joint_beats_the_constant(run):
    duels = pd.read_csv(run/"92_main_results"/"results"/"comparisons.csv").set_index("comparison")
    assert duels.loc["joint - constant", "high"] < 0 and duels.loc["joint - separate", "difference"] < 0
    assert duels.loc["joint - constant", "verdict"] == "lower" and "joint - separate (pcc_a)" in duels.index


def test_the_summary_is_made_of_the_tables(run):
    folder = run/"92_main_results"/"results"
    text, table = (folder/"summary.md").read_text(), pd.read_csv(folder/"table2.csv").set_index("pair").loc["macro"]
    numbers = [table[name] for name in ("joint_rmse_va", "constant_rmse_va", "calibrated_rmse_va", "separate_rmse_va", "joint_pcc_a", "separate_pcc_a")]
    stated = [float(number) for number in re.findall(r"-?\d\.\d{3}", re.sub(r"; (joint is|no clear) .*?\]", "", text))]
    assert stated == pytest.approx(numbers, abs=6e-4) and 2 <= text.count(". ") + 1 <= 6
    assert "SYNTHETIC corpus, not comparable with the paper" in text and text.endswith("; seed 0; profile toy.\n") and text.count("\n") == 1


@pytest.mark.parametrize("profile", sorted(path.stem for path in (ROOT/"nbs/profiles").glob("*.toml")))
def test_a_caption_names_its_profile_once(profile):
    caption = tomllib.loads((ROOT/f"nbs/profiles/{profile}.toml").read_text("utf-8"))["profile"].get("caption", "")
    words = profile_words(profile, caption)
    assert words.lower().count(f"profile {profile}") == 1 and not words.endswith(".")


def test_submission_reads_back(run):
    rows = read_jsonl(run/"30_prepare_rows"/"rows.jsonl")
    said = read_predictions(run/"92_main_results"/"submission")
    frame, unmatched, ignored = match(rows[rows.split == "test"], said, strict=True)
    table = pd.read_csv(run/"92_main_results"/"results"/"table2.csv").set_index("pair")
    known = json.loads((run/"30_prepare_rows"/"metrics.json").read_text())
    assert unmatched == [] and len(said) == known["test_rows_in_corpus"] and 0 < ignored <= len(said) - len(frame)
    assert score(frame)["macro"]["rmse_va"] == pytest.approx(table.loc["macro", "joint_rmse_va"], abs=0.005)


def test_figures_and_captions(run):
    folder = run/"93_ablations"/"figures"
    captions = json.loads((folder/"captions.json").read_text())
    assert sorted(captions) == ["ablation_pairs", "arousal_joint", "arousal_separate", "coarse_calibration", "coarse_confusion"]
    for stem, words in captions.items():
        assert (folder/f"{stem}.png").stat().st_size > 10_000 and (folder/f"{stem}.svg").stat().st_size > 10_000
        assert "SYNTHETIC corpus, not comparable" in words["caption"] and len(words["alt"]) > 40
    quality = pd.read_csv(run/"93_ablations"/"results"/"coarse_quality.csv").set_index("dimension")
    assert (quality.accuracy < quality["within one digit"]).all() and set(quality.index) == {"valence", "arousal"}


def test_figures_are_the_same_bytes(run, tmp_path):
    rows = read_jsonl(run/"30_prepare_rows"/"rows.jsonl")
    rows = rows[rows.role_encoder == "test"]
    frame = _with_predictions(rows, read_jsonl(run/"33_train_encoder@joint"/"predictions.jsonl"), "joint")
    for name in ("first", "second"): save_figure(arousal_figure(frame), tmp_path/name)
    for ending in ("svg", "png"): assert (tmp_path/f"first.{ending}").read_bytes() == (tmp_path/f"second.{ending}").read_bytes()


def test_missing_predictions_are_named(run):
    rows = read_jsonl(run/"30_prepare_rows"/"rows.jsonl")
    rows = rows[rows.role_encoder == "test"]
    said = read_jsonl(run/"33_train_encoder@joint"/"predictions.jsonl")
    with pytest.raises(UserError, match="joint: 1 of .* rows have no prediction"): _with_predictions(rows, said[1:], "joint")


def test_the_papers_figures():
    table = paper_table("table2").set_index("pair")
    assert len(table) == 11 and paper_table("table1").total.sum() == 58522
    assert set(table.index[:-1]) == set(paper_table("official_best").pair)
    assert "Kimi-K2 averages 1.873" in averages_note() and "Qwen3-14B averages 2.189" in averages_note()


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_paper_notebooks_define_nothing(name):
    cells = json.loads((ROOT/"nbs"/f"{name}.ipynb").read_text("utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert not any(re.search(r"^(def|class|for|while) ", source, re.M) for source in code)
    assert sum("parameters" in cell["metadata"].get("tags", []) for cell in cells) == 1
