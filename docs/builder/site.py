"""The documentation site: notebooks as pages, numbers from records."""
import ast
import base64
import hashlib
import io
import json
import os
import posixpath
import re
import shutil
import subprocess
import tarfile
import tokenize
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import nbformat
import pandas as pd

from dimabsa_nb.core import UserError, cache_folder, write_atomic
from dimabsa_nb.records import Record, digest, hash_of
from dimabsa_nb.tables import averages_note, paper_table, pooled_rmse
from dimabsa_nb.profiles import find_root, load_chain, read_notebook
from dimabsa_nb.explorer import write_example
from dimabsa_nb._modidx import MODULE_INDEX
from builder.gone import readme_table
from builder.gone import splice_readme
from builder.cards import write_cards


PARTS = {"library": "The library", "runs": "The runs", "paper": "The paper's tables and figures"}

@dataclass
class Chapter:
    "A notebook as a page of the site."
    path: Path # the notebook
    part: str # a key of PARTS
    title: str # its name, with its number
    sentence: str # what it holds, in one sentence
    module: str # the exported module, "" where there is none


def chapter(
    path # A notebook's path
)->Chapter: # Its page
    "Read a notebook's opening."
    path, cells = Path(path), json.loads(Path(path).read_text("utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells]
    number, name = int(path.stem.split("_")[0]), path.stem.split("_", 1)[1]
    part = "library" if number < 30 else "runs" if number < 40 else "paper"
    sentence = re.search(r"^> (.+)$", sources[0], re.M)
    if not sentence: raise UserError(f"{path}: its first cell needs a line '> one sentence'")
    exported = [found[1] for source in sources if (found := re.match(r"#\| default_exp (\w+)", source))]
    return Chapter(path, part, f"{path.stem[:2]} {name.replace('_', ' ')}", sentence[1], exported[0] if exported else "")


def chapters(
    root # The repository
)->list: # Its pages in order
    "List the notebooks."
    return [chapter(path) for path in sorted((Path(root)/"nbs").glob("[0-9]*_*.ipynb"))]


def directives(
    source:str # A code cell
)->dict: # Name -> rest of the line
    "Read the leading `#|` lines of a cell."
    lines = re.match(r"(?:#\|.*\n?)*", source)[0].splitlines()
    return {name.rstrip(":"): value for name, _, value in (line[2:].strip().partition(" ") for line in lines)}


NOT_RUN = {"default_exp", "notest"} # cells that no build runs

def marked(
    source:str # A code cell of a library notebook
)->str: # The same for `proc_nbs`
    "Have exported code shown beside its documentation, and every example run."
    found = directives(source)
    if "export" in found: return re.sub(r"^#\| *export\b", "#| exports", source, count=1, flags=re.M)
    return source if NOT_RUN & found.keys() else f"#| exec_doc\n#| include: false\n{source}"


def write_copies(
    chosen:list, # Chapters
    folder # An empty folder
): # nothing
    "Copy notebooks to where nbdev reads them."
    for one in chosen:
        notebook = nbformat.read(one.path, 4)
        for cell in notebook.cells:
            if cell.cell_type == "code" and one.part == "library": cell.source = marked(cell.source)
        write_atomic(Path(folder)/one.path.name, nbformat.writes(notebook))


class Mark:
    "What `show_doc` makes in the copies: nothing, since `api_section` reads the source instead."
    def __init__(self, definition, name=None, title_level=3): pass


def processed(
    root, # The repository
    chosen:list, # Chapters
    work, # A folder for what lies between
    workers:int=2 # Processes at once
)->dict: # Chapter's stem -> its notebook, run and processed
    "Let nbdev run and process notebooks; a failing example stops the build."
    from nbdev.serve import proc_nbs
    copies, settings = Path(work)/"notebooks", (Path(root)/"settings.ini").read_text("utf-8")
    shutil.rmtree(copies, ignore_errors=True)
    write_copies(chosen, copies)
    write_atomic(Path(work)/"settings.ini", f"{settings}\nrenderer = dimabsa_nb.docs.Mark\n")
    quiet = {"DIMABSA_DATA": "", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONHASHSEED": "0", "PYTHONWARNINGS": "ignore"}
    with chdir(work), patch.dict(os.environ, quiet): made = Path(proc_nbs(str(copies), n_workers=workers, force=True))
    return {one.path.stem: nbformat.reads((made/one.path.name).read_text("utf-8"), 4) for one in chosen}


def line_comments(
    source:str # Python source
)->dict: # Line number -> text of the comment at its end
    "Collect the comments that document parameters."
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}


def code_span(
    text # Anything, as Python writes it
)->str: # Markdown
    "Set code within a line, whatever backticks it holds."
    fence = "`" * (1 + max(map(len, re.findall("`+", str(text))), default=0))
    return f"{fence}{text}{fence}" if fence == "`" else f"{fence} {text} {fence}"


def literal(
    text:str # A comment or docstring
)->str: # Markdown that shows it as it is
    "Protect what Markdown would read as its own; backticks and dollars in pairs stay."
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([\\*_<>\[\]{}$|])", r"\\\1", part) for part in parts)


def unwrapped(
    annotation, # Syntax tree of a type, or None
    comment:str # What stands beside it
)->tuple: # (the type alone, what it means)
    "Take a type of the command line apart: `Annotated[type, typer.Option(help=...)]`."
    if not (isinstance(annotation, ast.Subscript) and getattr(annotation.value, "id", "") == "Annotated"): return annotation, comment
    kind, about = annotation.slice.elts[:2]
    said = [word.value.value for word in getattr(about, "keywords", []) if word.arg == "help" and isinstance(word.value, ast.Constant)]
    return kind, comment or "".join(said[:1])


def field(
    role:str, # "param x", "returns", ...
    annotation, # Syntax tree or None
    default, # Syntax tree or None
    comment:str # What it means
)->str: # One field of the section
    "Write one parameter: meaning, type, default."
    annotation, comment = unwrapped(annotation, comment)
    facts = [before + code_span(ast.unparse(tree)) for before, tree in (("", annotation), ("default ", default)) if tree]
    words = literal(comment) + (f" ({', '.join(facts)})" if facts and comment else ", ".join(facts))
    return f":{role}: {words or '–'}"


def function_fields(
    node, # Syntax tree of a function
    comments:dict # See `line_comments`
)->list: # One field per parameter, and what it returns
    "Describe a function's parameters by the comments beside them."
    plainly = [*node.args.posonlyargs, *node.args.args]
    defaults = dict(zip([one.arg for one in plainly][::-1], node.args.defaults[::-1]))
    defaults |= {one.arg: value for one, value in zip(node.args.kwonlyargs, node.args.kw_defaults)}
    named = [*plainly, node.args.vararg, *node.args.kwonlyargs, node.args.kwarg]
    said = lambda part: comments.get(part.end_lineno, "")
    fields = [field(f"param {one.arg}", one.annotation, defaults.get(one.arg), said(defaults.get(one.arg) or one)) for one in named if one and one.arg not in ("self", "cls")]
    back = [field("returns", node.returns, None, said(node.returns))] if node.returns else []
    return fields + back


def signature(
    node # Syntax tree of a function or class
)->str: # Name and parameters, without types
    "Write the line that names a definition."
    if isinstance(node, ast.ClassDef): return node.name
    bare = ast.parse(ast.unparse(node)).body[0]
    for one in ast.walk(bare.args):
        if isinstance(one, ast.arg): one.annotation = None
    arguments = [part for part in ast.unparse(bare.args).split(", ") if part not in ("self", "cls")]
    return f"{node.name}({', '.join(arguments)})"


def class_fields(
    node:ast.ClassDef, # A class
    comments:dict # See `line_comments`
)->list: # One field per attribute that has a comment
    "Describe a class by its annotated attributes."
    parts = [part for part in node.body if isinstance(part, ast.AnnAssign)]
    return [field(f"ivar {part.target.id}", part.annotation, part.value, comments.get(part.end_lineno, "")) for part in parts]


def api_section(
    node, # Syntax tree of a function or class
    comments:dict, # See `line_comments`
    module:str, # Dotted name of the module
    kind:str="" # "method" for those of a class
)->str: # MyST
    "Document one definition: signature, docstring, fields, and for classes the public methods."
    inner = isinstance(node, ast.ClassDef)
    methods = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name[0] != "_"] if inner else []
    parts = [literal(ast.get_docstring(node) or ""), "\n".join(class_fields(node, comments) if inner else function_fields(node, comments)),
             *[api_section(part, comments, module, "method") for part in methods]]
    fence, body = "`" * (3 if kind else 4), "\n\n".join(part for part in parts if part)
    return f"{fence}{{py:{kind or ('class' if inner else 'function')}}} {signature(node)}\n:module: {module}\n\n{body}\n{fence}"


def definitions(
    notebook # A processed notebook
)->dict: # Name -> (syntax tree, comments)
    "Find every function and class that a notebook exports."
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code" and not cell.source.startswith("show_doc(")]
    trees = [(node, line_comments(source)) for source in sources for node in ast.parse(source).body]
    return {node.name: (node, comments) for node, comments in trees if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))}


