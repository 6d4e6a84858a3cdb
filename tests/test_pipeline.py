"""The runner on throwaway notebooks: cache, keys, interruption, resumption, failures."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from dimabsa_nb import weights
from dimabsa_nb.core import DataUnavailable, UserError, read_jsonl
from dimabsa_nb.jobs import _in_jobs
from dimabsa_nb.pipeline import Stage, _StageFailed, run_chain, stale_stages
from dimabsa_nb.profiles import (
    Needs,
    _read_notebook,
    _run_checks,
    chain_status,
    load_chain,
    resolve_corpus,
    select_stages,
)
from dimabsa_nb.stages import _STAGES

REPOSITORY = Path(__file__).resolve().parents[1]

PREPARE = """import os
from pathlib import Path
Path(out, "rows.txt").write_text(f"{corpus} {rows}")
Path(os.environ["TOY_LOG"]).open("a").write("prepare\\n")"""

# a training that takes TOY_STEPS steps and goes on from its last checkpoint
COARSE = """import json, os, time
from pathlib import Path
state = Path(out, "checkpoint", "state.json")
done = json.loads(state.read_text()) if state.exists() else {"step": 0, "loss": 1.0}
while done["step"] < epochs:
    time.sleep(float(os.environ.get("TOY_SLEEP", 0)))
    done = {"step": done["step"] + 1, "loss": done["loss"] * learning_rate}
    state.parent.mkdir(exist_ok=True)
    state.with_suffix(".new").write_text(json.dumps(done))
    state.with_suffix(".new").replace(state)
    Path(os.environ["TOY_LOG"]).open("a").write(f"step {done['step']}\\n")"""

COARSE_END = """Path(out, "model.json").write_text(str(done["loss"]))
from dimabsa_nb.records import write_metrics
write_metrics(out, {"loss": done["loss"], "dimension": dimension, "seconds": time.time(), "device": "cpu"})"""

TABLE = """import os
from pathlib import Path
Path(out, "results").mkdir()
Path(out, "results", "table2.csv").write_text("loss\\n" + Path(valence, "model.json").read_text() + "\\n")
Path(os.environ["TOY_LOG"]).open("a").write("table\\n")"""


def write_notebook(root, name, parameters, *cells):
    tagged = new_code_cell(parameters, metadata={"tags": ["parameters"]})
    notebook = new_notebook(cells=[new_markdown_cell(f"# {name}"), tagged, *map(new_code_cell, cells)])
    nbformat.write(notebook, root / f"nbs/{name}.ipynb")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A repository of three stages, and a log of what their cells did."""
    root = tmp_path / "repository"
    (root / "nbs/profiles").mkdir(parents=True)
    write_notebook(root, "30_prepare_rows", "out = ''\ncorpus = 'synthetic'\ndata = ''\nrows = 4", PREPARE)
    write_notebook(root, "31_train_coarse", "out = ''\nprepare_rows = ''\ndimension = ''\nlearning_rate = 0.5\nepochs = 3\nseed = 0", COARSE, COARSE_END)
    write_notebook(root, "91_dataset", "out = ''\nvalence = ''\nprofile = ''", TABLE)
    stages = "stages = ['30_prepare_rows', '31_train_coarse@valence', '91_dataset']\n"
    (root / "nbs/profiles/toy.toml").write_text(f"[profile]\n{stages}[parameters.31_train_coarse]\nlearning_rate = 0.25\n")
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.chdir(root)
    return root


def log(root):
    path = root.parent / "log"
    lines = path.read_text().splitlines() if path.exists() else []
    path.write_text("")
    return lines


def run(root, *overrides, only=(), start=None, force=False, name=None, publish=False):
    said = []
    chain = load_chain("toy", overrides, root, name)
    run_chain(chain, select_stages(chain, only, start), force, said.append, publish)
    return said


