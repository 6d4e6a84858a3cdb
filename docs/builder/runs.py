"""What the site adds to the notebooks of runs and of the paper: parameters, costs, results."""
import ast
import posixpath
import re
from pathlib import Path

import nbformat

from builder.api import code_span, line_comments, literal
from builder.chapters import Chapter
from builder.claims import PAGE, figure_note
from builder.results import (
    captions,
    committed_records,
    cost,
    on_gpu,
    published,
    record_of,
    shown_profiles,
)
from dimabsa_nb.profiles import _read_notebook, load_chain
from dimabsa_nb.records import Record, hash_of

MEANINGS = {"out": "folder that this stage writes into",
            "profile": "name of the profile, for captions", "seed": "of every random draw"}
FILLED_IN = "out", "profile", "caption"  # by the runner
PROFILES = "smoke", "quick", "laptop", "paper-tiny", "paper"  # in the order of the tables


def is_parameters(cell: nbformat.NotebookNode) -> bool:
    """Whether a cell holds a stage's parameters."""
    return "parameters" in cell.metadata.get("tags", [])


def comment_at(comments: dict[int, str], lines: list[str], number: int) -> str:
    """The comment on a line, or the whole-line comments right above it."""
    if number in comments: return comments[number]
    above = []
    while number > 1 and lines[number - 2].startswith("#"):
        number -= 1
        above.insert(0, comments[number])
    return " ".join(above)


def parameter_meanings(path: Path) -> dict[str, tuple[object, str]]:
    """A run notebook's parameters: name -> (default, meaning); comments hold the meanings."""
    defaults = _read_notebook(path)[1]
    [tagged] = [cell.source for cell in nbformat.read(path, 4).cells
                if cell.cell_type == "code" and is_parameters(cell)]
    comments, lines = line_comments(tagged), tagged.splitlines()
    places = {node.targets[0].id: node.end_lineno for node in ast.parse(tagged).body}
    return {name: (value, comment_at(comments, lines, places[name]) or MEANINGS.get(name)
                   or f"folder of the stage `{name}`") for name, value in defaults.items()}


def profile_names(root: Path) -> list[str]:
    """The profiles, those of the main chain first."""
    there = sorted(path.stem for path in (Path(root) / "nbs/profiles").glob("*.toml"))
    known = [name for name in PROFILES if name in there]
    return known + [name for name in there if name not in known]


def profile_values(root: Path, stem: str) -> dict[str, dict[str, str]]:
    """Parameter -> profile -> its value as text; where variants of a stage differ, each."""
    found = {}
    for profile in profile_names(root):
        stages = {name.partition("@")[2]: stage.parameters
                  for name, stage in load_chain(profile, root=root).stages.items()
                  if name.split("@")[0] == stem}
        for key in sorted({key for parameters in stages.values() for key in parameters}):
            values = {variant: code_span(repr(parameters.get(key)))
                      for variant, parameters in stages.items()}
            listed = ", ".join(f"{value} ({variant})" for variant, value in values.items())
            same = len(set(values.values())) == 1
            found.setdefault(key, {})[profile] = next(iter(values.values())) if same else listed
    return found


def by_profile(values: dict[str, str], default: str) -> str:
    """The profiles that do not take the default, such as "smoke, quick: `0.001`"."""
    other = {}
    for profile, value in values.items():
        if value != default: other.setdefault(value, []).append(profile)
    if len(other) == 1 and len(values) == len(*other.values()) > 1: return f"all: {[*other][0]}"
    return "; ".join(f"{', '.join(names)}: {value}" for value, names in other.items())


def parameters_table(root: Path, one: Chapter) -> str:
    """A run notebook's parameters: default, meaning, and what profiles set instead."""
    values = profile_values(root, one.path.stem)
    lines = ["| parameter | default | meaning | in profiles |", "| :--- | :--- | :--- | :--- |"]
    for name, (default, meaning) in parameter_meanings(one.path).items():
        if name in FILLED_IN or name not in values: continue
        shown = code_span(repr(default))
        other = by_profile(values[name], shown)
        lines.append(f"| {code_span(name)} | {shown} | {literal(meaning)} | {other} |")
    return "\n".join(lines)


