"""The command line from outside: one JSON object, one line per error, exit codes, light imports."""
import configparser
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from typer.testing import CliRunner

from dimabsa_nb.cli import app
from dimabsa_nb.core import DataUnavailable, write_atomic, write_json
from dimabsa_nb.profiles import load_chain, select_stages
from dimabsa_nb.synthetic import synthetic_corpus

REPOSITORY = Path(__file__).resolve().parents[1]


def call(*arguments, code=0):
    answer = CliRunner().invoke(app, list(map(str, arguments)))
    assert answer.exit_code == code, (answer.exit_code, answer.stdout, answer.stderr)
    return answer


def refused(*arguments):
    answer = call(*arguments, code=2)
    assert answer.stdout == "" and answer.stderr.count("\n") == 1 and "Traceback" not in answer.stderr
    return answer.stderr


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return synthetic_corpus(tmp_path_factory.mktemp("corpus"), 0, 12)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A repository with one stage that writes one table."""
    (tmp_path / "nbs/profiles").mkdir(parents=True)
    tagged = new_code_cell("out = ''\nvalue = 0.5", metadata={"tags": ["parameters"]})
    code = "import os\nos.makedirs(out + '/results')\nopen(out + '/results/table1.csv', 'w').write(f'pair,rmse\\nrus,{value}\\n')"
    nbformat.write(new_notebook(cells=[tagged, new_code_cell(code)]), tmp_path / "nbs/91_dataset.ipynb")
    (tmp_path / "nbs/profiles/toy.toml").write_text("[profile]\nstages = ['91_dataset']\ntolerance = 0.1\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("profile", sorted(path.stem for path in (REPOSITORY/"nbs/profiles").glob("*.toml")))
def test_every_profile_fits_its_notebooks(profile):
    chain = load_chain(profile, root=REPOSITORY)
    last = [*chain.stages][-1]
    assert last in [stage.name for stage in select_stages(chain, last)]


def test_data_check_is_one_json_object(corpus):
    found = json.loads(call("data", "check", "--data", corpus, "--json").stdout)
    assert list(found) == ["pairs", "total", "defects"] and len(found["pairs"]) >= 10
    assert list(found["pairs"]["eng_laptop"]) == ["train", "dev", "test", "total"]
    assert found["total"] == sum(pair["total"] for pair in found["pairs"].values())
    assert all(list(defect) == ["file", "line", "kind", "detail"] for defect in found["defects"])


def test_data_check_for_people(corpus, monkeypatch):
    monkeypatch.setenv("DIMABSA_DATA", str(corpus))
    lines = call("data", "check").stdout.splitlines()
    assert lines[0].split() == ["pair", "train", "dev", "test", "total"] and "aspect rows" in lines[-1]


def test_data_check_lists_a_broken_file_and_exits_2(tmp_path):
    (tmp_path / "eng_laptop_test_task1.jsonl").write_text('{"ID": "1", "Text": "Fine."')
    answer = call("data", "check", "--data", tmp_path, "--json", code=2)
    assert json.loads(answer.stdout)["defects"][0]["line"] == 1


def test_score_is_one_json_object_even_with_warnings(corpus, tmp_path):
    gold = next(Path(corpus).rglob("eng_laptop_test*.jsonl"))
    kept = gold.read_text("utf-8").splitlines()[1:]
    (tmp_path / "pred_eng_laptop.jsonl").write_text("\n".join(kept), "utf-8")
    found = json.loads(call("score", gold, tmp_path / "pred_eng_laptop.jsonl", "--json").stdout)
    assert found["pairs"]["eng_laptop"]["rmse_va"] == 0 and found["unmatched"]
    assert {"pairs", "macro", "micro", "unmatched"} <= found.keys()
    assert "has no prediction" in refused("score", gold, tmp_path / "pred_eng_laptop.jsonl", "--strict")


def test_score_for_people(corpus):
    lines = call("score", corpus, corpus).stdout.splitlines()
    assert lines[0].split() == ["pair", "n", "rmse_va", "pcc_v", "pcc_a"] and lines[-2].startswith("micro")


@pytest.mark.parametrize("arguments, message", [
    (["run", "tiny"], "no profile 'tiny'; there are:"),
    (["status", "toy", "-p", "valeu=1"], "no stage or parameter is called 'valeu'"),
    (["run", "toy", "-p", "value"], "needs the form name=value"),
    (["run", "toy", "-p", "value=big"], "value = 'big' is str, not float; 91_dataset takes: value = 0.5"),
    (["run", "toy", "-p", "value={[]:1}"], "value = '{[]:1}' is str, not float"),
    (["run", "toy", "--publish", "-p", "value=1"], "this run has -p value=1; leave out --publish"),
    (["run", "toy", "--publish", "--name", "toy-2"], "this run has the name toy-2; leave out --publish"),
    (["run", "toy", "--name", "a b"], "--name a b: a run's name has letters, digits, '.', '_' and '-'"),
    (["verify", "toy", "--name", "../a"], "--name ../a: a run's name has letters"),
    (["report", "toy", "--name", "toy-2"], "toy-2 has not been run here; run it first: dimabsa run toy --name toy-2"),
    (["parameters", "toy", "33_train_encoder"], "no stage '33_train_encoder'; there are: 91_dataset"),
    (["compare", "toy", "nowhere"], "toy: neither a run in runs/ nor a folder with table2.csv"),
    (["compare", "toy", "toy"], "give two different runs or more"),
    (["run", "toy", "--only", "91_dataset", "--from", "91_dataset"], "--only 91_dataset and --from 91_dataset exclude each other"),
    (["run", "toy", "--dry-run", "--only", "91_dataset", "--from", "91_dataset"], "exclude each other"),
    (["run", "toy", "--only", "33_train_encoder"], "no stage '33_train_encoder'; there are: 91_dataset"),
    (["verify", "toy"], "no git checkout"),
    (["data", "check", "--data", "nowhere"], "nowhere: holds no corpus"),
    (["score", "nowhere", "nowhere"], "nowhere"),
    (["predict", "nowhere", "nowhere.jsonl", "-o", "out.jsonl"], "nowhere.jsonl"),
])
def test_errors_are_one_line(toy, arguments, message):
    assert message in refused(*arguments)


def test_run_status_and_dry_run(toy):
    assert call("run", "toy", "--dry-run").stdout == "91_dataset: has not run\n"
    said = call("run", "toy").stdout.splitlines()
    assert said[0] == "91_dataset: has not run" and said[-1] == "runs/toy (not published; --publish copies it to results/toy)"
    assert call("run", "toy", "--publish").stdout.splitlines()[-1] == "results/toy" and (toy / "results/toy/table1.csv").is_file()
    assert call("run", "toy", "--dry-run").stdout == "91_dataset: done\n"
    assert call("run", "toy", "--dry-run", "--force").stdout == "91_dataset: forced\n"
    found = json.loads(call("status", "toy", "--json", "-p", "value=1").stdout)
    assert found["stages"][0]["state"] == "stale" and found["stages"][0]["reason"] == "parameters changed: value 0.5 -> 1.0"
    assert found["files"]["writes"].startswith(f"{toy}/runs/toy (") and "writes: " in call("status", "toy", "-p", "value=1").stdout
    assert "done" in call("status", "toy").stdout and "writes: " not in call("status", "toy").stdout


def test_a_machine_that_lacks_what_a_profile_needs_starts_nothing(toy, monkeypatch):
    """One line, exit code 2, no folder; `doctor` says the same, and --no-preflight runs."""
    profile = toy / "nbs/profiles/toy.toml"
    profile.write_text(profile.read_text() + "[profile.needs]\ngpu = true\nmemory_gb = 1e6\ndisk_gb = 1e6\n")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for option in ([], ["--dry-run"], ["--only", "91_dataset"]):
        line = refused("run", "toy", *option)
        assert line.startswith("profile toy needs what this machine lacks: a GPU (") and "; 1000000 GB of memory (there are " in line
        assert "; 1000000 GB of disk at " in line and line.endswith("; to run it all the same: --no-preflight\n")
    found = json.loads(call("doctor", "toy", "--json", code=2).stdout)
    assert [check["what"] for check in found["checks"] if check["verdict"] == "lacks"] == ["GPU", "memory", "disk of the run"] and not found["ready"]
    assert not (toy / "runs").exists()
    assert call("run", "toy", "--dry-run", "--no-preflight").stdout == "91_dataset: has not run\n"


def test_the_paper_profile_says_no_gpu_before_anything_starts(monkeypatch):
    def silent(*_, **__): raise OSError("no network")

    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", silent)
    monkeypatch.setattr("huggingface_hub.snapshot_download", silent)
    line = refused("run", "paper", "--dry-run")
    assert "lacks: a GPU (" in line and "Qwen/Qwen3-8B from the hub (no network)" in line and not (REPOSITORY / "runs/paper").exists()
    rows = call("doctor", "paper", code=2).stdout.splitlines()
    assert any(row.split()[:9] == "model Qwen/Qwen3-8B note would be downloaded, 16.4 GB, to".split() for row in rows)


def test_doctor_without_a_profile_asks_for_nothing():
    lines = call("doctor").stdout.splitlines()
    assert lines[0].split() == ["what", "verdict", "found"] and not [line for line in lines if "lacks" in line]


def test_failed_stage_is_three_lines_and_exit_code_1(toy):
    (toy / "nbs/91_dataset.ipynb").write_text((toy / "nbs/91_dataset.ipynb").read_text().replace("import os", "import nothing_like_it"))
    lines = call("run", "toy", code=1).stderr.splitlines()
    assert len(lines) == 3 and lines[1] == "ModuleNotFoundError: No module named 'nothing_like_it'"


def test_named_runs_have_their_own_status_and_tables(toy):
    call("run", "toy")
    said = call("run", "toy", "-p", "value=1", "--name", "toy-1").stdout.splitlines()
    assert said[-1] == "runs/toy-1 (not published: this run has the name toy-1, -p value=1)"
    states = [json.loads(call("status", "toy", "--json", "-p", "value=1", *name).stdout)["stages"][0]["state"] for name in ([], ["--name", "toy-1"])]
    assert states == ["stale", "done"] and not (toy / "results").exists()


def test_a_fallback_to_the_synthetic_corpus_runs_and_is_not_published(toy, monkeypatch):
    """`make reproduce` without the corpora succeeds, and leaves results/ alone."""
    def unavailable(data=None):
        raise DataUnavailable("https://example.org/eng.jsonl: no network; set DIMABSA_DATA")

    monkeypatch.setattr("dimabsa_nb.profiles.find_data", unavailable)
    text = (toy / "nbs/91_dataset.ipynb").read_text()
    (toy / "nbs/91_dataset.ipynb").write_text(text.replace("value = 0.5", "value = 0.5\\ncorpus = 'official'\\ndata = ''"))
    (toy / "nbs/profiles/toy.toml").write_text("[profile]\nstages = ['91_dataset']\nfallback = 'synthetic'\n")
    said = call("run", "toy", "--publish").stdout.splitlines()
    assert said[-1] == "runs/toy (not published: this run has corpus='synthetic' in place of 'official')"
    assert not (toy / "results").exists()


def test_parameters_before_and_after_a_run(toy):
    said = call("parameters", "toy", "91_dataset", "-p", "value=1e-5").stdout
    assert said == "out: runs/by-hand/91_dataset\nvalue: 1.0e-05\n" and not (toy / "runs").exists()
    call("run", "toy", "-p", "value=1e-5")
    assert (toy / "runs/toy/91_dataset/parameters.yaml").read_text() == said


def committed(folder, n=2, joint=1.25):
    """A results folder: Table 2 and nothing else."""
    folder.mkdir()
    (folder / "table2.csv").write_text(f"pair,n,joint_rmse_va,separate_rmse_va\neng_laptop,{n},{joint},1.5\nmacro,{n},{joint},1.5\nmicro,{n},{joint},1.5\n")
    return folder


def test_results_folders_are_compared_without_intervals(toy):
    committed(toy / "ours"), committed(toy / "theirs", joint=1.0), committed(toy / "larger", n=3)
    answer = json.loads(call("compare", "ours", "theirs", "--json").stdout)
    assert answer["rows"] == 2 and answer["runs"]["theirs"]["joint"]["macro"] == 1.0
    assert answer["differences"] == [{"run": "theirs", "system": system, "difference": gap, "low": None, "high": None, "p": None}
                                     for system, gap in (("joint", -0.25), ("separate", 0.0))]
    lines = call("compare", "ours", "theirs").stdout.splitlines()
    assert lines[0].split() == "pair n ours joint ours separate theirs joint theirs separate".split()
    assert "larger and ours are scored on different gold rows" in refused("compare", "ours", "larger")


def test_verify_compares_with_the_last_commit(toy):
    call("run", "toy", "--publish")
    for command in (["init", "-q"], ["add", "results"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "tables"]):
        subprocess.run(["git", *command], cwd=toy, check=True)
    assert json.loads(call("verify", "toy", "--json").stdout)["tables"][0]["verdict"] == "same"
    call("run", "toy", "-p", "value=0.55")
    assert "all agree: counts and text exactly, other numbers within 0.1" in call("verify", "toy").stdout
    assert "NOT all agree" in call("verify", "toy", "--tolerance", 0.01, code=1).stdout
    call("run", "toy", "--name", "toy-again")
    assert json.loads(call("verify", "toy", "--name", "toy-again", "--json").stdout)["tables"][0]["verdict"] == "same"


def test_verify_judges_with_the_spread(toy):
    """Numbers may move as far as between the runs measured and a text may flip to one seen there; a count may not change."""
    call("run", "toy")
    record = json.loads((toy / "runs/toy/91_dataset/record.json").read_text())
    for seed, (n, rmse, found) in enumerate([(9, 1.0, "lower"), (9, 1.3, "unclear"), (9, 1.2, "lower"), (9, 1.4, "unclear"), (9, 9.0, "lower"), (10, 1.0, "lower"), (9, 1.0, "x")]):
        folder = toy / "runs" / (f"toy-{seed}" if seed else "toy") / "91_dataset"
        write_json(folder / "record.json", record | {"seed": seed, "commit": "c0ffee"})
        write_atomic(folder / "results/table1.csv", f"pair,n,rmse,found\nrus,{n},{rmse},{found}\n")
    write_atomic(toy / "results/toy/table1.csv", (toy / "runs/toy/91_dataset/results/table1.csv").read_text())
    assert "give at least three runs" in refused("spread", "toy", "toy", "toy-1", "toy-1") and "nowhere: not a run in runs/" in refused("spread", "toy", "nowhere")
    assert call("spread", "toy", "toy", "toy-1", "toy-2").stdout == "results/toy/spread.csv: 1 numbers and 1 texts that differ between 3 runs\n"
    facts = json.loads((toy / "results/toy/spread.json").read_text())["runs"]
    assert [(run["run"], run["seed"], run["commit"]) for run in facts] == [("toy", [0], ["c0ffee"]), ("toy-1", [1], ["c0ffee"]), ("toy-2", [2], ["c0ffee"])]
    for command in (["init", "-q"], ["add", "results"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "tables"]):
        subprocess.run(["git", *command], cwd=toy, check=True)
    judged = [json.loads(call("verify", "toy", "--json", "--name", f"toy-{seed}", code=int(seed > 3)).stdout)["tables"][0] for seed in range(3, 7)]
    assert [table["verdict"] for table in judged] == ["within", "differs", "differs", "differs"] and judged[0]["allowed"] == pytest.approx(0.93, abs=0.005)
    assert [table["where"] for table in judged[1:]] == ["row 2, rmse: 9.0 against 1.0", "row 2, n: 10 against 9", "row 2, found: x against lower"]
    assert "all agree: counts and text exactly, other numbers within 0.1, or as the spread between runs allows" in call("verify", "toy", "--name", "toy-3").stdout


def test_predict_writes_the_task_format(tmp_path, monkeypatch):
    class System:
        def predict(self, rows):
            return rows.assign(valence=7.125, arousal=5.5)

    monkeypatch.setattr("dimabsa_nb.ensemble.load_system", lambda folder: System())
    given = [{"ID": "a", "Text": "The soup was superb, the bill less so.", "Aspect": ["soup", " bill"]}]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(record) + "\n" for record in given))
    said = call("predict", tmp_path, tmp_path / "mine.jsonl", "-o", tmp_path / "out.jsonl").stdout
    assert said.strip() == str(tmp_path / "out.jsonl")
    [record] = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert record["ID"] == "a" and [entry["Aspect"] for entry in record["Aspect_VA"]] == ["soup", " bill"]
    assert record["Aspect_VA"][0]["VA"] in ("7.12#5.50", "7.13#5.50")


def test_predict_looks_at_its_output_first(tmp_path, monkeypatch):
    monkeypatch.setattr("dimabsa_nb.ensemble.load_system", None)  # nothing may be predicted
    (tmp_path / "mine.jsonl").write_text(json.dumps({"ID": "a", "Text": "Good soup.", "Aspect": ["soup"]}) + "\n")
    assert "is a folder; name a file" in refused("predict", tmp_path, tmp_path / "mine.jsonl", "-o", tmp_path)
    assert "mine.jsonl" in refused("predict", tmp_path, tmp_path / "mine.jsonl", "-o", tmp_path / "mine.jsonl/out.jsonl")
    monkeypatch.setattr("dimabsa_nb.cli.os.access", lambda path, mode: mode != os.W_OK)
    assert "cannot be written to" in refused("predict", tmp_path, tmp_path / "mine.jsonl", "-o", tmp_path / "out.jsonl")


def test_another_lock_is_installed(tmp_path):
    """What stands in .venv for one lock is not taken for another."""
    (tmp_path / "Makefile").write_text((REPOSITORY / "Makefile").read_text())
    for name in ("pyproject.toml", "locks/cpu.txt", "locks/gpu.txt", ".venv/ready-cpu.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")

    def planned(*arguments):
        alone = {"PATH": os.environ["PATH"]}  # also where make runs these tests
        return subprocess.run(["make", "-n", "reproduce", *arguments], cwd=tmp_path, env=alone, capture_output=True, text=True, check=True).stdout

    first, *rest = planned().splitlines()
    assert first == ".venv/bin/dimabsa run quick --publish" and rest[-1] == ".venv/bin/python docs/builder pages"
    steps = planned("PROFILE=paper", "LOCK=locks/gpu.txt")
    assert "-r locks/gpu.txt" in steps and steps.index("rm -f .venv/ready") < steps.index("pip install") < steps.index("ready-gpu.txt")


def test_the_command_line_is_light(toy):
    """Neither help nor a chain with nothing to do imports torch, transformers or papermill."""
    call("run", "toy")
    code = ("import sys, dimabsa_nb.cli as cli\ntry: cli.app(['run', 'toy'])\nexcept SystemExit as done: assert done.code == 0\n"
            "print([name for name in ('torch', 'transformers', 'papermill', 'matplotlib') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], cwd=toy, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_settings_and_pyproject_agree():
    settings = configparser.ConfigParser()
    settings.read_string("[DEFAULT]\n" + (REPOSITORY / "settings.ini").read_text().split("[DEFAULT]\n")[-1])
    settings, project = settings["DEFAULT"], tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert settings["allowed_cell_metadata_keys"] == "tags" and not settings.getboolean("clear_all", False)
    assert settings["description"] == project["description"] and settings["min_python"] in project["requires-python"]
    assert project["entry-points"]["nbdev"] == {"dimabsa_nb": "dimabsa_nb._modidx:d"}


def test_locks_hold_every_dependency():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    names = {"".join(part if part.isalnum() else "-" for part in text.split(">")[0].split("=")[0].split("<")[0])
             for text in project["dependencies"] + project["optional-dependencies"]["dev"]}
    pins = dict(re.findall(r"(?m)^([a-z0-9-]+)==(\S+)", (REPOSITORY / "locks/cpu.txt").read_text("utf-8")))
    assert names <= {*pins}


def test_cleaning_keeps_the_parameters_tag(tmp_path):
    """Without it papermill's values would be overridden by the defaults, and nobody would be told."""
    (tmp_path / "nbs").mkdir()
    (tmp_path / "settings.ini").write_text((REPOSITORY / "settings.ini").read_text())
    tagged = new_code_cell("seed = 0", metadata={"tags": ["parameters"], "collapsed": True})
    nbformat.write(new_notebook(cells=[tagged]), tmp_path / "nbs/30_prepare_rows.ipynb")
    subprocess.run([sys.executable, "-c", "from nbdev.clean import nbdev_clean; nbdev_clean()"], cwd=tmp_path, check=True, capture_output=True)
    [cell] = json.loads((tmp_path / "nbs/30_prepare_rows.ipynb").read_text())["cells"]
    assert cell["metadata"] == {"tags": ["parameters"]}