def add_arousal(root, settings=""):
    profile = root / "nbs/profiles/toy.toml"
    profile.write_text(profile.read_text().replace("@valence',", "@valence', '31_train_coarse@arousal',") + settings)


def run_in_jobs(root):
    """The toy profile with a second training, two stages at a time."""
    add_arousal(root)
    chain = load_chain("toy", [], root)
    run_chain(chain, select_stages(chain), say=lambda line: None, work=_in_jobs(2))
    return chain


def test_stages_run_side_by_side(project):
    chain = run_in_jobs(project)
    assert sorted(log(project)) == sorted(["prepare", "table", *(f"step {step}" for step in (1, 2, 3) for _ in range(2))])
    assert {reason for _, _, reason in stale_stages(chain, select_stages(chain))} == {""}


def test_a_failure_leaves_the_stage_beside_it_alone(project):
    edit(project, "31_train_coarse", "import json, os, time", "import json, os, time; assert dimension != 'arousal', 'broken'")
    with pytest.raises(_StageFailed, match="broken"): run_in_jobs(project)
    chain = load_chain("toy", [], project)
    assert chain.has_run("31_train_coarse@valence") and not chain.has_run("31_train_coarse@arousal")


def edit(root, name, old, new):
    path = root / f"nbs/{name}.ipynb"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


STAGES = ["30_prepare_rows", "31_train_coarse@valence", "91_dataset"]
EVERYTHING = ["prepare", "step 1", "step 2", "step 3", "table"]


def test_second_run_does_nothing_and_is_quick(project):
    run(project)
    assert log(project) == EVERYTHING
    start = time.monotonic()
    assert run(project) == ["30_prepare_rows: done before", "31_train_coarse@valence: done before", "91_dataset: done before"]
    assert time.monotonic() - start < 3
    assert log(project) == []
    assert (project / "runs/toy/91_dataset/results/table2.csv").read_text() == "loss\n0.015625\n"


def test_record_says_what_ran(project):
    run(project, publish=True)
    record = json.loads((project / "results/toy/records/31_train_coarse@valence.json").read_text())
    assert record["parameters"] == {"dimension": "valence", "learning_rate": 0.25, "epochs": 3, "seed": 0}
    assert list(record["upstream"]) == ["30_prepare_rows"] and record["seed"] == 0 and record["device"] == "cpu"
    assert sorted(record["outputs"]) == ["metrics.json", "model.json"]
    assert record["metrics"]["loss"] == 0.015625 and record["peak_memory_mb"] > 10
    assert not (project / "runs/toy/31_train_coarse@valence/checkpoint").exists()
    assert str(project) not in json.dumps(record)


def test_edit_of_a_table_reruns_only_the_table(project):
    run(project)
    log(project)
    edit(project, "91_dataset", "loss\\\\n", "the loss\\\\n")
    assert run(project)[2] == "91_dataset: its code cells changed"
    assert log(project) == ["table"]


def test_edit_of_markdown_reruns_nothing(project):
    run(project)
    log(project)
    edit(project, "31_train_coarse", "# 31_train_coarse", "# Coarse")
    run(project)
    assert log(project) == []


def test_same_upstream_outputs_stop_the_wave(project):
    run(project)
    log(project)
    edit(project, "30_prepare_rows", "import os", "import os # the same")
    run(project)
    assert log(project) == ["prepare"]


def test_parameter_reruns_what_depends_on_it(project):
    run(project)
    log(project)
    said = run(project, "31_train_coarse@valence.epochs=2")
    assert "31_train_coarse@valence: parameters changed: epochs 3 -> 2" in said
    assert "91_dataset: upstream changed: 31_train_coarse@valence" in said
    assert log(project) == ["step 1", "step 2", "table"]


