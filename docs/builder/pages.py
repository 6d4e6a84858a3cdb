"""A notebook, as committed with its outputs, as a page for MyST-NB."""
import posixpath
import re
from collections.abc import Callable

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from builder.api import (
    Definition,
    api_section,
    code_span,
    definitions,
    line_comments,
    public_methods,
)
from builder.chapters import Chapter
from dimabsa_nb.core import UserError

Cell = nbformat.NotebookNode
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
          "language_info": {"name": "python"}}
DIRECTIVE = re.compile(r"^#\| *([\w-]+):? *(.*)$", re.M)
HIDDEN = {"default_exp", "hide"}  # directives of cells that no page shows


def directives(source: str) -> dict[str, str]:
    """The leading `#|` lines of a code cell: name -> rest of the line."""
    return dict(DIRECTIVE.findall(re.match(r"(?:#\|.*\n?)*", source)[0]))


def admonitions(text: str) -> str:
    """Quarto's callouts as MyST's admonitions."""
    kinds = "note|tip|warning|important|caution"
    return re.sub(rf"^(:{{3,}}) *\{{\.callout-({kinds})[^}}]*\}}", r"\1{\2}", text, flags=re.M)


def cross_references(text: str, names: dict[str, str]) -> str:
    """Markdown in which the names of documented code lead to their documentation.

    `names` maps a public name to its dotted name; code blocks and links stay as they are."""
    def role(span: re.Match) -> str:
        name = span[1]
        return f"{{py:obj}}`{name} <{names[name]}>`" if name in names else span[0]
    kept = r"(^```.*?^```|\[[^\]]*\]\([^)]*\)|\{[\w:]+\}`[^`]*`)"
    parts = re.split(kept, text, flags=re.M | re.S)
    return "".join(part if place % 2 else re.sub(r"(?<!`)`(\w+)`(?!`)", role, part)
                   for place, part in enumerate(parts))


def relinked(text: str, pages: dict[str, str], folder: str = "") -> str:
    """Markdown whose links between files of the repository are links between pages.

    `pages` maps a path in the repository to its page, `folder` is where the text lies. Images lead
    to the copies that the site holds; a file that no page shows is named only."""
    def link(match: re.Match) -> str:
        image, name, target, anchor = match.groups("")
        if "://" in target or not target: return match[0]
        place = posixpath.normpath(posixpath.join(folder, target))
        if image: return f"![{name}](/{place})"
        if place in pages: return f"[{name}]({pages[place]}{anchor})"
        named = name.strip("`") in (target, place, posixpath.basename(place))
        return code_span(place) if named else f"{name} ({code_span(place)})"
    return re.sub(r"(!?)\[([^\]]*)\]\(([^)#]*)(#[^)]*)?\)", link, text)


def shown_outputs(cell: Cell) -> list[Cell]:
    """A cell's outputs without what it wrote to stderr."""
    return [output for output in cell.outputs if output.get("name") != "stderr"]


def figure_settings(found: dict[str, str], where: str) -> dict:
    """MyST-NB's settings of a cell that draws: alternative text, and a caption if there is one.

    Raises UserError where there is no alternative text."""
    if not found.get("fig-alt"):
        raise UserError(f"{where} draws a figure without alternative text; add a line "
                        "'#| fig-alt: what is to be seen'")
    caption = {"figure": {"caption": found["fig-cap"]}} if "fig-cap" in found else {}
    return {"image": {"alt": found["fig-alt"]}, **caption}


def code_cell(cell: Cell, where: str) -> Cell:
    """A code cell with its committed outputs; source that the API section stands for is folded."""
    found, tags, settings = directives(cell.source), [*cell.metadata.get("tags", [])], {}
    source = re.sub(r"^(#\|.*\n?)+", "", cell.source).strip("\n")
    outputs = shown_outputs(cell)
    if any("image/png" in output.get("data", {}) for output in outputs):
        settings |= figure_settings(found, where)
    if "export" in found and re.search(r"^(def|class|import|from|@)", source, re.M):
        names = [node.name for node in definitions(source)]
        prompt = f"Source of {', '.join(names)}" if names else "Imports"
        settings |= {"code_prompt_show": prompt, "code_prompt_hide": prompt}
        tags.append("hide-input")
    return new_code_cell(source, outputs=outputs, metadata={"tags": tags, "mystnb": settings})


def head(one: Chapter, source: str) -> str:
    """A page's opening: title, module, sentence, and what else the first cell says."""
    module = f"\n\n```{{py:module}} dimabsa_nb.{one.module}\n```" if one.module else ""
    rest = re.sub(r"\A#.*\n\s*>.*\n?|^- [\w-]+: .*\n?", "", source, flags=re.M).strip()
    return f"# {one.title}{module}\n\n{one.sentence}\n\n{rest}".strip()


def inherited_methods(notebook: Cell, module: str) -> dict[str, tuple[str, ...]]:
    """Private class of a notebook -> the API sections of its public methods."""
    sources = [cell.source for cell in notebook.cells
               if cell.cell_type == "code" and "export" in directives(cell.source)]
    return {node.name: tuple(api_section(method, line_comments(source), module, kind="method")
                             for method in public_methods(node))
            for source in sources for node in definitions(source)
            if node.name[0] == "_" and hasattr(node, "bases")}


def documented(node: Definition, source: str, module: str,
               inherited: dict[str, tuple[str, ...]]) -> Cell:
    """The API section of a public definition."""
    bases = [getattr(base, "id", "") for base in getattr(node, "bases", [])]
    methods = tuple(section for base in bases for section in inherited.get(base, ()))
    return new_markdown_cell(api_section(node, line_comments(source), module, methods))


def page_cells(cell: Cell, one: Chapter, names: dict[str, str],
               inherited: dict[str, tuple[str, ...]], where: str) -> list[Cell]:
    """The cells of the page that one cell of a notebook becomes."""
    if cell.cell_type == "raw": return []
    if cell.cell_type == "markdown":
        return [new_markdown_cell(admonitions(cross_references(cell.source, names)))]
    found = directives(cell.source)
    if HIDDEN & found.keys(): return []
    sections = [documented(node, cell.source, f"dimabsa_nb.{one.module}", inherited)
                for node in definitions(cell.source)
                if "export" in found and node.name[0] != "_"]
    return [*sections, code_cell(cell, where)]


def page(notebook: Cell, one: Chapter, names: dict[str, str],
         below: Callable[[Cell], list[str]] = lambda cell: []) -> Cell:
    """A notebook for MyST-NB; `below` gives the Markdown that follows a cell."""
    opening, *others = notebook.cells
    inherited = inherited_methods(notebook, f"dimabsa_nb.{one.module}")
    cells = [new_markdown_cell(head(one, opening.source)), *map(new_markdown_cell, below(opening))]
    for place, cell in enumerate(others, 1):
        cells += page_cells(cell, one, names, inherited, f"{one.path.name}, cell {place}")
        cells += map(new_markdown_cell, below(cell))
    for place, cell in enumerate(cells): cell["id"] = f"{place:04d}"
    return new_notebook(cells=cells, metadata=KERNEL)
