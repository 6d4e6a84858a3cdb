"""The metrics module on files and folders: the official rules, every kind of malformed prediction, and the bootstrap."""
import json
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dimabsa_nb import core, corpus, metrics, report, synthetic
from dimabsa_nb.core import CorpusError, UserError

GOLD = [{"ID": "1", "Text": "x", "Aspect_VA": [{"Aspect": "lid", "VA": "3.00#5.00"}, {"Aspect": " fan", "VA": "6.00#5.00"}]},
        {"ID": "2", "Text": "y", "Aspect_VA": [{"Aspect": "lid", "VA": "7.00#6.00"}, {"Aspect": "lid", "VA": "5.00#6.00"}]}]


def write(path, records):
    return core.write_atomic(path, "".join(json.dumps(record) + "\n" for record in records))


def answer(id, *labels):
    return {"ID": id, "Aspect_VA": [{"Aspect": aspect, "VA": label} for aspect, label in labels]}


PERFECT = [answer("1", ("lid", "3#5"), (" fan", "6#5")), answer("2", ("lid", "7#6"))]


@pytest.fixture
def gold(tmp_path):
    return write(tmp_path / "gold/eng_laptop_test_task1.jsonl", GOLD)


@pytest.mark.parametrize("name", ["pred_eng_laptop.jsonl", "anything.jsonl"])
def test_one_gold_file_and_one_prediction_file(gold, tmp_path, name):
    scores = metrics.score_files(gold, write(tmp_path / name, PERFECT))
    assert scores["pairs"]["eng_laptop"]["n"] == 4 and scores["unmatched"] == [] and scores["ignored"] == 0
    assert scores["micro"]["rmse_va"] == pytest.approx((4 / 4) ** 0.5)


def test_files_whose_names_tell_nothing(gold, tmp_path):
    plain = gold.rename(tmp_path / "labels.jsonl")
    assert metrics.score_files(plain, write(tmp_path / "mine.jsonl", PERFECT))["pairs"]["und_labels"]["n"] == 4


def test_the_last_prediction_counts_for_every_repeat(gold, tmp_path):
    pred = write(tmp_path / "pred_eng_laptop.jsonl", [PERFECT[0], answer("2", ("lid", "1#1"), ("lid", "6#6"))])
    frame, _, _ = metrics._match_files(gold, pred)
    assert frame.predicted_valence.tolist() == [3, 6, 6, 6]


def test_an_aspect_without_a_prediction_is_named_left_out_or_stops(gold, tmp_path, caplog):
    pred = write(tmp_path / "pred_eng_laptop.jsonl", [answer("1", ("lid", "3#5"), ("fan", "6#5"), ("Fan", "1#1")), PERFECT[1], answer("9", ("lid", "1#1"))])
    scores = metrics.score_files(gold, pred)
    assert scores["unmatched"] == [dict(pair="eng_laptop", id="1", aspect=" fan", file="eng_laptop_test_task1.jsonl", line=1)]
    assert scores["ignored"] == 3 and scores["micro"]["n"] == 3 and "aspect ' fan' of ID '1' has no prediction" in caplog.text
    with pytest.raises(UserError, match="task1.jsonl:1: aspect ' fan' of ID '1' has no prediction; predict every gold aspect"):
        metrics.score_files(gold, pred, strict=True)


def test_a_pair_without_any_prediction_is_told(gold, tmp_path, caplog):
    write(tmp_path / "gold/zho_laptop_test_task1.jsonl", GOLD)
    write(tmp_path / "pred/pred_eng_laptop.jsonl", PERFECT)
    scores = metrics.score_files(tmp_path / "gold", tmp_path / "pred")
    assert scores["macro"]["pairs"] == 1 and len(scores["unmatched"]) == 4 and "no predictions at all for zho_laptop" in caplog.text


