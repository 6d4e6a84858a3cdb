"""Malformed corpora, submissions, texts, profiles, notebooks, systems, caches and runs, as a table of data.

A case is (command, files, place, words): the files are laid over a good workplace (see `test_bad_input.workplace`), the command is refused with one line that names
the place and says the words. A file's content is text or bytes; None removes it, a function is called with its path.
"""
import json
import os
import shutil

from dimabsa_nb.core import write_atomic
from dimabsa_nb.emoloom.corpora import synthetic_affect

GOLD = "gold/eng_laptop_test_task1.jsonl"
PRED = "pred_eng_laptop.jsonl"
INPUT = "mine.jsonl"
PROFILE = "nbs/profiles/toy.toml"
NOTEBOOK = "nbs/91_dataset.ipynb"
SCORE = f"score gold {PRED}"
PREDICT = f"predict system {INPUT} -o out.jsonl"


def record(text="The lid is stiff.", id="1", **keys):
    return json.dumps({"ID": id, "Text": text, "Aspect_VA": [{"Aspect": "lid", "VA": "3.20#5.10"}], **keys})


def label(value):
    return record(Aspect_VA=[{"Aspect": "lid", "VA": value}])


def folder(path):
    """A folder where a file should be."""
    if path.is_dir(): shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.mkdir(parents=True)


def circle(path):
    """A link that leads to itself by way of another."""
    path.unlink(missing_ok=True)
    other = path.with_name("other")
    path.symlink_to(other)
    other.symlink_to(path)


def locked(path):
    """A file that its reader may not read."""
    path.chmod(0)


def truncate(share):
    def cut(path): os.truncate(path, int(path.stat().st_size * share))
    return cut


def put(**keys):
    """JSON with some keys changed, or, with None, removed."""
    def change(path):
        value = {**json.loads(path.read_text("utf-8")), **keys}
        path.write_text(json.dumps({key: item for key, item in value.items() if item is not None}), "utf-8")
    return change


def tensors(change):
    def rewrite(path):
        from safetensors.torch import load_file, save_file
        held = load_file(path)
        change(held)
        save_file(held, path)
    return rewrite


def notebook(*sources, tag="parameters"):
    cells = [{"cell_type": "code", "metadata": {"tags": [tag] * (not k)}, "source": [source], "outputs": [], "execution_count": None, "id": str(k)} for k, source in enumerate(sources)]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


