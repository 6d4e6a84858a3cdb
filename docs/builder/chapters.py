"""The notebooks as chapters, in parts, and the map of them."""
import json
import re
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from dimabsa_nb.core import UserError

PARTS = {
    "tour": "Start here",
    "library": "The library",
    "emoloom": "EmoLoom: screening base models",
    "tools": "Benchmarks and command line",
    "runs": "The runs",
    "paper": "The paper's tables and figures"}
TOUR = "tour.ipynb"  # the page of index.ipynb, whose name belongs to the home page


@dataclass
class Chapter:
    """A notebook as a page of the site."""
    path: Path
    part: str  # a key of PARTS
    title: str
    sentence: str  # what it holds
    module: str  # exported module, dotted below the package; "" where there is none

    @property
    def page(self) -> str:
        """The page's file name."""
        return TOUR if self.part == "tour" else self.path.name


def part_of(stem: str) -> str:
    """The part that a notebook belongs to, by its number."""
    if stem == "index": return "tour"
    number = int(stem.split("_")[0])
    if number >= 30: return "runs" if number < 40 else "paper"
    return "library" if number < 20 else "emoloom" if "emoloom" in stem else "tools"


def chapter(path: Path) -> Chapter:
    """Read a notebook's opening; raises UserError where its first cell has no '> sentence'."""
    path = Path(path)
    sources = ["".join(cell["source"]) for cell in json.loads(path.read_text("utf-8"))["cells"]]
    head = re.match(r"# (.+)\n\s*> (.+)", sources[0])
    if not head:
        raise UserError(f"{path}: its first cell needs '# title' and a line '> one sentence'")
    exports = [match[1] for source in sources
               if (match := re.match(r"#\| *default_exp ([\w.]+)", source))]
    part = part_of(path.stem)
    title = "A tour in one minute" if part == "tour" else f"{path.stem[:2]} {head[1]}"
    return Chapter(path, part, title, head[2], "".join(exports[:1]))


def chapters(root: Path) -> list[Chapter]:
    """Every notebook, in order, the tour first."""
    paths = [path for path in (Path(root) / "nbs").glob("*.ipynb")
             if re.match(r"index$|\d\d_", path.stem)]
    return [chapter(path) for path in sorted(paths, key=lambda path: (path.stem != "index", path))]


GROUPS = {"_emoloom_": "EmoLoom-2B, the screening of small base models, part by part.",
          "38_curve_": "Points of the learning curves: some rows to train on, the internal split."}


def notebook_map(root: Path) -> str:
    """A table of the notebooks, each with the sentence that it begins with; a group shares one."""
    lines = ["| notebook | what it holds |", "| :--- | :--- |"]
    group_of = lambda one: next((name for name in GROUPS if name in one.path.stem), one.path.stem)
    for name, group in groupby(chapters(root), group_of):
        some = list(group)
        links = ", ".join(f"[{one.path.stem}](nbs/{one.path.name})" for one in some)
        lines.append(f"| {links} | {GROUPS.get(name, some[0].sentence)} |")
    return "\n".join(lines)