def test_other_weights_rerun_what_was_trained_on_them(project, monkeypatch):
    """A stage's key holds the pinned commit of a hub model; a record from before such keys is stale, and readable."""
    edit(project, "31_train_coarse", "epochs = 3", "epochs = 3\\nmodel = 'Qwen/Qwen3-8B'")
    run(project)
    log(project)
    assert run(project)[1] == "31_train_coarse@valence: done before"
    monkeypatch.setitem(weights.HUB, "Qwen/Qwen3-8B", weights.HUB["Qwen/Qwen3-8B"]._replace(commit="c" * 40))
    said = run(project)
    assert said[1] == "31_train_coarse@valence: weights changed: model 'Qwen/Qwen3-8B@b968826d9c46' -> 'Qwen/Qwen3-8B@cccccccccccc'"
    assert log(project) == EVERYTHING[1:4]
    path = project / "runs/toy/31_train_coarse@valence/record.json"
    record = json.loads(path.read_text())
    assert record["machine"]["cores"] > 0 and record["weights"] == {"model": f"Qwen/Qwen3-8B@{'c' * 40}"}
    path.write_text(json.dumps({name: value for name, value in record.items() if name not in ("weights", "precision", "machine")}))
    assert "weights changed: model None -> 'Qwen/Qwen3-8B@cccccccccccc'" in run(project)[1]


def test_another_conversion_or_precision_is_another_key(project, monkeypatch):
    edit(project, "31_train_coarse", "epochs = 3", "epochs = 3\\nmodel = 'tiny-random-qwen3'\\ndtype = 'auto'")
    run(project)
    monkeypatch.setenv("DIMABSA_DTYPE", {"float32": "bfloat16"}.get(os.environ["DIMABSA_DTYPE"], "float32"))
    assert "precision changed: dtype" in run(project)[1]
    monkeypatch.setattr(weights, "_CONVERSION", weights._CONVERSION + 1)
    assert "weights changed: model 'tiny-random-qwen3, conversion 1, 0602d1800f74' -> 'tiny-random-qwen3, conversion 2" in run(project)[1]


def test_lost_output_is_made_again(project):
    run(project)
    log(project)
    (project / "runs/toy/31_train_coarse@valence/model.json").unlink()
    assert "31_train_coarse@valence: outputs were lost or altered: model.json" in run(project)
    assert log(project) == EVERYTHING[1:4]


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_nothing_is_published_unless_asked_for(project):
    run(project)
    assert not (project / "results").exists() and not (project / "figures").exists()
    run(project, publish=True)
    assert log(project) == EVERYTHING
    published = files(project / "results/toy")
    assert set(published) == {"table2.csv", "notebooks/91_dataset.ipynb", *(f"records/{stage}.json" for stage in STAGES)}
    (project / "results/toy/table2.csv").write_text("mine")
    run(project)
    assert (project / "results/toy/table2.csv").read_text() == "mine"
    run(project, publish=True)
    assert files(project / "results/toy") == published and log(project) == []


def test_a_run_that_fails_publishes_nothing(project):
    write_notebook(project, "91_dataset", "out = ''\nvalence = ''", "1 / 0")
    with pytest.raises(_StageFailed):
        run(project, publish=True)
    assert not (project / "results").exists()


@pytest.mark.parametrize("given, message", [
    (dict(name="toy-fast"), "this run has the name toy-fast; leave out --publish"),
    (dict(overrides=["epochs=1"]), "this run has -p epochs=1; leave out --publish"),
    (dict(name="toy-fast", overrides=["epochs=1", "seed=3"]), "this run has the name toy-fast, -p epochs=1, -p seed=3; leave out"),
])
def test_only_a_profile_as_it_stands_is_published(project, given, message):
    with pytest.raises(UserError) as caught:
        run(project, *given.get("overrides", ()), name=given.get("name"), publish=True)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert log(project) == [] and not (project / "results").exists()


def test_a_reused_stage_of_other_parameters_is_not_published(project):
    run(project, "epochs=1")
    with pytest.raises(UserError, match="31_train_coarse@valence: parameters changed: epochs 1 -> 3; to publish, run it again"):
        run(project, only="91_dataset", publish=True)
    assert not (project / "results").exists()
    run(project, publish=True)
    assert (project / "results/toy/table2.csv").read_text() == "loss\n0.015625\n"


