"""Tables of the model card, the data statement, the checklist and ARTIFACT.md, from the records."""
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from builder.results import committed_records
from dimabsa_nb.corpus import DOMAINS, LANGUAGES
from dimabsa_nb.explorer import LANGUAGE_TAGS
from dimabsa_nb.metrics import MEASURES
from dimabsa_nb.profiles import read_profile
from dimabsa_nb.records import Record
from dimabsa_nb.report import _row_label
from dimabsa_nb.stages import _ON_DEMAND
from dimabsa_nb.tables import NAMES, _format_cell, _verdicts_by_run, markdown_table, paper_table
from dimabsa_nb.weights import licence

HEADS = dict(zip(MEASURES, ("RMSE_VA", "PCC_V", "PCC_A")))
SYSTEMS = "joint", "separate", "constant", "folded", "coarse", "calibrated"
DEFECTS = {
    "arousal_below_3": "an arousal below 3.0, outside the training files",
    "aspect_outer_space": "an aspect that begins or ends with a space",
    "blank_line": "a blank line",
    "label_out_of_range": "a label outside [1, 9]",
    "repeated_aspect": "an aspect that occurs more than once in a text",
    "missing_label": "a row without a label"}


@dataclass
class Reference:
    """The committed results of one profile."""
    profile: str
    records: dict[str, Record]  # by stage, those on demand left out
    tables: dict[str, pd.DataFrame]  # by name, with all digits
    settings: dict  # the table `profile` of its TOML file
    runs: list[dict] = field(default_factory=list)  # what its spread was measured over

    def table2(self) -> pd.DataFrame:
        """Table 2, indexed by pair; the last two rows are `macro` and `micro`."""
        return self.tables["table2"].set_index("pair")

    def tested(self) -> str:
        """Such as "493 of 16,186"."""
        counts = self.records["30_prepare_rows"].metrics
        rows, everything = counts["test_rows"], counts["test_rows_in_corpus"]
        return f"{rows:,}" if rows == everything else f"{rows:,} of {everything:,}"


def read_reference(root: Path, profile: str) -> Reference:
    """One profile's records and tables; raises UserError where it has none."""
    root, records = Path(root), committed_records(root, profile)
    kept = {stage: record for stage, record in records.items()
            if _ON_DEMAND.isdisjoint((stage, stage.split("@")[0]))}
    tables = {path.stem: pd.read_csv(path)
              for path in sorted((root / "results" / profile).glob("*.csv"))}
    spread = root / "results" / profile / "spread.json"
    runs = json.loads(spread.read_text("utf-8"))["runs"] if spread.is_file() else []
    return Reference(profile, kept, tables, read_profile(root, profile)["profile"], runs)


def table_of(rows: list[dict], decimals: int = 3) -> str:
    """A Markdown table; columns of numbers are right-aligned."""
    frame = pd.DataFrame(rows)
    cells = frame.astype(object).map(_format_cell, decimals=decimals).astype(object)
    numeric = [pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes]
    return markdown_table(cells, numeric, pd.DataFrame(False, frame.index, frame.columns), True)


def with_interval(row: dict, name: str) -> str:
    """A measure with its interval where it has one, such as "1.659 [1.46, 1.85]"."""
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    interval = "" if low is None or pd.isna(low) else f" [{low:.2f}, {high:.2f}]"
    return _format_cell(row.get(name), 3) + interval


def pair_names(pairs) -> str:
    """Such as "ENG laptop, ZHO finance"; "none" where there are none."""
    return ", ".join(map(_row_label, pairs)) or "none"


def shown_systems(reference: Reference) -> list[str]:
    """The systems of this run that its Table 2 holds."""
    return [name for name in SYSTEMS if f"{name}_rmse_va" in reference.tables["table2"]]


def scale(reference: Reference) -> str:
    """What a committed run can be compared with, in one sentence."""
    caption = reference.settings.get("caption") or f"Profile {reference.profile}."
    return f"Numbers of the committed run. {caption}"


def over_runs(reference: Reference, column: str, row: str = "macro") -> str:
    """Mean and standard deviation of a number of Table 2 over runs with other seeds, or over other
    seeds of the encoders; "" where no spread was measured, or the number is the same in all."""
    spread, again = reference.tables.get("spread"), reference.tables.get("seeds")
    if spread is None and again is not None and row == "macro":
        system, measure = column.split("_", 1)
        return "; ".join(f"{mean:.3f} ± {sd:.3f}" for mean, sd in again.loc[
            again["system"] == system, [measure, f"{measure}_sd"]].to_numpy())
    if spread is None: return ""
    wanted = {"table": "table2.csv", "label": row, "column": column}
    found = spread[(spread[[*wanted]] == pd.Series(wanted)).all(axis=1) & spread["mean"].notna()]
    return "; ".join(f"{line.mean_:.3f} ± {line.sd:.3f}" for line
                     in found.rename(columns={"mean": "mean_"}).itertuples())


