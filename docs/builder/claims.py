"""The paper's claims beside what the committed runs found; each verdict follows from intervals."""
from builder.cards import Reference, table_of, verdicts_by_run, with_interval
from dimabsa_nb.report import clear_direction
from dimabsa_nb.tables import count_wins, paper_table


def compared(reference: Reference, name: str) -> dict:
    """A line of the table of comparisons; `name` such as "joint - separate"."""
    return reference.tables["comparisons"].set_index("comparison").loc[name].to_dict()


def paired_comparison(reference: Reference, name: str) -> str:
    """Such as "1.659 against 1.954: -0.294 [-0.383, -0.213]"."""
    line = compared(reference, name)
    return (f"{line['first']:.3f} against {line['second']:.3f}: "
            f"{line['difference']:+.3f} [{line['low']:+.3f}, {line['high']:+.3f}]")


def by_seed(reference: Reference, name: str) -> str:
    """What to add to a verdict that other seeds change; "" where none is known to."""
    found = verdicts_by_run(reference).get(name)
    return f" (depends on the seed: {found.replace('|', ', ')})" if found else ""


def verdict(reference: Reference, name: str, claimed: str = "lower") -> str:
    """Whether a comparison, whose first system is claimed to be lower, agrees with the paper."""
    line = compared(reference, name)
    found = clear_direction(line["low"], line["high"])
    words = {"no clear difference": "no clear difference: the interval includes zero",
             claimed: "same direction"}
    return words.get(found, "opposite direction") + by_seed(reference, name)


def better(reference: Reference, name: str) -> str:
    """Which of two systems has the lower error, such as "joint is better"."""
    line, (first, second) = compared(reference, name), name.split(" - ")
    found = clear_direction(line["low"], line["high"])
    words = {"lower": f"{first} is better", "higher": f"{second} is better"}
    return words.get(found, found) + by_seed(reference, name)


def measured_main(reference: Reference) -> dict[str, str]:
    """What a profile measured for the claims about Table 2."""
    table = reference.table2()
    macro, by_pair = table.loc["macro"].to_dict(), table.drop(["macro", "micro"])
    both = lambda name: (f"{with_interval(macro, f'joint_{name}')} against "
                         f"{with_interval(macro, f'separate_{name}')}")
    joint, subset = with_interval(macro, "joint_rmse_va"), " of " in reference.tested()
    scale = f" on {reference.tested()} rows" if subset else ""
    arousal = "joint - separate (pcc_a)"
    return {
        "macro": joint + scale,
        "separate": f"{paired_comparison(reference, 'joint - separate')}, "
                    f"{count_wins(by_pair['joint_rmse_va'], by_pair['separate_rmse_va'])}; "
                    f"{verdict(reference, 'joint - separate')}",
        "arousal": f"{paired_comparison(reference, arousal)}; "
                   f"{verdict(reference, arousal, claimed='higher')}",
        "valence": both("pcc_v"),
        "baselines": joint + scale + "; the printed numbers are on all rows" * subset
                     + "; the constant predictor on the same rows "
                     + with_interval(macro, "constant_rmse_va"),
        "mismatch": "separate against the constant predictor: "
                    f"{paired_comparison(reference, 'separate - constant')}; "
                    f"{better(reference, 'separate - constant')}"}


def measured_other(reference: Reference) -> dict[str, str]:
    """What a profile measured for the claims about the data and the coarse models."""
    counts = reference.records["91_dataset"].metrics
    coarse = reference.tables["coarse_quality"].set_index("dimension")
    quality = [f"{dimension}: RMSE of E[d] {line['RMSE of E[d]']:.3f}, of the constant "
               f"{line['RMSE of the constant']:.3f}, calibration error "
               f"{line['calibration error']:.3f}" for dimension, line in coarse.iterrows()]
    return {"data": f"{counts['total']:,} rows; {counts['pairs_equal']} of "
                    f"{len(reference.tables['table1']) - 1} pairs equal",
            "guidance": "; ".join(quality)}


def paper_claims() -> dict[str, tuple[str, str, str]]:
    """Claim -> (text with the printed numbers, place in the paper, notebook)."""
    macro = paper_table("table2").set_index("pair").loc["macro"]
    stated = paper_table("statements").set_index("name")["value"]
    both = lambda name: f"{macro[f'joint_{name}']:.3f} against {macro[f'separate_{name}']:.3f}"
    return {
        "data": (f"the data hold {int(stated['grand_total']):,} aspect rows, by pair as printed",
                 "Table 1", "91_dataset"),
        "macro": (f"E5-VA has a macro RMSE_VA of {macro['joint_rmse_va']:.3f}",
                  "Table 2", "92_main_results"),
        "separate": (f"the joint encoder errs less than separate ones: {both('rmse_va')}, "
                     f"{int(stated['joint_wins'])} of 10 pairs", "Table 2", "92_main_results"),
        "arousal": (f"it correlates better with arousal: {both('pcc_a')}, "
                    f"{int(stated['pcc_a_gain_percent'])} % more", "Table 2, section 5",
                    "92_main_results"),
        "valence": (f"its valence correlation is comparable: {both('pcc_v')}", "section 5",
                    "92_main_results"),
        "baselines": (f"it beats both LLM baselines, printed {macro['kimi_k2_rmse_va']:.3f} and "
                      f"{macro['qwen3_14b_rmse_va']:.3f}", "Table 2", "92_main_results"),
        "mismatch": ("training with gold bins and testing with LLM-predicted bins hurts the "
                     "separate encoders", "section 5", "92_main_results"),
        "guidance": ("the LLMs' distributions over digits are useful, calibrated guidance",
                     "sections 3.1 and 5", "93_ablations")}


def per_profile(references: list[Reference], describe) -> str:
    """Such as "quick: 0.05"; `describe` is called with each reference."""
    return "; ".join(f"{reference.profile}: {describe(reference)}" for reference in references)


def claims(references: list[Reference]) -> str:
    """Each claim beside what the committed runs found, a line each."""
    measured = {reference.profile: {**measured_main(reference), **measured_other(reference)}
                for reference in references}
    return table_of([
        {"claim": f"{text} ({place})", "notebook": f"[{notebook}](nbs/{notebook}.ipynb)",
         "found": per_profile(references, lambda reference: measured[reference.profile][name])}
        for name, (text, place, notebook) in paper_claims().items()])


def stages_for(reference: Reference, stage: str) -> list[str]:
    """The stages that a stage's result was made from, and itself, in order."""
    needed = {stage}.union(*(stages_for(reference, above)
                             for above in reference.records[stage].upstream))
    return [name for name in reference.records if name in needed]


def command_for(reference: Reference, stage: str) -> str:
    """The shortest command that makes a stage's result."""
    stages = stages_for(reference, stage)
    only = "".join(f" --only {name}" for name in stages) if len(stages) < 3 else ""
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
    if stage == "91_dataset": return "exact"
    spread = " or the spread between runs" * ("spread" in reference.tables)
    return f"{reference.settings['tolerance']}{spread} on decimals, counts exact"


def how(references: list[Reference]) -> str:
    """How to make what the claims rest on, and what that costs, a line per notebook."""
    notebooks = sorted({notebook for _, _, notebook in paper_claims().values()})
    return table_of([
        {"notebook": stage,
         "command": ", ".join(command_for(reference, stage) for reference in references),
         "time, memory": per_profile(references, lambda one: cost_of(one, stage)),
         "tolerance": per_profile(references, lambda one: tolerance_of(one, stage))}
        for stage in notebooks])