HOST = MODULE_INDEX["settings"]["doc_host"] + MODULE_INDEX["settings"]["doc_baseurl"]
SYMBOLS = {page: symbol for symbols in MODULE_INDEX["syms"].values() for symbol, (page, _) in symbols.items()} # page#name -> dotted name

def cross_references(
    text:str # Markdown with nbdev's links
)->str: # MyST
    "Turn nbdev's links into cross-references."
    role = lambda found: f"{{py:obj}}`{found[1]} <{SYMBOLS[found[2]]}>`"
    return re.sub(r"\[`([^`\]]+)`\]\(" + re.escape(HOST) + r"/([^)]+)\)", role, text)


def admonitions(
    text:str # Markdown with Quarto's callouts
)->str: # MyST
    "Turn callouts into admonitions."
    return re.sub(r"^(:{3,}) *\{\.callout-(note|tip|warning|important|caution)[^}]*\}", r"\1{\2}", text, flags=re.M)


def relinked(
    text:str, # Markdown of the repository
    pages:dict, # Path in the repository -> page
    folder:str="" # Where the text lies in the repository
)->str: # MyST
    "Make links between files links between pages; what is on no page is named only."
    def link(found):
        name, target, anchor = found.groups("")
        if "://" in target or not target: return found[0]
        place = posixpath.normpath(posixpath.join(folder, target))
        if place in pages: return f"[{name}]({pages[place]}{anchor})"
        return code_span(place) if name.strip("`") in (target, place) else f"{name} ({code_span(place)})"
    return re.sub(r"(?<!!)\[([^\]]*)\]\(([^)#]*)(#[^)]*)?\)", link, text)


