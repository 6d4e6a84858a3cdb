"""The named blocks of every page, their renderer, and the check of what is committed."""
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from builder import claims
from builder.cards import CARD_BLOCKS, read_reference
from builder.chapters import notebook_map
from builder.modules import modules_svg
from builder.plan import plan
from builder.results import (
    captions,
    committed_records,
    endurance,
    history,
    load,
    number,
    published,
    reference_profiles,
    shown_profiles,
    stale_files,
)
from builder.runs import profiles_table
from builder.templates import differing, rebased, render
from dimabsa_nb.core import write_atomic
from dimabsa_nb.profiles import find_root
from dimabsa_nb.tables import averages_note, paper_table

MODULES = "docs/modules.svg"
FIX = "run `make pages`"


def pages_with_blocks(root: Path) -> list[str]:
    """The pages that hold blocks, as paths in the repository."""
    docs = sorted(path.relative_to(root).as_posix() for path in (Path(root) / "docs").glob("*.md"))
    return ["README.md", "ARTIFACT.md", *docs, "results/HISTORY.md"]


def owner(root: Path, profile: str, output: str):
    """The record that names an output; raises KeyError where none does."""
    for record in committed_records(root, profile).values():
        if output in record.outputs: return record
    raise KeyError(output)


def table(root: Path, profile: str, name: str) -> str:
    """A committed table with its caption."""
    record = owner(root, profile, f"results/{name}.md")
    text = published(root, record, f"results/{name}.md").read_text("utf-8")
    return rebased(text, f"results/{profile}", "")


def table2(root: Path, profile: str) -> str:
    """RMSE_VA by pair of Table 2, without the intervals."""
    lines, caption = table(root, profile, "table2").split("\n\n")[:2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines.splitlines()]
    kept = [place for place, name in enumerate(rows[0]) if not name.endswith("95 %")]
    cells = ["| " + " | ".join(row[place] for place in kept) + " |" for row in rows]
    verdicts = claims.counted_verdicts(root, "Table 2")
    return "\n".join([*cells, "", f"{caption} Verdicts on the paper's Table 2, all columns, by the "
                      f"[ledger]({claims.PAGE}): {verdicts}."])


def summary(root: Path, profile: str, part: str = "") -> str:
    """The sentences that a paper notebook wrote from its numbers; nothing where it wrote none."""
    folder = f"results/{profile}/{part}".rstrip("/")
    path = Path(root) / folder / "summary.md"
    return rebased(path.read_text("utf-8"), folder, "") if path.is_file() else ""


def figure(root: Path, profile: str, name: str) -> str:
    """A committed figure with its alternative text and caption."""
    record = owner(root, profile, f"figures/{name}.png")
    published(root, record, f"figures/{name}.png")
    texts, note = captions(root, record, name), claims.figure_note(root, name)
    return f"![{texts['alt']}](figures/{profile}/{name}.png)\n\n{texts['caption']} {note}".rstrip()


def printed(root: Path, name: str, row: str, column: str, decimals: str) -> str:
    """One number as the paper prints it, with the ledger's verdict where it has one."""
    frame, lines = paper_table(name, Path(root) / "nbs/paper"), claims.ledger(root)
    text, known = f"{frame.set_index(frame.columns[0]).loc[row, column]:,.{decimals}f}", \
        f"{name}_{row}_{column}"
    return (f"{text} ({claims.verdict_link(lines.verdict[known])})" if known in lines.index
            else text)


def printed_mean(root: Path, name: str, column: str, decimals: str) -> str:
    """The mean of a column of what the paper or the task prints."""
    return f"{paper_table(name, Path(root) / 'nbs/paper')[column].mean():.{decimals}f}"


def result(root: Path, profile: str) -> str:
    """The macro measures, and the verdicts on the paper's."""
    note = claims.verdict_note(root, ("text_rmse", "text_pcc_a"))
    return f"{CARD_BLOCKS['result'](read_reference(root, profile))} {note}"


def pooled(root: Path, profile: str) -> str:
    """The RMSE_VA of the paper's Table 2, pooled over the test rows of each pair (equation 4)."""
    record = committed_records(root, profile)["91_dataset"]
    counts = pd.read_csv(published(root, record, "results/table1.csv"))[:-1]
    pairs = counts.pair.str.lower().str.replace(" ", "_")
    rmse = paper_table("table2").set_index("pair").joint_rmse_va
    return f"{np.sqrt(np.average(rmse.loc[pairs] ** 2, weights=counts.test)):.3f}"


def file(root: Path, name: str) -> str:
    """A file of the repository, as code."""
    language = {"cff": "yaml"}.get(name.rsplit(".", 1)[-1], "")
    return f"```{language}\n{(Path(root) / name).read_text('utf-8').strip()}\n```"


def of_largest(root: Path, show: Callable[..., str], *words: str) -> str:
    """A block about one profile; where none is named, the largest reference that has it."""
    if words and (root / "results" / words[0]).is_dir(): return show(root, *words)
    for profile in (profiles := reference_profiles(root)):
        try: text = show(root, profile, *words)
        except (KeyError, FileNotFoundError):
            if profile == profiles[-1]: raise
        else:
            if text: return text
    return ""


def blocks(root: Path) -> dict[str, Callable[..., str]]:
    """Name -> function of the words that follow the name in the comment."""
    root = Path(root)
    whole = {"printed": printed, "printed-mean": printed_mean, "file": file, "plan": plan,
             "endurance": endurance, "history": history, "load": load, "notebooks": notebook_map,
             "profiles": profiles_table,
             "claims": claims.claims, "release": claims.release, "statement": claims.statement,
             "how": claims.how}
    by_profile = {"table": table, "table2": table2, "summary": summary,
                  "figure": figure, "number": number, "pooled": pooled}
    by_profile |= {name: lambda at, profile, show=show: show(read_reference(at, profile))
                   for name, show in CARD_BLOCKS.items()}
    by_profile["result"] = result
    found = {name: partial(show, root) for name, show in whole.items()}
    found |= {name: partial(of_largest, root, show) for name, show in by_profile.items()}
    return found | {"averages": averages_note}


def rendered(root: Path) -> dict[str, str]:
    """Every page as it should be: path in the repository -> text."""
    root, known = Path(root), blocks(root)
    return {name: render((root / name).read_text("utf-8"), known, name)
            for name in pages_with_blocks(root)} | {
                MODULES: modules_svg(root), "codecheck.yml": claims.codecheck(root)}


def write_pages(root: Path | None = None) -> list[str]:
    """Bring every page up to date; returns those that were not."""
    root = Path(root or find_root())
    old = lambda name: (root / name).read_text("utf-8") if (root / name).is_file() else ""
    changed = {name: text for name, text in rendered(root).items() if text != old(name)}
    for name, text in changed.items(): write_atomic(root / name, text)
    return list(changed)


def stale_pages(root: Path) -> list[str]:
    """The blocks that differ from what they render to now, one line each."""
    problems = []
    for name, text in rendered(root).items():
        path = Path(root) / name
        committed = path.read_text("utf-8") if path.is_file() else ""
        if committed == text: continue
        names = differing(committed, text)
        problems += [f"{name}: block '{block}' is not up to date; {FIX}" for block in names]
        if not names: problems.append(f"{name}: is not up to date; {FIX}")
    return problems


def stale(root: Path | None = None) -> list[str]:
    """Every committed table, figure or block that differs from its record, one line each."""
    root = Path(root or find_root())
    altered = [problem for profile in shown_profiles(root)
               for problem in stale_files(root, profile)]
    return altered or stale_pages(root)  # pages are built on tables: those first
