"""The corpus module on whole folders: the official counts, the synthetic corpus, and every kind of malformed file."""
import json
import os
from collections import Counter

import pandas as pd
import pytest

from dimabsa_nb import core, corpus, guidance
from dimabsa_nb.core import CorpusError, DataUnavailable
from dimabsa_nb.corpus import inspect_corpus, read_corpus, table1
from dimabsa_nb.synthetic import synthetic_corpus

GOOD = {"ID": "1", "Text": "The lid is stiff.", "Aspect_VA": [{"Aspect": "lid", "VA": "3.20#5.10"}]}
NAME = "eng_device_test_task1.jsonl"


def line(**changes):
    """The good object with some keys replaced; None deletes a key."""
    return json.dumps({key: value for key, value in {**GOOD, **changes}.items() if value is not None})


def aspects(**item):
    return line(Aspect_VA=[item])


MALFORMED = {
    "truncated JSON": (line()[:25].encode(), 1, "not a complete JSON object"),
    "not an object": (b"[1, 2]", 1, "instead of an object"),
    "nested too deeply": (b"[" * 100_000, 1, "not a complete JSON object"),
    "ID a number": (line(ID=7).encode(), 1, "'ID' is 7; write a string"),
    "text a list": (line(Text=["a"]).encode(), 1, "write a string"),
    "aspects a string": (line(Aspect_VA="lid").encode(), 1, "write a list"),
    "aspects strings": (line(Aspect_VA=["lid"]).encode(), 1, "write objects with 'Aspect'"),
    "aspect a number": (aspects(Aspect=3, VA="5#5").encode(), 1, "'Aspect' is 3"),
    "label a number": (aspects(Aspect="lid", VA=5).encode(), 1, "write \"V#A\" as a string"),
    "no ID": (line(ID=None).encode(), 1, "no 'ID'; add the key"),
    "no text": (line(Text=None).encode(), 1, "no 'Text'; add the key"),
    "no aspects": (line(Aspect_VA=None).encode(), 1, "add the list of aspects"),
    "an aspect without a name": (aspects(VA="5#5").encode(), 1, "no 'Aspect'"),
    "label abc": (aspects(Aspect="lid", VA="abc").encode(), 1, "'VA' is 'abc'; write two numbers"),
    "label NaN in quotes": (aspects(Aspect="lid", VA="nan#5").encode(), 1, "write two numbers"),
    "label endless": (aspects(Aspect="lid", VA="9" * 400 + "#5").encode(), 1, "write two numbers"),
    "label NaN": (line().replace('"3.20#5.10"', "NaN").encode(), 1, "NaN is no number"),
    "empty file": (b"", 1, "the file holds nothing"),
    "only blank lines": (b"\n\n", 1, "the file holds nothing"),
    "not UTF-8": (line().encode() + b"\n" + "naïve".encode("latin-1"), 2, "not UTF-8; save the file as UTF-8"),
    "UTF-16": (line().encode("utf-16"), 1, "not UTF-8"),
    "half a character": (line(Text="\ud800").encode(), 1, "half a character"),
    "duplicate IDs": (f"{line()}\n\n{line()}\n".encode(), 3, "ID '1' stands on line 1 already; give each text its own ID"),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_files_give_one_line_with_file_line_and_fix(tmp_path, kind):
    data, number, words = MALFORMED[kind]
    (tmp_path / NAME).write_bytes(data)
    with pytest.raises(CorpusError) as caught:
        read_corpus(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / NAME}:{number}: ") and words in message
    assert "\n" not in message and ";" in message
    rows, defects = inspect_corpus(tmp_path)
    assert [entry["line"] for entry in defects if entry["kind"] in corpus.FATAL] == [number]


@pytest.mark.parametrize("kind", MALFORMED)
def test_the_same_files_as_input_for_prediction(tmp_path, kind):
    data, number, words = MALFORMED[kind]
    (tmp_path / "mine.jsonl").write_bytes(data)
    with pytest.raises(CorpusError, match="mine.jsonl:") as caught:
        corpus.read_inputs(tmp_path / "mine.jsonl")
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_defects_that_are_only_reported(tmp_path):
    lines = [aspects(Aspect="lid", VA="5#16.50"), line(ID="2", Aspect_VA=[{"Aspect": " fan"}]), "",
             line(ID="3", Aspect_VA=[{"Aspect": "lid", "VA": "5#2.5"}, {"Aspect": "lid", "VA": "6#4"}]), line(ID="4", Aspect_VA=[])]
    (tmp_path / NAME).write_text("\r\n".join(lines) + "\r\n", encoding="utf-8-sig")
    rows, defects = inspect_corpus(tmp_path)
    assert [(entry["line"], entry["kind"]) for entry in defects] == [
        (1, "label_out_of_range"), (2, "missing_label"), (2, "aspect_outer_space"), (3, "blank_line"),
        (4, "arousal_below_3"), (4, "repeated_aspect"), (5, "no_aspects")]
    assert rows.usable.tolist() == [False, False, True, True] and table1(rows).total.sum() == 4
    assert rows.aspect.tolist() == ["lid", " fan", "lid", "lid"]


def test_unusable_labels_are_counted_in_the_log(tmp_path, caplog):
    (tmp_path / NAME).write_text(aspects(Aspect="lid", VA="5#16.50"), encoding="utf-8")
    read_corpus(tmp_path)
    assert "1 x label_out_of_range" in caplog.text


def test_one_text_in_two_files_of_a_split(tmp_path):
    for name in ("eng_device_train_alltasks.jsonl", "eng_device_train_task1.jsonl"):
        (tmp_path / name).write_text(line(), encoding="utf-8")
    with pytest.raises(CorpusError, match="stands in another file of this split"):
        read_corpus(tmp_path)


def test_any_folder_with_other_languages_and_domains(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/deu_night_trains_train.jsonl").write_text(line(), encoding="utf-8")
    (tmp_path / "deu_night_trains_dev_task3.jsonl").write_text("not ours", encoding="utf-8")
    (tmp_path / "notes.jsonl").write_text("not ours", encoding="utf-8")
    assert table1(read_corpus(tmp_path)).loc["deu_night_trains"].tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize("make", [lambda folder: folder, lambda folder: folder / "nowhere"])
def test_a_folder_without_a_corpus(tmp_path, make, monkeypatch):
    for call in (read_corpus, corpus.find_data):
        with pytest.raises(CorpusError, match="holds? no corpus|no corpus file|no such file"):
            call(make(tmp_path))
    monkeypatch.setenv("DIMABSA_DATA", str(make(tmp_path)))
    with pytest.raises(CorpusError, match="DIMABSA_DATA="):
        corpus.find_data()


def test_no_data_and_no_network(tmp_path, monkeypatch):
    def unreachable(url, timeout):
        raise OSError("no route to host")
    monkeypatch.setattr(core.urllib.request, "urlopen", unreachable)
    monkeypatch.delenv("DIMABSA_DATA", raising=False)
    monkeypatch.setenv("DIMABSA_CACHE", str(tmp_path))
    with pytest.raises(DataUnavailable, match="cannot be downloaded .no route to host.; set DIMABSA_DATA") as caught:
        corpus.find_data()
    assert "\n" not in str(caught.value) and not list(tmp_path.rglob("*.jsonl"))


def test_fetch_repairs_a_broken_file_and_leaves_the_others(tmp_path):
    synthetic_corpus(tmp_path / "there", texts_per_pair=3)
    paths = sorted((tmp_path / "there").rglob("*.jsonl"))
    files = {path.relative_to(tmp_path / "there").as_posix(): core.file_sha256(path) for path in paths}
    corpus.fetch_corpora(tmp_path / "here", (tmp_path / "there").as_uri(), files)
    broken, kept = [tmp_path / "here" / name for name in list(files)[:2]]
    broken.write_bytes(b"{")
    before = kept.stat().st_mtime_ns
    corpus.fetch_corpora(tmp_path / "here", (tmp_path / "there").as_uri(), files)
    assert core.file_sha256(broken) == list(files.values())[0] and kept.stat().st_mtime_ns == before


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.jsonl"))}


def test_the_synthetic_corpus_depends_on_its_seed_alone(tmp_path):
    one, two, other = [contents(synthetic_corpus(tmp_path / name, seed=seed, texts_per_pair=5)) for name, seed in [("a", 0), ("b", 0), ("c", 1)]]
    assert one == two and one.keys() == other.keys() and all(one[name] != other[name] for name in one)


def test_the_synthetic_corpus_has_the_official_layout(tmp_path):
    files = contents(synthetic_corpus(tmp_path))
    assert set(corpus.OFFICIAL_FILES) <= set(files)
    for name, data in files.items():
        first = json.loads(data.splitlines()[0])
        assert list(first) == ["ID", "Text", "Quadruplet" if "train_alltasks" in name else "Aspect_VA"]
        assert ("finance" in name) == name.endswith("train_task1.jsonl") or "_train_" not in name
    rows = read_corpus(tmp_path)
    texts = rows.drop_duplicates(["pair", "split", "id"])
    shared = texts[texts.language.isin(corpus.PARALLEL)].groupby("source_id").language.nunique()
    assert shared.eq(3).all() and rows.language.nunique() == 6 and rows.domain.nunique() == 5


def test_splits_keep_sources_together_and_ignore_the_order_of_rows(tmp_path):
    rows = read_corpus(synthetic_corpus(tmp_path), ("train",))
    held = corpus.internal_split(rows)
    assert held.groupby(rows.source_id).nunique().eq(1).all() and 0.08 < held.mean() < 0.12
    shuffled = rows.sample(frac=1, random_state=0)
    assert corpus.internal_split(shuffled).sort_index().equals(held)
    assert not corpus.internal_split(rows, seed=7).equals(held)
    assert set(rows.pair[held]) == set(rows.pair)


def test_subsets_hold_whole_texts_of_every_pair(tmp_path):
    rows = read_corpus(synthetic_corpus(tmp_path), ("train",))
    small, large = [corpus.balanced_subset(rows, count, seed=3) for count in (20, 40)]
    assert set(small.index) < set(large.index)
    assert small.groupby("pair").size().between(16, 20).all() and small.pair.nunique() == rows.pair.nunique()
    assert small.groupby(["pair", "id"]).size().eq(rows.groupby(["pair", "id"]).size().reindex(small.groupby(["pair", "id"]).size().index)).all()
    assert small.source_id[small.language == "rus"].tolist() == small.source_id[small.language == "tat"].tolist()


def test_tables_survive_the_disk(tmp_path):
    rows = read_corpus(synthetic_corpus(tmp_path / "c", texts_per_pair=4))
    rows["row"] = range(len(rows))
    rows["probabilities"] = [[0.1 + 0.2, 1e-17, 1 / 3]] * len(rows)
    rows["valence"] = rows.valence / 3
    rows.loc[rows.index[0], "arousal"] = float("nan")
    back = core.read_jsonl(core.write_jsonl(tmp_path / "rows.jsonl", rows))
    pd.testing.assert_frame_equal(back, rows.reset_index(drop=True), check_exact=True)
    assert not list(tmp_path.glob(".*"))


def test_inputs_name_their_own_pair(tmp_path, caplog):
    lines = [line(), line(ID="2", Aspect_VA=None, Aspect=["NULL", "lid"], Language="tat", Domain="hotel"),
             line(ID="3", Aspect_VA=None, Quadruplet=[{"Aspect": "lid", "Opinion": "stiff"}])]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines), encoding="utf-8")
    rows = corpus.read_inputs(tmp_path / "mine.jsonl")
    assert rows.pair.tolist() == ["eng_restaurant", "tat_hotel", "tat_hotel", "eng_restaurant"]
    assert "without 'Language' and 'Domain' are taken as eng restaurant" in caplog.text
    (tmp_path / "mine.jsonl").rename(tmp_path / "zho_laptop.jsonl")
    assert corpus.read_inputs(tmp_path / "zho_laptop.jsonl").pair.tolist()[0] == "zho_laptop"