def test_a_split_is_chosen_by_name(gold, tmp_path):
    write(tmp_path / "gold/eng_laptop_dev_task1.jsonl", [{**record, "ID": "d" + record["ID"]} for record in GOLD[:1]])
    pred = write(tmp_path / "pred/pred_eng_laptop.jsonl", [*PERFECT, answer("d1", ("lid", "3#6"), (" fan", "6#6"))])
    both = [metrics.score_files(tmp_path / "gold", pred.parent, split=split)["micro"] for split in ("test", "dev")]
    assert [part["n"] for part in both] == [4, 2] and both[1]["rmse_va"] == pytest.approx(1)
    with pytest.raises(UserError, match="split is .all.; it must be one of"):
        metrics.score_files(tmp_path / "gold", pred.parent, split="all")


MALFORMED = {
    "truncated JSON": (b'{"ID": "1", "Aspect', "not a complete JSON object"),
    "not an object": (b'"1"', "instead of an object"),
    "ID a number": (b'{"ID": 1, "Aspect_VA": []}', "'ID' is 1; write a string"),
    "no ID": (b'{"Aspect_VA": []}', "no 'ID'; add the key"),
    "no aspects": (b'{"ID": "1"}', "add the list of aspects"),
    "aspects an object": (b'{"ID": "1", "Aspect_VA": {}}', "write a list"),
    "no label": (b'{"ID": "1", "Aspect_VA": [{"Aspect": "lid"}]}', "aspect 'lid' has no 'VA'; write"),
    "label abc": (b'{"ID": "1", "Aspect_VA": [{"Aspect": "lid", "VA": "abc"}]}', "write two numbers"),
    "label NaN": (b'{"ID": "1", "Aspect_VA": [{"Aspect": "lid", "VA": NaN}]}', "NaN is no number"),
    "empty file": (b"", "the file holds nothing"),
    "not UTF-8": (b'{"ID": "\xe9"}', "not UTF-8; save the file as UTF-8"),
    "duplicate IDs": (b'{"ID": "1", "Aspect_VA": []}\n{"ID": "1", "Aspect_VA": []}', "give each text its own ID"),
}


@pytest.mark.parametrize("kind", MALFORMED)
@pytest.mark.parametrize("as_folder", [False, True])
def test_malformed_predictions_give_one_line_with_file_line_and_fix(gold, tmp_path, kind, as_folder):
    data, words = MALFORMED[kind]
    path = core.write_atomic(tmp_path / "pred/pred_eng_laptop.jsonl", data)
    with pytest.raises(CorpusError) as caught:
        metrics.score_files(gold, path.parent if as_folder else path)
    number = 2 if kind == "duplicate IDs" else 1
    assert str(caught.value).startswith(f"{path}:{number}: ") and words in str(caught.value) and "\n" not in str(caught.value)


def test_nothing_to_score(gold, tmp_path):
    with pytest.raises(UserError, match="no gold aspect has a prediction; check"):
        metrics.score_files(gold, write(tmp_path / "pred_eng_laptop.jsonl", [answer("7", ("lid", "5#5"))]))
    blind = write(tmp_path / "blind/eng_laptop_test.jsonl", [{"ID": "1", "Text": "x", "Aspect": ["lid"]}])
    with pytest.raises(UserError, match="no labels to score against; give"):
        metrics.score_files(blind, gold)
    with pytest.raises(UserError, match="no prediction file; name files"):
        metrics.score_files(gold, (tmp_path / "void").mkdir() or tmp_path / "void")


def test_nothing_matched_is_one_error_without_warnings(gold, tmp_path, caplog):
    with pytest.raises(UserError, match="no gold aspect has a prediction; check"):
        metrics.score_files(gold, write(tmp_path / "pred_eng_laptop.jsonl", [answer("7", ("lid", "5#5"))]))
    assert not caplog.records