TEMPORARY = re.compile(r"/\S*?/tmp[\w]{6,}|/tmp/\w+") # folders that no two runs share

def shown_outputs(
    cell # A code cell that has run
)->list: # Its outputs
    "Keep what a cell said; temporary folders lose their names, warnings go."
    kept = [output for output in cell.outputs if output.get("name") != "stderr"]
    for output in kept:
        holder, keys = (output, ["text"]) if "text" in output else (output.get("data", {}), ["text/plain", "text/html"])
        for key in keys:
            if key in holder: holder[key] = TEMPORARY.sub("…", "".join(holder[key]))
    return kept


def figure_settings(
    found:dict, # See `directives`
    where:str # Which cell, for the error
)->dict: # Settings of MyST-NB
    "Give a cell's figure its alternative text and, if it has one, its caption."
    if not found.get("fig-alt"): raise UserError(f"{where} draws a figure without alternative text; add a line '#| fig-alt: what is to be seen'")
    caption = {"figure": {"caption": found["fig-cap"]}} if "fig-cap" in found else {}
    return {"image": {"alt": found["fig-alt"]}, **caption}


def code_cell(
    cell, # A code cell, processed
    where:str # Which one, for errors
): # A cell for MyST-NB
    "Turn one code cell."
    found, tags = directives(cell.source), [tag for tag in cell.metadata.get("tags", [])]
    source = re.sub(r"^(#\|.*\n?)+", "", cell.source).strip("\n")
    outputs, settings = shown_outputs(cell), {}
    if any("image/png" in output.get("data", {}) for output in outputs): settings |= figure_settings(found, where)
    if "code-fold" in found and re.search(r"^(def|class|import|from|@)", source, re.M):
        tags, settings = [*tags, "hide-input"], {**settings, "code_prompt_show": "Source", "code_prompt_hide": "Source"}
    return nbformat.v4.new_code_cell(source, outputs=outputs, metadata={"tags": tags, "mystnb": settings})


def head(
    one:Chapter # A chapter
)->str: # MyST
    "Write a page's opening."
    module = f"\n\n```{{py:module}} dimabsa_nb.{one.module}\n```" if one.module else ""
    return f"# {one.title}{module}\n\n{one.sentence}"


def turned_cell(
    cell, # A cell of a processed notebook
    one:Chapter, # Its chapter
    known:dict, # See `definitions`
    where:str # Which cell, for errors
): # A cell for MyST-NB, or None
    "Turn one cell."
    if cell.cell_type == "raw": return new_markdown(head(one))
    if cell.cell_type == "markdown": return None if "AUTOGENERATED" in cell.source else new_markdown(admonitions(cross_references(cell.source)))
    if shown := re.search(r"^show_doc\((\w+)\)", cell.source, re.M): return new_markdown(api_section(*known[shown[1]], f"dimabsa_nb.{one.module}"))
    return code_cell(cell, where)


def new_markdown(
    text:str # MyST
): # A cell
    "Make a Markdown cell."
    return nbformat.v4.new_markdown_cell(text)


KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}, "language_info": {"name": "python"}}

def page(
    notebook, # A processed notebook
    one:Chapter, # Its chapter
    extra=lambda cell: [] # Cell as processed -> cells that follow it
): # A notebook for MyST-NB
    "Turn a processed notebook into a page."
    known, cells = definitions(notebook), []
    for place, cell in enumerate(notebook.cells):
        made = turned_cell(cell, one, known, f"{one.path.name}, cell {place}")
        cells += ([made] if made else []) + extra(cell)
    for place, cell in enumerate(cells): cell["id"] = f"{place:04d}"
    return nbformat.v4.new_notebook(cells=cells, metadata=KERNEL)


def committed_records(
    root, # The repository
    profile:str # A profile
)->dict: # Stage -> Record
    "Read a profile's committed records."
    found = {path.stem: Record.model_validate_json(path.read_bytes()) for path in sorted((Path(root)/"results"/profile/"records").glob("*.json"))}
    if not found: raise UserError(f"results/{profile}/records: no records; run `dimabsa run {profile}`")
    return found


SHOWN = "quick" # the profile whose records the site shows

def shown_profiles(
    root # The repository
)->list: # Profiles with committed records, the one that is shown first
    "List the profiles whose results are committed; those of `smoke` never are."
    found = sorted(path.parent.name for path in (Path(root)/"results").glob("*/records"))
    return sorted((name for name in found if name != "smoke"), key=lambda name: name != SHOWN)


def record_of(
    root, # The repository
    stage:str # A stage's name
): # Its Record, or None
    "Find the record that the site shows of a stage."
    found = [records[stage] for records in (committed_records(root, profile) for profile in shown_profiles(root)) if stage in records]
    return found[0] if found else None


def measured(
    root, # The repository
    profile:str, # A profile
    stage:str, # A stage of it
    path:str, # Dotted path within the record, such as `metrics.joint.rmse_va`
    spec:str="" # Format, such as `.3f`
)->str: # The number as text
    "Take one number from a record."
    value = committed_records(root, profile)[stage].model_dump()
    for name in path.split("."): value = value[int(name) if isinstance(value, list) else name]
    return format(value, spec)


