"EmoLoom's training on the real corpora, and its ablation stage, killed and resumed."
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dimabsa_nb.emoloom import contract, corpora, training
from dimabsa_nb.emoloom.contract import parse, render

ROOT = Path(__file__).parents[1]
FOLDER = os.environ.get("DIMABSA_AFFECT")
real = pytest.mark.skipif(not FOLDER, reason="DIMABSA_AFFECT is not set: the emotion corpora are not at hand")


@pytest.fixture(scope="module")
def corpora():
    lexicon, thin = corpora.read_glasgow(), {"goemotions": 1, "dailydialog": 40, "empatheticdialogues": 4}
    return lexicon, {name: corpora.add_weak_vad(corpora.load_corpus(name).iloc[::step], lexicon) for name, step in thin.items()}


@real
def test_every_target_keeps_the_contract(corpora):
    lexicon, frames = corpora
    for name, rows in frames.items():
        rows = rows[rows["usable"]].iloc[::max(1, len(rows) // 1000)]
        for row in rows.itertuples():
            answer = contract.target_answer(row, lexicon, (0.5, 0.5, 0.5))
            code, found = parse(render(answer), corpora.LABELS[name])
            assert code == "ok" and found.labels == row.labels and len(found.rationale.split()) <= 8, (name, row.id)


@real
def test_valence_flip_on_goemotions(corpora):
    lexicon, frames = corpora
    train = frames["goemotions"][frames["goemotions"]["split"] == "train"].reset_index(drop=True)
    twins = training.valence_flip(train, lexicon)
    origin = train.set_index("id").loc[twins["id"].str.removesuffix("~flip")]
    assert 0.05 * len(train) < len(twins) <= 0.1 * (len(train) + len(twins))
    assert set(twins["split"]) == {"train"} and (twins["text"].to_numpy() != origin["text"].to_numpy()).all()
    judged = origin["valence"].notna().to_numpy()
    assert abs(twins["valence"].to_numpy()[judged] + origin["valence"].to_numpy()[judged] - 1).max() < 1e-9
    for axis in ("arousal", "dominance"): assert (twins[axis].to_numpy()[judged] == origin[axis].to_numpy()[judged]).all()


@real
def test_attested_antonyms(corpora):
    "Most of the list is attested by the Glasgow Norms; what is not is never swapped."
    lexicon, _ = corpora
    used = [word for word in training._ANTONYM if training._attested(word, lexicon)]
    assert 100 < len(used) < len(training._ANTONYM)
    assert training._swap_antonyms("glad or hopeful", lexicon) == "glad or hopeful"


@real
def test_verifier_reads_unseen_texts(corpora):
    lexicon, frames = corpora
    train, dev = [frames["goemotions"][frames["goemotions"]["split"] == split].iloc[::8] for split in ("train", "dev")]
    verifier = training.fit_verifier(train["text"].tolist(), train["labels"].tolist())
    assert min(training.verifier_accuracy(verifier, dev["text"].tolist(), dev["labels"].tolist()).values()) > 0.65


# ---- the ablation, killed in the middle

SWEEP = """
import sys
from dimabsa_nb.affect import add_weak_vad, load_corpus, read_glasgow, synthetic_affect
from dimabsa_nb.corpus import write_jsonl
from dimabsa_nb.loom import ablate
folder, place = sys.argv[1:]
lexicon = read_glasgow(synthetic_affect(folder))
rows = add_weak_vad(load_corpus("goemotions", folder), lexicon)
train, dev = [rows[rows["split"] == split].head(count) for split, count in (("train", 12), ("dev", 6))]
table = ablate("tiny-random-qwen3-bytes", train, dev, place, lexicon, ["all on", "all off"], [1, 2], batch_size=4, max_length=1024, every=0)
write_jsonl(place + "/table.jsonl", table)
"""


def sweep(folder, place):
    return subprocess.Popen([sys.executable, "-c", SWEEP, str(folder), str(place)], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})


def test_a_killed_ablation_ends_in_the_same_bytes(tmp_path):
    assert sweep(tmp_path/"corpora", tmp_path/"whole").wait(300) == 0
    killed = sweep(tmp_path/"corpora", tmp_path/"halves")
    second = tmp_path/"halves/all-on-2/state.safetensors"
    deadline = time.monotonic() + 300
    while not second.exists() and killed.poll() is None and time.monotonic() < deadline: time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait(30)
    first = (tmp_path/"halves/all-on-1.json")
    assert first.exists() and not (tmp_path/"halves/table.jsonl").exists()
    stamp = first.stat().st_mtime_ns
    assert sweep(tmp_path/"corpora", tmp_path/"halves").wait(300) == 0
    assert first.stat().st_mtime_ns == stamp, "a finished setting was done again"
    assert (tmp_path/"halves/table.jsonl").read_bytes() == (tmp_path/"whole/table.jsonl").read_bytes()
    lines = [json.loads(line) for line in (tmp_path/"whole/table.jsonl").read_text().splitlines()]
    assert [(line["setting"], line["seed"]) for line in lines] == [("all on", 1), ("all on", 2), ("all off", 1), ("all off", 2)]
