"""The site: its pages made in small, then built once and driven in headless Chromium."""
import ast
import functools
import http.server
import json
import re
import threading
from html.parser import HTMLParser
from pathlib import Path
from unittest.mock import patch
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import nbformat
import pandas as pd
import pytest
from builder.api import api_section, code_span, definitions, function_fields, line_comments, literal
from builder.chapters import Chapter, chapter, chapters
from builder.modules import direct, imports
from builder.npm import package
from builder.pages import admonitions, code_cell, page, relinked
from builder.plan import llm_parameters, totals
from builder.results import published, record_of
from builder.runs import by_profile, committed_outputs, parameter_meanings, record_note
from builder.site import TOP, build_site, page_links, run_sphinx
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from dimabsa_nb.core import UserError
from dimabsa_nb.profiles import _read_notebook, read_profile
from dimabsa_nb.records import hash_of

REPOSITORY = Path(__file__).resolve().parents[1]
AXE = {"preload": False, "iframes": False, "resultTypes": ["violations"]}
RULES = {"light": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}, "dark": ["color-contrast"]}  # a page's structure is the same in both
STILL = "*, *::before, *::after { transition: none !important; animation: none !important; }"


# --- pages from notebooks, in small ---------------------------------------------------------------------------------------
@pytest.fixture
def toy(tmp_path):
    """Write a notebook of some cells."""
    def write(name, *cells):
        path = tmp_path / "nbs" / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        path.write_text(nbformat.writes(new_notebook(cells=cells)), "utf-8")
        return path
    return write


OPENING = new_markdown_cell("# toys\n> Small things.\n- skip_exec: true\n\nMore.")
DEFINITION = '''def f(
    x: int,  # how many
    *names: str,  # of whom
    y=None,  # or none
) -> str:  # a word
    "Say it."
'''


def test_a_notebook_opens_with_its_name_and_a_sentence(toy):
    path = toy("03_toys", OPENING, new_code_cell("#| default_exp wing.toys"))
    assert chapter(path) == Chapter(path, "library", "03 toys", "Small things.", "wing.toys")
    assert (chapter(toy("91_toy_table", OPENING)).part, chapter(toy("20_emoloom_toys", OPENING)).part) == ("paper", "emoloom")
    with pytest.raises(UserError, match="92_bare.ipynb: its first cell needs"):
        chapter(toy("92_bare", new_markdown_cell("# bare")))


def test_an_exported_definition_becomes_an_api_section(toy):
    one = chapter(toy("03_toys", OPENING, new_code_cell("#| default_exp toys")))
    cells = [OPENING, new_code_cell("#| hide\nimport x"), new_code_cell(f"#| export\n{DEFINITION}\ndef _g(): pass"), new_markdown_cell("See `f`.")]
    made = page(new_notebook(cells=cells), one, {"f": "dimabsa_nb.toys.f"})
    assert [cell.cell_type for cell in made.cells] == ["markdown", "markdown", "code", "markdown"]
    assert made.cells[0].source == "# 03 toys\n\n```{py:module} dimabsa_nb.toys\n```\n\nSmall things.\n\nMore."
    assert made.cells[1].source.startswith("````{py:function} f(x, *names, y=None)\n:module: dimabsa_nb.toys\n\nSay it.")
    assert made.cells[2].metadata.mystnb.code_prompt_show == "Source of f, _g" and "_g" not in made.cells[1].source
    assert made.cells[3].source == "See {py:obj}`f <dimabsa_nb.toys.f>`."


def test_a_class_shows_the_methods_of_its_private_base(toy):
    one = chapter(toy("03_toys", OPENING, new_code_cell("#| default_exp toys")))
    cells = [OPENING, new_code_cell("#| export\nclass _Base:\n    def load(self, path): pass"), new_code_cell("#| export\nclass Thing(_Base):\n    def use(self): pass")]
    made = page(new_notebook(cells=cells), one, {})
    [section] = [cell.source for cell in made.cells if "py:class" in cell.source]
    assert section.index("{py:method} load(path)") < section.index("{py:method} use()")


