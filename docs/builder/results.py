"""What is committed of the runs: records, tables, figures."""
import gzip
import hashlib
import json
import posixpath
import re
import zlib
from pathlib import Path

import pandas as pd

from dimabsa_nb.core import UserError, file_sha256
from dimabsa_nb.profiles import _read_notebook
from dimabsa_nb.records import Record
from dimabsa_nb.tables import markdown_table

REFERENCES = "paper", "laptop", "quick"  # profiles whose numbers may be quoted, the largest first


def committed_records(root: Path, profile: str) -> dict[str, Record]:
    """A profile's committed records by stage; raises UserError where there are none."""
    paths = sorted((Path(root) / "results" / profile / "records").glob("*.json"))
    if not paths:
        raise UserError(f"results/{profile}/records: no records; run "
                        f"`dimabsa run {profile} --publish`")
    return {path.stem: Record.model_validate_json(path.read_bytes()) for path in paths}


def reference_profiles(root: Path) -> list[str]:
    """The reference profiles whose Table 2 is committed, the largest first; never empty."""
    there = [profile for profile in REFERENCES
             if (Path(root) / "results" / profile / "records/92_main_results.json").is_file()]
    if not there:
        raise UserError(f"{Path(root) / 'results'}: holds no records of {', '.join(REFERENCES)}; "
                        "restore them from the last commit")
    return there


def shown_profiles(root: Path) -> list[str]:
    """Profiles with committed records, the references first; those of `smoke` never are."""
    names = sorted(path.parent.name for path in (Path(root) / "results").glob("*/records"))
    first = [name for name in REFERENCES if name in names]
    return first + [name for name in names if name not in ("smoke", *first)]


def record_of(root: Path, stage: str) -> Record | None:
    """The record that the site shows of a stage."""
    for profile in shown_profiles(root):
        if record := committed_records(root, profile).get(stage): return record
    return None


def number(root: Path, profile: str, stage: str, path: str, spec: str) -> str:
    """One value of a record's metrics by its dotted path, formatted.

    `spec` is a number of decimals, or a format such as `,` or `.1%`."""
    value = committed_records(root, profile)[stage].metrics
    for name in path.split("."): value = value[int(name) if isinstance(value, list) else name]
    return format(value, f".{spec}f" if spec.isdigit() else spec)


def on_gpu(record: Record) -> str:
    """Such as ", 61,000 MB on the GPU"; nothing where a stage used none."""
    peak = record.peak_gpu_memory_mb
    return f", {peak:,.0f} MB on the GPU" if peak else ""


def cost(record: Record) -> str:
    """Such as "182 s, 1,100 MB, cpu, float32"."""
    memory = f"{record.peak_memory_mb:,.0f} MB{on_gpu(record)}" if record.peak_memory_mb else ""
    facts = [f"{record.seconds:,.0f} s", memory, record.device, record.dtype]
    return ", ".join(filter(None, facts))


def altered(name: Path | str, record: Record) -> str:
    """What is said of a committed file that is not as its stage left it."""
    return (f"{name}: is not what {record.stage} of profile {record.profile} recorded; "
            f"`dimabsa run {record.profile} --publish` writes it anew")


def published(root: Path, record: Record, name: str) -> Path:
    """The committed copy of one output, such as `results/table2.md`.

    Raises UserError where it is not what the record says."""
    kind, rest = name.split("/", 1)
    path = Path(root) / kind / record.profile / rest
    if not path.is_file() or file_sha256(path) != record.outputs.get(name):
        raise UserError(altered(path.relative_to(root), record))
    return path


def unpacked_sha256(path: Path) -> str:
    """The digest of what a compressed file holds; "" where it is damaged."""
    try: return hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()
    except (OSError, EOFError, zlib.error): return ""


def stale_files(root: Path, profile: str) -> list[str]:
    """Committed tables and figures that differ from the records, one line each."""
    root, problems, named = Path(root), [], set()
    for record in committed_records(root, profile).values():
        for name in record.outputs:
            if not name.startswith(("results/", "figures/")): continue
            named.add(name.replace("/", f"/{profile}/", 1))
            try: published(root, record, name)
            except UserError as error: problems.append(str(error))
        for path in sorted((root / "results" / profile / "outputs" / record.stage).glob("*.gz")):
            named.add(name := path.relative_to(root).as_posix())
            if unpacked_sha256(path) != record.outputs.get(path.stem):
                problems.append(altered(name, record))
    files = [path.relative_to(root).as_posix() for kind in ("results", "figures")
             for path in sorted((root / kind / profile).rglob("*")) if path.is_file()]
    unnamed = r"/(records|notebooks|trials)/|/spread\.(csv|json)$"
    extra = [name for name in files if name not in named and not re.search(unnamed, name)]
    return problems + [f"{name}: no record names it; remove it" for name in extra]