def profiles_table(root: Path) -> str:
    """The profiles: what each runs on, and what it is for."""
    lines = ["| profile | what runs | for |", "| :--- | :--- | :--- |"]
    for name in profile_names(root):
        path = Path(root) / f"nbs/profiles/{name}.toml"
        text = path.read_text("utf-8")
        about = re.search(r'^about = "(.*)"', text, re.M)
        purpose = re.match(r"# (.*)", text)
        lines.append(f"| [{name}](nbs/profiles/{path.name}) | {about[1] if about else '–'} | "
                     f"{purpose[1] if purpose else '–'} |")
    return "\n".join(lines)


def costs_table(root: Path, stem: str) -> str:
    """What a notebook's stages cost in the committed runs."""
    found = {record.stage: record for profile in shown_profiles(root)[::-1]
             for record in committed_records(root, profile).values()
             if record.stage.split("@")[0] == stem}
    if not found: return "No record of this notebook is committed yet."
    lines = ["| stage | profile | seconds | peak memory, MB | device, precision | record |",
             "| :--- | :--- | ---: | ---: | :--- | :--- |"]
    for record in found.values():
        link = f"{{download}}`json </results/{record.profile}/records/{record.stage}.json>`"
        lines.append(f"| {code_span(record.stage)} | {code_span(record.profile)} | "
                     f"{record.seconds:,.0f} | {record.peak_memory_mb or 0:,.0f}"
                     f"{on_gpu(record)} | "
                     f"{record.device or '–'}, {record.dtype or '–'} | {link} |")
    return "\n".join(lines)


def below_parameters(root: Path, one: Chapter) -> str:
    """The sections that follow the parameters of a run notebook."""
    return ("## What each parameter means\n\nThe last column holds what profiles set instead of "
            "the default. The runner fills in the folders.\n\n"
            f"{parameters_table(root, one)}\n\n## What it cost\n\nIn the committed runs.\n\n"
            f"{costs_table(root, one.path.stem)}")


def shown_table(root: Path, record: Record, name: str) -> str:
    """A committed table with its caption and a link to all its digits; a summary is text alone."""
    text = published(root, record, f"results/{name}.md").read_text("utf-8")
    if f"results/{name}.csv" not in record.outputs: return text
    published(root, record, f"results/{name}.csv")
    link = f"{posixpath.basename(name)}.csv </results/{record.profile}/{name}.csv>"
    return f"{text}\nAll digits: {{download}}`{link}`."


def shown_figure(root: Path, record: Record, name: str) -> str:
    """A committed figure with its caption and alternative text."""
    published(root, record, f"figures/{name}.svg")
    texts, note = captions(root, record, name), figure_note(root, name)
    label = re.sub("[^a-z0-9]", "-", name)
    return (f"```{{figure}} /figures/{record.profile}/{name}.svg\n:name: figure-{label}\n"
            f":alt: {texts['alt']}\n\n{literal(texts['caption'])} "
            f"{note.replace(PAGE, '/' + Path(PAGE).name)}".rstrip() + "\n```")


def committed_outputs(root: Path, record: Record, cell: nbformat.NotebookNode) -> list[str]:
    """What a cell of a paper notebook published when it ran: the outputs whose paths it names."""
    shown = []
    for path in re.findall(r'/ ?"([\w/-]+?)(?:\.md)?"', cell.source):
        for output in record.outputs:
            kind, name = output.split(".")[0].partition("/")[::2]
            if not f"/{kind}/{name}".endswith(f"/{path}"): continue
            if output == f"results/{name}.md": shown.append(shown_table(root, record, name))
            if output == f"figures/{name}.svg": shown.append(shown_figure(root, record, name))
    return shown


def record_note(root: Path, one: Chapter) -> str:
    """Where the outputs of a paper notebook's page come from."""
    record = record_of(root, one.path.stem)
    if not record:
        return (":::{note}\nNo record of this notebook is committed yet: "
                "its code is shown without outputs.\n:::")
    same = hash_of(_read_notebook(one.path)[0]) == record.code
    path = f"{record.stage}.json </results/{record.profile}/records/{record.stage}.json>"
    return (f":::{{note}}\nOutputs on this page are those of the committed run: profile "
            f"`{record.profile}`, finished {record.finished[:10]}, commit "
            f"`{(record.commit or '–')[:7]}`, {cost(record)}. Each was compared with the SHA-256 "
            f"in its record, {{download}}`{path}`. "
            + ("The code below is the code of that run." if same else
               "The notebook's code has changed since that run.") + "\n:::")