def test_two_files_for_one_pair_are_refused(gold, tmp_path):
    one, two = [write(tmp_path / f"pred/{folder}/pred_eng_laptop.jsonl", PERFECT) for folder in "ab"]
    with pytest.raises(UserError) as caught:
        metrics.score_files(gold, tmp_path / "pred")
    assert str(one) in str(caught.value) and str(two) in str(caught.value) and "\n" not in str(caught.value)
    two.unlink()
    assert metrics.score_files(gold, tmp_path / "pred")["micro"]["n"] == 4


def test_files_of_two_splits_stand_beside_each_other(gold):
    write(gold.with_name("eng_laptop_dev_task1.jsonl"), [{**record, "ID": "d" + record["ID"]} for record in GOLD])
    assert metrics.score_files(gold.parent, gold.parent)["pairs"]["eng_laptop"]["n"] == 4


def test_values_outside_the_scale_are_kept_with_a_warning(gold, tmp_path, caplog):
    pred = write(tmp_path / "pred_eng_laptop.jsonl", [answer("1", ("lid", "3#5"), (" fan", "12#5")), PERFECT[1]])
    assert metrics._match_files(gold, pred)[0].predicted_valence.max() == 12 and "1 values outside [1, 9]" in caplog.text


def official_way(rows, predictions):
    """RMSE_VA of one pair by plain loops over dictionaries, as the task describes it."""
    last = {(row.id, row.aspect.lower()): (row.valence, row.arousal) for row in predictions.itertuples()}
    said = [last[row.id, row.aspect.lower()] for row in rows.itertuples()]
    errors = [(row.valence - valence) ** 2 + (row.arousal - arousal) ** 2 for row, (valence, arousal) in zip(rows.itertuples(), said)]
    return (sum(errors) / len(errors)) ** 0.5