def captions(root: Path, record: Record, name: str) -> dict[str, str]:
    """A figure's caption and alternative text; `name` such as `speed/ratios`."""
    folder, stem = posixpath.split(name)
    path = published(root, record, posixpath.join("figures", folder, "captions.json"))
    return json.loads(path.read_text("utf-8"))[stem]


def endurance(root: Path, *parts: str) -> str:
    """What tests tried to break, from `results/tests/counts.json`: the table of some parts, in
    which a hyphen stands for a space; "all" sums each part, "in ..." gives its number alone."""
    counts = json.loads((Path(root) / "results/tests/counts.json").read_text("utf-8"))
    gap = lambda found: f"; largest gap {found['gap']:.2g}" if "gap" in found else ""
    rows = pd.DataFrame([(*name.split(": ", 1), gap(found), found["tried"], found["survived"])
                         for name, found in counts.items()],
                        columns=["part", "what", "gap", "tried", "survived"])
    wanted = [part.replace("-", " ") for part in parts]
    if wanted[0] == "in": return f"{rows.tried[rows.part == wanted[1]].sum():,}"
    if wanted == ["all"]: rows = rows.groupby("part", as_index=False)[["tried", "survived"]].sum()
    else: rows = rows[rows.part.isin(wanted)].assign(what=rows.what + rows.gap)
    names = [name for name in ("part", "what")[rows.part.nunique() == 1:] if name in rows]
    lines = [" | ".join(["", *names, "tried", "survived", "lost", ""]).strip(),
             "| " + ":--- | " * len(names) + "---: | ---: | ---: |"]
    sums = {names[0]: "all"} | rows[["tried", "survived"]].sum().to_dict()
    for row in [*rows.to_dict("records"), dict.fromkeys(names, "") | sums]:
        cells = [*(row[name] for name in names), f"{row['tried']:,}", f"{row['survived']:,}",
                 f"{row['tried'] - row['survived']:,}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def load(root: Path) -> str:
    """What many rows cost, from `results/tests/load.json`."""
    found = json.loads((Path(root) / "results/tests/load.json").read_text("utf-8"))
    lines = ["| what | rows | seconds | peak memory in MB |", "| :--- | ---: | ---: | ---: |"]
    lines += ["| {} | {rows:,} | {seconds} | {memory} |".format(
                  what, **cost, memory=cost.get("peak_memory_mb", ""))
              for what, costs in found.items() for cost in costs]
    return "\n".join(lines)


def history(root: Path, profile: str = "beyond") -> str:
    """What was tried on the second road, oldest first: the committed records of its members and
    of its tables, and those of trials in results/PROFILE/trials."""
    folder, lines = Path(root) / "results" / profile, []
    for path in [*folder.glob("trials/*.json"), *folder.glob("records/*.json")]:
        record = Record.model_validate_json(path.read_bytes())
        metrics, notebook = record.metrics, Path(root) / record.notebook
        if not {"internal_macro", "macro"} & metrics.keys(): continue
        defaults = _read_notebook(notebook)[1] if notebook.is_file() else {}
        changed = [f"{name} {value}" for name, value in sorted(record.parameters.items())
                   if value != defaults.get(name) and name not in ("out", "profile", "caption")]
        internal, test = (metrics.get(name, {}) for name in ("internal_macro", "macro"))
        if "internal_constant" in metrics:
            internal = {"": internal, "constant": metrics["internal_constant"]}
        said = ["; ".join(f"{name} {value:.3f}".strip() for name, value in found.items())
                for found in (internal, test)]
        lines.append((record.finished, {
            "date": record.finished[:10], "commit": record.commit[:7], "stage": record.stage,
            "other than by default": ", ".join(changed),
            "training rows": str(metrics.get("rows", {}).get("train", "")),
            "minutes": f"{record.seconds / 60:.0f}",
            "RMSE_VA, internal split": said[0], "RMSE_VA, test": said[1]}))
    frame = pd.DataFrame([line for _, line in sorted(lines, key=lambda line: line[0])])
    numeric = [name in ("training rows", "minutes") for name in frame]
    return markdown_table(frame, numeric, frame.isna(), markup=True).strip()
