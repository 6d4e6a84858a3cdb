"EmoLoom's training on the real corpora, and its ablation stage, killed and resumed."
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dimabsa_nb.emoloom import corpora, training
from dimabsa_nb.emoloom.contract import parse, render, target_answer

ROOT = Path(__file__).parents[1]
real = pytest.mark.skipif(not os.environ.get("DIMABSA_AFFECT"),
                          reason="DIMABSA_AFFECT is not set: the emotion corpora are not here")


@pytest.fixture(scope="module")
def lexicon():
    return corpora.read_glasgow()


@pytest.fixture(scope="module")
def goemotions(lexicon):
    return corpora.add_weak_vad(corpora.load_corpus("goemotions"), lexicon)


@real
@pytest.mark.parametrize("name", ["goemotions", "dailydialog", "empatheticdialogues"])
def test_every_target_keeps_the_contract(name, lexicon):
    rows = corpora.load_corpus(name)
    rows = rows[rows["usable"]]
    rows = corpora.add_weak_vad(rows.iloc[::max(1, len(rows) // 1000)], lexicon)
    for row in rows.itertuples():
        target = target_answer(row, lexicon, (0.5, 0.5, 0.5))
        code, answer = parse(render(target), corpora.LABELS[name])
        assert code == "ok" and answer.labels == row.labels, row.id
        assert len(answer.rationale.split()) <= 8, row.id


@real
def test_valence_flip_on_goemotions(lexicon, goemotions):
    train = goemotions[goemotions["split"] == "train"].reset_index(drop=True)
    flipped = training.valence_flip(train, lexicon)
    origin = train.set_index("id").loc[flipped["id"].str.removesuffix("~flip")]
    assert 0.05 * len(train) < len(flipped) <= 0.1 * (len(train) + len(flipped))
    assert set(flipped["split"]) == {"train"}
    assert (flipped["text"].to_numpy() != origin["text"].to_numpy()).all()
    rated = origin["valence"].notna().to_numpy()
    both = [frame.loc[rated, list(corpora.VAD_AXES)].to_numpy()
            for frame in (flipped, origin)]
    assert abs(both[0][:, 0] + both[1][:, 0] - 1).max() < 1e-9
    assert (both[0][:, 1:] == both[1][:, 1:]).all()


@real
def test_attested_antonyms(lexicon):
    "Most of the list is attested by the Glasgow Norms; what is not is never swapped."
    used = [word for word in training._ANTONYM if training._attested(word, lexicon)]
    assert 100 < len(used) < len(training._ANTONYM)
    assert training._swap_antonyms("glad or hopeful", lexicon) == "glad or hopeful"


@real
def test_verifier_reads_unseen_texts(goemotions):
    train, dev = [goemotions[goemotions["split"] == split].iloc[::8] for split in ("train", "dev")]
    verifier = training.fit_verifier(train["text"].tolist(), train["labels"].tolist())
    accuracy = training.verifier_accuracy(verifier, dev["text"].tolist(), dev["labels"].tolist())
    assert min(accuracy.values()) > 0.65


# ---- the ablation, killed in the middle

SWEEP = """
import sys
from dimabsa_nb.core import write_jsonl
from dimabsa_nb.emoloom.corpora import add_weak_vad, load_corpus, read_glasgow, synthetic_affect
from dimabsa_nb.emoloom.screening import ablate
folder, out = sys.argv[1:]
lexicon = read_glasgow(synthetic_affect(folder))
rows = add_weak_vad(load_corpus("goemotions", folder), lexicon)
train, dev = [rows[rows["split"] == split].head(n) for split, n in (("train", 12), ("dev", 6))]
table = ablate("tiny-random-qwen3-bytes", train, dev, out, lexicon, ["all on", "all off"], [1, 2],
               batch_size=4, max_length=1024, every=0)
write_jsonl(out + "/table.jsonl", table)
"""


def sweep(folder, out):
    return subprocess.Popen([sys.executable, "-c", SWEEP, str(folder), str(out)], cwd=ROOT,
                            env=os.environ | {"OMP_NUM_THREADS": "1"})


def test_a_killed_ablation_ends_in_the_same_bytes(tmp_path):
    whole, killed = tmp_path/"whole", tmp_path/"killed"
    assert sweep(tmp_path/"corpora", whole).wait(300) == 0
    process, second = sweep(tmp_path/"corpora", killed), killed/"all-on-2/state.safetensors"
    deadline = time.monotonic() + 300
    while not second.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    first = killed/"all-on-1.json"
    assert first.exists() and not (killed/"table.jsonl").exists()
    stamp = first.stat().st_mtime_ns
    assert sweep(tmp_path/"corpora", killed).wait(300) == 0
    assert first.stat().st_mtime_ns == stamp, "a finished setting was trained again"
    table = (killed/"table.jsonl").read_bytes()
    assert table == (whole/"table.jsonl").read_bytes()
    lines = [json.loads(line) for line in table.splitlines()]
    assert [(line["setting"], line["seed"]) for line in lines] == [
        ("all on", 1), ("all on", 2), ("all off", 1), ("all off", 2)]