def official_files(gold, pred):
    """The official rules on two files: (gold, predicted) per gold aspect; a missing ID or aspect is a KeyError."""
    read = lambda path: [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    numbers = lambda entry: tuple(map(float, entry["VA"].split("#")))
    last = {(record["ID"], entry["Aspect"].lower()): numbers(entry) for record in read(pred) for entry in record["Aspect_VA"]}
    return [(numbers(entry), last[record["ID"], entry["Aspect"].lower()]) for record in read(gold) for entry in record["Aspect_VA"]]


def same_as_official(gold, pred, shared):
    """Matching, RMSE_VA and both correlations agree with the official rules to the last digit."""
    pairs = np.array(official_files(gold, pred))  # (n, gold or predicted, dimension)
    frame, _, _ = metrics._match_files(gold, pred, strict=True)
    assert frame[["predicted_valence", "predicted_arousal"]].to_numpy().tolist() == pairs[:, 1].tolist()
    scores = metrics.score_files(gold, pred, strict=True)
    assert scores["micro"]["rmse_va"] == np.sqrt(((pairs[:, 0] - pairs[:, 1]) ** 2).sum(axis=1).mean()) and scores["shared"] == shared
    for name, dimension in (("pcc_v", 0), ("pcc_a", 1)):
        assert scores["micro"][name] == pytest.approx(np.corrcoef(pairs[:, :, dimension].T)[0, 1], abs=1e-14)


CASES = [["Еда", "еда", "ЕДА"], ["lid", "Lid"], [" fan", "fan"], ["Σίσυφος", "ΣΊΣΥΦΟΣ"], ["İç", "iç"], ["ß", "ẞ", "SS"], ["菜"]]


def test_aspects_that_differ_in_case_share_the_last_prediction(tmp_path):
    gold = write(tmp_path / "rus_restaurant_test_task1.jsonl", [
        dict(answer("1", ("Еда", "6#5"), ("еда", "3#4"), ("чай", "7#7")), Text="x"), dict(answer("2", ("ЕДА", "5#5"), ("еда ", "2#6")), Text="y")])
    pred = write(tmp_path / "pred_rus_restaurant.jsonl", [answer("2", ("еда", "5.5#5"), ("еда ", "2#6.25")), answer("1", ("ЕДА", "1#1"), ("чай", "7#6"), ("Еда", "6#5.5"))])
    assert [said[0] for _, said in official_files(gold, pred)] == [6, 6, 7, 5.5, 2]
    same_as_official(gold, pred, shared=2)


@pytest.mark.parametrize("seed", range(8))
def test_scores_are_the_official_ones_on_random_files(tmp_path, seed):
    chance = np.random.default_rng(seed)
    said, asked, shared = [], [], 0
    label = lambda: "{:.2f}#{:.2f}".format(*chance.uniform(1, 9, 2))
    for id in map(str, range(30)):
        kinds = [CASES[place] for place in chance.integers(len(CASES), size=3)]
        gold = [kind[place] for kind in kinds for place in chance.integers(len(kind), size=chance.integers(1, 4))]
        asked.append(dict(answer(id, *[(aspect, label()) for aspect in gold]), Text="x"))
        pool = [*gold, *[aspect for kind in kinds for aspect in kind], "another"]
        said.append(answer(id, *[(pool[place], label()) for place in chance.permutation(len(pool))]))
        forms = [{other for other in gold if other.lower() == aspect.lower()} for aspect in gold]
        shared += sum(len(form) > 1 for form in forms)
    gold, pred = write(tmp_path / "tat_restaurant_test_task1.jsonl", asked), write(tmp_path / "pred_tat_restaurant.jsonl", said[::-1])
    same_as_official(gold, pred, shared)


def test_systems_by_row_are_scored_as_their_submission(rows, tmp_path):
    """Table 2's frames, a prediction a row, and the file that would be submitted, scored by the official rules."""
    test = rows[rows.split == "test"].reset_index(drop=True)
    test["aspect"] = [aspect.upper() if row % 3 else aspect.lower() for row, aspect in enumerate(test.aspect)]
    test = pd.concat([test, test[::2].assign(aspect=test.aspect.str.title())], ignore_index=True).assign(language="", usable=True)
    own = random_system(test, seed=9).round(2).rename_axis("row").reset_index()
    own = own.groupby(["pair", "id", "aspect"], as_index=False)[["valence", "arousal"]].last().merge(own[["row", "pair", "id", "aspect"]])
    frame = report._with_predictions(test.rename_axis("row").reset_index(), own, "joint")
    metrics.write_submission(tmp_path, test, own.sort_values("row"))
    back = metrics.match(test, metrics.read_predictions(tmp_path), strict=True)[0]
    assert metrics.score(back) == metrics.score(frame) and metrics.score(frame)["shared"] > 10
    assert metrics.read_predictions(tmp_path)[["valence", "arousal"]].drop_duplicates().shape[0] > back[["predicted_valence", "predicted_arousal"]].drop_duplicates().shape[0]


def random_system(rows, seed, noise=1.0):
    chance = np.random.default_rng(seed)
    values = rows[["valence", "arousal"]].to_numpy() + chance.normal(0, noise, (len(rows), 2))
    return rows[["pair", "id", "aspect"]].assign(valence=values[:, 0], arousal=values[:, 1])


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return corpus.read_corpus(synthetic.synthetic_corpus(tmp_path_factory.mktemp("synthetic")))


def test_matching_agrees_with_plain_loops(rows):
    train = rows[(rows.split == "train") & rows.usable]
    predictions = random_system(train, seed=0)
    scores = metrics.score(metrics.match(train, predictions)[0])
    for pair, measures in scores["pairs"].items():
        assert measures["rmse_va"] == pytest.approx(official_way(train[train["pair"] == pair], predictions[predictions["pair"] == pair]))


def test_correlations_agree_with_numpy(rows):
    frame, _, _ = metrics.match(rows[rows.split == "test"], random_system(rows[rows.split == "test"], seed=1))
    assert metrics.score(frame)["micro"]["pcc_a"] == pytest.approx(np.corrcoef(frame.arousal, frame.predicted_arousal)[0, 1])


def test_a_resample_is_what_repeating_rows_gives(rows):
    frame, _, _ = metrics.match(rows[rows.split == "test"], random_system(rows[rows.split == "test"], seed=2))
    family = frame[frame.source_id.str.startswith("rus-tat-ukr")]
    sums, (codes, sources) = metrics._resample([family], 3, seed=5)[0], pd.factorize(family.source_id, sort=True)
    counts = metrics._draw_counts(len(sources), 3, np.random.default_rng(5))
    for resample in range(3):
        repeated = family.loc[family.index.repeat(counts[resample][codes])]
        scores = metrics.score(repeated)
        assert scores["macro"]["rmse_va"] == pytest.approx(metrics._averaged(sums, "rmse_va", "macro")[resample])
        assert scores["macro"]["pcc_a"] == pytest.approx(metrics._averaged(sums, "pcc_a", "macro")[resample])
        assert scores["micro"]["pcc_v"] == pytest.approx(metrics._averaged(sums, "pcc_v", "micro")[resample])


def test_the_parallel_languages_are_drawn_together(rows):
    test = rows[rows.split == "test"]
    frame = metrics.match(test, test)[0]
    sums = dict(zip(sorted(frame.pair.unique()), metrics._resample([frame], 4, seed=0)[0]))
    assert (sums["rus_restaurant"] == sums["tat_restaurant"]).all() and (sums["rus_restaurant"] == sums["ukr_restaurant"]).all()
    assert (sums["rus_restaurant"] != sums["zho_restaurant"]).any()


def test_intervals_are_reproducible_and_bracket_the_score(rows):
    test = rows[rows.split == "test"]
    frame = metrics.match(test, random_system(test, seed=3))[0]
    for statistic, average in [("rmse_va", "macro"), ("pcc_v", "macro"), ("pcc_a", "micro")]:
        low, high = metrics.bootstrap_interval(frame, statistic, n=300, average=average)
        assert low < metrics.score(frame)[average][statistic] < high
        assert (low, high) == metrics.bootstrap_interval(frame, statistic, n=300, average=average)
    assert metrics.bootstrap_interval(frame, n=300, seed=1) != metrics.bootstrap_interval(frame, n=300, seed=0)
    with pytest.raises(UserError, match="statistic is .mae.; it must be one of .rmse_va"):
        metrics.bootstrap_interval(frame, "mae")


def test_a_constant_has_no_correlation_and_no_interval(rows):
    frame = metrics.match(rows[rows.split == "test"], metrics.constant_predictions(rows))[0]
    assert metrics.score(frame)["macro"]["pcc_v"] is None and json.dumps(metrics.score(frame), allow_nan=False)
    assert np.isnan(metrics.bootstrap_interval(frame, "pcc_v", n=20)).all()


def test_paired_comparison_sees_what_intervals_alone_do_not(rows):
    test = rows[rows.split == "test"]
    one, other = [metrics.match(test, random_system(test, seed=4, noise=noise))[0] for noise in (1.0, 1.03)]
    compared = metrics.paired_bootstrap(one, other, n=400)
    assert compared["high"] < 0 and compared["p"] < 0.01 and compared["rows"] == len(one)
    assert metrics.bootstrap_interval(one, n=400)[1] > metrics.bootstrap_interval(other, n=400)[0]
    back = metrics.paired_bootstrap(other, one, n=400)
    assert back["difference"] == -compared["difference"] and back["low"] == pytest.approx(-compared["high"])


def test_systems_that_lack_different_rows_are_compared_on_the_rest(rows):
    test = rows[rows.split == "test"]
    one, other = metrics.match(test, random_system(test, 5))[0], metrics.match(test, random_system(test, 6))[0]
    assert metrics.paired_bootstrap(one[1:], other[:-1], n=20)["rows"] == len(test) - 2
    with pytest.raises(UserError, match="not matched with the same gold rows"):
        metrics.paired_bootstrap(one, other.assign(valence=other.valence + 1), n=20)


def test_a_submission_holds_every_gold_aspect_byte_for_byte(rows, tmp_path):
    test = rows[rows.split == "test"]
    files = metrics.write_submission(tmp_path, test, random_system(test, seed=7, noise=0.2))
    assert len(files) == test.pair.nunique()
    frame, unmatched, ignored = metrics.match(test, metrics.read_predictions(tmp_path), strict=True)
    assert not unmatched and not ignored and len(frame) == len(test)
    for path in files:
        first = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
        assert list(first) == ["ID", "Aspect_VA"] and list(first["Aspect_VA"][0]) == ["Aspect", "VA"]
        assert all(len(part.split(".")[1]) == 2 for part in first["Aspect_VA"][0]["VA"].split("#"))


def test_a_submission_with_a_hole_is_refused(rows, tmp_path):
    test = rows[rows.split == "test"]
    broken = random_system(test, seed=8)
    broken.iloc[3, broken.columns.get_loc("valence")] = float("nan")
    with pytest.raises(UserError, match="has no prediction; predict every gold aspect"):
        metrics.write_submission(tmp_path, test, broken)
    assert not list(tmp_path.iterdir())


FACTS = dict(eng_laptop=1.344, eng_restaurant=1.265, jpn_finance=0.845, jpn_hotel=0.728, rus_restaurant=1.621, tat_restaurant=2.004,
             ukr_restaurant=1.632, zho_finance=0.551, zho_laptop=0.706, zho_restaurant=0.954)


@pytest.fixture(scope="module")
def data():
    if not os.environ.get("DIMABSA_DATA"):
        pytest.skip("DIMABSA_DATA is not set: the official corpora are not at hand")
    return corpus.find_data()


@pytest.fixture(scope="module")
def released(data):
    folder = Path(os.environ.get("DIMABSA_RELEASED") or data.parent / "dimabsa_rpi/final_submission_paper")
    if not folder.is_dir():
        pytest.skip("DIMABSA_RELEASED is not set: the authors' released predictions are not at hand")
    return folder


def test_the_released_predictions_on_test(data, released):
    scores = metrics.score_files(data, released)
    assert {pair: round(measures["rmse_va"], 3) for pair, measures in scores["pairs"].items()} == FACTS
    assert round(scores["macro"]["rmse_va"], 3) == 1.165 and round(scores["micro"]["rmse_va"], 3) == 1.243
    assert [(entry["pair"], entry["id"], entry["line"], entry["aspect"][0]) for entry in scores["unmatched"]] == [("zho_finance", "3661109:S005", 568, " ")]
    assert scores["micro"]["n"] == 16185
    with pytest.raises(UserError, match="zho_finance_test_task1.jsonl:568: aspect"):
        metrics.score_files(data, released, strict=True)


@pytest.mark.parametrize("split, macro", [("train", 0.664), ("dev", 0.749)])
def test_the_released_predictions_on_what_they_were_trained_on(data, released, split, macro):
    assert round(metrics.score_files(data, released, split=split)["macro"]["rmse_va"], 3) == macro


def test_the_constant_predictor_on_the_official_test_set(data):
    rows = corpus.read_corpus(data)
    frame = metrics.match(rows[rows.split == "test"], metrics.constant_predictions(rows))[0]
    assert round(metrics.score(frame)["macro"]["rmse_va"], 3) == 1.800


def test_a_thousand_resamples_of_the_official_test_set_take_seconds(data):
    rows = corpus.read_corpus(data, ("test",))
    frame = metrics.match(rows, random_system(rows, seed=0))[0]
    start = time.process_time()
    low, high = metrics.bootstrap_interval(frame)
    assert time.process_time() - start < 10 and 0.01 < high - low < 0.06
