"""What the paper profile would cost, computed from shapes and published rates, not measured."""
from pathlib import Path

import pandas as pd

from dimabsa_nb.convert import E5_LARGE, QWEN3_8B
from dimabsa_nb.profiles import load_chain
from dimabsa_nb.weights import HUB

LAYERS, HIDDEN, MLP = (QWEN3_8B[name] for name in ("num_hidden_layers", "hidden_size",
                                                   "intermediate_size"))
KEYS, WORDS = QWEN3_8B["num_key_value_heads"] * QWEN3_8B["head_dim"], 151_936
E5_LAYERS, E5_HIDDEN = E5_LARGE["num_hidden_layers"], E5_LARGE["hidden_size"]
E5_PARAMETERS = 559_890_432  # of XLM-RoBERTa large
PER_TOKEN = 34  # bytes of bf16 activations a layer, token and hidden unit: arXiv 2205.05198, eq. 1
AUTHORS, ROWS = 11_595, 35_162  # seconds of one LLM's 3 epochs on one data-centre GPU; its rows
CORPUS = 58_522  # rows of Table 1: extraction reads them all, twice
GUIDANCE = 89  # tokens of Table 3's guidance in front of the encoder's text
PEAK, SHARE = 989e12, 0.4  # bf16 FLOP/s of an H100 without sparsity, by NVIDIA; assumed share of it
SHAPES = "shapes in the models' config.json"


def llm_parameters() -> int:
    """The parameters of Qwen3-8B."""
    layer = 2 * HIDDEN * HIDDEN + 2 * HIDDEN * KEYS + 3 * HIDDEN * MLP + 2 * HIDDEN + 2 * 128
    return 2 * WORDS * HIDDEN + LAYERS * layer + HIDDEN


def lora_parameters(rank: int) -> int:
    """The parameters of LoRA on all seven projections."""
    return LAYERS * rank * (2 * 2 * HIDDEN + 2 * (HIDDEN + KEYS) + 3 * (HIDDEN + MLP))


def parts(root: Path) -> dict[str, tuple[float, str]]:
    """Part of a stage's GPU memory -> GB (10^9 bytes), and its source."""
    stages = load_chain("paper", root=root).stages
    llm, reads, encoder = (stages[name].parameters for name in (
        "31_train_coarse@valence", "32_extract_guidance", "33_train_encoder@joint"))
    tokens, read, texts = (stage["token_budget"] for stage in (llm, reads, encoder))
    lora = lora_parameters(llm["lora_rank"])
    return {
        "31 weights, bf16": (2 * llm_parameters() / 1e9, SHAPES),
        "31 LoRA, gradients, moments, float32": (16 * lora / 1e9, SHAPES),
        "31 checkpoints of activations": (2 * LAYERS * tokens * HIDDEN / 1e9, f"{tokens:,} tokens"),
        "31 one layer anew": (PER_TOKEN * tokens * HIDDEN / 1e9, "34 bytes a token and unit"),
        "32 weights, bf16": (2 * llm_parameters() / 1e9, SHAPES),
        "32 activations of one layer": (PER_TOKEN * read * HIDDEN / 1e9, f"{read:,} tokens"),
        "33 E5-large with AdamW, float32": (16 * E5_PARAMETERS / 1e9, SHAPES),
        "33 activations": (PER_TOKEN * E5_LAYERS * texts * E5_HIDDEN / 1e9, f"{texts:,} tokens")}


def totals(root: Path) -> dict[str, float]:
    """What `[profile.needs]` must hold at least, in GB."""
    found = parts(root)
    checkpoint = 12 * E5_PARAMETERS / 1e9
    return {"gpu_memory_gb": max(sum(size for name, (size, _) in found.items()
                                     if name.startswith(stage)) for stage in ("31", "32", "33")),
            "memory_gb": 2 * llm_parameters() / 1e9 + checkpoint,
            "disk_gb": 2 * checkpoint + 3 * 4 * E5_PARAMETERS / 1e9 + 8 * lora_parameters(16) / 1e9}


def tokens(root: Path) -> float:
    """Mean tokens of a coarse prompt in the committed benchmark, a mean over pairs."""
    return pd.read_csv(Path(root) / "results/quick/speed/pairs.csv")["tokens"].mean()


def operations(root: Path) -> dict[str, float]:
    """Stage -> floating-point operations: 2 a parameter and token of a forward pass, as many for
    the gradient of activations, for that of weights, and for activations computed anew."""
    stages = load_chain("paper", root=root).stages
    epochs = {name: stages[stage].parameters["epochs"] for name, stage in
              (("llm", "31_train_coarse@valence"), ("encoder", "33_train_encoder@joint"))}
    prompt = tokens(root)
    llm = llm_parameters() - WORDS * HIDDEN  # the embedding is looked up
    layers = E5_PARAMETERS - (250_002 + 514 + 1) * E5_HIDDEN
    return {"31": 2 * 6 * llm * prompt * ROWS * epochs["llm"],
            "32": 2 * 2 * llm * prompt * CORPUS,
            "33": 3 * 6 * layers * (prompt + GUIDANCE) * ROWS * epochs["encoder"]}


def hours(root: Path) -> list[tuple[str, str, str]]:
    """Hours of the three costly stages on 1, 4 and 8 GPUs, with their sources."""
    divided = lambda seconds: " / ".join(f"{seconds / 3600 / n:.2g}" for n in (1, 4, 8)) + " h"
    found, prompt = operations(root), tokens(root)
    assumed = f"{SHARE:.0%} of an H100's {PEAK / 1e12:.0f} TFLOP/s, assumed"
    words = {"31": f"both LLMs; {prompt:.0f} tokens a row, none shared",
             "32": f"both LLMs, {CORPUS:,} rows of {prompt:.0f} tokens, none shared",
             "33": f"three encoders; at most {prompt + GUIDANCE:.0f} tokens a row"}
    lines = [("31, both LLMs, on 1 / 4 / 8 GPUs", divided(2 * AUTHORS),
              "the authors' 11,595 s for one LLM, without token sharing; divided evenly")]
    return lines + [(f"{stage}, by operations", divided(found[stage] / PEAK / SHARE),
                     f"{words[stage]}; {found[stage]:.1e} FLOP; {assumed}") for stage in words]


def plan(root: Path) -> str:
    """The plan as a table with sources."""
    found, sums = parts(root), totals(root)
    pinned = [HUB[name].gigabytes for name in
              ("Qwen/Qwen3-8B", "intfloat/multilingual-e5-large-instruct")]
    rows = [(f"GPU memory, {name}", f"{size:.1f} GB", source)
            for name, (size, source) in found.items()]
    rows += [("GPU memory, largest stage", f"{sums['gpu_memory_gb']:.0f} GB", "sums of the above"),
             ("host memory", f"{sums['memory_gb']:.0f} GB", "the LLM, a checkpoint of E5"),
             ("disk of the run", f"{sums['disk_gb']:.0f} GB",
              "three encoders, two adapters, a checkpoint twice while it is renamed"),
             ("downloads", f"{sum(pinned):.1f} GB", "safetensors of the two pinned models"),
             *hours(root)]
    lines = ["| what | computed | source |", "| :--- | ---: | :--- |"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])
