"""The site, built once and driven in headless Chromium; and the check that what is committed is what its records say."""
import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from dimabsa_nb.core import UserError, file_sha256
from builder.blocks import stale
from builder.chapters import chapters
from builder.npm import member, package
from builder.site import build_site, page_links, run_sphinx

REPOSITORY = Path(__file__).resolve().parents[1]
AXE = {"preload": False, "iframes": False, "resultTypes": ["violations"]}
RULES = {"light": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}, "dark": ["color-contrast"]}  # a page's structure is the same in both
STILL = "*, *::before, *::after { transition: none !important; animation: none !important; }"


# --- what is committed ----------------------------------------------------------------------------------------------------
@pytest.fixture
def copy(tmp_path):
    """What the docs check reads."""
    for name in ("results/quick", "figures/quick", "nbs/paper", "nbs/profiles"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    for name in ("README.md", "ARTIFACT.md", *(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md"))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    return tmp_path


def test_what_is_committed_is_what_its_records_say():
    assert stale(REPOSITORY) == []


@pytest.mark.parametrize("name", ["results/quick/table1.csv", "results/quick/table2.md", "results/quick/comparisons.tex", "figures/quick/ablation_pairs.svg",
                                  "figures/quick/coarse_confusion.png", "figures/quick/captions.json"])
def test_a_changed_table_or_figure_is_found(copy, name):
    path = copy / name
    path.write_bytes(path.read_bytes() + b" ")
    assert any(problem.startswith(f"{name}: is not what") for problem in stale(copy))
    path.unlink()
    assert any(problem.startswith(f"{name}: is not what") for problem in stale(copy))


def test_a_changed_number_of_the_readme_is_found(copy):
    readme = copy / "README.md"
    changed, count = re.subn(r"\| (\d)\.(\d{3}) \|", r"| 1.\g<2>1 |", readme.read_text("utf-8"), count=1)
    assert count == 1
    readme.write_text(changed, "utf-8")
    [problem] = stale(copy)
    assert problem.startswith("README.md: ") and "make readme" in problem


def test_fresh_results_with_a_fresh_readme_and_fresh_cards_are_sound(copy):
    """What `make reproduce` leaves where its figures are not the committed ones; the text around the tables stays."""
    for path in (copy / "results/quick/records").glob("*.json"):
        record = json.loads(path.read_text("utf-8"))
        for name in record["outputs"]:
            file = copy / name.replace("/", "/quick/", 1)
            if name.endswith(("table2.md", "table2.csv", "comparisons.csv", "speed.md")) and file.exists():
                file.write_text(re.sub(r"\b([01]\.)(\d)", lambda found: f"{found[1]}{9 - int(found[2])}", file.read_text("utf-8")), "utf-8")
                record["outputs"][name] = file_sha256(file)
        path.write_text(json.dumps(record), "utf-8")
    problems = stale(copy)
    assert sum("make readme" in problem for problem in problems) == 2 and sum("make cards" in problem for problem in problems) >= 2
    for name in ("Makefile", "pyproject.toml", "locks/cpu.txt", ".venv/ready-cpu.txt"):  # the last is the youngest
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_text((REPOSITORY / name).read_text("utf-8") if name == "Makefile" else "")
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # also where make runs these tests
    subprocess.run(["make", "-s", f"BIN={Path(sys.executable).parent}", "readme", "cards"], cwd=copy, env=alone, check=True)
    assert stale(copy) == []


# --- the site -------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the built site; a warning of the build is an error."""
    try:
        package("mathjax")
    except UserError as error:
        if "npm" not in str(error):
            raise
        pytest.skip(str(error))
    return build_site(REPOSITORY, tmp_path_factory.mktemp("site")).parent


@pytest.fixture(scope="session")
def axe():
    try:
        return member(package("axe-core"), "axe.min.js").decode()
    except UserError as error:
        if "npm" not in str(error):
            raise
        pytest.skip(str(error))


@pytest.mark.parametrize("text", ["# A\n\n[](nowhere.md)", "# A\n\n{py:obj}`dimabsa_nb.metrics.rmse_vb`", "# A\n\n```{figure} /none.svg\nNo such figure.\n```"])
def test_a_broken_page_stops_the_build(tmp_path, capfd, text):
    (tmp_path / "source").mkdir()
    (tmp_path / "source/index.md").write_text(text, "utf-8")
    for name in ("vendor", "extra"):
        (tmp_path / name).mkdir()
    with pytest.raises(UserError, match="the site was not built"):
        run_sphinx(REPOSITORY, tmp_path / "source", tmp_path, 1)
    assert "WARNING" in capfd.readouterr().err


def pages(site):
    return sorted(path for path in site.glob("*.html"))


def test_every_notebook_and_page_is_there(site):
    expected = {f"{Path(one.path).stem}.html" for one in chapters(REPOSITORY)} | {f"{path.stem}.html" for path in (REPOSITORY / "docs").glob("*.md")}
    expected |= {"artifact.html", "example-explorer.html", "search.html", "genindex.html"}
    assert expected <= {path.name for path in pages(site)}


class Anchors(HTMLParser):
    """The addresses that a page names, and the places in it that can be named."""

    def __init__(self, path):
        super().__init__()
        self.addresses, self.places = [], set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        for key, value in attributes:
            if key in ("href", "src") and value:
                self.addresses.append(value)
            elif key == "id" or key == "name" and tag == "a":
                self.places.add(value)


def test_internal_links_and_images_resolve(site):
    found, broken, count = {path: Anchors(path) for path in pages(site)}, [], 0
    for path, anchors in found.items():
        for text in anchors.addresses:
            address = urlsplit(text)
            if address.scheme or address.netloc:
                continue
            count += 1
            target = (path.parent / unquote(address.path)).resolve() if address.path else path
            if not target.is_file() or address.fragment and target in found and unquote(address.fragment) not in found[target].places:
                broken.append(f"{path.name}: {text}")
    assert count > 1000 and broken == []


def test_pages_name_no_other_host_to_load_from(site):
    loading = re.compile(r"""<(?:script|img|iframe|source|video|audio|embed|object)[^>]*(?:src|data)\s*=\s*["']?(?:https?:)?//|<link[^>]*rel=["'](?:stylesheet|preload|preconnect)["'][^>]*href=["'](?:https?:)?//""")
    assert [path.name for path in pages(site) if loading.search(path.read_text("utf-8"))] == []
    styles = {path.name: re.findall(r"(?:url\(|@import\s+)[\"']?(?:https?:)?//[^)\"']*", path.read_text("utf-8", "replace")) for path in site.rglob("*.css")}
    assert {name: found for name, found in styles.items() if found} == {}


def test_every_exported_name_is_in_the_search_index(site):
    index = (site / "searchindex.js").read_text("utf-8")
    for one in chapters(REPOSITORY):
        if one.module:
            names = re.findall(r"^(?:def|class) ([a-zA-Z]\w+)", (REPOSITORY / f"dimabsa_nb/{one.module}.py").read_text("utf-8"), re.M)
            assert [name for name in names if name not in index] == []


@pytest.fixture
def tab(chromium, site):
    """A page that remembers what it asked for and complained of."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    tab = watched(context)
    yield tab
    context.close()


def watched(context):
    tab = context.new_page()
    tab.asked, tab.said = [], []
    tab.on("request", lambda request: tab.asked.append(request.url))
    tab.on("console", lambda message: tab.said.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: tab.said.append(str(error)))
    tab.on("requestfailed", lambda request: tab.said.append(f"failed: {request.url}"))
    return tab


def elsewhere(tab, origin):
    return [url for url in tab.asked if not url.startswith((origin, "data:", "blob:", "about:"))]


def test_home(tab, site):
    tab.goto((site / "index.html").as_uri())
    assert tab.inner_text(".bd-article h1").startswith("dimabsa_nb")
    macro = next(line for line in (REPOSITORY / "results/quick/table2.md").read_text("utf-8").splitlines() if line.startswith("| Macro"))
    joint = re.findall(r"\d\.\d{3}", macro)[2]
    assert joint in tab.locator("table", has_text="Macro").first.inner_text()
    assert tab.locator("table", has_text="make reproduce").count() == 1
    for name in ("The system on one page", "Use your own data", "Re-run with other parameters", "What the paper says and what we found", "Glossary", "How to cite", "01 metrics", "93 ablations"):
        assert tab.locator("nav a", has_text=name).count() >= 1, name


def test_search_finds_rmse_va_and_its_page(tab, site):
    tab.goto((site / "index.html").as_uri())
    tab.locator(".search-button__button:visible, .search-button-field:visible").first.click()
    tab.locator("input[type=search]:visible").first.fill("rmse_va")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#search-results li a")
    found = tab.locator("#search-results li a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    assert any(link.split("?")[0].split("#")[0] == "03_metrics.html" for link in found)
    tab.locator("#search-results li a[href*='dimabsa_nb.metrics.rmse_va']").first.click()
    tab.wait_for_selector(".bd-article h1")
    assert tab.inner_text(".bd-article h1").startswith("01 metrics") and tab.locator("[id='dimabsa_nb.metrics.rmse_va']").is_visible()
    assert tab.said == [] and elsewhere(tab, site.as_uri()) == []


def luminance(tab, selector, what):
    colour = tab.evaluate("([selector, what]) => getComputedStyle(document.querySelector(selector))[what]", [selector, what])
    return sum(weight * float(part) for weight, part in zip((0.2126, 0.7152, 0.0722), re.findall(r"[\d.]+", colour)))


def test_dark_mode_can_be_switched_on(tab, site):
    tab.emulate_media(color_scheme="light")
    tab.goto((site / "system.html").as_uri())
    assert luminance(tab, "body", "backgroundColor") > 200 > 100 > luminance(tab, ".bd-article h1", "color")
    tab.locator(".theme-switch-button:visible").first.click()
    tab.locator(".theme-change-button[data-mode=dark]:visible").first.click()
    tab.wait_for_selector("html[data-theme=dark]")
    tab.add_style_tag(content=STILL)
    assert luminance(tab, "body", "backgroundColor") < 60 < 180 < luminance(tab, ".bd-article h1", "color")
    assert "invert" in tab.evaluate("getComputedStyle(document.querySelector('img.drawing')).filter")


def test_served_over_http_it_asks_nobody_else(chromium, site):
    handler = functools.partial(type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None}), directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        origin = f"http://127.0.0.1:{server.server_port}/"
        context = chromium.new_context()
        tab = watched(context)
        for name in ("index.html", "system.html", "03_metrics.html", "93_ablations.html", "explorer.html", "search.html?q=rmse_va"):
            tab.goto(origin + name, wait_until="networkidle")
        assert elsewhere(tab, origin) == [] and tab.said == []
        context.close()
        server.shutdown()


@pytest.fixture(scope="session")
def visits(chromium, site, axe):
    """Every page opened once: light, dark, and 400 pixels wide; what was wrong, by kind."""
    wrong = {kind: [] for kind in ("console", "hosts", "images", "alt", "equations", "light", "dark", "narrow")}
    wrong["seen"] = {"equations": 0, "images": 0}
    for path in pages(site):
        context = chromium.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light", reduced_motion="reduce")
        visit(watched(context), path, site, axe, wrong)
        context.close()
    return wrong


def width_of(tab):
    return tab.evaluate("document.documentElement.scrollWidth")


def visit(tab, path, site, axe, wrong):
    def note(kind, found):
        wrong[kind] += [f"{path.name}: {one}" for one in found]

    tab.goto(path.as_uri())
    formulas = tab.locator("span.math, div.math").count()
    if formulas:
        tab.wait_for_function("count => document.querySelectorAll('.math mjx-container').length >= count", arg=formulas, timeout=20_000)
    images = tab.evaluate("""async () => { const found = [...document.images]; found.forEach(image => image.loading = 'eager');
        await Promise.all(found.map(image => image.decode().catch(() => null)));
        return found.map(image => [image.src.slice(0, 80), image.naturalWidth, image.getAttribute('alt')]); }""")
    wrong["seen"]["equations"] += formulas
    wrong["seen"]["images"] += len(images)
    note("images", [source for source, width, _ in images if not width])
    note("alt", [source for source, _, alt in images if not alt or len(alt) < 20])
    note("equations", tab.evaluate("[...document.querySelectorAll('mjx-merror, [data-mjx-error]')].map(error => error.textContent)"))
    tab.evaluate(axe)
    tab.add_style_tag(content=STILL)
    for scheme, rules in RULES.items():
        tab.emulate_media(color_scheme=scheme)
        if tab.get_attribute("html", "data-theme"):
            tab.wait_for_selector(f"html[data-theme={scheme}]")
        found = tab.evaluate("settings => axe.run(document, settings)", {**AXE, "runOnly": rules})["violations"]
        note(scheme, [f"{one['id']}: {node['target']} {node['any'][0]['message'] if node['any'] else ''}" for one in found for node in one["nodes"][:3]])
    tab.set_viewport_size({"width": 400, "height": 800})
    if width_of(tab) > 400:  # a drawing that was made for a wide screen
        tab.reload()
    note("narrow", [width_of(tab)] if width_of(tab) > 400 else [])
    note("console", tab.said)
    note("hosts", elsewhere(tab, site.as_uri()))


def test_no_page_complains_in_the_console(visits):
    assert visits["console"] == []


def test_no_page_asks_another_host(visits):
    assert visits["hosts"] == []


def test_every_image_is_there_and_has_an_alternative_text(visits):
    assert visits["images"] == visits["alt"] == [] and visits["seen"]["images"] >= 8


def test_equations_are_rendered(visits):
    assert visits["equations"] == [] and visits["seen"]["equations"] >= 20


def test_wcag_aa_in_light(visits):
    assert visits["light"] == []


def test_wcag_aa_in_dark(visits):
    assert visits["dark"] == []


def test_nothing_is_wider_than_400_pixels(visits):
    assert visits["narrow"] == []


# --- figures --------------------------------------------------------------------------------------------------------------
def test_figures_are_captioned_and_numbered(tab, site):
    tab.goto((site / "93_ablations.html").as_uri())
    captions = tab.locator("figure figcaption").all_inner_texts()
    stems = json.loads((REPOSITORY / "figures/quick/captions.json").read_text("utf-8"))
    assert len(captions) == len(stems) and all(re.match(r"Figure \d+ \w", caption) for caption in captions)
    assert len({caption.split()[1] for caption in captions}) == len(captions)


def test_figures_are_read_in_grey():
    """No two colours of the series fall on one grey, and what is drawn without a series is grey itself."""
    from dimabsa_nb.tables import _COLOURS
    from dimabsa_nb.report import _SYSTEM_STYLES

    grey = lambda colour: sum(weight * int(colour[at:at + 2], 16) for weight, at in zip((0.299, 0.587, 0.114), (1, 3, 5)))
    levels = sorted(map(grey, _COLOURS))
    assert min(high - low for low, high in zip(levels, levels[1:])) >= 25
    assert len({style["marker"] for style in _SYSTEM_STYLES.values()}) == len(_SYSTEM_STYLES)
    for path in sorted((REPOSITORY / "figures").rglob("*.svg")):
        for red, green, blue in re.findall(r"#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})\b", path.read_text("utf-8")):
            assert red == green == blue or f"#{red}{green}{blue}" in _COLOURS, path.name


# --- pages from notebooks -------------------------------------------------------------------------------------------------
def test_links_between_files_lead_to_pages_that_exist(site):
    assert {page.split("#")[0].rsplit(".", 1)[0] + ".html" for page in page_links(REPOSITORY).values()} <= {path.name for path in pages(site)}


def test_a_run_notebook_has_its_parameters(tab, site):
    tab.goto((site / "31_train_coarse.html").as_uri())
    table = tab.locator("table", has_text="lora_rank").first
    head = [cell.strip() for cell in table.locator("th").all_inner_texts()]
    assert head[:4] == ["parameter", "type", "default", "meaning"] and {"smoke", "quick", "laptop", "paper"} <= set(head)
    epochs = next(row for row in table.locator("tbody tr").all_inner_texts() if row.startswith("epochs"))
    assert epochs.split("\t")[head.index("paper")].strip() == "3" and epochs.split("\t")[head.index("smoke")].strip() == "="


def test_a_library_chapter_shows_outputs_of_its_examples(site):
    text = (site / "04_prompts.html").read_text("utf-8")
    assert text.count('class="cell_output') >= 1 and 'id="dimabsa_nb.prompts.coarse_prompt"' in text