def test_fields_come_from_the_comments():
    [node] = definitions(DEFINITION)
    assert function_fields(node, line_comments(DEFINITION)) == [
        ":param x: how many (`int`)", ":param names: of whom (`str`)", ":param y: or none (default `None`)", ":returns: a word (`str`)"]
    [option] = ast.parse("def f(a: Annotated[Path, typer.Argument(help='A folder.')] = 3): pass").body
    assert function_fields(option, {}) == [":param a: A folder. (`Path`, default `3`)"]
    method = "class C:\n    n: int = 3  # how many\n    _m: int = 0\n    def size(self, a, b=(1, 2)): pass\n    def _hidden(self): pass"
    section = api_section(ast.parse(method).body[0], line_comments(method), "m")
    assert "{py:method} size(a, b=(1, 2))" in section and "ivar n: how many" in section and "_" not in section.replace("{py:", "")


def test_markdown_is_protected():
    assert [code_span("x"), code_span("a`b")] == ["`x`", "`` a`b ``"]
    assert literal("a_b in `c_d`, [1, 9]") == r"a\_b in `c_d`, \[1, 9\]"
    assert admonitions("::: {.callout-note}\nMind.\n:::") == ":::{note}\nMind.\n:::"


def test_links_between_files_become_links_between_pages():
    pages = {"nbs/00_a.ipynb": "00_a.ipynb", "docs/x.md": "x.md"}
    assert relinked("[a](nbs/00_a.ipynb), [LICENSE](LICENSE), [b](https://b.org), [c](#c)", pages) == "[a](00_a.ipynb), `LICENSE`, [b](https://b.org), [c](#c)"
    assert relinked("[the test](../tests/t.py) [](x.md#y) ![d](../f/d.png)", pages, "docs") == "the test (`tests/t.py`) [](x.md#y) ![d](/f/d.png)"


def test_a_figure_needs_alternative_text(toy):
    image = new_output("display_data", {"image/png": "iVBOR"})
    warning = new_output("stream", name="stderr", text="!")
    cell = code_cell(new_code_cell("#| fig-alt: Dots.\n#| fig-cap: Toys.\nplot()", outputs=[image, warning]), "")
    assert cell.outputs == [image] and cell.source == "plot()"
    assert cell.metadata.mystnb == {"image": {"alt": "Dots."}, "figure": {"caption": "Toys."}}
    with pytest.raises(UserError, match="03_toys, cell 4 draws a figure without alternative text"):
        code_cell(new_code_cell("plot()", outputs=[image]), "03_toys, cell 4")


def test_parameters_are_explained_by_their_comments(toy):
    source = "out = 'runs/x'\nprepare = 'runs/y'\n# peak,\n# after warm-up\nrate = 1e-4\nepochs = 1 # of training"
    path = toy("31_toys", OPENING, new_code_cell(source, metadata={"tags": ["parameters"]}))
    assert parameter_meanings(path) == {
        "out": ("runs/x", "folder that this stage writes into"), "prepare": ("runs/y", "folder of the stage `prepare`"),
        "rate": (1e-4, "peak, after warm-up"), "epochs": (1, "of training")}
    assert by_profile({"smoke": "`1`", "quick": "`2`", "laptop": "`2`"}, "`1`") == "quick, laptop: `2`"
    assert by_profile({"smoke": "`2`", "quick": "`2`"}, "`1`") == "all: `2`"


# --- the paper's notebooks and the picture of the modules ------------------------------------------------------------------
def test_a_paper_notebook_shows_what_its_run_published():
    record = record_of(REPOSITORY, "91_dataset")
    [shown] = committed_outputs(REPOSITORY, record, new_code_cell('print(write_table(table, out/"results/table1", caption))'))
    assert "| Grand total |" in shown and f"table1.csv </results/{record.profile}/table1.csv>" in shown
    assert committed_outputs(REPOSITORY, record, new_code_cell('write_captions(out/"figures/speed", captions)')) == []
    with pytest.raises(UserError, match=f"is not what 91_dataset of profile {record.profile} recorded"):
        published(REPOSITORY, record.model_copy(update={"outputs": {}}), "results/table1.md")
    assert "finished 20" in record_note(REPOSITORY, chapter(REPOSITORY / "nbs/91_dataset.ipynb"))
    assert record_of(REPOSITORY, "99_nothing") is None