# what a line of the task's formats may suffer; the place is the line
LINES = {
    "truncated": (record()[:25], 1, "not a complete JSON object"),
    "truncated in the last of three lines": ("\n".join([record(), record(id="2"), record(id="3")[:-1]]), 3, "not a complete JSON object"),
    "a megabyte, truncated": (record("long " * 200_000)[:-3], 1, "not a complete JSON object"),
    "an ID of a megabyte, twice": (record(id="x" * 10**6) + "\n" + record(id="x" * 10**6), 2, "stands on line 1 already"),
    "two objects on a line": (record() + record(id="2"), 1, "not a complete JSON object"),
    "a list": ("[1, 2]", 1, "instead of an object"),
    "a hundred thousand brackets": ("[" * 100_000, 1, "not a complete JSON object"),
    "an integer of 10,000 digits": ('{"ID": ' + "9" * 10_000 + "}", 1, "not a complete JSON object"),
    "an ID that is a number": (record(id=7), 1, "'ID' is 7; write a string"),
    "an ID that is null": (record(id=None), 1, "'ID' is null; write a string"),
    "an aspect that is a number": (record(Aspect_VA=[{"Aspect": 3, "VA": "5#5"}]), 1, "'Aspect' is 3"),
    "aspects that are a string": (record(Aspect_VA="lid"), 1, "write a list"),
    "mixed shapes": (record(Aspect_VA=["lid", {"Aspect": "fan", "VA": "5#5"}]), 1, "write objects with 'Aspect'"),
    "a label that is a number": (label(5), 1, "write \"V#A\" as a string"),
    "a label that is a list": (label([5, 5]), 1, "write \"V#A\" as a string"),
    "a label that is NaN": (record().replace('"3.20#5.10"', "NaN"), 1, "NaN is no number"),
    "a label that is infinite": (record().replace('"3.20#5.10"', "-Infinity"), 1, "-Infinity is no number"),
    "a label that says NaN": (label("nan#5"), 1, "write two numbers"),
    "a label of huge numbers": (label("9" * 400 + "#5"), 1, "write two numbers"),
    "a label with an exponent": (label("1e3#5"), 1, "write two numbers"),
    "a label with commas": (label("7,12#6,50"), 1, "write two numbers"),
    "a label of one number": (label("7.12"), 1, "write two numbers"),
    "a label in Arabic digits": (label("٥#٥"), 1, "write two numbers"),
    "a label with a zero-width space": (label("5\u200b#5"), 1, "write two numbers"),
    "no aspects": (json.dumps({"ID": "1", "Text": "Fine."}), 1, "add the list of aspects"),
    "no ID": (json.dumps({"Text": "Fine.", "Aspect_VA": []}), 1, "no 'ID'; add the key"),
    "duplicate IDs": (f"{record()}\n\n{record()}", 3, "give each text its own ID"),
    "half an emoji": (record("\ud83d"), 1, "half a character"),
    "empty": ("", 1, "the file holds nothing"),
    "line breaks alone": ("\r\n\r\n", 1, "the file holds nothing"),
    "UTF-16": (record().encode("utf-16"), 1, "not UTF-8; save the file as UTF-8"),
    "Latin-1 on line 2": (record().encode() + "\nnaïve".encode("latin-1"), 2, "not UTF-8; save the file as UTF-8"),
    "Shift JIS": (record().replace("lid", "蓋").encode("shift-jis"), 1, "not UTF-8; save the file as UTF-8"),
    "a byte order mark in the middle": (record() + "\n\ufeff" + record(id="2"), 2, "not a complete JSON object"),
    "null bytes": (b"\0" * 64, 1, "not a complete JSON object"),
    "control characters in a text": (record().replace("stiff", "st\x1bff"), 1, "not a complete JSON object"),
    "carriage returns alone": (f"{record()}\r{record(id='2')}", 1, "not a complete JSON object"),
    "a compressed file": (bytes.fromhex("1f8b08000000000000ff"), 1, "not UTF-8"),
}

CASES = {f"{what}: {kind}": (command, {path: content}, f"{path}:{number}: ", words)
         for what, command, path in (("corpus", SCORE, GOLD), ("submission", SCORE, PRED), ("texts", PREDICT, INPUT))
         for kind, (content, number, words) in LINES.items()}

# a run reads the whole corpus before its first stage
CASES |= {f"run: a corpus, {kind}": ("run toy", {GOLD: content, NOTEBOOK: notebook("out = ''\ncorpus = 'official'\ndata = 'gold'", "open(out + '/n', 'w')")}, f"{GOLD}:{number}: ", words)
          for kind, (content, number, words) in LINES.items()}

# and the released predictions
CASES |= {f"run: released predictions, {kind}": ("run toy --released pred", {f"pred/{PRED}": content, NOTEBOOK: notebook("out = ''\nreleased = ''", "open(out + '/n', 'w')")}, f"{PRED}:{number}: ", words)
          for kind, (content, number, words) in LINES.items()}

# and emotion corpora that are not the pinned ones
READS_AFFECT = notebook("out = ''\naffect_corpora = 'real'\naffect = 'affect'", "open(out + '/n', 'w')")


def affect(file, content):
    """Invented emotion corpora, one of their files damaged, or gone."""
    def lay(path):
        write_atomic(synthetic_affect(path, size=12) / file, content or b"")
        if content is None: (path / file).unlink()
    return lay


