"""The model card, the data statement, the checklist and the claims, from the records."""
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dimabsa_nb.core import UserError, write_atomic
from dimabsa_nb.corpus import DOMAINS, LANGUAGES
from dimabsa_nb.metrics import MEASURES
from dimabsa_nb.weights import licence
from dimabsa_nb.records import Record
from dimabsa_nb.tables import NAMES, count_wins, format_cell, markdown_table, paper_table
from dimabsa_nb.profiles import ON_DEMAND, find_root, read_profile
from dimabsa_nb.report import row_label
from dimabsa_nb.explorer import LANGUAGE_TAGS


REFERENCES = "paper", "laptop", "quick" # profiles whose figures may be quoted, the largest first


@dataclass
class Reference:
    "The committed results of one profile."
    profile: str # its name
    records: dict # stage -> Record
    tables: dict # name -> table, full numbers
    settings: dict # the profile's own table `profile`


def read_references(
    root=None # The repository; None looks for it
)->list: # Of `Reference`, the largest first; never empty
    "Read the records and tables of every reference profile."
    root, found = Path(root or find_root()), []
    for profile in REFERENCES:
        folder = root/"results"/profile
        if not (folder/"records"/"92_main_results.json").is_file(): continue
        records = [Record.model_validate_json(path.read_bytes()) for path in sorted((folder/"records").glob("*.json"))]
        tables = {path.stem: pd.read_csv(path) for path in sorted(folder.glob("*.csv"))}
        found.append(Reference(profile, {record.stage: record for record in records if record.stage.split("@")[0] not in ON_DEMAND}, tables, read_profile(root, profile)["profile"]))
    if not found: raise UserError(f"{root/'results'}: holds no records of {', '.join(REFERENCES)}; restore them from the last commit")
    return found


def table_of(
    rows:list, # Dicts with the same keys; numbers are right-aligned
    decimals:int=3 # Digits after the point
)->str: # A Markdown table
    "Lay out rows for a card."
    frame = pd.DataFrame(rows)
    cells = frame.astype(object).map(format_cell, decimals=decimals).astype(object)
    return markdown_table(cells, [pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes], pd.DataFrame(False, frame.index, frame.columns))


def with_interval(
    row, # A row of Table 2 as a dict
    name:str # Such as "joint_rmse_va"
)->str: # Such as "1.659 [1.46, 1.85]"
    "Print a measure with its interval, where it has one."
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return format_cell(row.get(name), 3) + (f" [{low:.2f}, {high:.2f}]" if low is not None and not pd.isna(low) else "")


def models_block(
    reference:Reference # A profile's results
)->str: # A table
    "Name the base models and their terms."
    coarse, encoder = reference.records["31_train_coarse@valence"].parameters, reference.records["33_train_encoder@joint"].parameters
    parts = {"two coarse LLMs, LoRA": coarse["model"], "encoder": encoder["base"]}
    return table_of([{"part": part, "base model": name, "terms": licence(name).split(": ", 1)[1]} for part, name in parts.items()])


def training_block(
    reference:Reference # A profile's results
)->str: # A table, a column per trained model
    "List the training parameters of every model."
    stages = [stage for stage in reference.records if stage.startswith(("31_", "33_"))]
    names = sorted({name for stage in stages for name in reference.records[stage].parameters} - {"dimension", "variant", "checkpoint_seconds"})
    show = lambda stage, name: str(reference.records[stage].parameters.get(name, "–"))
    return table_of([{"parameter": f"`{name}`", **{stage.split("_", 1)[1]: show(stage, name) for stage in stages}} for name in names])


def rows_block(
    reference:Reference # A profile's results
)->str: # A table, a line per pair
    "Count the rows that each kind of model trained on, was chosen on and was tested on."
    counts = reference.records["30_prepare_rows"].metrics["counts"]
    roles = [("coarse", "train"), ("coarse", "internal"), ("encoder", "train"), ("encoder", "internal"), ("encoder", "test")]
    table = pd.DataFrame({f"{model}, {role}": {pair: counts[pair][model][role] for pair in counts} for model, role in roles})
    table.loc["total"] = table.sum()
    return table_of([{"pair": row_label(pair).replace("Total", "All"), **line.to_dict()} for pair, line in table.iterrows()])


SYSTEMS = "joint", "separate", "constant"


def scores_block(
    reference:Reference # A profile's results
)->str: # A table, a line per system
    "Give the macro and micro measures of this run's systems."
    table = reference.tables["table2"].set_index("pair").to_dict("index")
    heads = dict(zip(MEASURES, ("RMSE_VA", "PCC_V", "PCC_A")))
    return table_of([{"system": NAMES[system], "average": average, **{head: with_interval(table[average], f"{system}_{name}") for name, head in heads.items()}}
                     for system in SYSTEMS for average in ("macro", "micro")])