def cost(
    record:Record # A stage's record
)->str: # Such as "182 s, 1,100 MB, cpu, float32"
    "Say what a stage cost."
    parts = [f"{record.seconds:,.0f} s", f"{record.peak_memory_mb:,.0f} MB" if record.peak_memory_mb else "", record.device, record.dtype]
    return ", ".join(part for part in parts if part)


MEANINGS = {"out": "folder that this stage writes into", "profile": "name that captions give the run", "seed": "of every random draw"}

def parameter_meanings(
    path # A run notebook
)->dict: # Parameter -> (default, meaning)
    "Read the cell tagged `parameters`; the comment beside a parameter is its meaning."
    defaults = read_notebook(path)[1]
    [tagged] = [cell.source for cell in nbformat.read(path, 4).cells if "parameters" in cell.metadata.get("tags", [])]
    said = line_comments(tagged)
    lines = {node.targets[0].id: node.end_lineno for node in ast.parse(tagged).body}
    return {name: (value, said.get(lines[name]) or MEANINGS.get(name) or f"folder of the stage `{name}`") for name, value in defaults.items()}


def profile_names(
    root # The repository
)->list: # Names, from the smallest
    "List the profiles, those of the main chain first."
    known, found = ["smoke", "quick", "laptop", "paper"], sorted(path.stem for path in (Path(root)/"nbs/profiles").glob("*.toml"))
    return [name for name in known if name in found] + [name for name in found if name not in known]


def profile_values(
    root, # The repository
    stem:str # A run notebook
)->dict: # Profile -> parameter -> text; stages that differ are listed
    "Resolve a notebook's parameters in every profile that runs it."
    found = {}
    for profile in profile_names(root):
        stages = {name: stage.parameters for name, stage in load_chain(profile, root=root).stages.items() if name.split("@")[0] == stem}
        for key in sorted({key for parameters in stages.values() for key in parameters}):
            values = {name.partition("@")[2]: repr(parameters.get(key)) for name, parameters in stages.items()}
            same = len(set(values.values())) == 1
            found.setdefault(profile, {})[key] = code_span([*values.values()][0]) if same else ", ".join(f"{variant}: {code_span(value)}" for variant, value in values.items())
    return found


def parameters_table(
    root, # The repository
    one:Chapter # A run notebook's page
)->str: # MyST
    "Tabulate a run notebook's parameters: name, type, default, meaning, and the value in each profile."
    values = profile_values(root, one.path.stem)
    lines = ["| parameter | type | default | meaning | " + " | ".join(values) + " |", "| :--- " * (4 + len(values)) + "|"]
    for name, (default, meaning) in parameter_meanings(one.path).items():
        cells = [table.get(name, "–") for table in values.values()]
        cells = ["=" if cell == code_span(repr(default)) else cell for cell in cells]
        lines.append("| " + " | ".join([code_span(name), type(default).__name__, code_span(repr(default)), literal(meaning), *cells]) + " |")
    return "\n".join(lines)


def published(
    root, # The repository
    record:Record, # A stage's record
    name:str # One of its outputs, such as `results/table2.md`
)->Path: # The committed copy
    "Find what a stage published, and refuse it where it is not what the record says."
    kind, rest = name.split("/", 1)
    path = Path(root)/kind/record.profile/rest
    if not path.is_file() or digest(path) != record.outputs.get(name):
        raise UserError(f"{path.relative_to(root)}: is not what {record.stage} of profile {record.profile} recorded; run `dimabsa run {record.profile}` and commit its results")
    return path


def shown_table(
    root, # The repository
    record:Record, # A stage's record
    name:str # A table's name
)->str: # MyST
    "Show a committed table with its caption, and offer its full figures."
    text = published(root, record, f"results/{name}.md").read_text("utf-8")
    published(root, record, f"results/{name}.csv")
    return f"{text}\nFull figures: {{download}}`{posixpath.basename(name)}.csv </results/{record.profile}/{name}.csv>`."


def shown_figure(
    root, # The repository
    record:Record, # A stage's record
    name:str # A figure's name
)->str: # MyST
    "Show a committed figure with its caption and alternative text."
    published(root, record, f"figures/{name}.svg")
    place, stem = posixpath.split(name)
    words = json.loads(published(root, record, posixpath.join("figures", place, "captions.json")).read_text("utf-8"))[stem]
    return f"```{{figure}} /figures/{record.profile}/{name}.svg\n:name: figure-{re.sub('[^a-z0-9]', '-', name)}\n:alt: {words['alt']}\n\n{literal(words['caption'])}\n```"


def committed_outputs(
    root, # The repository
    record:Record, # A stage's record
    cell # A cell of its notebook
)->list: # Markdown cells
    "Put below a cell what it wrote when it ran; a part that the run had no data for wrote nothing."
    names = re.findall(r'(?:write_table2?|save_figure)\(.*?out/"(results|figures)/([\w/-]+)"', cell.source) if cell.cell_type == "code" else []
    left = [(kind, name) for kind, name in names if f"{kind}/{name}.{'md' if kind == 'results' else 'svg'}" in record.outputs]
    return [new_markdown((shown_table if kind == "results" else shown_figure)(root, record, name)) for kind, name in left]