@pytest.mark.parametrize("key", ["Aspect", "Aspect_VA", "Quadruplet"])
def test_inputs_without_an_aspect_are_named(tmp_path, key):
    (tmp_path / "mine.jsonl").write_text("\n".join([line(), line(ID="2", **{"Aspect_VA": None, key: []})]), encoding="utf-8")
    with pytest.raises(CorpusError) as caught:
        corpus.read_inputs(tmp_path / "mine.jsonl")
    assert str(caught.value) == f"{tmp_path / 'mine.jsonl'}:2: no aspect to predict; give at least one"


@pytest.fixture(scope="module")
def official():
    if not os.environ.get("DIMABSA_DATA"):
        pytest.skip("DIMABSA_DATA is not set: the official corpora are not at hand")
    return inspect_corpus(corpus.find_data())


def test_table1_to_the_row(official):
    counts = table1(official[0])
    assert list(counts.index) == list(corpus.PAIRS)
    assert counts.total.tolist() == [7469, 5503, 4222, 3293, 4205, 4205, 8733, 11137, 5550, 4205]
    assert counts.sum().tolist() == [39069, 3267, 16186, 58522]


def test_the_official_defects(official):
    rows, defects = official
    kinds = Counter(entry["kind"] for entry in defects)
    assert not set(kinds) & set(corpus.FATAL)
    assert kinds["label_out_of_range"] == 3 and kinds["arousal_below_3"] == 112 and kinds["aspect_outer_space"] == 1
    assert [entry["file"] for entry in defects if entry["kind"] == "blank_line"] == ["zho/zho_laptop_test_task1.jsonl"]
    assert {entry["file"][:3] for entry in defects if entry["kind"] == "label_out_of_range"} == set(corpus.PARALLEL)
    again = rows.duplicated(["file", "line", "aspect"]).sum()
    assert 5000 < again < 5200 and kinds["repeated_aspect"] == 4193 and rows.usable.sum() == 58522 - 3


def test_the_official_files_are_the_pinned_ones(official):
    root = corpus.corpus_root(corpus.find_data())
    for name, digest in corpus.OFFICIAL_FILES.items():
        assert core.file_sha256(root / name.removeprefix(corpus._SUBTASK + "/")) == digest


def test_the_official_internal_split_does_not_leak(official):
    rows = official[0][official[0].split == "train"]
    held = corpus.internal_split(rows)
    assert not set(rows.source_id[held]) & set(rows.source_id[~held]) and 0.09 < held.mean() < 0.11


def test_the_release_gives_test_rows_the_guidance_of_another_language(official):
    """Of each 1,637 rows: the IDs are the same in three languages, and some aspects are."""
    rows = official[0][lambda rows: rows["split"] == "test"].reset_index(drop=True)
    rows["row"] = range(len(rows))
    given = rows["pair"][guidance.release_rows(rows)].to_numpy()
    assert rows["pair"][given != rows["pair"]].value_counts().to_dict() == {"ukr_restaurant": 398, "tat_restaurant": 363}