def pairs_block(
    reference:Reference # A profile's results
)->str: # A table, a line per pair
    "Give RMSE_VA by pair, the systems side by side."
    lines = [line for line in reference.tables["table2"].to_dict("records") if line["pair"] not in ("macro", "micro")]
    return table_of([{"pair": row_label(line["pair"]), "n": line["n"], **{NAMES[system]: with_interval(line, f"{system}_rmse_va") for system in SYSTEMS}} for line in lines])


def named(
    pairs # Names of pairs
)->str: # Such as "ENG laptop, ZHO finance"; "none" where there are none
    "List pairs in words."
    return ", ".join(map(row_label, pairs)) or "none"


def limits_block(
    reference:Reference # A profile's results
)->str: # A list
    "Say on which pairs the joint system is worst, and where simpler systems are ahead of it."
    table = reference.tables["table2"].set_index("pair").drop(["macro", "micro"])
    joint, worst = table["joint_rmse_va"], table["joint_rmse_va"].idxmax()
    points = [f"Largest error: {row_label(worst)}, RMSE_VA {joint[worst]:.3f}; smallest: {row_label(joint.idxmin())}, {joint.min():.3f}.",
        f"The constant predictor errs less than the joint system on: {named(table.index[table['constant_rmse_va'] < joint])}.",
        f"The separate encoders err less than the joint system on: {named(table.index[table['separate_rmse_va'] < joint])}.",
        f"The separate encoders' arousal correlates better than the joint system's on: {named(table.index[table['separate_pcc_a'] > table['joint_pcc_a']])}.",
        f"The interval of the joint system's arousal correlation holds zero on: {named(table.index[table['joint_pcc_a_low'] < 0])}."]
    return "".join(f"- {point}\n" for point in points)


def cost_block(
    reference:Reference # A profile's results
)->str: # A table and a sentence
    "Give seconds and memory of every stage."
    records = reference.records.values()
    lines = [{"stage": record.stage, "seconds": record.seconds, "peak memory, MB": record.peak_memory_mb, "device": record.device or "cpu", "dtype": record.dtype or "–"} for record in records]
    total, peak = sum(record.seconds for record in records), max(record.peak_memory_mb or 0 for record in records)
    versions = {name: version for record in records for name, version in record.versions.items()}
    commits = sorted({(record.commit or "unknown")[:7] + " (with changes)"*bool(record.dirty) for record in records})
    return table_of(lines, 1) + (f"\nIn all {total/60:.0f} minutes ({total:.0f} s), at most {peak/1000:.1f} GB; " + ", ".join(f"{name} {version}" for name, version in versions.items())
        + f"; commit {', '.join(commits)}; finished {max(record.finished for record in records)[:10]}.\n")


def corpus_block(
    reference:Reference # A profile's results
)->str: # A table
    "Count the corpus by pair and split, as its record does."
    lines = reference.tables["table1"].to_dict("records")
    return table_of([{name: line[name] for name in ("pair", "train", "dev", "test", "total")} for line in lines])


def languages_block(
    reference:Reference # A profile's results
)->str: # A table
    "Name the languages, with their BCP 47 tags and domains."
    pairs = [name.split("_") for name in reference.records["30_prepare_rows"].metrics["counts"]]
    domains = {code: [domain for domain in DOMAINS if [code, domain] in pairs] for code in LANGUAGES}
    return table_of([{"language": LANGUAGES[code], "code": f"`{code}`", "BCP 47": LANGUAGE_TAGS[code], "domains": ", ".join(domains[code])} for code in LANGUAGES if domains[code]])


DEFECTS = {"arousal_below_3": "an arousal below 3.0, outside the training files", "aspect_outer_space": "an aspect that begins or ends with a space", "blank_line": "a blank line",
    "label_out_of_range": "a label outside [1, 9]", "repeated_aspect": "an aspect that one text holds more than once", "missing_label": "a row without a label"}


def defects_block(
    reference:Reference # A profile's results
)->str: # A table
    "List what is odd in the files, and what is done about it."
    lines = reference.tables["defects"].to_dict("records")
    return table_of([{"what": DEFECTS.get(line["kind"], line["kind"]), "entries": line["entries"], "files": line["files"], "effect here": line["effect"]} for line in lines])


def duel(
    reference:Reference, # A profile's results
    name:str # Such as "joint - separate"
)->str: # Such as "1.659 against 1.954: -0.294 [-0.383, -0.213]"
    "Print one paired comparison."
    line = reference.tables["comparisons"].set_index("comparison").loc[name]
    return f"{line['first RMSE_VA']:.3f} against {line['second RMSE_VA']:.3f}: {line['difference']:+.3f} [{line['low']:+.3f}, {line['high']:+.3f}]"


