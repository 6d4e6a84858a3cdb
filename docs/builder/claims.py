"""The verdicts of the ledger on the pages, what the runs cost, and what a reader can certify."""
import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import yaml

from builder.cards import Reference, read_reference, table_of
from builder.results import committed_records, published, reference_profiles
from dimabsa_nb.core import UserError
from dimabsa_nb.tables import paper_source, paper_table

PAGE = "docs/ledger.md"
FIGURES = {  # what the paper says of what a figure shows, by the ledger's ids
    "ablation_pairs": ("joint_wins", "outperforms", "arousal_better"),
    "arousal_joint": ("arousal_better",), "arousal_separate": ("arousal_better",),
    "coarse_calibration": ("soft_targets",), "system": ("llm", "encoder", "lora_rank")}
NAMED = {  # notebooks that read stages which run only where they are named
    "97_guidance_effect": ("32_extract_guidance@hard", "33_train_encoder"),
    "98_learning_curves": ("38_curve_coarse", "38_curve_encoder", "38_curve_tree")}


def ledger(root: Path) -> pd.DataFrame:
    """Every statement with its verdict, by id; raises UserError where some have none yet."""
    lines = paper_table("statements", Path(root) / "nbs/paper")
    path = Path(root) / "results/claims/ledger.csv"
    verdicts = pd.read_csv(path, keep_default_na=False)
    if lines.statement.tolist() != verdicts.statement.tolist():
        raise UserError(f"{path}: has other statements than nbs/paper/statements.csv; run "
                        "`dimabsa run claims --publish`")
    return verdicts.assign(**lines[["id", "paper", "counted"]]).set_index("id")


def statement(root: Path, name: str, column: str) -> str:
    """What the ledger says of one statement: printed, found or verdict."""
    return ledger(root).loc[name, column]


def verdict_link(verdict: str) -> str:
    """A verdict that leads to the ledger's page."""
    return f"[{verdict}]({PAGE})"


def verdict_note(root: Path, names) -> str:
    """The verdicts on some statements, such as "the LLM is Qwen3-8B: reproduced"."""
    lines = ledger(root).loc[[*names]]
    said = "; ".join(f"{line.statement}{f', {line.printed}' * bool(line.printed)}: {line.verdict}"
                     for line in lines.itertuples())
    return f"What the paper says of it, with the verdicts of the [ledger]({PAGE}): {said}."


def figure_note(root: Path, name: str) -> str:
    """The verdicts on what a figure shows; "" where the paper says nothing of it."""
    return verdict_note(root, FIGURES[name]) if name in FIGURES else ""


def counted_verdicts(root: Path, place: str) -> str:
    """The verdicts on the paper's numbers at a place, counted, such as "differs 2"."""
    lines = ledger(root)
    counts = lines[(lines.counted == "yes") & lines.place.str.startswith(place)].verdict
    return ", ".join(f"{verdict} {count}" for verdict, count in counts.value_counts().items())


def listed(lines: pd.DataFrame) -> str:
    """Statements of the ledger as a table."""
    texts = lines[["place", "statement", "found"]].replace("<", r"\\<", regex=True)
    return table_of(texts.assign(verdict=lines.verdict.map(verdict_link)).to_dict("records"))


def claims(root: Path) -> str:
    """The paper's claims in words, each with what was found and its verdict."""
    lines = ledger(root)
    return listed(lines[(lines.paper == "RPI") & (lines.counted == "no")
                        & (lines.kind != "parameter")])


def release(root: Path) -> str:
    """What the release holds beyond the paper, with the count or the file it was read in."""
    lines = ledger(root)
    return listed(lines[lines.paper == "release"])


def per_profile(references: list[Reference], describe) -> str:
    """Such as "quick: 0.05"; `describe` is called with each reference."""
    return "; ".join(f"{reference.profile}: {describe(reference)}" for reference in references)


def stages_for(reference: Reference, stage: str) -> list[str]:
    """The stages that a result was made from, and itself, in order, of those with a record."""
    needed = {stage}.union(*(stages_for(reference, above)
                             for above in reference.records[stage].upstream
                             if above in reference.records))
    return [name for name in reference.records if name in needed]