def runs_note(reference: Reference) -> str:
    """What the column of means is over; "" where no spread was measured."""
    kinds = sorted({dtype for run in reference.runs for dtype in run["dtype"]})
    again = reference.tables.get("seeds")
    if not reference.runs and again is not None:
        return (f" Over runs: mean ± standard deviation of {again['runs'].max()} trainings of the "
                "encoders with other seeds.")
    return (f" Over runs: mean ± standard deviation of {len(reference.runs)} runs with other "
            f"seeds, in {' and '.join(kinds)}." if reference.runs else "")


def verdicts_by_run(reference: Reference) -> dict[str, str]:
    """Comparison -> its verdicts, where they differ between runs."""
    spread = reference.tables.get("spread")
    return {} if spread is None else _verdicts_by_run(spread)


def seeds(reference: Reference) -> str:
    """The macro error over seeds, and which verdicts of the comparisons change from run to run;
    "" where no spread was measured."""
    if not reference.runs: return encoder_seeds(reference)
    changing = []
    for name, texts in verdicts_by_run(reference).items():
        first, _, second = name.partition(" - ")
        changing.append(f"{first} against {NAMES.get(second, second).removesuffix(' (this run)')} "
                        f"({texts.replace('|', ', ')})")
    verdict = f"depends on the run: {'; '.join(changing)}" if changing else "is the same in all"
    return (f"Over {len(reference.runs)} runs of profile {reference.profile} with other seeds "
            f"joint has {over_runs(reference, 'joint_rmse_va')}, separate "
            f"{over_runs(reference, 'separate_rmse_va')} (mean ± standard deviation); what the "
            f"interval of a difference says {verdict}.")


def encoder_seeds(reference: Reference) -> str:
    """The macro error over seeds of the encoders alone; "" where they have one."""
    if "seeds" not in reference.tables: return ""
    count = reference.tables["seeds"]["runs"].max()
    lines = reference.tables["comparisons"].set_index("comparison")
    gap = lines.loc[f"joint - separate, {count} seeds"]
    joint, separate = (over_runs(reference, f"{name}_rmse_va") for name in ("joint", "separate"))
    return (f"Over {count} seeds of the encoders joint has {joint}, separate {separate} (mean ± "
            f"standard deviation); over seeds and texts the difference is {gap['difference']:+.3f} "
            f"[{gap['low']:+.3f}, {gap['high']:+.3f}].")


def result(reference: Reference) -> str:
    """The macro measures beside the constant predictor's and the paper's."""
    macro = reference.table2().loc["macro"].to_dict()
    printed = paper_table("table2").set_index("pair").loc["macro"]
    several = {"spread", "seeds"} & set(reference.tables)
    spread = {system: {"RMSE_VA over runs": over_runs(reference, f"{system}_rmse_va") or "–"}
              if several else {} for system in (*SYSTEMS, "paper")}
    rows = [{"system": NAMES[system], "test rows": reference.tested(),
             **{f"macro {head}": with_interval(macro, f"{system}_{name}")
                for name, head in HEADS.items()}, **spread[system]}
            for system in shown_systems(reference)]
    everything = f"{reference.records['30_prepare_rows'].metrics['test_rows_in_corpus']:,}"
    rows.append({"system": "joint (the paper, Qwen3-8B)", "test rows": everything,
                 **{f"macro {head}": f"{printed[f'joint_{name}']:.3f}"
                    for name, head in HEADS.items()}, **spread["paper"]})
    return (f"{table_of(rows)}\n{scale(reference)} Brackets: 95 % bootstrap intervals by source."
            f"{runs_note(reference)}")


def models(reference: Reference) -> str:
    """The base models and their licences."""
    settings = reference.records["31_train_coarse@valence"].parameters
    coarse, trained = settings["model"], "LoRA" if settings["lora_rank"] else "upper layers"
    encoder = reference.records["33_train_encoder@joint"].parameters["base"]
    return table_of([{"part": part, "base model": name, "terms": licence(name).split(": ", 1)[1]}
                     for part, name in ((f"two coarse LLMs, {trained}", coarse),
                                        ("encoder", encoder))])


def training(reference: Reference) -> str:
    """The training parameters, a column per trained model."""
    stages = {stage.split("_", 1)[1]: record.parameters for stage, record
              in reference.records.items() if stage.startswith(("31_", "33_"))}
    hidden = {"dimension", "variant", "checkpoint_seconds"}
    names = sorted({name for known in stages.values() for name in known} - hidden)
    return table_of([{"parameter": f"`{name}`",
                      **{stage: str(known.get(name, "–")) for stage, known in stages.items()}}
                     for name in names])


def rows(reference: Reference) -> str:
    """The rows that each kind of model was trained, selected and tested on, by pair."""
    counts = reference.records["30_prepare_rows"].metrics["counts"]
    roles = [("coarse", "train"), ("coarse", "internal"),
             ("encoder", "train"), ("encoder", "internal"), ("encoder", "test")]
    table = pd.DataFrame({f"{model}, {role}": {pair: counts[pair][model][role] for pair in counts}
                          for model, role in roles})
    table.loc["total"] = table.sum()
    return table_of([{"pair": _row_label(pair), **line.to_dict()}
                     for pair, line in table.iterrows()])