CASES |= {f"run: emotion corpora, {kind}": ("run toy", {"affect": affect(file, content), NOTEBOOK: READS_AFFECT}, place, words) for kind, (file, content, place, words) in {
    "a line without tabs": ("goemotions/train.tsv", "x\n", "goemotions/train.tsv:1: ", "fields between tabs; "),
    "an unknown label": ("goemotions/test.tsv", "Fine.\t28\tid1\n", "goemotions/test.tsv:1: ", "write ids from 0 to 27"),
    "no file": ("goemotions/dev.tsv", None, "goemotions/dev.tsv", "No such file"),
    "not an archive": ("dailydialog/train.zip", b"PK", "dailydialog/train.zip: ", "get it again"),
    "not the official archive": ("empatheticdialogues/empatheticdialogues.tar.gz", b"x", "empatheticdialogues.tar.gz: ", "get it again"),
    "no column": ("emobank/emobank.csv", "id,split\n1,train\n", "emobank/emobank.csv:1: ", "no column "),
    "a rating off its scale": ("emobank/emobank.csv", "id,split,V,A,D,text\n1,train,9,3,3,Fine.\n", "emobank/emobank.csv:2: ", "write a number from 1 to 5"),
    "not UTF-8": ("glasgow/glasgow_norms.csv", b"Word\xff", "glasgow_norms.csv", "UTF-8"),
    "empty": ("glasgow/glasgow_norms.csv", b"", "glasgow_norms.csv:1: ", "the file holds nothing; get it again")}.items()}
CASES["run: emotion corpora, no folder"] = ("run toy", {NOTEBOOK: READS_AFFECT}, "affect: ", "no such file or folder; check the path")
CASES["run: emotion corpora, another folder"] = ("run toy", {"affect": folder, NOTEBOOK: READS_AFFECT}, "affect: ", "holds no goemotions/; give the folder that holds goemotions")

CASES |= {
    "corpus: a text that is a list": (SCORE, {GOLD: record(["a"])}, f"{GOLD}:1: ", "write a string"),
    "corpus: no text": (SCORE, {GOLD: json.dumps({"ID": "1", "Aspect_VA": []})}, f"{GOLD}:1: ", "no 'Text'; add the key"),
    "corpus: the same ID in two files": (SCORE, {"gold/eng_laptop_test.jsonl": record()}, "gold/eng_laptop_test_task1.jsonl:1: ", "another file of this split; give each text its own ID"),
    "corpus: no labels": (SCORE, {GOLD: json.dumps({"ID": "1", "Text": "x", "Aspect": ["lid"]})}, "gold: ", "no labels to score against; give files with labels"),
    "corpus: a folder for a file": (SCORE, {GOLD: folder}, GOLD, "cannot be read (Is a directory); check the path"),
    "corpus: links in a circle": (SCORE, {GOLD: circle}, GOLD, "cannot be read"),
    "corpus: may not be read": (SCORE, {GOLD: locked}, GOLD, "cannot be read (Permission denied); check the path"),
    "corpus: no file": (SCORE, {GOLD: None}, "gold: ", "no corpus file of test; name files LANGUAGE_DOMAIN_SPLIT.jsonl"),
    "corpus: another split": (f"{SCORE} --split tset", {}, "split is 'tset'", "it must be one of 'train', 'dev', 'test'"),
    "corpus: where data are looked for": ("data check --data pred", {"pred": folder}, "pred: ", "holds no corpus; give the folder that holds task-dataset/"),
    "submission: a prediction without a label": (SCORE, {PRED: record(Aspect_VA=[{"Aspect": "lid"}])}, f"{PRED}:1: ", "aspect 'lid' has no 'VA'; write \"V#A\""),
    "submission: other IDs": (SCORE, {PRED: record(id="7")}, "no gold aspect has a prediction", "check that IDs, aspects and file names agree"),
    "submission: aspects that differ in spaces, strictly": (f"{SCORE} --strict", {PRED: record(Aspect_VA=[{"Aspect": "lid ", "VA": "5#5"}])}, "eng_laptop_test_task1.jsonl:1: ", "predict every gold aspect, spaces included"),
    "submission: a folder without predictions": ("score gold pred", {"pred": folder}, "pred: ", "no prediction file; name files pred_LANGUAGE_DOMAIN.jsonl"),
    "submission: two files for a pair": ("score gold pred", {f"pred/a/{PRED}": record(), f"pred/b/{PRED}": record()}, f"pred/b/{PRED}: ", "keep one of the two"),
    "submission: links in a circle": (SCORE, {PRED: circle}, PRED, "cannot be read"),
    "submission: may not be read": (SCORE, {PRED: locked}, PRED, "cannot be read (Permission denied); check the path"),
    "submission: no file": (SCORE, {PRED: None}, PRED, "cannot be read (No such file or directory); check the path"),
    "submission: a name that tells no pair": ("score gold other.jsonl", {"gold/rus_hotel_test.jsonl": record(), "other.jsonl": record()}, "other.jsonl: ", "name it pred_LANGUAGE_DOMAIN.jsonl"),
    "texts: no text": (PREDICT, {INPUT: json.dumps({"ID": "1", "Aspect": ["lid"]})}, f"{INPUT}:1: ", "no 'Text'; add the key"),
    "texts: no aspect": (PREDICT, {INPUT: json.dumps({"ID": "1", "Text": "Fine.", "Aspect": []})}, f"{INPUT}:1: ", "no aspect to predict; give at least one"),
    "texts: a language that is a number": (PREDICT, {INPUT: record(Language=3)}, f"{INPUT}:1: ", "'Language' is 3; write a string"),
    "texts: a folder for a file": (PREDICT, {INPUT: folder}, INPUT, "cannot be read (Is a directory); check the path"),
    "texts: links in a circle": (PREDICT, {INPUT: circle}, INPUT, "cannot be read"),
    "texts: may not be read": (PREDICT, {INPUT: locked}, INPUT, "cannot be read (Permission denied); check the path"),
    "texts: an answer that is a folder": (PREDICT, {"out.jsonl": folder}, "out.jsonl: ", "is a folder; name a file in it"),
    "texts: an answer below a file": (f"predict system {INPUT} -o {PRED}/out.jsonl", {}, f"{PRED}/out.jsonl: ", "its folder cannot be written to; name another place"),
    "texts: an answer that is the question": (f"predict system {INPUT} -o {INPUT}", {}, INPUT, "would be overwritten; name another file"),
    "texts: empty, strictly": (f"{PREDICT} --strict", {INPUT: f"{record()}\n{record('  ', '2')}"}, f"{INPUT}:2: ", "the text is empty; leave the line out, or predict without --strict"),
    "texts: zero-width characters alone, strictly": (f"{PREDICT} --strict", {INPUT: record("\u200b\u2060\ufeff")}, f"{INPUT}:1: ", "the text is empty; leave the line out"),
    "texts: an unknown language, strictly": (f"{PREDICT} --strict", {INPUT: record(Language="English", Domain="laptop")}, f"{INPUT}:1: ", "language 'English' is none of eng, jpn, rus, ukr, zho, tat"),
}

