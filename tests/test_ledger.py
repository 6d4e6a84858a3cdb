"""Every number of the paper keeps its check; a changed ledger or profile is caught; the release scores as committed."""
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from dimabsa_nb import corpus, ledger
from dimabsa_nb.core import UserError
from dimabsa_nb.profiles import load_chain
from dimabsa_nb.tables import paper_table

REPOSITORY = Path(__file__).resolve().parents[1]
LEDGER = paper_table("statements")
COMMITTED = pd.read_csv(REPOSITORY / "results/claims/ledger.csv", keep_default_na=False)
PARAMETERS = LEDGER[LEDGER.check.str.startswith(("profile", "internal", "code", "prompt"))]


@pytest.fixture
def root(tmp_path):
    """What the checks of parameters read."""
    shutil.copytree(REPOSITORY / "nbs", tmp_path / "nbs")
    return tmp_path


def verdicts(lines, root=REPOSITORY):
    """Verdicts by id, without the corpora."""
    evidence = ledger.Evidence(root, None, [REPOSITORY / "results/quick"])
    return {line.id: ledger._judge(line, evidence)["verdict"] for line in lines.itertuples()}


def test_every_number_has_a_verdict():
    assert (LEDGER.counted == "yes").sum() == 154 and len(COMMITTED) == len(LEDGER)
    assert set(COMMITTED.verdict) <= set(ledger.VERDICTS)
    assert COMMITTED.printed.tolist() == LEDGER.printed.tolist() and COMMITTED.statement.tolist() == LEDGER.statement.tolist()
    unchecked = COMMITTED[COMMITTED.verdict.isin(["cannot be checked", "not run"])]
    assert (unchecked.found.str.len() > 20).all()  # a reason


@pytest.mark.parametrize("id", LEDGER.id[[0, 40, 60, 140, 180]])
def test_a_statement_that_loses_its_check_is_refused(id):
    for check in ("", "none", "no such check"):
        changed = LEDGER.assign(check=LEDGER.check.where(LEDGER.id != id, check), reason="")
        changed.loc[LEDGER.check == "none", "reason"] = "said"
        changed.loc[changed.id == id, "reason"] = ""
        with pytest.raises(UserError, match=f"statements.csv: {id} has the check"):
            ledger.check_ledger(changed)


def test_a_function_that_goes_is_missed(monkeypatch):
    for name in {check.split(":")[0] for check in LEDGER.check} - {"none"}:
        with monkeypatch.context() as patched, pytest.raises(UserError, match="name a check"):
            patched.delitem(ledger._CHECKS, name)
            ledger.check_ledger(LEDGER)


def test_a_changed_file_is_refused(tmp_path):
    folder = shutil.copytree(REPOSITORY / "nbs/paper", tmp_path / "paper")
    text = (folder / "statements.csv").read_text("utf-8")
    (folder / "statements.csv").write_text(text.replace("1.283", "1.284"), "utf-8")
    with pytest.raises(UserError, match="statements.csv: differs from the numbers as copied"):
        paper_table("statements", folder)


@pytest.mark.parametrize("id, printed", [("llm_rate", "3×10^-4"), ("lambda_bin", "0.25"), ("table3_edge_3", "0.35"), ("bins_arousal", "1–8"), ("text_wins", "8"),
                                         ("text_rmse", "1.165"), ("table2_macro_joint_rmse_va", "1.197")])
def test_a_number_changed_by_hand_gets_another_verdict(id, printed):
    line = LEDGER[LEDGER.id == id]
    assert set(verdicts(pd.concat([line, line.assign(id="changed", printed=printed)])).values()) == {"reproduced", "differs"}


def test_a_number_changed_by_hand_disagrees_with_the_tables():
    for id, printed in (("table2_zho_laptop_separate_pcc_a", "0.563"), ("table1_tat_restaurant", "4,206")):
        changed = LEDGER.assign(printed=LEDGER.printed.where(LEDGER.id != id, printed))
        with pytest.raises(UserError, match=f"{id} is {printed}, elsewhere in nbs/paper"):
            ledger.check_ledger(changed)


def test_the_profile_and_the_code_are_the_papers():
    found = verdicts(PARAMETERS)
    assert len(found) > 35 and {id for id, verdict in found.items() if verdict != "reproduced"} == {"flash", "loom_base"}


@pytest.mark.parametrize("id, old, new", [("llm_rate", "learning_rate = 3e-5", "learning_rate = 3e-4"), ("llm_batch", "batch_size = 48", "batch_size = 32"),
                                          ("encoder_warmup", "warmup = 0.06", "warmup = 0.1"), ("llm", "Qwen/Qwen3-8B", "Qwen/Qwen3-1.7B")])
def test_a_profile_that_departs_from_the_paper_is_caught(root, id, old, new):
    path = root / "nbs/profiles/paper.toml"
    text = path.read_text("utf-8")
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new), "utf-8")
    found = verdicts(PARAMETERS, root)
    assert {name for name in found if found[name] == "differs"} == {id, "flash", "loom_base"}


def test_a_default_that_departs_from_the_paper_is_caught(root):
    path = root / "nbs/31_train_coarse.ipynb"
    path.write_text(path.read_text("utf-8").replace("lora_rank = 16", "lora_rank = 8"), "utf-8")
    assert verdicts(PARAMETERS, root)["lora_rank"] == "differs"


def judged(id, *folders):
    """A line of the ledger, judged by committed results alone."""
    line = next(LEDGER[LEDGER.id == id].itertuples())
    return ledger._judge(line, ledger.Evidence(REPOSITORY, None, list(folders)))