def scores(reference: Reference) -> str:
    """The macro and micro measures of this run's systems."""
    table = reference.table2().to_dict("index")
    return table_of([{"system": NAMES[system], "average": average,
                      **{head: with_interval(table[average], f"{system}_{name}")
                         for name, head in HEADS.items()}}
                     for system in shown_systems(reference) for average in ("macro", "micro")])


def pairs(reference: Reference) -> str:
    """RMSE_VA by pair, the systems side by side."""
    lines = reference.table2().drop(["macro", "micro"]).reset_index().to_dict("records")
    return table_of([{"pair": _row_label(line["pair"]), "n": line["n"],
                      **{NAMES[system]: with_interval(line, f"{system}_rmse_va")
                         for system in shown_systems(reference)}} for line in lines])


def limits(reference: Reference) -> str:
    """Where the joint system is worst, and where simpler systems are ahead of it."""
    table = reference.table2().drop(["macro", "micro"])
    joint, worst = table["joint_rmse_va"], table["joint_rmse_va"].idxmax()
    where = lambda wanted: pair_names(table.index[wanted])
    points = [
        f"Largest error: {_row_label(worst)}, RMSE_VA {joint[worst]:.3f}; "
        f"smallest: {_row_label(joint.idxmin())}, {joint.min():.3f}.",
        "By number alone (single pairs are not tested), the constant predictor has a lower RMSE_VA "
        "than the joint system on: "
        f"{where(table['constant_rmse_va'] < joint)}.",
        "By number alone, the separate encoders have a lower RMSE_VA than the joint system on: "
        f"{where(table['separate_rmse_va'] < joint)}.",
        "By number alone, the separate encoders' arousal correlates better than the joint system's "
        "on: "
        f"{where(table['separate_pcc_a'] > table['joint_pcc_a'])}.",
        "Pairs on which the interval of the joint system's arousal correlation includes zero: "
        f"{where(table['joint_pcc_a_low'] < 0)}."]
    return "\n".join(f"- {point}" for point in points)


def cost(reference: Reference) -> str:
    """Seconds and memory of every stage, and what they ran with."""
    records = list(reference.records.values())
    gpu = max(record.peak_gpu_memory_mb or 0 for record in records)
    lines = [{"stage": record.stage, "seconds": record.seconds,
              "peak memory, MB": record.peak_memory_mb,
              **({"of the GPU, MB": record.peak_gpu_memory_mb} if gpu else {}),
              "device": record.device or "cpu", "dtype": record.dtype or "–"} for record in records]
    total = sum(record.seconds for record in records)
    peak = max(record.peak_memory_mb or 0 for record in records)
    versions = {name: version for record in records for name, version in record.versions.items()}
    commits = sorted({(record.commit or "unknown")[:7] + " (with changes)" * bool(record.dirty)
                      for record in records})
    facts = [", ".join(f"{name} {version}" for name, version in versions.items()),
             f"commit {', '.join(commits)}",
             f"finished {max(record.finished for record in records)[:10]}"]
    return (f"{table_of(lines, 1)}\nIn total {total / 60:.0f} minutes ({total:.0f} s), "
            f"peak memory {peak / 1000:.1f} GB"
            f"{f', {gpu / 1000:.1f} GB on the GPU' if gpu else ''}; {'; '.join(facts)}.")


def corpus(reference: Reference) -> str:
    """The corpus by pair and split."""
    lines = reference.tables["table1"].to_dict("records")
    return table_of([{name: line[name] for name in ("pair", "train", "dev", "test", "total")}
                     for line in lines])


def languages(reference: Reference) -> str:
    """The languages with their BCP 47 tags and domains."""
    there = [name.split("_") for name in
             reference.records["30_prepare_rows"].metrics["counts"]]
    domains = {code: [domain for domain in DOMAINS if [code, domain] in there]
               for code in LANGUAGES}
    return table_of([{"language": LANGUAGES[code], "code": f"`{code}`",
                      "BCP 47": LANGUAGE_TAGS[code], "domains": ", ".join(domains[code])}
                     for code in LANGUAGES if domains[code]])


def defects(reference: Reference) -> str:
    """The defects of the corpus files, and what is done about them."""
    lines = reference.tables["defects"].to_dict("records")
    return table_of([{"defect": DEFECTS.get(line["kind"], line["kind"]),
                      "entries": line["entries"], "files": line["files"],
                      "effect here": line["effect"]} for line in lines])


CARD_BLOCKS: dict[str, Callable[[Reference], str]] = {
    function.__name__: function for function in (
        scale, result, seeds, models, training, rows, scores, pairs, limits, cost, corpus,
        languages, defects)}