def test_a_corpus_that_is_not_the_profile_s_is_not_published(project):
    edit(project, "30_prepare_rows", "import os", "import os; from dimabsa_nb.records import write_metrics; write_metrics(out, {'corpus': 'other'})")
    with pytest.raises(UserError, match="30_prepare_rows: read a corpus that is not the synthetic one, so nothing is published"):
        run(project, publish=True)
    assert not (project / "results").exists()


def test_named_runs_stand_side_by_side(project):
    run(project)
    before = files(project / "runs/toy")
    run(project, "epochs=1", name="toy-fast")
    assert files(project / "runs/toy") == before
    assert (project / "runs/toy-fast/91_dataset/results/table2.csv").read_text() == "loss\n0.25\n"
    state = lambda *overrides: {row["state"] for row in chain_status(load_chain("toy", overrides, project, "toy-fast"))}
    assert state("epochs=1") == {"done"} and state() == {"done", "stale"}


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-a", "ü", "other", "screen"])
def test_names_of_runs_are_checked(project, name):
    (project / "nbs/profiles/other.toml").write_text("")
    with pytest.raises(UserError) as caught:
        load_chain("toy", (), project, name)
    assert str(caught.value).startswith(f"--name {name}: ") and "\n" not in str(caught.value)


def test_a_stage_leaves_its_parameters_for_papermill(project):
    run(project, "learning_rate=1e-5")
    folder = project / "runs/toy/31_train_coarse@valence"
    text = (folder / "parameters.yaml").read_text()
    assert yaml.safe_load(text) == {"out": "runs/by-hand/31_train_coarse@valence", "learning_rate": 1e-5, "epochs": 3, "seed": 0,
                                    "dimension": "valence", "prepare_rows": "runs/toy/30_prepare_rows"}
    assert "parameters.yaml" not in json.loads((folder / "record.json").read_text())["outputs"]


def test_committed_notebooks_carry_no_widgets_and_no_papermill():
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.ipynb"], cwd=REPOSITORY, capture_output=True, text=True)
    paths = [path for path in listed.stdout.splitlines() if (REPOSITORY / path).is_file()]
    if not paths:
        pytest.skip("not a git checkout")
    for path in paths:
        notebook = json.loads((REPOSITORY / path).read_text("utf-8"))
        assert not {"papermill", "widgets"} & notebook["metadata"].keys(), path
        for cell in notebook["cells"]:
            assert not {"papermill", "execution"} & cell["metadata"].keys(), path
            assert not [kind for output in cell.get("outputs", ()) for kind in output.get("data", ()) if "widget" in kind], path


def test_plot_fix_in_a_module_does_not_retrain(project):
    module = project / "dimabsa_nb"
    module.mkdir()
    (module / "__init__.py").write_text("")
    source = "def train(x): return half(x)\ndef half(x): return x / 2\ndef plot(): return 'blue'\n"
    (module / "toy.py").write_text(source)
    write_notebook(project, "30_prepare_rows", "out = ''", "from dimabsa_nb.toy import train", "open(out + '/a', 'w').write(str(train(1)))")
    (project / "nbs/profiles/toy.toml").write_text("[profile]\nstages = ['30_prepare_rows']\n")
    reason = lambda: [row["reason"] for row in chain_status(load_chain("toy", root=project))]
    run(project)
    (module / "toy.py").write_text(source.replace("blue", "red"))
    assert reason() == [""]
    (module / "toy.py").write_text(source.replace("x / 2", "x / 3"))
    assert reason() == ["modules changed: toy"]


def test_only_from_and_force(project):
    run(project, only="31_train_coarse")
    assert log(project) == EVERYTHING[:4]  # what never ran comes first
    run(project)
    assert log(project) == EVERYTHING[4:]
    run(project, only="31_train_coarse", force=True)
    assert log(project) == EVERYTHING[1:4]
    run(project, start="31_train_coarse@valence", force=True)
    assert log(project) == EVERYTHING[1:]
    with pytest.raises(UserError, match="no stage '34_none'"):
        run(project, only="34_none")