def test_an_ablation_is_read_where_its_run_is_committed(tmp_path):
    assert judged("features_help", tmp_path)["verdict"] == "not run"
    row = {"comparison": "all features - bins alone", "difference": -0.1}
    for low, high, verdict in ((-0.15, -0.05, "direction holds"), (-0.1, 0.1, "cannot tell"), (0.05, 0.1, "opposite"), (float("nan"), float("nan"), "cannot tell")):
        pd.DataFrame([row | {"low": low, "high": high}]).to_csv(tmp_path / "ablations.csv", index=False)
        assert judged("features_help", REPOSITORY / "results/quick", tmp_path)["verdict"] == verdict
    for lost in ({"comparison": row["comparison"], "verdict": "not run"}, {"comparison": row["comparison"], "verdict": "not run", "difference": None}):
        pd.DataFrame([lost, lost]).to_csv(tmp_path / "ablations.csv", index=False)
        assert judged("features_help", tmp_path)["verdict"] == "not run"


def test_a_direction_that_other_seeds_change_cannot_be_told(tmp_path):
    row = {"comparison": "joint - separate (pcc_a)", "difference": 0.2, "low": 0.1, "high": 0.3}
    pd.DataFrame([row]).to_csv(tmp_path / "comparisons.csv", index=False)
    assert judged("arousal_better", tmp_path)["verdict"] == "direction holds"
    pd.DataFrame([{"table": "comparisons.csv", "label": "joint - separate (pcc_a)", "column": "verdict", "texts": "higher|lower"}]).to_csv(tmp_path / "spread.csv", index=False)
    found = judged("arousal_better", tmp_path)
    assert found["verdict"] == "cannot tell" and "by seed higher or lower" in found["found"]
    over = row | {"comparison": "joint - separate (pcc_a), 3 seeds", "low": 0.15}
    pd.DataFrame([row, over]).to_csv(tmp_path / "comparisons.csv", index=False)
    found = judged("arousal_better", tmp_path)  # texts and seeds drawn together
    assert found["verdict"] == "direction holds" and "[+0.150, +0.300]" in found["found"]


def test_the_largest_profile_that_has_run_it_judges(tmp_path):
    laptop, quick = tmp_path / "laptop", tmp_path / "quick"
    for folder, gap in ((laptop, -0.2), (quick, 0.2)):
        folder.mkdir()
        pd.DataFrame([{"comparison": "joint - separate", "difference": gap, "low": gap - 0.1, "high": gap + 0.1}]).to_csv(folder / "comparisons.csv", index=False)
    assert judged("outperforms", tmp_path / "none", laptop, quick)["where"] == "results/laptop/comparisons.csv"
    assert [judged("outperforms", folder)["verdict"] for folder in (laptop, quick)] == ["direction holds", "opposite"]


def test_valence_is_comparable_within_a_margin(tmp_path):
    assert judged("valence_comparable", tmp_path)["verdict"] == "not run"
    for low, high, verdict in ((-0.04, 0.03, "direction holds"), (-0.2, 0.03, "cannot tell"), (0.06, 0.2, "opposite")):
        row = {"comparison": "joint - separate (pcc_v)", "difference": (low + high) / 2, "low": low, "high": high}
        pd.DataFrame([row]).to_csv(tmp_path / "comparisons.csv", index=False)
        assert judged("valence_comparable", tmp_path)["verdict"] == verdict


def test_the_released_predictions_stand_against_the_printed_separate_models():
    released, printed = paper_table("released").set_index(["split", "pair"]), paper_table("table2").set_index("pair")
    for pair in ("rus_restaurant", "tat_restaurant", "ukr_restaurant"):
        assert released.loc["test", pair].rmse_va_low > printed.separate_rmse_va[pair]
    assert judged("sparse_printed")["verdict"] == judged("valence_printed")["verdict"] == "direction holds"
    assert "-0.003 [-0.0" in judged("valence_printed")["found"]


def test_what_the_release_holds_names_a_count_or_a_file():
    lines = LEDGER[LEDGER.paper == "release"]
    assert len(lines) == 7 and lines.place.str.contains(r"\.(?:py|ipynb)$").all()


def test_the_stage_has_a_profile_of_its_own():
    assert [*load_chain("claims", root=REPOSITORY).stages] == ["96_claims"]
    assert "96_claims" not in load_chain("quick", root=REPOSITORY).stages


# --- with the official corpora and the release at hand ---------------------------------------------------------------------
@pytest.fixture(scope="module")
def data():
    folder = Path(os.environ.get("DIMABSA_DATA", "missing"))
    if not folder.is_dir():
        pytest.skip("DIMABSA_DATA is not set: the official corpora are not at hand")
    return folder


def test_the_release_scores_as_committed(data):
    folder = Path(os.environ.get("DIMABSA_RELEASED") or data.parent / "dimabsa_rpi/final_submission_paper")
    if not folder.is_dir():
        pytest.skip("DIMABSA_RELEASED is not set: the authors' released predictions are not at hand")
    found, committed = ledger.released_scores(data, folder, samples=2), paper_table("released")
    kept = [name for name in committed if not name.endswith(("_low", "_high"))]
    pd.testing.assert_frame_equal(found[kept], committed[kept], atol=1e-6)


def test_the_committed_counts_are_those_of_the_corpora(data):
    evidence = ledger.Evidence(REPOSITORY, corpus.read_corpus(data), [REPOSITORY / "results/quick"])
    lines = LEDGER[LEDGER.kind == "computed"]
    found = [ledger._judge(line, evidence) for line in lines.itertuples()]
    committed = COMMITTED[COMMITTED.kind == "computed"]
    assert [one["verdict"] for one in found] == committed.verdict.tolist() and [one["found"] for one in found] == committed.found.tolist()
