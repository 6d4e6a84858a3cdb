"""What is malformed is refused by one line that names the place and the fix, with exit code 2, and nothing is written; see `bad_inputs.py`."""
import json
import os
import shutil
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import bad_inputs
import pytest
from bad_inputs import CASES, GOLD, INPUT, NOTEBOOK, PRED, PROFILE, WHOLE, notebook, record
from conftest import COUNTS
from hypothesis import given, settings
from hypothesis import strategies as any_
from typer.testing import CliRunner

from dimabsa_nb import core
from dimabsa_nb.cli import app
from dimabsa_nb.core import UserError
from dimabsa_nb.corpus import read_corpus, read_inputs
from dimabsa_nb.metrics import read_predictions, submission_lines
from dimabsa_nb.profiles import _read_notebook, read_profile

NOBODY = 65534


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A good corpus, submission, text and profile; no network."""
    for path in (GOLD, PRED, INPUT): core.write_atomic(tmp_path / path, record() + "\n")
    core.write_atomic(tmp_path / PROFILE, bad_inputs.TOY)
    core.write_atomic(tmp_path / NOTEBOOK, notebook("out = ''\nvalue = 0.5", "open(out + '/n', 'w')"))
    for path in (tmp_path, *tmp_path.parents[:3]): path.chmod(0o711)  # so that nobody can come here
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DIMABSA_DATA", raising=False)
    return tmp_path


def lay(root, files, system):
    """Lay a case's files over the workplace."""
    if any(name.startswith("system") for name in files) and files.get("system", 0) is not None:
        shutil.copytree(system, root / "system")
    for name, content in files.items():
        path = root / name
        if content is None: shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        elif callable(content):
            path.parent.mkdir(parents=True, exist_ok=True)
            content(path)
        else: core.write_atomic(path, content)


def contents(root):
    """Every name below a folder, and what it holds."""
    return {path.relative_to(root).as_posix(): path.is_file() and path.read_bytes() for path in sorted(root.rglob("*")) if "weights" not in path.parts}


def call(command, as_nobody=False):
    if as_nobody and not os.geteuid(): os.seteuid(NOBODY)
    try: return CliRunner().invoke(app, command.split())
    finally: os.geteuid() == NOBODY and os.seteuid(0)


@pytest.mark.parametrize("case", CASES)
def test_one_line_says_where_and_the_fix(workplace, system, case, monkeypatch, tally):
    with tally("Bad input", case.split(":")[0]): refused(workplace, system, case, monkeypatch)


def test_the_committed_count_is_that_of_the_table():
    found = json.loads(COUNTS.read_text("utf-8"))
    counts = {name.split(": ")[1]: part for name, part in found.items() if name.startswith("Bad input")}
    assert counts == {what: {"tried": count, "survived": count} for what, count in Counter(case.split(":")[0] for case in CASES).items()}
    assert all(part["tried"] == part["survived"] for part in found.values())


def refused(workplace, system, case, monkeypatch):
    """A case's command says one line, exits with 2, and writes nothing."""
    command, files, place, words = CASES[case]
    lay(workplace, files, system)
    if case.startswith("cache"):
        monkeypatch.setenv("DIMABSA_CACHE", str(workplace / "cache"))
        monkeypatch.setattr(core.urllib.request, "urlopen", lambda *given, **named: (_ for _ in ()).throw(OSError("no network")))
    before = contents(workplace)
    answer = call(command, bad_inputs.locked in files.values())
    assert answer.exception is None or isinstance(answer.exception, SystemExit), repr(answer.exception)[:600]
    line = answer.stderr.removesuffix("\n")
    assert (answer.exit_code, answer.stdout) == (2, ""), (line, answer.stdout)
    assert place in line and words in line, line[:600]
    assert line.isprintable() and len(line) < 600 and ("; " in line or "there are: " in line), line[:600]
    assert contents(workplace) == before


@pytest.mark.parametrize("kind", WHOLE)
def test_what_is_odd_and_whole_is_read(workplace, kind):
    for path in (GOLD, PRED): core.write_atomic(workplace / path, WHOLE[kind])
    found = json.loads(CliRunner().invoke(app, f"score gold {PRED} --strict --json".split()).stdout)
    assert found["micro"]["rmse_va"] == 0 and not found["unmatched"]