@pytest.mark.parametrize("override, message", [
    ("epochs=1e-4", "epochs = 0.0001 is float, not int; 31_train_coarse@valence takes: learning_rate = 0.5, epochs = 3"),
    ("learnign_rate=1", "no stage or parameter is called 'learnign_rate'"),
    ("31_train_coarse.rows=1", "31_train_coarse@valence has no parameter 'rows'"),
    ("dimension=arousal", "no stage or parameter is called 'dimension'"),
    ("out=/elsewhere", "no stage or parameter is called 'out'"),
])
def test_wrong_parameters_are_refused_before_anything_runs(project, override, message):
    with pytest.raises(UserError) as caught:
        run(project, override)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not (project / "runs").exists()


def test_failure_is_three_lines_and_dead_kernel_one(project):
    write_notebook(project, "91_dataset", "out = ''\nvalence = ''", "rate = 1", "rate / 0")
    with pytest.raises(_StageFailed) as caught:
        run(project)
    lines = str(caught.value).splitlines()
    assert lines[:2] == ["91_dataset failed in cell [4]: rate / 0", "ZeroDivisionError: division by zero"]
    assert len(lines) == 3 and Path(lines[2]).is_file()
    write_notebook(project, "91_dataset", "out = ''\nvalence = ''", "import os", "os._exit(1)")
    with pytest.raises(_StageFailed, match="91_dataset: the kernel died") as caught:
        run(project)
    assert "\n" not in str(caught.value)
    assert log(project) == EVERYTHING[:4]


JOIN = "from dimabsa_nb.train import join_processes; import os, time; import torch; rank, count = join_processes(batch_size)"


@pytest.mark.parametrize("cell, message", [
    ("if rank: 1 / 0\ntorch.distributed.barrier()", "31_train_coarse@valence failed in cell [4] of process 1: if rank: 1 / 0\nZeroDivisionError: division by zero\n"),
    ("if rank: os._exit(1)\ntorch.distributed.barrier()", "31_train_coarse@valence: the kernel of process 1 died (out of memory?); the same command continues; see "),
])
def test_one_failing_process_ends_all_and_is_named(project, capfd, cell, message):
    write_notebook(project, "31_train_coarse", "out = ''\ndimension = ''\nlearning_rate = 0.5\nbatch_size = 4", JOIN, cell, "time.sleep(600)")
    with pytest.raises(_StageFailed) as caught:
        run(project, "processes=2", only="31_train_coarse")
    assert str(caught.value).startswith(message) and str(caught.value).endswith(".processes/1/notebook.ipynb")
    assert capfd.readouterr().err in ("", "Kernel died while waiting for execute reply.\n")  # papermill's line, none of torchrun's


def test_the_first_of_several_processes_leaves_the_outputs(project):
    write_notebook(project, "31_train_coarse", "out = ''\ndimension = ''\nlearning_rate = 0.5\nbatch_size = 4", JOIN, "open(out + '/rank', 'w').write(f'{rank} of {count}')")
    run(project, "processes=2", only="31_train_coarse")
    folder = project / "runs/toy/31_train_coarse@valence"
    assert (folder / "rank").read_text() == "0 of 2" and not (folder / ".processes").exists()
    record = json.loads((folder / "record.json").read_text())
    assert record["parameters"]["processes"] == 2 and list(record["outputs"]) == ["rank"]
    assert "processes" not in (folder / "parameters.yaml").read_text()


def start_process(root, *options, **environment):
    command = [sys.executable, "-c", "from dimabsa_nb.cli import app; app()", "run", "toy", *options]
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background job is born deaf to it
    return subprocess.Popen(command, cwd=root, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed)