TOY = "[profile]\nstages = ['91_dataset']\n"
for kind, (content, words) in {
        "truncated": ("[profile\n", "toy.toml:1: Expected ']'"),
        "a name twice": ("a = 1\na = 2\n", "Cannot overwrite a value"),
        "UTF-16": (TOY.encode("utf-16"), "not UTF-8; save the file as UTF-8"),
        "Latin-1": (TOY.encode() + "# naïve".encode("latin-1"), "not UTF-8; save the file as UTF-8"),
        "control characters": (TOY + "about = '\0'", "invalid character"),
        "a hundred thousand brackets": ("a = " + "[" * 100_000, "recursion"),
        "an unknown table": (TOY + "[paramters]\n", "[] paramters: Extra inputs are not permitted; it takes: profile, parameters"),
        "an unknown key": (TOY + "caption2 = ''\n", "[profile] caption2: Extra inputs are not permitted"),
        "tables that are numbers": ("profile = 3\n", "[] profile: Input should be a valid dictionary"),
        "parameters that are a list": ("parameters = [1]\n" + TOY, "[] parameters: Input should be a valid dictionary"),
        "stages that are a string": ("[profile]\nstages = '91_dataset'\n", "[profile] stages: Input should be a valid list"),
        "stages that are numbers": ("[profile]\nstages = [1]\n", "[profile.stages] 0: Input should be a valid string"),
        "a tolerance in words": (TOY + "tolerance = 'much'\n", "[profile] tolerance: Input should be a valid number"),
        "a caption that is a number": (TOY + "caption = 3\n", "[profile] caption: Input should be a valid string"),
        "an unknown stage": ("[profile]\nstages = ['99_nothing']\n", "no stage 99_nothing"),
        "a stage twice": ("[profile]\nstages = ['91_dataset', '91_dataset']\n", "names stage 91_dataset twice"),
        "an unknown need": (TOY + "[profile.needs]\ngpus = 3\n", "[profile.needs] gpus: "),
        "needs that are a number": (TOY + "needs = 3\n", "[profile] needs: Input should be a valid dictionary"),
        "an unknown parameter": (TOY + "[parameters]\nvaleu = 1\n", "no stage or parameter is called 'valeu'"),
        "a parameter of another type": (TOY + "[parameters]\nvalue = 'big'\n", "value = 'big' is str, not float; 91_dataset takes: value = 0.5"),
        "a parameter that is NaN": (TOY + "[parameters]\nvalue = nan\n", "value is nan; give a finite number"),
        "it extends itself": (TOY + "extends = 'toy'\n", "extends 'toy', which is no profile that stands alone"),
        "it extends what is not there": (TOY + "extends = 'none'\n", "extends 'none', which is no profile that stands alone"),
        "it extends a number": (TOY + "extends = 3\n", "[profile] extends: Input should be a valid string"),
        "a folder for a file": (folder, "no profile 'toy'; there are:"),
        "links in a circle": (circle, "no profile 'toy'; there are:"),
        "may not be read": (locked, "cannot be read (Permission denied); check the path")}.items():
    CASES[f"profile: {kind}"] = ("run toy", {PROFILE: content}, "", words)

