"""What several test files share: the precision they run in, a browser, and axe-core to run in it."""
import json
import os
import shutil
from collections import Counter, defaultdict
from contextlib import contextmanager
from pathlib import Path

import pytest

os.environ["DIMABSA_DTYPE"] = os.environ.get("DIMABSA_DTYPE") or "float32"  # whatever the machine prefers; DIMABSA_DTYPE=bfloat16 must hold, too


COUNTS = Path(__file__).resolve().parents[1] / "results/tests/counts.json"  # shown by docs/robustness.md


def pytest_addoption(parser):
    parser.addoption("--record", action="store_true", help=f"try slow things as often as docs/robustness.md says, and write what survived to {COUNTS}")


@pytest.fixture(scope="session")
def tally(request):
    """Count what is tried and what survives: `with tally("Bad input", "corpora"):`, once for each try."""
    tried, survived, facts = Counter(), Counter(), defaultdict(dict)

    @contextmanager
    def count(part, what):
        tried[f"{part}: {what}"] += 1
        yield facts[f"{part}: {what}"]  # what is measured besides
        survived[f"{part}: {what}"] += 1

    yield count
    if request.config.getoption("--record"):
        from dimabsa_nb.core import write_json
        known = json.loads(COUNTS.read_text("utf-8")) if COUNTS.is_file() else {}
        write_json(COUNTS, known | {name: {"tried": tried[name], "survived": survived[name], **facts[name]} for name in tried})


@pytest.fixture(scope="session")
def times(request):
    """How often something slow is tried: `times(20, 6)` is 20 where counts are recorded (`--record`), 6 elsewhere."""
    return lambda recorded, usual: recorded if request.config.getoption("--record") else usual


@pytest.fixture(scope="session")
def measured(request):
    """What commands cost, by name, a list of dicts each; recorded beside the counts."""
    found, path = {}, COUNTS.with_name("load.json")
    yield found
    if request.config.getoption("--record"):
        from dimabsa_nb.core import write_json
        write_json(path, (json.loads(path.read_text("utf-8")) if path.is_file() else {}) | found)


@pytest.fixture(scope="session")
def system(tmp_path_factory):
    """An untrained system, as `33_train_encoder` leaves a trained one."""
    import torch

    from dimabsa_nb.coarse import add_lora, load_base, save_adapter
    from dimabsa_nb.encoder import new_encoder, save_pretrained
    from dimabsa_nb.train import _trained_parameters
    folder, name = tmp_path_factory.mktemp("system"), "tiny-random-qwen3-bytes"
    torch.manual_seed(0)
    llm = add_lora(load_base(name)[0])
    for dimension in ("valence", "arousal"):
        for weight in _trained_parameters(llm).values():
            torch.nn.init.normal_(weight, std=0.1)
        save_adapter(llm, folder / dimension, dict(model=name, dimension=dimension, max_length=384, faithful_to="paper"))
    model, tokenizer = new_encoder("tiny-random-xlmr", "joint", frozen_embeddings=True, frozen_layers=1, max_length=256)
    save_pretrained(model, tokenizer, folder / "encoder", dict(base="tiny-random-xlmr", variant="joint", max_length=256, faithful_to="paper", dropout=0.1, frozen_embeddings=True, frozen_layers=1))
    return folder


@pytest.fixture(scope="session")
def chromium():
    """Headless Chromium, driven by Playwright; `make test` installs Debian's where it can."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not path:
        pytest.skip("no Chromium here: install it (Debian: apt-get install chromium)")
    api = pytest.importorskip("playwright.sync_api", reason="no Playwright here: pip install playwright")
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe():
    """The source of axe-core, from its npm package at the pinned version."""
    from builder.npm import member, package

    from dimabsa_nb.core import UserError
    try:
        return member(package("axe-core"), "axe.min.js").decode("utf-8")
    except UserError as error:
        pytest.skip(str(error))


SLOW = {"test_chain", "test_paper_tiny", "test_torchrun", "test_emoloom_training", "test_screening", "test_prompting"}
PORTS = {"test_report", "test_prompting"}  # start kernels on TCP ports themselves: two at once may draw the same ones
LONG = ["test_faults", "test_chain", "test_pipeline", "test_torchrun", "test_paper_tiny"]  # come first, so that the workers end together


def pytest_collection_modifyitems(items):
    """Mark what `make test-fast` leaves out: pages in a browser, and files that train or run stages."""
    for item in items:
        if {"chromium", "axe", "site"} & {*getattr(item, "fixturenames", ())}:
            item.add_marker(pytest.mark.browser)
        module = item.module.__name__.rpartition(".")[2]
        if module in SLOW or getattr(getattr(item, "callspec", None), "id", "") in SLOW:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file's tests go to one worker, whose fixtures serve them all. (`--dist loadgroup` groups nothing under pytest 9.2: pytest-xdist #1386.)"""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            name = Path(nodeid.split("::")[0]).stem
            return nodeid if name == "test_notebooks" else "ports" if name in PORTS else name

    config.option.loadscopereorder = False
    return ByFile(config, log)