def direction(
    reference:Reference, # A profile's results
    name:str # A comparison in which the claim is that the first errs less
)->str: # "same direction", "opposite direction" or "undecided"
    "Say whether a paired comparison goes the paper's way."
    line = reference.tables["comparisons"].set_index("comparison").loc[name]
    return "same direction" if line["high"] < 0 else "opposite direction" if line["low"] > 0 else "undecided: the interval holds zero"


def apart(
    macro:dict, # The row of Table 2 with the macro averages
    name:str # "pcc_v" or "pcc_a"
)->str: # Such as "same direction, the intervals overlap"
    "Say whether joint is above separate, and whether their intervals meet."
    same, clear = macro[f"joint_{name}"] > macro[f"separate_{name}"], macro[f"joint_{name}_low"] > macro[f"separate_{name}_high"] or macro[f"joint_{name}_high"] < macro[f"separate_{name}_low"]
    return f"{'same' if same else 'opposite'} direction, the intervals {'are apart' if clear else 'overlap'}"


def found_main(
    reference:Reference # A profile's results
)->dict: # Claim -> what this profile found
    "What a profile says of the claims about Table 2."
    table, tested = reference.tables["table2"].set_index("pair"), reference.records["30_prepare_rows"].metrics
    macro, pairs = table.loc["macro"].to_dict(), table.drop(["macro", "micro"])
    both = lambda name: f"{with_interval(macro, f'joint_{name}')} against {with_interval(macro, f'separate_{name}')}"
    scale = "" if tested["test_rows"] == tested["test_rows_in_corpus"] else f" on {tested['test_rows']:,} of {tested['test_rows_in_corpus']:,} rows"
    return {"macro": with_interval(macro, "joint_rmse_va") + scale,
        "separate": f"{duel(reference, 'joint - separate')}, {count_wins(pairs['joint_rmse_va'], pairs['separate_rmse_va'])}; {direction(reference, 'joint - separate')}",
        "arousal": f"{both('pcc_a')}; {apart(macro, 'pcc_a')}",
        "valence": both("pcc_v"),
        "baselines": f"{with_interval(macro, 'joint_rmse_va')}{scale}" + "; the printed figures are on all rows" * bool(scale) + f"; the constant predictor on the same rows {with_interval(macro, 'constant_rmse_va')}",
        "mismatch": f"separate against the constant predictor: {duel(reference, 'separate - constant')}"}


def found_other(
    reference:Reference # A profile's results
)->dict: # Claim -> what this profile found
    "What a profile says of the claims about the data and the coarse models."
    known, coarse = reference.records["91_dataset"].metrics, reference.tables["coarse_quality"].set_index("dimension")
    better = lambda line: f"RMSE of E[d] {line['RMSE of E[d]']:.3f}, of the constant {line['RMSE of the constant']:.3f}, calibration error {line['calibration error']:.3f}"
    return {"data": f"{known['total']:,} rows; {known['pairs_equal']} of {len(reference.tables['table1']) - 1} pairs equal",
        "guidance": "; ".join(f"{dimension}: {better(line)}" for dimension, line in coarse.iterrows())}


def paper_claims()->dict: # Claim -> (words with the printed figures, where, notebook)
    "State the paper's claims with their printed figures."
    macro, stated = paper_table("table2").set_index("pair").loc["macro"], paper_table("statements").set_index("name")["value"]
    both = lambda name: f"{macro[f'joint_{name}']:.3f} against {macro[f'separate_{name}']:.3f}"
    return {"data": (f"the data hold {int(stated['grand_total']):,} aspect rows, by pair as printed", "Table 1", "91_dataset"),
        "macro": (f"E5-VA has a macro RMSE_VA of {macro['joint_rmse_va']:.3f}", "Table 2", "92_main_results"),
        "separate": (f"the joint encoder errs less than separate ones: {both('rmse_va')}, {int(stated['joint_wins'])} of 10 pairs", "Table 2", "92_main_results"),
        "arousal": (f"it correlates better with arousal: {both('pcc_a')}, {int(stated['pcc_a_gain_percent'])} % more", "Table 2, section 5", "92_main_results"),
        "valence": (f"its valence correlation is comparable: {both('pcc_v')}", "section 5", "92_main_results"),
        "baselines": (f"it beats both LLM baselines, printed {macro['kimi_k2_rmse_va']:.3f} and {macro['qwen3_14b_rmse_va']:.3f}", "Table 2", "92_main_results"),
        "mismatch": ("true bins in training and the LLM's bins at test time hurt the separate encoders", "section 5", "92_main_results"),
        "guidance": ("the LLMs' distributions over digits are useful, calibrated guidance", "sections 3.1 and 5", "93_ablations")}