for kind, (content, words) in {
        "truncated": (truncate(0.5), "not JSON ("),
        "empty": ("", "not JSON ("),
        "a list": ("[]", "list instead of an object"),
        "cells that are a number": ('{"cells": 3}', "not a notebook"),
        "cells without a type": ('{"cells": [{}]}', "not a notebook"),
        "Latin-1": ('{"cells": "naïve"}'.encode("latin-1"), "not UTF-8; save the file as UTF-8"),
        "no parameters": (notebook("value = 0.5", tag="other"), "needs exactly one cell tagged 'parameters'"),
        "parameters that are computed": (notebook("value = 1 / 2"), "needs exactly one cell tagged 'parameters', with plain literals only"),
        "parameters that do not parse": (notebook("value ="), "needs exactly one cell tagged 'parameters', with plain literals only"),
        "code that does not parse": (notebook("out = ''\nvalue = 0.5", "if value"), "a cell is not Python"),
        "may not be read": (locked, "cannot be read (Permission denied); check the path"),
        "a folder for a file": (folder, "no stage 91_dataset")}.items():
    CASES[f"notebook: {kind}"] = ("run toy", {NOTEBOOK: content}, NOTEBOOK, words)

AGAIN = "train again, or copy the folder again"
for kind, (changes, place, words) in {
        "none": ({"system": None}, "system: ", "holds no valence/; give the system folder"),
        "a file for the folder": ({"system": None, "system/": "x"}, "system: ", "holds no valence/; give the system folder"),
        "no encoder": ({"system/encoder": None}, "system: ", "holds no encoder/; give the system folder"),
        "no arousal": ({"system/arousal": None}, "system: ", "holds no arousal/; give the system folder"),
        "no settings of the encoder": ({"system/encoder/encoder.json": None}, "system/encoder: ", "holds no encoder.json; give a folder that 33_train_encoder wrote"),
        "settings of the encoder truncated": ({"system/encoder/encoder.json": truncate(0.5)}, "system/encoder/encoder.json: ", "not JSON ("),
        "settings of the encoder in Latin-1": ({"system/encoder/encoder.json": "{'naïve'".encode("latin-1")}, "system/encoder/encoder.json:1: ", "not UTF-8"),
        "settings of the encoder a list": ({"system/encoder/encoder.json": "[]"}, "system/encoder/encoder.json: ", f"list instead of an object; {AGAIN}"),
        "settings without a base": ({"system/encoder/encoder.json": put(base=None)}, "system/encoder/encoder.json: ", f"lacks 'base'; {AGAIN}"),
        "settings with a base of another type": ({"system/encoder/encoder.json": put(base=3)}, "system/encoder/encoder.json: ", f"'base' is 3, not str; {AGAIN}"),
        "settings with a length in words": ({"system/encoder/encoder.json": put(max_length="long")}, "system/encoder/encoder.json: ", f"'max_length' is 'long', not int; {AGAIN}"),
        "settings with another variant": ({"system/encoder/encoder.json": put(variant="both")}, "variant is 'both'", "it must be one of"),
        "an encoder of other prompts": ({"system/encoder/encoder.json": put(prompt_version="b")}, "system/encoder/encoder.json: ", "trained with prompts b, this code has appendix-a-1; train again"),
        "no weights": ({"system/encoder/model.safetensors": None}, "system/encoder/model.safetensors: ", AGAIN),
        "weights truncated": ({"system/encoder/model.safetensors": truncate(0.7)}, "system/encoder/model.safetensors: ", AGAIN),
        "weights empty": ({"system/encoder/model.safetensors": ""}, "system/encoder/model.safetensors: ", AGAIN),
        "weights that are a pickle": ({"system/encoder/model.safetensors": b"\x80\x04cos\nsystem\n(S'touch hacked'\ntR."}, "system/encoder/model.safetensors: ", AGAIN),
        "weights without a tensor": ({"system/encoder/model.safetensors": tensors(lambda held: held.pop("bins.bias"))}, "system/encoder/model.safetensors: ", "bins.bias and its settings do not belong together"),
        "weights of another shape": ({"system/encoder/model.safetensors": tensors(lambda held: held.update({"bins.bias": held["bins.bias"][:2].clone()}))}, "system/encoder/model.safetensors: ", "bins.bias and its settings do not belong together"),
        "weights that are NaN": ({"system/encoder/model.safetensors": tensors(lambda held: held["bins.bias"].fill_(float("nan")))}, "system/encoder/model.safetensors: ", "bins.bias holds NaN or infinity"),
        "a tokenizer truncated": ({"system/encoder/tokenizer.json": truncate(0.5)}, "system/encoder: ", AGAIN),
        "a tokenizer's settings in words": ({"system/encoder/tokenizer_config.json": "words"}, "system/encoder: ", AGAIN),
        "a base that is not there": ({"system/encoder/encoder.json": put(base="no-such-model")}, "no-such-model: ", "no such model; name a folder"),
        "a base that is a pickle": ({"system/encoder/encoder.json": put(base="pickled"), "pickled/config.json": "{}", "pickled/pytorch_model.bin": b"\x80\x04."}, "pickled: ", "no *.safetensors there (pickled weights are not loaded)"),
        "a base with code of its own": ({"system/encoder/encoder.json": put(base="foreign"), "foreign/config.json": json.dumps({"auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Own"}, "model_type": "own"}),
                                         "foreign/own.py": "open('hacked', 'w')", "foreign/model.safetensors": b"\2\0\0\0\0\0\0\0{}"}, "foreign: ", "cannot be loaded"),
        }.items():
    CASES[f"system: {kind}"] = (PREDICT, changes, place, words)

