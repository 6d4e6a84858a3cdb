"""Sphinx's settings, called by docs/builder, which writes what Sphinx reads."""
import configparser
import os
from pathlib import Path

settings = configparser.ConfigParser(interpolation=None)
settings.read(Path(__file__).parents[1] / "settings.ini", encoding="utf-8")
settings = settings["DEFAULT"]
work = Path(os.environ["DIMABSA_DOCS"])

project, author, release = settings["title"], settings["author"], settings["version"]
copyright = settings["copyright"]
language = "en"
extensions = ["myst_nb", "sphinx.ext.mathjax"]
exclude_patterns = ["results", "figures"]
nitpicky = True

nb_execution_mode = "off"
nb_output_stderr = "remove"
nb_merge_streams = True
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3
numfig = True
numfig_format = {"figure": "Figure %s"}
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "sphinx_book_theme"
html_title = "dimabsa_nb"
html_static_path = ["_static", str(work / "vendor")]
html_extra_path = [str(work / "extra")]
html_css_files = ["site.css"]
html_js_files = ["ledger.js"]
html_favicon = "_static/favicon.svg"
html_context = {"default_mode": "auto"}
html_copy_source = False
html_domain_indices = False  # the index of names holds the modules, too
html_show_search_summary = False  # summaries are fetched, and a page opened from disk cannot fetch
html_last_updated_fmt = None
html_theme_options = {
    "home_page_in_toc": False,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
mathjax_path = "mathjax/tex-svg.js"
mathjax3_config = {"options": {"enableMenu": False}}


# a folded cell is called by the word that it shows; a wide equation can be scrolled by keys
MATH = '<div class="math notranslate nohighlight"'
REPLACED = {
    '<summary aria-label="Toggle hidden content">': "<summary>",
    MATH: f'{MATH} tabindex="0" role="group" aria-label="equation"',
}


def setup(app):
    def replace(app, pagename, templatename, context, doctree):
        for before, after in REPLACED.items() if "body" in context else ():
            context["body"] = context["body"].replace(before, after)

    app.connect("html-page-context", replace)
