"""What several test files share: the precision they run in, a browser, and axe-core to run in it."""
import os
import shutil

import pytest

os.environ["DIMABSA_DTYPE"] = os.environ.get("DIMABSA_DTYPE") or "float32"  # whatever the machine prefers; DIMABSA_DTYPE=bfloat16 must hold, too


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
KERNELS = {"test_pipeline", "test_cli", "test_explorer", "16_pipeline", "29_cli"}  # two that start at once may draw the same ports


def pytest_collection_modifyitems(items):
    """Mark what `make test-fast` leaves out: pages in a browser, and files that train or run stages."""
    for item in items:
        if {"chromium", "axe", "site"} & {*getattr(item, "fixturenames", ())}:
            item.add_marker(pytest.mark.browser)
        names = {item.module.__name__.rpartition(".")[2], getattr(getattr(item, "callspec", None), "id", "")}
        if names & SLOW:
            item.add_marker(pytest.mark.slow)
        if names & KERNELS:
            item.add_marker(pytest.mark.xdist_group("kernels"))