def stages_for(
    reference:Reference, # A profile's results
    stage:str # Such as "91_dataset"
)->list: # The stages to run for it, in order
    "Follow a record back to all that it was made from."
    needed = {stage} | {other for above in reference.records[stage].upstream for other in stages_for(reference, above)}
    return [name for name in reference.records if name in needed]


def cost_of(
    reference:Reference, # A profile's results
    stage:str # Such as "91_dataset"
)->str: # Such as "15 min, 5.0 GB"
    "Sum the seconds, and find the largest peak of memory, of all that a stage needs."
    records = [reference.records[name] for name in stages_for(reference, stage)]
    seconds, peak = sum(record.seconds for record in records), max(record.peak_memory_mb or 0 for record in records)
    return (f"{seconds:.0f} s" if seconds < 90 else f"{seconds/60:.0f} min") + f", {peak/1000:.1f} GB"


def command_for(
    reference:Reference, # A profile's results
    stage:str # Such as "91_dataset"
)->str: # The shortest command that makes it
    "Say how to make what a claim rests on."
    stages = stages_for(reference, stage)
    return f"`dimabsa run {reference.profile}" + "".join(f" --only {name}" for name in stages if len(stages) < 3) + "`"


def each(
    references:list, # Of `Reference`, the largest first
    speak # Called with a reference
)->str: # Such as "quick: 0.05"
    "Let every profile speak."
    return "; ".join(f"{reference.profile}: {speak(reference)}" for reference in references)


def claims_block(
    references:list # Of `Reference`, the largest first
)->str: # A table, a line per claim
    "Set each claim beside what the committed runs found."
    return table_of([{"claim": f"{words} ({where})", "notebook": f"[{notebook}](nbs/{notebook}.ipynb)",
        "found": each(references, lambda reference: {**found_main(reference), **found_other(reference)}[name])} for name, (words, where, notebook) in paper_claims().items()])


def how_block(
    references:list # Of `Reference`, the largest first
)->str: # A table, a line per notebook
    "Say how to make what the claims rest on, and what that costs."
    notebooks = sorted({notebook for _, _, notebook in paper_claims().values()})
    return table_of([{"notebook": notebook, "command": ", ".join(command_for(reference, notebook) for reference in references),
        "time, memory": each(references, lambda reference: cost_of(reference, notebook)), "tolerance": each(references, lambda reference: tolerance_of(reference, notebook))} for notebook in notebooks])


def tolerance_of(
    reference:Reference, # A profile's results
    notebook:str # Such as "91_dataset"
)->str: # "exact" where its tables hold no measured number
    "Say how far a repeated run may differ from the committed tables."
    return "exact" if notebook == "91_dataset" else f"{reference.settings['tolerance']} on decimals, counts exact"


BLOCK = re.compile(r"(<!-- records: ([\w-]+) -->\n).*?(<!-- end -->)", re.S)
FILES = "ARTIFACT.md", "docs/model_card.md", "docs/data_statement.md", "docs/checklist.md"


def blocks(
    references:list # Of `Reference`, the largest first
)->dict: # Name -> text
    "Write every block; those of one profile speak of the largest."
    one = {"models": models_block, "training": training_block, "rows": rows_block, "scores": scores_block, "pairs": pairs_block, "limits": limits_block,
        "cost": cost_block, "corpus": corpus_block, "languages": languages_block, "defects": defects_block}
    profile = f"Figures of the committed run. {references[0].settings.get('caption') or f'Profile {references[0].profile}.'}\n"
    return {**{name: write(references[0]) for name, write in one.items()}, "claims": claims_block(references), "how": how_block(references), "profile": profile}


def splice(
    text:str, # A file
    written:dict # Name -> text of the block
)->str: # The file with its blocks as they are now
    "Put the blocks between their marks."
    lost = [name for _, name, _ in BLOCK.findall(text) if name not in written]
    if lost: raise UserError(f"no block is called {lost[0]!r}; there are: {', '.join(written)}")
    return BLOCK.sub(lambda found: f"{found[1]}\n{written[found[2]].strip()}\n\n{found[3]}", text)


def write_cards(
    root=None, # The repository; None looks for it
    check:bool=False # Only look
)->list: # The files that were stale
    "Bring the blocks of all cards up to date with the records."
    root, stale = Path(root or find_root()), []
    written = blocks(read_references(root))
    for path in (root/name for name in FILES):
        text = path.read_text("utf-8")
        if (new := splice(text, written)) == text: continue
        stale.append(path.relative_to(root).as_posix())
        if not check: write_atomic(path, new)
    return stale
