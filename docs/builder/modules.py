"""The picture of the library: a box per module, floors from the bottom, arrows along imports."""
import ast
from html import escape
from pathlib import Path

from builder.chapters import Chapter, chapters

FLOORS = (  # from the bottom: name, first notebook, last notebook
    ("Ground", 0, 0), ("The task", 1, 6), ("Compute and weights", 7, 11),
    ("The two models", 12, 13), ("Runs and reports", 14, 19), ("EmoLoom", 20, 26),
    ("Benchmarks, CLI", 27, 29))


def imports(root: Path, module: str) -> set[str]:
    """The modules of ours that a module imports, as dotted names below the package."""
    package = Path(root) / "dimabsa_nb"
    path, inside = package / f"{module.replace('.', '/')}.py", module.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not (
                node.level or (node.module or "").startswith("dimabsa_nb")): continue
        base = inside[:len(inside) + 1 - node.level] if node.level else []
        names = (node.module or "").removeprefix("dimabsa_nb").strip(".").split(".")
        target = [*base, *filter(None, names)]
        found |= {".".join(target), *(".".join([*target, alias.name]) for alias in node.names)}
    return {name for name in found if name and (package / f"{name.replace('.', '/')}.py").is_file()}


def direct(graph: dict[str, set[str]]) -> list[tuple[str, str]]:
    """The imports that no longer way explains: the graph's transitive reduction, sorted."""
    def reached(module: str) -> set[str]:
        return graph[module].union(*(reached(below) for below in graph[module]))
    return sorted((above, below) for above, belows in graph.items() for below in belows
                  if not any(below in reached(other) for other in belows - {below}))


def floor_of(one: Chapter) -> int:
    """The floor of a module, by its notebook's number."""
    number = int(one.path.stem[:2])
    return next(floor for floor, (_, first, last) in enumerate(FLOORS) if first <= number <= last)


WIDTH, LEFT, STEP, BOX = 960, 150, 74, 34  # of the picture, its labels, a floor, a box


def boxes(modules: list[Chapter]) -> dict[str, tuple[float, float, float]]:
    """Where each module stands: (left, top, width)."""
    places = {}
    for floor in range(len(FLOORS)):
        here = [one for one in modules if floor_of(one) == floor]
        room = (WIDTH - LEFT - 10) / len(here)
        width = min(room - 12, 126)
        for place, one in enumerate(here):
            left = LEFT + room * place + (room - width) / 2
            places[one.module] = left, 20 + STEP * (len(FLOORS) - 1 - floor), width
    return places


def arrow(above: tuple[float, float, float], below: tuple[float, float, float]) -> str:
    """A curve from an importing box down to the imported one, below both if they are neighbours."""
    (x, y, width), (to_x, to_y, to_width) = above, below
    x, to_x, y = x + width / 2, to_x + to_width / 2, y + BOX
    if to_y < y:
        shift = -12 if to_x < x else 12
        x, to_x, to_y, bend = x + shift, to_x - shift, y + 1, y + 20
        path = f"M{x:.0f},{y} C{x:.0f},{bend} {to_x:.0f},{bend} {to_x:.0f},{to_y}"
    else:
        middle = (y + to_y) / 2
        path = f"M{x:.0f},{y} C{x:.0f},{middle:.0f} {to_x:.0f},{middle:.0f} {to_x:.0f},{to_y - 1}"
    return f'<path d="{path}" fill="none" stroke="#888" marker-end="url(#head)"/>'


def modules_svg(root: Path) -> str:
    """The picture as SVG: black on white, legible in greyscale."""
    modules = [one for one in chapters(root) if one.module]
    places = boxes(modules)
    graph = {one.module: imports(root, one.module) & places.keys() for one in modules}
    parts = ['<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" '
             'markerHeight="6" orient="auto"><path d="M0,1 L8,4 L0,7 z" fill="#555"/></marker>']
    bands = []
    parts += [arrow(places[above], places[below]) for above, below in direct(graph)]
    for floor, (name, *_) in enumerate(FLOORS):
        top = 20 + STEP * (len(FLOORS) - 1 - floor)
        middle = top + BOX / 2 + 4
        parts.append(f'<text x="10" y="{middle:.0f}" font-size="13">{escape(name)}</text>')
        bands.append(f'<rect y="{top - 8}" width="{WIDTH}" height="{BOX + 16}" fill="#f2f2f2"/>')
    for one in modules:
        left, top, width = places[one.module]
        label, middle = one.module.removeprefix("emoloom."), left + width / 2
        parts.append(
            f'<rect x="{left:.0f}" y="{top}" width="{width:.0f}" height="{BOX}" rx="5" '
            'fill="#fff" stroke="#000"/>'
            f'<text x="{middle:.0f}" y="{top + 14}" font-size="10" fill="#555" '
            f'text-anchor="middle">{one.path.stem[:2]}</text>'
            f'<text x="{middle:.0f}" y="{top + 28}" font-size="13" '
            f'text-anchor="middle">{label}</text>')
    height = 20 + STEP * len(FLOORS) - (STEP - BOX) + 20
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" font-family="Liberation Sans, Arial, sans-serif" '
            f'role="img"><rect width="{WIDTH}" height="{height}" fill="#fff"/>\n'
            + "\n".join(bands + parts) + "\n</svg>\n")