def test_odd_texts_are_counted_and_predicted(workplace, system):
    shutil.copytree(system, workplace / "system")
    lines = [record("", "1", Language="eng"), record("\u200b \ufeff", "2", Language="deu"), record(id="3", Language="deu"), record(id="4", Language="tat", Domain="\x1b")]
    core.write_atomic(workplace / INPUT, "\n".join(lines))
    answer = call(bad_inputs.PREDICT.replace("out", "deep/out"))
    assert answer.exit_code == 0 and answer.stderr.splitlines() == [
        f"NOTE: {INPUT}:1: the text is empty (2 such texts); predicted all the same",
        f"NOTE: {INPUT}:2: language 'deu' is none of eng, jpn, rus, ukr, zho, tat (2 such texts); predicted all the same"]
    assert read_predictions(workplace / "deep/out.jsonl")["id"].tolist() == ["1", "2", "3", "4"]


GARBAGE = any_.binary(max_size=80) | any_.text(max_size=80).map(lambda text: text.encode("utf-8", "surrogatepass"))
JSON = any_.recursive(any_.none() | any_.booleans() | any_.floats() | any_.text(max_size=8) | any_.integers(), lambda inner: any_.lists(inner, max_size=3) | any_.dictionaries(
    any_.sampled_from(["ID", "Text", "Aspect", "Aspect_VA", "Quadruplet", "VA", "cells", "metadata", "source", "cell_type", "Language", "Domain"]), inner, max_size=4), max_leaves=12)
LINE = any_.tuples(any_.just(record().encode()), any_.integers(0, 90), GARBAGE).map(lambda parts: parts[0][:parts[1]] + parts[2] + parts[0][parts[1]:])
FILE = any_.lists(GARBAGE | LINE | JSON.map(lambda value: json.dumps(value).encode()), max_size=4).map(b"\n".join)
READERS = {"eng_laptop_test.jsonl": [read_corpus, read_predictions, read_inputs, core.read_jsonl], "n.ipynb": [_read_notebook, lambda path: core.read_json(path, "fix")],
           "nbs/profiles/p.toml": [lambda path: read_profile(path.parents[2], "p")]}


@settings(max_examples=150, deadline=None, derandomize=True)
@given(FILE)
def test_readers_read_or_say_one_line(data):
    """Whatever bytes a file holds, a reader returns or raises UserError that names the file in one short line."""
    with TemporaryDirectory() as folder:
        for name, readers in READERS.items():
            path = core.write_atomic(Path(folder) / name, data)
            for read in readers:
                try: read(path)
                except UserError as error: assert path.name in str(error) and str(error).isprintable() and len(str(error)) < 600 and "; " in str(error)


TEXTS = any_.text(any_.characters(exclude_categories=["Cs"]), max_size=20)
SCORES = any_.integers(100, 900).map(lambda value: value / 100)
ASKED = any_.dictionaries(TEXTS, any_.tuples(TEXTS, any_.dictionaries(TEXTS, any_.tuples(SCORES, SCORES), min_size=1, max_size=3)), min_size=1, max_size=4)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(ASKED)
def test_texts_and_answers_survive_the_disk(asked):
    """IDs, texts, aspects and labels of any characters come back as they were, from inputs and from submissions."""
    with TemporaryDirectory() as folder:
        records = [{"ID": id, "Text": text, "Aspect_VA": [{"Aspect": aspect, "VA": f"{v:.2f}#{a:.2f}"} for aspect, (v, a) in aspects.items()]} for id, (text, aspects) in asked.items()]
        rows = read_inputs(core.write_atomic(Path(folder) / "eng_laptop.jsonl", "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)))
        given = [(id, text, aspect, *label) for id, (text, aspects) in asked.items() for aspect, label in aspects.items()]
        assert rows[["id", "text", "aspect", "valence", "arousal"]].to_records(index=False).tolist() == given
        written = submission_lines(rows.rename(columns={"valence": "predicted_valence", "arousal": "predicted_arousal"}))
        back = read_predictions(core.write_atomic(Path(folder) / "pred_eng_laptop.jsonl", written))
        assert back[["id", "aspect", "valence", "arousal"]].to_records(index=False).tolist() == [(id, aspect, v, a) for id, _, aspect, v, a in given]
