"""The site: README, the pages of docs/ and every notebook, built by Sphinx."""
import os
import posixpath
import shutil
from pathlib import Path
from unittest.mock import patch

import nbformat

from builder.api import symbols
from builder.chapters import PARTS, Chapter, chapters
from builder.npm import member, package
from builder.pages import page, relinked
from builder.results import committed_records, record_of, shown_profiles
from builder.runs import below_parameters, committed_outputs, is_parameters, record_note
from builder.templates import without_comments
from dimabsa_nb.core import UserError, write_atomic
from dimabsa_nb.explorer import write_example
from dimabsa_nb.profiles import find_root

TOP = {"README.md": "index.md", "ARTIFACT.md": "artifact.md",
       "CONTRIBUTING.md": "contributing.md"}  # pages at the repository's top
SHOWN_ON = {"CITATION.cff": "cite.md", "nbs/profiles": "parameters.md"}
GROUPS = {"The system": ["system", "findings", "ledger", "glossary"],
          "Use it": ["own-data", "parameters", "speed", "explorer"],
          "For reviewers": ["artifact", "checklist", "robustness", "model_card", "data_statement",
                            "cite"],
          "Contribute": ["contributing"]}


def contents(root: Path) -> str:
    """The table of contents."""
    tour, *parts = [(caption, [one.page for one in chapters(root) if one.part == part])
                    for part, caption in PARTS.items()]
    trees = [tour, *GROUPS.items(), *parts]
    return "\n\n".join(f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(pages)
                       + "\n```" for caption, pages in trees if pages)


def page_links(root: Path) -> dict[str, str]:
    """Path in the repository -> the page of the site that shows it."""
    root = Path(root)
    links = {f"nbs/{one.path.name}": one.page for one in chapters(root)}
    for profile in shown_profiles(root):
        for record in committed_records(root, profile).values():
            if (page := links.get(f"nbs/{posixpath.basename(record.notebook)}")) is None: continue
            for name in record.outputs:
                if not name.startswith(("results/", "figures/")): continue
                path = name.replace("/", f"/{profile}/", 1)
                links[path] = page
                folder = posixpath.dirname(path)
                if folder != f"results/{profile}": links[folder] = page
    links |= {f"docs/{path.name}": path.name for path in (root / "docs").glob("*.md")}
    links |= {f"nbs/profiles/{path.name}": "parameters.md"
              for path in (root / "nbs/profiles").glob("*.toml")}
    return links | TOP | SHOWN_ON


def written_pages(root: Path) -> dict[str, str]:
    """Every page that is no notebook: name on the site -> MyST."""
    root, links = Path(root), page_links(root)
    sources = {page: root / name for name, page in TOP.items()}
    sources |= {path.name: path for path in sorted((root / "docs").glob("*.md"))}
    texts = {}
    for name, path in sources.items():
        folder = path.parent.relative_to(root).as_posix().removeprefix(".")
        texts[name] = relinked(without_comments(path.read_text("utf-8")), links, folder)
    return texts | {"index.md": f"{texts['index.md']}\n\n{contents(root)}\n"}


def chapter_page(root: Path, one: Chapter, links: dict[str, str],
                 names: dict[str, str]) -> nbformat.NotebookNode:
    """A notebook's page, with what its part of the site adds."""
    notebook = nbformat.read(one.path, 4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown": cell.source = relinked(cell.source, links, "nbs")
    if one.part == "runs":
        return page(notebook, one, names,
                    lambda cell: [below_parameters(root, one)] if is_parameters(cell) else [])
    if one.part == "paper":
        record, opening = record_of(root, one.path.stem), notebook.cells[0]
        return page(notebook, one, names, lambda cell: [record_note(root, one)]
                    if cell is opening else committed_outputs(root, record, cell) if record else [])
    return page(notebook, one, names)


def write_sources(root: Path, work: Path) -> Path:
    """Write all that Sphinx reads into a folder `source`, and return it."""
    root, source, links = Path(root), Path(work) / "source", page_links(root)
    shutil.rmtree(source, ignore_errors=True)
    for folder in [f"{kind}/{profile}" for kind in ("results", "figures")
                   for profile in shown_profiles(root)]:
        if (root / folder).is_dir(): shutil.copytree(root / folder, source / folder)
    for path in (root / "docs").glob("*.svg"):
        write_atomic(source / "docs" / path.name, path.read_text("utf-8"))
    for name, text in written_pages(root).items(): write_atomic(source / name, text)
    names = symbols(root / "dimabsa_nb")
    for one in chapters(root):
        write_atomic(source / one.page, nbformat.writes(chapter_page(root, one, links, names)))
    return source


def run_sphinx(root: Path, source: Path, work: Path, workers: int = 2) -> Path:
    """Build the pages from nothing and return the first; raises UserError at any warning."""
    from sphinx.cmd.build import build_main
    root, work = Path(root), Path(work)
    for name in ("html", "doctrees"): shutil.rmtree(work / name, ignore_errors=True)
    options = ["-b", "html", "-q", "-W", "--keep-going", "-n", "-j", str(workers)]
    folders = ["-c", root / "docs", "-d", work / "doctrees", source, work / "html"]
    with patch.dict(os.environ, {"DIMABSA_DOCS": str(work)}):
        failed = build_main([*options, *map(str, folders)])
    if failed: raise UserError("the site was not built: see the warnings above")
    return work / "html/index.html"


def build_site(root: Path | None = None, work: Path | None = None, workers: int = 2) -> Path:
    """Write all that the site is made of, build it, and return its first page."""
    root = Path(root or find_root()).resolve()
    work = Path(work or root / "docs/_build").resolve()
    write_example(work / "extra/example-explorer.html", root)
    mathjax = member(package("mathjax"), "es5/tex-svg-full.js")
    write_atomic(work / "vendor/mathjax/tex-svg.js", mathjax)
    return run_sphinx(root, write_sources(root, work), work, workers)