def record_note(
    root, # The repository
    one:Chapter # A paper notebook's page
)->str: # MyST
    "Say where a page's outputs come from."
    record = record_of(root, one.path.stem)
    if not record: return ":::{note}\nNo committed record of this notebook yet: its code is shown without outputs.\n:::"
    changed = hash_of(read_notebook(one.path)[0]) != record.code
    words = (f"The outputs on this page are those of the committed run: profile `{record.profile}`, finished {record.finished[:10]}, commit `{(record.commit or '–')[:7]}`, "
             f"{cost(record)}. They are not computed again when the site is built; each was compared with the SHA-256 in its record, "
             f"{{download}}`{record.stage}.json </results/{record.profile}/records/{record.stage}.json>`.")
    words += " The notebook's code has changed since that run." if changed else " The code below is the code of that run."
    return f":::{{note}}\n{words}\n:::"


def costs_table(
    root, # The repository
    stem:str # A run notebook
)->str: # MyST
    "Tabulate what a notebook's stages cost in the committed run."
    found = {record.stage: record for profile in shown_profiles(root)[::-1] for record in committed_records(root, profile).values()}
    rows = [record for record in found.values() if record.stage.split("@")[0] == stem]
    if not rows: return "No committed record of this notebook yet."
    lines = [f"| {code_span(record.stage)} | {code_span(record.profile)} | {record.seconds:,.0f} | {record.peak_memory_mb or 0:,.0f} | {record.device or '–'}, {record.dtype or '–'} | {{download}}`record </results/{record.profile}/records/{record.stage}.json>` |" for record in rows]
    return "\n".join(["| stage | profile | seconds | peak memory, MB | device, precision | all of it |", "| :--- | :--- | ---: | ---: | :--- | :--- |", *lines])


def readme_section(
    root, # The repository
    title:str # A heading of the README
)->str: # What stands below it
    "Take a section out of the README."
    text = (Path(root)/"README.md").read_text("utf-8")
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    if not found: raise UserError(f"README.md: no section '## {title}'; a page in docs/ shows it")
    return found[1].strip()


def chapter_map(
    root # The repository
)->str: # MyST
    "Tabulate the notebooks and what each holds."
    rows = [f"| [{one.title}]({one.path.name}) | {literal(one.sentence)} |" for one in chapters(root)]
    return "\n".join(["| notebook | what it holds |", "| :--- | :--- |", *rows])


def printed_value(
    root, # The repository
    table:str, # One of the paper's tables, see `tables.paper_table`
    row:str, # First column of the row
    column:str, # The column
    spec:str="" # Format
)->str: # The number as text
    "Take one number from what the paper prints."
    return format(paper_table(table, Path(root)/"nbs/paper").set_index(paper_table(table).columns[0]).loc[row, column], spec)


def verdict(
    root, # The repository
    kind:str, # "less" or "more" (than), "wins" or "equal"
    first:str="joint", # A system
    second:str="separate", # Another
    measure:str="rmse_va" # The measure that is compared
)->str: # "yes" or "no", and how sure
    "Say whether the committed run shows what the paper claims."
    found = committed_records(root, SHOWN)
    if kind == "equal": return "yes" if found["91_dataset"].metrics["total_equal"] else "no"
    if kind == "wins": return "yes, and more often" if run_wins(root)[0] > 7 else "yes" if run_wins(root)[0] == 7 else "less often"
    gap = found["92_main_results"].metrics[first][measure] - found["92_main_results"].metrics[second][measure]
    return "yes" if (gap < 0) == (kind == "less") else "no, the other way round"


def run_wins(
    root # The repository
)->tuple: # (pairs on which joint has the lower RMSE_VA, pairs)
    "Count what the paper's caption counts, in the committed Table 2."
    table = pd.read_csv(published(root, committed_records(root, SHOWN)["92_main_results"], "results/table2.csv")).query("pair not in ('macro', 'micro')")
    return int((table.joint_rmse_va < table.separate_rmse_va).sum()), len(table)


def pooled_print(
    root # The repository
)->str: # Such as "1.162"
    "Pool the rows of the paper's Table 2 by the committed test counts."
    counts = pd.read_csv(published(root, committed_records(root, SHOWN)["91_dataset"], "results/table1.csv"))[:-1]
    names = counts.pair.str.lower().str.replace(" ", "_")
    return f"{pooled_rmse(paper_table('table2').set_index('pair').joint_rmse_va, pd.Series(counts.test.to_numpy(), names)):.3f}"


GROUPS = {"The system": ["system", "findings", "glossary"], "Use it": ["own-data", "parameters", "explorer"], "For reviewers": ["artifact", "checklist", "model_card", "data_statement", "cite"],
    "The library": ["0*", "1*", "2*"], "The runs": ["3*"], "The paper's tables and figures": ["9*"]}

def contents(
    root # The repository
)->str: # MyST
    "Write the table of contents."
    return "\n\n".join(f"```{{toctree}}\n:hidden:\n:glob:\n:caption: {caption}\n\n" + "\n".join(pages) + "\n```" for caption, pages in GROUPS.items())


def profile_files(
    root # The repository
)->str: # MyST
    "Show the profiles as they are."
    show = lambda name: f"### {name}\n\n```toml\n{(Path(root)/f'nbs/profiles/{name}.toml').read_text('utf-8')}```"
    return "\n\n".join(map(show, profile_names(root)))


EXPLORER = """```{raw} html
<p><a href="example-explorer.html">Open the explorer in a page of its own</a>, or use it here:</p>
<iframe class="explorer" src="example-explorer.html" title="Explorer of an example run on the synthetic corpus"></iframe>
```"""


