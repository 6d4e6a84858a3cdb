"""What several test files share: a browser."""
import shutil

import pytest


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