@pytest.mark.parametrize("stage", ["91_dataset", "92_main_results", "93_ablations", "94_speed", "95_screening", "96_claims"])
def test_every_published_table_and_figure_is_shown(stage):
    record = record_of(REPOSITORY, stage)
    cells = nbformat.read(REPOSITORY / f"nbs/{stage}.ipynb", 4).cells
    shown = "\n".join(text for cell in cells for text in committed_outputs(REPOSITORY, record, cell))
    names = [name.split("/", 1)[1] for name in record.outputs if re.match(r"results/.*csv$|figures/.*svg$", name)]
    lost = [name for name in names if f"/{record.profile}/{name}" not in shown]
    if lost and record.code != hash_of(_read_notebook(REPOSITORY / f"nbs/{stage}.ipynb")[0]):
        pytest.skip(f"the committed run is of an older {stage}, which still wrote {', '.join(lost)}; publish it anew")
    assert lost == []


def test_the_picture_shows_every_module_and_no_upward_arrow():
    modules = {one.module: int(one.path.stem[:2]) for one in chapters(REPOSITORY) if one.module}
    graph = {module: imports(REPOSITORY, module) & modules.keys() for module in modules}
    assert [(above, below) for above, belows in graph.items() for below in belows if modules[below] >= modules[above]] == []
    assert direct({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == [("a", "b"), ("b", "c")]
    picture = ElementTree.parse(REPOSITORY / "docs/modules.svg").getroot()
    texts = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {module.split(".")[-1] for module in modules} <= set(texts)
    assert len(list(ElementTree.parse(REPOSITORY / "docs/architecture.svg").getroot().iter("{http://www.w3.org/2000/svg}polyline"))) == 13


def test_npm_packages_are_checked(tmp_path):
    (tmp_path / "mathjax-3.2.2.tgz").write_bytes(b"something else")
    with pytest.raises(UserError, match="is not mathjax 3.2.2 as pinned"):
        package("mathjax", tmp_path)
    with patch("shutil.which", lambda name: None), pytest.raises(UserError, match=r"npm is not installed; install npm \(Node.js\), or put the archive"):
        package("mathjax", tmp_path / "empty")


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
    expected = {f"{Path(one.page).stem}.html" for one in chapters(REPOSITORY)} | {f"{path.stem}.html" for path in (REPOSITORY / "docs").glob("*.md")}
    expected |= {f"{Path(page).stem}.html" for page in TOP.values()} | {"example-explorer.html", "search.html", "genindex.html"}
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
            module = REPOSITORY / f"dimabsa_nb/{one.module.replace('.', '/')}.py"
            names = re.findall(r"^(?:def|class) ([a-zA-Z]\w+)", module.read_text("utf-8"), re.M)
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
    # the next page's navigation aborts what is under way, such as the browser's own request for the icon
    tab.on("requestfailed", lambda request: tab.said.append(f"failed: {request.url}, {request.failure}") if request.failure != "net::ERR_ABORTED" else None)
    return tab


def elsewhere(tab, origin):
    return [url for url in tab.asked if not url.startswith((origin, "data:", "blob:", "about:"))]


def test_home(tab, site):
    tab.goto((site / "index.html").as_uri())
    assert tab.inner_text(".bd-article h1").startswith("dimabsa_nb")
    joint = record_of(REPOSITORY, "92_main_results").metrics["joint"]["rmse_va"]
    assert f"{joint:.3f}" in tab.locator("table", has_text="joint (this run)").first.inner_text()
    figure = tab.locator(".bd-article img").first
    assert figure.bounding_box()["y"] < 400 and len(figure.get_attribute("alt")) > 20
    assert tab.locator("pre", has_text="make reproduce").count() == 1
    for name in ("The system on one page", "Use your own data", "Re-run with other parameters", "What the paper says and what we found", "Glossary", "How to cite", "A tour in one minute", "03 metrics", "20 EmoLoom: corpora", "93 ablations"):
        assert tab.locator("nav a", has_text=name).count() >= 1, name


def test_the_verdicts_can_be_filtered(tab, site):
    verdicts = pd.read_csv(REPOSITORY / "results/claims/ledger.csv", keep_default_na=False)
    tab.goto((site / "ledger.html").as_uri())
    table, said = tab.locator("table", has_text="checked in").last, tab.locator("form.ledger-filters output")
    assert said.inner_text() == f"{len(verdicts)} of {len(verdicts)} statements"
    for verdict, count in verdicts.verdict.value_counts().items():
        tab.get_by_label("verdict").select_option(verdict)
        assert table.locator("tbody tr:visible").count() == count and said.inner_text().startswith(f"{count} of")
    tab.get_by_label("verdict").select_option("")
    tab.get_by_label("place").select_option("Table 2")
    tab.get_by_label("words").fill("kimi")
    assert table.locator("tbody tr:visible").count() == 11


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
    assert tab.inner_text(".bd-article h1").startswith("03 metrics") and tab.locator("[id='dimabsa_nb.metrics.rmse_va']").is_visible()
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
    profile = record_of(REPOSITORY, "93_ablations").profile
    stems = json.loads((REPOSITORY / f"figures/{profile}/captions.json").read_text("utf-8"))
    assert len(captions) == len(stems) and all(re.match(r"Figure \d+ \w", caption) for caption in captions)
    assert len({caption.split()[1] for caption in captions}) == len(captions)


def test_figures_are_read_in_grey():
    """No two colours of the palette fall on one grey, and systems differ in their markers, too."""
    from dimabsa_nb.report import _SYSTEM_STYLES
    from dimabsa_nb.tables import PALETTE

    def grey(colour):
        return sum(weight * int(colour[at:at + 2], 16) for weight, at in zip((0.299, 0.587, 0.114), (1, 3, 5), strict=True))

    levels = sorted(map(grey, PALETTE))
    assert min(high - low for low, high in zip(levels, levels[1:], strict=False)) >= 25
    assert len({style["marker"] for style in _SYSTEM_STYLES.values()}) == len(_SYSTEM_STYLES)


# --- pages from notebooks -------------------------------------------------------------------------------------------------
def test_links_between_files_lead_to_pages_that_exist(site):
    assert {page.split("#")[0].rsplit(".", 1)[0] + ".html" for page in page_links(REPOSITORY).values()} <= {path.name for path in pages(site)}


def test_a_run_notebook_has_its_parameters(tab, site):
    tab.goto((site / "31_train_coarse.html").as_uri())
    table = tab.locator("table", has_text="lora_rank").first
    assert [cell.strip() for cell in table.locator("th").all_inner_texts()][:4] == ["parameter", "default", "meaning", "in profiles"]
    epochs = next(row for row in table.locator("tbody tr").all_inner_texts() if row.startswith("epochs"))
    assert "paper: 3" in epochs.split("\t")[3]


def test_code_fits_beside_both_sidebars_at_1300_pixels(tab, site):
    tab.set_viewport_size({"width": 1300, "height": 900})
    for name in ("index.html", "tour.html", "03_metrics.html", "20_emoloom_corpora.html"):
        tab.goto((site / name).as_uri())
        wide = tab.evaluate("[...document.querySelectorAll('div.highlight pre')].filter(pre => pre.scrollWidth > pre.clientWidth + 1).map(pre => pre.innerText.slice(0, 80))")
        assert wide == [], name


def test_a_library_chapter_shows_outputs_of_its_examples(site):
    text = (site / "04_prompts.html").read_text("utf-8")
    assert text.count('class="cell_output') >= 1 and 'id="dimabsa_nb.prompts.coarse_prompt"' in text


def test_the_paper_profile_needs_what_its_plan_computes():
    assert llm_parameters() == 8_190_735_360  # as the index of Qwen3-8B's safetensors says
    needs = read_profile(REPOSITORY, "paper")["profile"]["needs"]
    assert [name for name, size in totals(REPOSITORY).items() if needs[name] < size] == []