def wait_for_step(root, number):
    path = root.parent / "log"
    for _ in range(600):
        if path.exists() and f"step {number}\n" in path.read_text():
            return
        time.sleep(0.05)
    raise AssertionError("the training did not get there")


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_stopped_run_goes_on_and_ends_in_the_same_bytes(project, way):
    run(project, "epochs=4")
    undisturbed = files(project / "runs/toy/91_dataset/results")
    hashes = json.loads((project / "runs/toy/31_train_coarse@valence/record.json").read_text())["outputs"]
    (project / "nbs/profiles/toy.toml").write_text((project / "nbs/profiles/toy.toml").read_text() + "epochs = 4\n")
    run(project, "epochs=1")
    log(project)
    process = start_process(project, TOY_SLEEP="0.8")
    wait_for_step(project, 2)
    process.send_signal(way)
    _, errors = process.communicate(timeout=30)
    assert process.returncode != 0
    if way == signal.SIGINT:
        assert errors == "stopped; the same command goes on from here\n" and process.returncode == 130
    time.sleep(2.5)  # a kernel without its runner ends by itself
    before = log(project)
    assert before[:2] == ["step 1", "step 2"] and "step 4" not in before
    process = start_process(project)
    said, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert "31_train_coarse@valence: goes on where it was stopped" in said
    assert before + log(project) == EVERYTHING[1:4] + ["step 4", "table"]
    assert json.loads((project / "runs/toy/31_train_coarse@valence/record.json").read_text())["outputs"] == hashes
    assert files(project / "runs/toy/91_dataset/results") == undisturbed


def test_killed_jobs_train_no_longer(project):
    """Two stages side by side end with the run that started them."""
    add_arousal(project, "epochs = 100\n")
    process = start_process(project, "--jobs", "2", TOY_SLEEP="0.2")
    wait_for_step(project, 2)
    process.kill()
    process.wait()
    time.sleep(2.5)
    assert len(log(project)) < 50
    time.sleep(1.0)
    assert log(project) == []


def test_partial_folder_of_another_key_is_not_used(project):
    process = start_process(project, TOY_SLEEP="0.5")
    wait_for_step(project, 1)
    process.kill()
    process.communicate()
    time.sleep(1.5)
    log(project)
    run(project, "learning_rate=0.125")
    assert log(project) == EVERYTHING[1:]


def test_killed_between_record_and_place(project):
    """A finished folder that was not yet put in place is only moved."""
    run(project)
    log(project)
    folder = project / "runs/toy/31_train_coarse@valence"
    folder.rename(folder.with_name(folder.name + ".partial"))
    assert run(project)[1] == "31_train_coarse@valence: goes on where it was stopped"
    assert log(project) == [] and (folder / "record.json").is_file()


def test_two_processes_do_not_share_a_run(project):
    process = start_process(project, TOY_SLEEP="0.5")
    wait_for_step(project, 1)
    with pytest.raises(UserError, match="another process is working on run toy"):
        run(project)
    assert process.wait(timeout=60) == 0


def test_input_files_count_by_content(project):
    write_notebook(project, "91_dataset", "out = ''\nvalence = ''\nprofile = ''\nreleased = ''", "open(out + '/n', 'w').write(released)")
    released = project.parent / "released"
    released.mkdir()
    (released / "pred_a.jsonl").write_text("1")
    state = lambda folder: [row["reason"] for row in chain_status(load_chain("toy", [f"released={folder}"], project))][-1]
    run(project, f"released={released}")
    moved = released.rename(project.parent / "elsewhere")
    assert state(moved) == ""
    (moved / "pred_a.jsonl").write_text("2")
    assert state(moved) == "inputs changed: released"
    with pytest.raises(UserError, match="no such file or folder"):
        state("nowhere")


