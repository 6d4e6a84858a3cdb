"The real emotion corpora, where they are at hand, and what happens where they are not."
import logging
import os
import random

import numpy as np
import pytest

from dimabsa_nb.emoloom import corpora
from dimabsa_nb.core import CorpusError, DataUnavailable, UserError, file_sha256

FOLDER = os.environ.get("DIMABSA_AFFECT")
real = pytest.mark.skipif(not FOLDER, reason="DIMABSA_AFFECT is not set: the emotion corpora are not at hand")


@real
@pytest.mark.parametrize("name, splits", [
    ("goemotions", {"train": 43410, "dev": 5426, "test": 5427}),
    ("dailydialog", {"train": 87171, "dev": 8069, "test": 7740}),
    ("emobank", {"train": 8062, "dev": 1000, "test": 1000}),
])
def test_published_sizes(name, splits):
    assert corpora.load_corpus(name)["split"].value_counts().to_dict() == splits


@real
def test_copies_across_splits():
    counts = {name: corpora.drop_duplicates_across_splits(corpora.load_corpus(name)) for name in ("goemotions", "dailydialog")}
    assert {name: found for name, (_, found) in counts.items()} == {"goemotions": {"dev": 43, "test": 37}, "dailydialog": {"dev": 69, "test": 93}}
    for name, (kept, _) in counts.items():
        assert set(corpora.drop_duplicates_across_splits(kept)[1].values()) == {0}, name
        assert (kept["split"] != "train").sum() == {"goemotions": 10853, "dailydialog": 15809}[name]


@real
def test_one_dialogue_has_a_label_too_few(caplog):
    with caplog.at_level(logging.WARNING): rows = corpora.load_corpus("dailydialog")
    assert rows.loc[~rows["usable"], "group"].unique().tolist() == ["train-7852"]
    assert "train.zip:7852: 12 utterances and 11 labels" in caplog.text
    assert rows.groupby("split")["group"].nunique().to_dict() == {"train": 11118, "dev": 1000, "test": 1000}


@real
def test_every_empathetic_test_prompt_finds_its_label(caplog):
    with caplog.at_level(logging.WARNING): rows = corpora.load_corpus("empatheticdialogues")
    assert rows["usable"].all() and not caplog.text
    if rows["file"].isin(["valid.csv", "test.csv"]).all():
        sizes = rows["split"].value_counts()
        assert sizes["test"] == 2547 and sizes["train"] + sizes["dev"] == 2770 and 0.77 < sizes["train"] / 2770 < 0.83


@real
def test_lexicon_on_peoples_judgements():
    "Weak VAD is not ground truth: r is 0.48, 0.22 and 0.18."
    lexicon, rows = corpora.read_glasgow(), corpora.load_corpus("emobank")
    assert len(lexicon.words) == 5553 - 871
    weak = corpora.add_weak_vad(rows.assign(valence=np.nan, vad_source=""), lexicon)
    hit = weak["vad_source"] == "lexicon"
    assert hit.sum() == 7688
    found = [round(np.corrcoef(weak.loc[hit, axis], rows.loc[hit, axis])[0, 1], 2) for axis in corpora.VAD_AXES]
    assert found == [0.48, 0.22, 0.18]


@real
def test_files_are_the_pinned_ones():
    for name, files in corpora._SOURCES.items():
        for file, (_, digest) in files.items():
            path = corpora.affect_folder(name)/file
            if name == "glasgow" or not path.exists(): continue  # the lexicon is at hand with one header line, published with two
            assert file_sha256(path) == digest, path


def test_without_data_or_network(tmp_path, monkeypatch):
    monkeypatch.delenv("DIMABSA_AFFECT", raising=False)
    monkeypatch.setenv("DIMABSA_CACHE", str(tmp_path))
    sources = {name: {file: ((tmp_path/"nowhere").as_uri(), digest) for file, (_, digest) in files.items()} for name, files in corpora._SOURCES.items()}
    monkeypatch.setattr(corpora._fetch_affect, "__defaults__", (None, sources))
    for name in corpora.CORPORA:
        with pytest.raises(DataUnavailable, match=f"set DIMABSA_AFFECT to the folder that holds {name}/") as caught: corpora.load_corpus(name)
        assert "\n" not in str(caught.value) and "DIMABSA_DATA" not in str(caught.value)


# ---- broken files: one line that names the file, or a corpus; never anything else

BROKEN = {"goemotions": ["goemotions/dev.tsv"], "dailydialog": ["dailydialog/test.zip"], "emobank": ["emobank/emobank.csv"], "glasgow": ["glasgow/glasgow_norms.csv"],
          "empatheticdialogues": ["empatheticdialogues/valid.csv", "empatheticdialogues/test.csv", "empatheticdialogues/labels/test.csv"]}


def breakages(data, chance):
    "Ways in which a file goes wrong."
    at, end = sorted((chance.randrange(len(data)), chance.randrange(len(data))))
    odd = chance.choice([b"\x00", b"\xff", b'"', b"\n", b"\r", b",", b"\t", b"\t\t", b"9999", b"nan", b"-1", b"\xe2\x80\xa8", b"x" * 200_000])
    lines = data.split(b"\n")
    lines.insert(chance.randrange(len(lines)), chance.choice(lines))
    return [data[:at], data[end:], data[:at] + data[end:], data[:at] + odd + data[at:], data[:at] + odd + data[at + 1:], b"\n".join(lines), b"", b"\n", odd]


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files(name, tmp_path):
    chance, refused = random.Random(name), 0
    corpora.synthetic_affect(tmp_path, size=12)
    load = corpora.read_glasgow if name == "glasgow" else lambda folder: corpora.load_corpus(name, folder)
    for file in BROKEN[name]:
        whole = (tmp_path/file).read_bytes()
        for data in [broken for _ in range(40) for broken in breakages(whole, chance)]:
            (tmp_path/file).write_bytes(data)
            try: load(tmp_path)
            except UserError as error:
                refused += 1
                assert "\n" not in str(error) and (tmp_path.name in str(error) or name in str(error)), error
        (tmp_path/file).write_bytes(whole)
    load(tmp_path)
    assert refused > 50


def test_a_broken_archive_is_refused(tmp_path):
    corpora.synthetic_affect(tmp_path, size=12)
    for data in (b"", b"not an archive", b"\x1f\x8b" + b"\x00" * 40):
        (tmp_path/"empatheticdialogues"/corpora._OFFICIAL_ARCHIVE).write_bytes(data)
        with pytest.raises(CorpusError, match="not the official archive"): corpora.load_corpus("empatheticdialogues", tmp_path)