FILLERS = {
    "architecture-alt": lambda root: ALT,
    "averages": lambda root: averages_note(),
    "best-single": lambda root: f"{paper_table('official_best').teleai_rmse_va.mean():.3f}",
    "citation": lambda root: f"```yaml\n{(Path(root)/'CITATION.cff').read_text('utf-8')}```",
    "explorer": lambda root: EXPLORER,
    "pooled": pooled_print,
    "profiles": profile_files,
    "toctree": contents,
    "verdict": verdict,
    "wins-measured": lambda root: "{} of {} pairs".format(*run_wins(root)),
    "wins-printed": lambda root: f"{printed_value(root, 'statements', 'joint_wins', 'value', '.0f')} of 10 pairs",
    "measured": lambda root, *rest: measured(root, *rest),
    "printed": lambda root, *rest: printed_value(root, *rest),
    "readme": lambda root, *words: relinked(readme_section(root, " ".join(words)), page_links(root)),
    "readme-table": lambda root: readme_table((Path(root)/f"results/{SHOWN}/table2.md").read_text("utf-8")),
    "table": lambda root, stage, name: shown_table(root, committed_records(root, SHOWN)[stage], name),
    "figure": lambda root, stage, name: shown_figure(root, committed_records(root, SHOWN)[stage], name),
    "map": chapter_map}

def filled(
    text:str, # A page of `docs/`
    root, # The repository
    where:str="" # Its name, for errors
)->str: # MyST
    "Fill in what a page takes from records, tables and the README."
    def fill(found):
        name, *rest = found[1].split()
        try: return FILLERS[name](root, *rest)
        except (KeyError, IndexError, TypeError) as error: raise UserError(f"{where}: {found[0]} cannot be filled in ({error!r})") from None
    return re.sub(r"\{\{ (.+?) \}\}", fill, text)


def svg_text(
    x:float, # Where the line's middle is
    y:float, # Its baseline
    words:str, # One line
    size:int=14, # Of the letters
    weight:str="normal" # Or "bold"
)->str: # SVG
    "Write a line of text."
    words = words.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" text-anchor="middle">{words}</text>'


def svg_box(
    x:float, # Left
    y:float, # Top
    width:float, # Of the box
    lines:list, # Lines of text, the first in bold
    trained:bool=False # Whether it is a model that is trained: a double frame
)->str: # SVG
    "Draw a box with text; 18 units a line."
    height = 18 * len(lines) + 14
    frame = f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height}" rx="6" fill="#fff" stroke="#000" stroke-width="{2.2 if trained else 1}"/>'
    inner = f'<rect x="{x + 4:g}" y="{y + 4:g}" width="{width - 8:g}" height="{height - 8}" rx="4" fill="none" stroke="#000" stroke-width="0.8"/>' if trained else ""
    words = [svg_text(x + width / 2, y + 21 + 18 * place, line, 13 if place else 14, "normal" if place else "bold") for place, line in enumerate(lines)]
    return frame + inner + "".join(words)


def svg_arrow(
    *points, # (x, y) of each corner, the arrow's head last
    dashed:bool=False # Whether it is there in training only
)->str: # SVG
    "Draw an arrow."
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="#000" stroke-width="1.4" marker-end="url(#head)"' + (' stroke-dasharray="5 4"' if dashed else "") + "/>"


def svg_bars(
    x:float, # Left
    y:float, # Baseline
    width:float, # Of all bars
    shares:dict # Digit -> share; invented, to show the idea
)->str: # SVG
    "Draw a distribution over digits."
    step, parts = width / len(shares), []
    for place, (digit, share) in enumerate(shares.items()):
        left = x + place * step
        parts += [f'<rect x="{left + 2:g}" y="{y - 90 * share:g}" width="{step - 4:g}" height="{90 * share:g}" fill="#8a8a8a" stroke="#000" stroke-width="0.6"/>',
                  svg_text(left + step / 2, y + 14, str(digit), 12)]
    return "".join(parts)


ALT = ("A flow from top to bottom. A review text with one aspect goes to two language models with LoRA adapters. The valence model gives a distribution over the digits 1 to 8, "
       "the arousal model one over 3 to 8. Features of both, most of them in buckets, are written as text and join the review as the input of a multilingual E5 encoder. "
       "Its mean-pooled states pass a projection; two regression heads give valence and arousal between 1 and 9, and two heads over the bins A, B and C help in training only.")

def coarse_column(
    x:float, # Left of the column
    dimension:str, # "valence" or "arousal"
    shares:dict, # See `svg_bars`
    features:list # Two lines
)->list: # SVG parts
    "Draw one coarse model with what becomes of its output."
    middle = x + 102
    return [svg_arrow((middle, 46), (middle, 84)), svg_box(x, 86, 204, [f"Coarse LLM, {dimension}", "Qwen3-8B with LoRA", f"digits {min(shares)}–{max(shares)} at <ANS>"], True),
            svg_arrow((middle, 154), (middle, 176)), svg_bars(x + 22, 236, 160, shares), svg_arrow((middle, 256), (middle, 276)),
            svg_box(x, 278, 204, [f"{dimension.capitalize()} guidance", *features]), svg_arrow((middle, 346), (middle, 374))]