def test_without_the_corpora_a_profile_may_fall_back(project, monkeypatch):
    def unavailable(data=None):
        raise DataUnavailable("https://example.org/a/b/eng.jsonl: no network; set DIMABSA_DATA")

    monkeypatch.setattr("dimabsa_nb.profiles.find_data", unavailable)
    with pytest.raises(UserError, match="no network"):
        resolve_corpus(load_chain("toy", ["corpus=official"], project))
    profile = project / "nbs/profiles/toy.toml"
    profile.write_text(profile.read_text().replace("[profile]", "[profile]\nfallback = 'synthetic'"))
    said = []
    chain = resolve_corpus(load_chain("toy", ["corpus=official"], project))
    assert chain.changes == ["-p corpus=official", "corpus='synthetic' in place of 'official'"]
    run_chain(chain, select_stages(chain), say=said.append)
    assert said[0].startswith("NOTE: the official corpora are not at hand; going on with corpus='synthetic' (eng.jsonl: no network)")
    assert len(said[0]) < 200 and "\n" not in said[0]
    assert (project / "runs/toy/30_prepare_rows/rows.txt").read_text() == "synthetic 4"


def test_a_look_ahead_downloads_nothing(project, monkeypatch, tmp_path):
    monkeypatch.delenv("DIMABSA_DATA", raising=False)
    monkeypatch.setenv("DIMABSA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("dimabsa_nb.core.download", lambda *_: pytest.fail("must not download"))
    chain = resolve_corpus(load_chain("toy", ["corpus=official"], project), dry=True)
    assert chain.notes == ["NOTE: the official corpora are not at hand; they would be downloaded"]
    assert chain.stages["30_prepare_rows"].parameters["corpus"] == "official"
    assert [row["state"] for row in chain_status(chain)] == ["missing"] * 3
    [corpora, model, written] = [check for check in _run_checks(chain, [Stage("31", project, "", {"corpus": "official", "model": "gemma-3-270m"}, {})], Needs(), False) if check.is_note]
    assert corpora.found == f"would be downloaded, 30 files, 0.01 GB, to {tmp_path / 'cache'}"
    assert model.found == f"would be downloaded, 0.238 GB, to {tmp_path / 'cache/weights'}"
    assert written.found == f"{project / 'runs/toy'} (0.00 GB are there); with --publish, results/toy and figures/toy"


def prepare(folder, **settings):
    """The code of 30_prepare_rows, without a kernel."""
    code, defaults = _read_notebook(REPOSITORY / "nbs/30_prepare_rows.ipynb")
    exec(code, {**defaults, "out": str(folder), "corpus": "synthetic", "synthetic_texts": 12, **settings})
    return read_jsonl(folder / "rows.jsonl")


def test_one_row_per_pair_is_not_all_rows(tmp_path):
    """At least a text of each pair to train on, and no more than that."""
    roles = prepare(tmp_path, coarse_rows=1, encoder_rows=1)
    for model in ("role_coarse", "role_encoder"):
        texts = roles[roles[model] == "train"].groupby("pair")["id"].nunique()
        assert len(texts) >= 10 and set(texts) == {1}


def test_an_unknown_corpus_is_refused_before_reading(tmp_path):
    with pytest.raises(UserError, match="corpus is 'offical'; it must be one of 'official', 'synthetic'"):
        prepare(tmp_path, corpus="offical")


@pytest.mark.parametrize("profile", ["smoke", "quick", "laptop", "paper-tiny", "paper"])
def test_real_profiles_load(profile):
    chain = load_chain(profile, root=REPOSITORY)
    assert list(chain.stages)[0] == "30_prepare_rows" and chain.stages["91_dataset"].upstream["prepare_rows"] == "30_prepare_rows"


def test_a_variant_reaches_its_stage():
    stages = load_chain("laptop", root=REPOSITORY).stages
    for name, stage in stages.items():
        for key, value in _STAGES[name].items():
            assert stage.upstream.get(key) == value if str(value) in stages else stage.parameters[key] == value, (name, key)
    assert all(stage in stages for kept in stages.values() for stage in kept.upstream.values())