for kind, (changes, place, words) in {
        "no settings": ({"system/valence/coarse.json": None}, "system/valence: ", "holds no coarse.json; give a folder that 31_train_coarse wrote"),
        "settings truncated": ({"system/valence/coarse.json": truncate(0.5)}, "system/valence/coarse.json: ", "not JSON ("),
        "settings with a length in words": ({"system/valence/coarse.json": put(max_length="long")}, "system/valence/coarse.json: ", f"'max_length' is 'long', not int; {AGAIN}"),
        "two base models": ({"system/valence/coarse.json": put(model="tiny-random-qwen3")}, "the adapters were trained on different base models", "give adapters of one"),
        "no weights": ({"system/valence/adapter_model.safetensors": None}, "system/valence: ", f"holds no adapter_model.safetensors; {AGAIN}"),
        "weights truncated": ({"system/valence/adapter_model.safetensors": truncate(0.7)}, "system/valence: ", AGAIN),
        "weights empty": ({"system/arousal/adapter_model.safetensors": ""}, "system/arousal: ", AGAIN),
        "weights that are a pickle": ({"system/valence/adapter_model.safetensors": None, "system/valence/adapter_model.bin": b"\x80\x04."}, "system/valence: ", f"holds no adapter_model.safetensors; {AGAIN}"),
        "weights without a tensor": ({"system/valence/adapter_model.safetensors": tensors(lambda held: held.pop(min(held)))}, "system/valence/adapter_model.safetensors: ", "do not belong together"),
        "weights that are NaN": ({"system/valence/adapter_model.safetensors": tensors(lambda held: held[min(held)].fill_(float("nan")))}, "system/valence/adapter_model.safetensors: ", "holds NaN or infinity"),
        "a configuration truncated": ({"system/valence/adapter_config.json": truncate(0.5)}, "system/valence: ", AGAIN),
        "a configuration of another method": ({"system/valence/adapter_config.json": put(peft_type="MAGIC")}, "system/valence: ", AGAIN),
        "a rank in words": ({"system/valence/adapter_config.json": put(r="many")}, "system/valence: ", AGAIN)}.items():
    CASES[f"adapter: {kind}"] = (PREDICT, changes, place, words)