def architecture()->str: # SVG
    "Draw the system (the content of the paper's Figure 1)."
    valence, arousal = dict(zip(range(1, 9), (.02, .03, .05, .08, .14, .3, .28, .1))), dict(zip(range(3, 9), (.05, .12, .25, .34, .18, .06)))
    parts = [svg_box(16, 12, 428, ["Review text, aspect, language, domain"]),
        *coarse_column(16, "valence", valence, ["bin, digit, E[d], conf,", "pA pB pC, top1, marg, ent"]),
        *coarse_column(240, "arousal", arousal, ["bin, digit, E[d], pLow,", "top1, marg, ent"]),
        svg_box(16, 376, 428, ["Encoder input: one instruction in words", "guidance as text (buckets of Table 3), aspect, text"]),
        svg_arrow((444, 28), (458, 28), (458, 400), (446, 400)), svg_arrow((230, 426), (230, 446)),
        svg_box(16, 448, 428, ["Encoder", "multilingual-E5, mean pooling, Linear – GELU – Dropout"], True),
        svg_arrow((118, 500), (118, 520)), svg_arrow((342, 498), (342, 520), dashed=True),
        svg_box(16, 522, 204, ["Regression heads", "1 + 8·sigmoid(z)"]), svg_box(240, 522, 204, ["Bin heads, A B C", "in training only"]),
        svg_arrow((118, 572), (118, 594)), svg_box(16, 596, 204, ["Valence and arousal", "e.g. 7.12 and 6.50"])]
    style = '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8 z"/></marker></defs>'
    return ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 472 658" width="472" height="658" font-family="Liberation Sans, Arial, sans-serif" role="img">'
            f'<rect width="472" height="658" fill="#fff"/>{style}{"".join(parts)}</svg>\n')


PACKAGES = {"mathjax": ("3.2.2", "Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliPc+x77k1/FEsPsjKPZGJvtRZM1vO+geW0OhGw=="),
    "axe-core": ("4.14.1", "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==")}

def package(
    name:str, # A key of PACKAGES
    folder=None # Where it is kept; None: the cache
)->Path: # The package's archive, checked
    "Find an npm package in the cache, or fetch it."
    wanted, known = PACKAGES[name]
    path = Path(folder or cache_folder()/"npm")/f"{name}-{wanted}.tgz"
    if not path.is_file(): fetch_package(name, path.parent)
    found = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    if found != known: raise UserError(f"{path}: is not {name} {wanted} as pinned (SHA-512 {found}); remove it and try again")
    return path