def command_for(reference: Reference, stage: str) -> str:
    """The shortest command that makes a stage's result."""
    stages = stages_for(reference, stage)
    all_of_it = len(stages) > 2 or stages == [*reference.records]
    named = (*NAMED[stage], stage) if stage in NAMED else () if all_of_it else stages
    only = "".join(f" --only {name}" for name in named)
    return f"`dimabsa run {reference.profile}{only}`"


def cost_of(reference: Reference, stage: str) -> str:
    """Time and peak memory of a stage with all that it needs, such as "15 min, 5.0 GB"."""
    records = [reference.records[name] for name in stages_for(reference, stage)]
    seconds = sum(record.seconds for record in records)
    peak = max(record.peak_memory_mb or 0 for record in records)
    gpu = max(record.peak_gpu_memory_mb or 0 for record in records)
    time = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
    return f"{time}, {peak / 1000:.1f} GB" + (f", GPU {gpu / 1000:.1f} GB" if gpu else "")


def tolerance_of(reference: Reference, stage: str) -> str:
    """How far a repeated run may differ from the committed tables."""
    if stage == "91_dataset" or not reference.settings["tolerance"]: return "exact"
    spread = " or the spread between runs" * ("spread" in reference.tables)
    return f"{reference.settings['tolerance']}{spread} on decimals, counts exact"


def how(root: Path) -> str:
    """How to make what the claims rest on, and what that costs, a line per notebook."""
    runs = [read_reference(root, profile) for profile in reference_profiles(root)]
    notebooks = dict.fromkeys(("91_dataset", "92_main_results", "93_ablations"), runs)
    whole = [replace(run, records=committed_records(root, run.profile)) for run in runs]
    notebooks |= {stage: [run for run in whole if stage in run.records] for stage in NAMED}
    notebooks["96_claims"] = [read_reference(root, "claims")]
    return table_of([
        {"notebook": stage,
         "command": ", ".join(command_for(reference, stage) for reference in references),
         "time, memory": per_profile(references, lambda one: cost_of(one, stage)),
         "tolerance": per_profile(references, lambda one: tolerance_of(one, stage))}
        for stage, references in notebooks.items() if references])


def comment(root: Path, record, name: str) -> str:
    """The first sentence of the caption of a committed table or figure."""
    if name.endswith(".svg"):
        texts = json.loads(published(root, record, "figures/captions.json").read_text("utf-8"))
        caption = texts[Path(name).stem]["caption"]
    else:
        table = published(root, record, name.replace(".csv", ".md"))
        caption = table.read_text("utf-8").split("\n\n")[1]
    return caption.strip().split(". ")[0].rstrip(".")


def codecheck(root: Path) -> str:
    """codecheck.yml: the committed tables and figures of the ledger and of the reference runs."""
    root, manifest = Path(root), []
    for profile in ("claims", *reference_profiles(root)):
        for stage, record in committed_records(root, profile).items():
            if stage not in read_reference(root, profile).records and stage not in NAMED: continue
            manifest += [{"file": name.replace("/", f"/{profile}/", 1),
                          "comment": comment(root, record, name)} for name in sorted(record.outputs)
                         if re.match(r"results/[^/]*\.csv$|figures/[^/]*\.svg$", name)]
    source = yaml.safe_load((root / "CITATION.cff").read_text("utf-8"))["repository-code"]
    facts = {"version": "https://codecheck.org.uk/spec/config/1.0", "source": source,
             "paper": {"title": paper_source("table2").split('"')[1], "reference": source},
             "manifest": manifest}
    summary = (root / "results/claims/summary.md").read_text("utf-8").strip()
    return ("# What a CODECHECK needs: which files a reader should be able to make again, and "
            "how. Written by `make pages`.\n"
            "# The files of results/PROFILE and figures/PROFILE: dimabsa run PROFILE; claims takes "
            "a minute, quick is what make reproduce runs\n"
            f"# {summary}\n---\n" + yaml.safe_dump(facts, sort_keys=False, allow_unicode=True,
                                                    width=200))