CACHE = "cache/DimABSA2026-bdc93be"
OFFICIAL = f"{CACHE}/task-dataset/track_a/subtask_1/eng/eng_laptop_dev_task1.jsonl"
for kind, (command, changes, place, words) in {
        "a corpus with another byte, and no network": ("data fetch --data cache/DimABSA2026-bdc93be", {OFFICIAL: record()}, "eng_laptop_dev_task1.jsonl: ", "cannot be downloaded"),
        "a file for the folder": (PREDICT, {"system/encoder/encoder.json": lambda path: None, "cache": "x"}, "cache/weights", "cannot be kept"),
        "a folder for a corpus file": ("data fetch", {OFFICIAL: folder}, "eng_laptop_dev_task1.jsonl", "cannot be"),
        "the commits of models truncated": (PREDICT, {"cache/weights/commits.json": '{"a', "system/encoder/encoder.json": put(base="owner/name")}, "cache/weights/commits.json: ", "not JSON"),
        "the commits of models a list": (PREDICT, {"cache/weights/commits.json": "[]", "system/encoder/encoder.json": put(base="owner/name")}, "cache/weights/commits.json: ", "instead of an object")}.items():
    CASES[f"cache: {kind}"] = (command, changes, place, words)

RECORD = "runs/toy/91_dataset/record.json"
for kind, (command, changes, place, words) in {
        "rows truncated": ("report toy", {"runs/toy/30_prepare_rows/rows.jsonl": record() + "\n{"}, "runs/toy/30_prepare_rows/rows.jsonl:2: ", "not a JSON line"),
        "rows of another shape": ("report toy", {"runs/toy/30_prepare_rows/rows.jsonl": record()}, "runs/toy/30_prepare_rows/rows.jsonl: ", "has no column 'row'; run the profile again"),
        "nothing predicted": ("report toy", {"runs/toy/30_prepare_rows/rows.jsonl": ""}, "runs/toy: ", "nothing was prepared or predicted there; run the profile first"),
        "a name that leaves the folder": ("report toy --name ../toy", {}, "--name ../toy: ", "a run's name has letters, digits"),
        "a table that is none": ("compare results/a results/b", {"results/a/table2.csv": "\0", "results/b/table2.csv": ""}, "results/a/table2.csv: ", "is no Table 2"),
        "a spread of one run": ("spread toy a b", {}, "a: ", "not a run in runs/; run it first")}.items():
    CASES[f"run: {kind}"] = (command, changes, place, words)

# what is odd and whole: read as it stands, and scored against itself without an error
WHOLE = {
    "a byte order mark": "\ufeff" + record(),
    "CRLF": f"{record()}\r\n{record(id='2')}\r\n",
    "blank lines": f"{record()}\n\n{record(id='2')}",
    "no line break at the end": record(),
    "a megabyte": record("long " * 200_000),
    "emoji, right-to-left marks, zero-width characters": record("🍜\u200f\u202e\u200b\u2060"),
    "escaped control characters": record("a\0\x1b[31m\x7f\x85\u2028"),
    "aspects that differ in case": record(Aspect_VA=[{"Aspect": "Lid", "VA": "5#5"}, {"Aspect": "lid", "VA": "5#5"}]),
    "aspects of spaces and nothing": record(Aspect_VA=[{"Aspect": " ", "VA": "5#5"}, {"Aspect": "", "VA": "6#5"}]),
    "a label with spaces and a sign": label(" +5.00 # 5 "),
    "an ID of script": record(id="</script><script>"),
    "keys of other tasks": record(Opinion=3, Nested={"a": [None]}),
}