def fetch_package(
    name:str, # A key of PACKAGES
    folder # Where its archive goes
): # nothing
    "Have npm fetch a package."
    npm, wanted = shutil.which("npm"), f"{name}@{PACKAGES[name][0]}"
    mend = f"install npm (Node.js), or put the archive of {wanted} into {folder}"
    if not npm: raise UserError(f"{wanted} is needed once and npm is not installed; {mend}")
    Path(folder).mkdir(parents=True, exist_ok=True)
    done = subprocess.run([npm, "pack", "--silent", "--pack-destination", str(folder), wanted], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode: raise UserError(f"npm cannot fetch {wanted}: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}; {mend}")


def member(
    archive, # Path of an npm package
    name:str # A file in it
)->bytes: # Its content
    "Read one file of a package."
    with tarfile.open(archive) as opened: return opened.extractfile(f"package/{name}").read()


def page_links(
    root # The repository
)->dict: # Path in the repository -> page that shows it
    "Say where on the site a file of the repository is shown."
    links = {f"nbs/{one.path.name}": one.path.name for one in chapters(root)}
    for record in (record for profile in shown_profiles(root) for record in committed_records(root, profile).values()):
        shown = {f"{name.replace('/', f'/{record.profile}/', 1)}": Path(record.notebook).name for name in record.outputs if name.startswith(("results/", "figures/"))}
        links |= {path: notebook for path, notebook in shown.items() if notebook in links.values()} | {posixpath.dirname(path): notebook for path, notebook in shown.items() if posixpath.dirname(path) != f"results/{record.profile}"}
    own = {path.name: path.name for path in (Path(root)/"docs").glob("*.md")}
    beside = {f"docs/{name}": name for name in {*links.values(), *own}} # a page of docs/ names other pages as they lie on the site
    return links | beside | REPOSITORY_PAGES | SHOWN_ON | {f"nbs/profiles/{name}.toml": "parameters.md" for name in profile_names(root)}


REPOSITORY_PAGES = {"ARTIFACT.md": "artifact.md"} # pages that stand at the repository's top
SHOWN_ON = {"README.md": "index.md", "CITATION.cff": "cite.md", "nbs/profiles": "parameters.md"} # files that a page shows

def written_pages(
    root # The repository
)->dict: # Page -> MyST
    "Write every page that is no notebook."
    root, links = Path(root), page_links(root)
    sources = {path.name: path for path in sorted((root/"docs").glob("*.md"))} | {page: root/name for name, page in REPOSITORY_PAGES.items()}
    text = {name: relinked(path.read_text("utf-8"), links, path.parent.relative_to(root).as_posix()) for name, path in sources.items()}
    return {name: filled(text[name], root, name) for name in sources}


def chapter_page(
    root, # The repository
    one:Chapter, # A chapter
    notebook # The same, processed
): # A notebook for MyST-NB
    "Make a chapter's page, with what its part of the site adds."
    if one.part == "library": return page(notebook, one)
    tagged = lambda cell: "parameters" in cell.metadata.get("tags", [])
    if one.part == "runs":
        below = f"## What each parameter means\n\nThe last columns are what the profiles set; = stands for the default, – for what the runner fills in.\n\n{parameters_table(root, one)}\n\n## What it cost\n\nIn the committed runs.\n\n{costs_table(root, one.path.stem)}"
        return page(notebook, one, lambda cell: [new_markdown(below)] if tagged(cell) else [])
    record = record_of(root, one.path.stem)
    note, outputs = [new_markdown(record_note(root, one))], lambda cell: committed_outputs(root, record, cell) if record else []
    return page(notebook, one, lambda cell: note if cell.cell_type == "raw" else outputs(cell))


def write_sources(
    root, # The repository
    work, # Where the site is built
    workers:int=2 # Processes at once
)->Path: # The folder that Sphinx reads
    "Write all that Sphinx reads."
    root, source, chosen = Path(root), Path(work)/"source", chapters(root)
    shutil.rmtree(source, ignore_errors=True)
    for kind, profile in [(kind, profile) for kind in ("results", "figures") for profile in shown_profiles(root)]:
        if (root/kind/profile).is_dir(): shutil.copytree(root/kind/profile, source/kind/profile)
    write_atomic(source/"figures/architecture.svg", architecture())
    for name, text in written_pages(root).items(): write_atomic(source/name, text)
    for stem, notebook in processed(root, chosen, work, workers).items():
        one = next(one for one in chosen if one.path.stem == stem)
        write_atomic(source/one.path.name, nbformat.writes(chapter_page(root, one, notebook)))
    return source


def run_sphinx(
    root, # The repository, whose `docs/conf.py` is used
    source, # What Sphinx reads
    work, # The folder that gets `html`
    workers:int=2 # Processes at once
)->Path: # The site's first page
    "Have Sphinx build the pages, from nothing; a warning is an error."
    from sphinx.cmd.build import build_main
    root, work = Path(root), Path(work)
    for name in ("html", "doctrees"): shutil.rmtree(work/name, ignore_errors=True)
    arguments = ["-b", "html", "-q", "-W", "--keep-going", "-n", "-j", str(workers), "-c", str(root/"docs"), "-d", str(work/"doctrees"), str(source), str(work/"html")]
    with patch.dict(os.environ, {"DIMABSA_DOCS": str(work)}): failed = build_main(arguments)
    if failed: raise UserError("the site was not built: see the warnings above")
    return work/"html/index.html"


def build_site(
    root=None, # The repository; None: found from here
    work=None, # Where to build; None: `docs/_build`
    workers:int=2 # Processes at once
)->Path: # The site's first page
    "Write all that the site is made of, and build it."
    root = Path(root or find_root()).resolve()
    work = Path(work or root/"docs/_build").resolve()
    write_example(work/"extra/example-explorer.html", root)
    write_atomic(work/"vendor/mathjax/tex-svg.js", member(package("mathjax"), "es5/tex-svg-full.js"))
    return run_sphinx(root, write_sources(root, work, workers), work, workers)


def stale_files(
    root, # The repository
    profile:str # A committed profile
)->list: # One line per problem
    "Compare a profile's committed tables and figures with its records."
    root, problems, claimed = Path(root), [], set()
    for record in committed_records(root, profile).values():
        for name in (name for name in record.outputs if name.startswith(("results/", "figures/"))):
            claimed.add(name.replace("/", f"/{profile}/", 1))
            try: published(root, record, name)
            except UserError as error: problems.append(str(error))
    there = [path.relative_to(root).as_posix() for kind in ("results", "figures") for path in sorted((root/kind/profile).rglob("*")) if path.is_file()]
    return problems + [f"{name}: no record names it; remove it" for name in there if name not in claimed and "/records/" not in name]


def speed_tables(
    root # The repository
)->dict: # The committed table of the benchmarks -> how the README shows it; empty where none is committed
    "Name the performance table, whose module needs torch."
    if not (Path(root)/"results/quick/speed/speed.md").is_file(): return {}
    from builder.gone import splice_speed
    return {"results/quick/speed/speed.md": splice_speed}


def stale_readme(
    root # The repository
)->list: # One line per problem
    "Compare the README's tables with the committed ones."
    readme, tables = (Path(root)/"README.md").read_text("utf-8"), {"results/quick/table2.md": splice_readme, **speed_tables(root)}
    return [f"README.md: its table is not {name}; run `make readme`" for name, splice in tables.items() if splice(readme, (Path(root)/name).read_text("utf-8")) != readme]


def stale(
    root=None # The repository; None: found from here
)->list: # One line per problem
    "Find every committed table, figure or number that is not its record's any more."
    root = Path(root or find_root())
    altered = [problem for profile in shown_profiles(root) for problem in stale_files(root, profile)]
    if altered: return altered # what is built on these would fail as well
    return stale_readme(root) + [f"{name}: is not what the records give; run `make cards`" for name in write_cards(root, check=True)]


def check_committed()->int: # Exit code
    "Say what is stale, a line each."
    problems = stale()
    print(*problems or ["tables, figures, README and cards are what their records say"], sep="\n")
    return 1 if problems else 0


def make_docs()->int: # Exit code
    "Build the site for `make docs`; what is wrong is said in one line."
    try: print(f"open {build_site()}")
    except UserError as error: return print(error) or 2
    return 0
