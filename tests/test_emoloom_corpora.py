"The real emotion corpora, where they are at hand, and what happens where they are not."
import logging
import os
import random

import numpy as np
import pytest

from dimabsa_nb.core import CorpusError, DataUnavailable, UserError, file_sha256
from dimabsa_nb.emoloom import corpora

real = pytest.mark.skipif(not os.environ.get("DIMABSA_AFFECT"),
                          reason="DIMABSA_AFFECT is not set: the emotion corpora are not here")


@real
@pytest.mark.parametrize("name, splits", [
    ("goemotions", {"train": 43410, "dev": 5426, "test": 5427}),
    ("dailydialog", {"train": 87171, "dev": 8069, "test": 7740}),
    ("emobank", {"train": 8062, "dev": 1000, "test": 1000}),
])
def test_published_sizes(name, splits):
    assert corpora.load_corpus(name)["split"].value_counts().to_dict() == splits


@real
@pytest.mark.parametrize("name, counts, held_out", [
    ("goemotions", {"dev": 43, "test": 37}, 10853),
    ("dailydialog", {"dev": 69, "test": 93}, 15809),
])
def test_copies_across_splits(name, counts, held_out):
    rows, copies = corpora.drop_duplicates_across_splits(corpora.load_corpus(name))
    assert copies == counts and (rows["split"] != "train").sum() == held_out
    assert set(corpora.drop_duplicates_across_splits(rows)[1].values()) == {0}


@real
def test_one_dialogue_has_a_label_too_few(caplog):
    with caplog.at_level(logging.WARNING): rows = corpora.load_corpus("dailydialog")
    assert rows.loc[~rows["usable"], "group"].unique().tolist() == ["train-7852"]
    assert "train.zip:7852: 12 utterances and 11 labels" in caplog.text
    dialogues = rows.groupby("split")["group"].nunique().to_dict()
    assert dialogues == {"train": 11118, "dev": 1000, "test": 1000}


@real
def test_every_empathetic_test_prompt_finds_its_label(caplog):
    with caplog.at_level(logging.WARNING): rows = corpora.load_corpus("empatheticdialogues")
    assert rows["usable"].all() and not caplog.text
    if rows["file"].isin(["valid.csv", "test.csv"]).all():
        sizes = rows["split"].value_counts()
        assert sizes["test"] == 2547 and sizes["train"] + sizes["dev"] == 2770
        assert 0.77 < sizes["train"] / 2770 < 0.83


@real
def test_lexicon_against_human_ratings():
    "Weak VAD is not ground truth: r is 0.48, 0.22 and 0.18."
    lexicon, rows = corpora.read_glasgow(), corpora.load_corpus("emobank")
    assert len(lexicon.words) == 5553 - 871
    weak = corpora.add_weak_vad(rows.assign(valence=np.nan, vad_source=""), lexicon)
    filled = weak["vad_source"] == "lexicon"
    assert filled.sum() == 7688
    correlations = [round(np.corrcoef(weak.loc[filled, axis], rows.loc[filled, axis])[0, 1], 2)
                    for axis in corpora.VAD_AXES]
    assert correlations == [0.48, 0.22, 0.18]


@real
def test_files_are_the_pinned_ones():
    for name, files in corpora._SOURCES.items():
        for file, (_, digest) in files.items():
            path = corpora._affect_folder(name)/file
            # the lexicon's pinned file has two header lines, other copies have one
            if name != "glasgow" and path.exists(): assert file_sha256(path) == digest, path


def test_without_data_or_network(tmp_path, monkeypatch):
    monkeypatch.delenv("DIMABSA_AFFECT", raising=False)
    monkeypatch.setenv("DIMABSA_CACHE", str(tmp_path))
    nowhere = (tmp_path/"nowhere").as_uri()
    sources = {name: {file: (nowhere, digest) for file, (_, digest) in files.items()}
               for name, files in corpora._SOURCES.items()}
    monkeypatch.setattr(corpora._fetch_affect, "__defaults__", (None, sources))
    for name in corpora.CORPORA:
        fix = f"set DIMABSA_AFFECT to the folder that holds {name}/"
        with pytest.raises(DataUnavailable, match=fix) as caught: corpora.load_corpus(name)
        assert "\n" not in str(caught.value) and "DIMABSA_DATA" not in str(caught.value)


# ---- damaged files: one line that names the file, or a corpus; never anything else

DAMAGED = {
    "goemotions": ["goemotions/dev.tsv"], "dailydialog": ["dailydialog/test.zip"],
    "emobank": ["emobank/emobank.csv"], "glasgow": ["glasgow/glasgow_norms.csv"],
    "empatheticdialogues": [f"empatheticdialogues/{file}"
                            for file in ("valid.csv", "test.csv", "labels/test.csv")],
}
ODD = [b"\x00", b"\xff", b'"', b"\n", b"\r", b",", b"\t", b"\t\t", b"9999", b"nan", b"-1",
       b"\xe2\x80\xa8", b"x" * 200_000]


def damages(data, chance):
    "Ways in which a file goes wrong."
    at, end = sorted((chance.randrange(len(data)), chance.randrange(len(data))))
    odd, lines = chance.choice(ODD), data.split(b"\n")
    lines.insert(chance.randrange(len(lines)), chance.choice(lines))
    return [data[:at], data[end:], data[:at] + data[end:], data[:at] + odd + data[at:],
            data[:at] + odd + data[at + 1:], b"\n".join(lines), b"", b"\n", odd]


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files(name, tmp_path):
    chance, refused = random.Random(name), 0
    corpora.synthetic_affect(tmp_path, size=12)
    load = (corpora.read_glasgow if name == "glasgow"
            else lambda folder: corpora.load_corpus(name, folder))
    for file in DAMAGED[name]:
        whole = (tmp_path/file).read_bytes()
        for data in [damaged for _ in range(40) for damaged in damages(whole, chance)]:
            (tmp_path/file).write_bytes(data)
            try: load(tmp_path)
            except UserError as error:
                refused += 1
                assert "\n" not in str(error), error
                assert tmp_path.name in str(error) or name in str(error), error
        (tmp_path/file).write_bytes(whole)
    load(tmp_path)
    assert refused > 50


def test_a_damaged_archive_is_refused(tmp_path):
    corpora.synthetic_affect(tmp_path, size=12)
    archive = tmp_path/"empatheticdialogues"/corpora._OFFICIAL_ARCHIVE
    for data in (b"", b"not an archive", b"\x1f\x8b" + b"\x00" * 40):
        archive.write_bytes(data)
        with pytest.raises(CorpusError, match="not the official archive"):
            corpora.load_corpus("empatheticdialogues", tmp_path)
