"""The paper's configuration in bfloat16 on the CPU: what it inherits, which code it takes, the whole chain, kills, and float32 beside it."""
import json
import shutil

import numpy as np
import pytest
import torch
from peft.tuners.lora import Linear
from test_chain import REPOSITORY, checkout, dimabsa, kill_in_training, records

from dimabsa_nb import coarse, encoder
from dimabsa_nb.coarse import (
    add_lora,
    extract_merged,
    load_adapters,
    load_base,
    tokenise,
    train_coarse,
)
from dimabsa_nb.core import read_jsonl
from dimabsa_nb.encoder import new_encoder
from dimabsa_nb.profiles import load_chain

RUN = "paper-tiny", "-p", "checkpoint_seconds=0.0"
TRAINED = "31_train_coarse@valence", "33_train_encoder@joint"
MODELS = {"model", "base", "candidate", "affect_corpora"}
SIZES = {"corpus", "coarse_rows", "encoder_rows", "test_rows"}


def parameters(stage, profile="paper-tiny"):
    return load_chain(profile, root=REPOSITORY).stages[stage].parameters


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    root = checkout(tmp_path_factory.mktemp("paper-tiny"))
    dimabsa(root, "run", *RUN)
    return root


@pytest.fixture(scope="module")
def rows(undisturbed):
    return read_jsonl(undisturbed / "runs/paper-tiny/30_prepare_rows/rows.jsonl")


def tuned(dtype, dropout=None):
    """What 31_train_coarse trains, in a precision of our choice."""
    given = parameters("31_train_coarse@valence")
    base, tokenizer = load_base(given["model"], dtype)
    model = add_lora(base, given["lora_rank"], given["lora_alpha"], given["lora_dropout"] if dropout is None else dropout)
    assert given["gradient_checkpointing"]
    model.gradient_checkpointing_enable({"use_reentrant": False})
    return model, tokenizer


def test_it_differs_from_paper_in_models_rows_and_no_more():
    differing = {}
    for stage in ("30_prepare_rows", *TRAINED, "31_train_coarse@arousal", "32_extract_guidance", "33_train_encoder@separate-valence", "92_main_results"):
        ours, theirs = parameters(stage), parameters(stage, "paper")
        differing[stage.split("@")[0]] = {name for name in ours if ours[name] != theirs[name]} - MODELS - SIZES - {"profile", "caption"}
    assert differing.pop("33_train_encoder") <= {"dtype"} and not any(differing.values())


def test_the_tiny_models_have_the_shapes_of_the_real_ones():
    model, tokenizer = load_base("tiny-random-qwen3-wide")
    config, attention = model.config, model.model.layers[0].self_attn
    assert (config.head_dim, config.num_attention_heads // config.num_key_value_heads, config.vocab_size) == (128, 4, 151_936)  # Qwen3-8B's
    assert attention.q_norm.weight.shape == attention.k_norm.weight.shape == (128,) and not config.tie_word_embeddings
    assert len(tokenizer) == 151_670 and model.lm_head.weight is not model.model.embed_tokens.weight
    backbone = new_encoder("tiny-random-xlmr-wide", "joint")[0].backbone.config
    assert (backbone.hidden_size // backbone.num_attention_heads, backbone.max_position_embeddings, backbone.model_type) == (64, 514, "xlm-roberta")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bfloat16_trains_through_pefts_own_pass(rows, monkeypatch, dtype):
    """As on CUDA: float32 adapters on a bfloat16 base, PEFT's forward, dropout, all layers recomputed but the shortened last one."""
    given, calls = parameters(TRAINED[0]), {"own": 0, "peft": 0}
    def counted(name, function):
        def call(*arguments, **settings):
            calls[name] += 1
            return function(*arguments, **settings)
        return call
    monkeypatch.setattr(coarse._LoraProjection, "apply", counted("own", coarse._LoraProjection.apply))
    monkeypatch.setattr(Linear, "forward", counted("peft", Linear.forward))
    model, tokenizer = tuned(dtype)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == ("lora_" in name) and parameter.dtype == (torch.float32 if "lora_" in name else dtype), name
    few, seen = rows[rows.role_coarse == "train"].head(12), []
    layers = model.get_base_model().model.layers
    layers[-1].register_forward_hook(lambda _, inputs, output: seen.append((output.dtype, output.shape[1])))
    for number, layer in enumerate(layers):
        layer.mlp.register_forward_pre_hook(lambda *_, number=number: seen.append(number))
    prompts, gold = tokenise(few, "valence", tokenizer, given["max_length"]), torch.tensor(few.valence.to_numpy(), dtype=torch.float32)
    coarse._coarse_backward(model.train(), prompts, gold, "valence", coarse._digit_ids(tokenizer, "valence"), given["token_budget"])
    assert seen == [0, 1, 2, (dtype, len(prompts)), 1, 0]  # the last layer for the answers alone; the others once more in the backward pass
    projections = [module for module in model.modules() if isinstance(module, Linear)]
    assert len(projections) == 7 * 3 and all(module.lora_dropout["default"].p == 0.05 and module.training for module in projections)
    assert all(module.lora_B["default"].weight.grad.dtype == torch.float32 and module.lora_B["default"].weight.grad.any() for module in projections)
    assert (calls["own"] > 0, calls["peft"] > 0) == ((True, False) if dtype == torch.float32 else (False, True))


def test_the_encoder_trains_under_autocast_and_nothing_is_frozen():
    given = parameters(TRAINED[1])
    assert given["dtype"] == "bfloat16" and given["start"] == "random" and given["backbone_dropout"] < 0
    model, tokenizer = new_encoder(given["base"], "joint", given["dropout"], None, given["frozen_layers"] >= 0, max(given["frozen_layers"], 0), given["seed"])
    assert all(parameter.requires_grad and parameter.dtype == torch.float32 for parameter in model.parameters()) and model.frozen_states is None
    dropouts, seen = [module.p for module in model.backbone.modules() if isinstance(module, torch.nn.Dropout)], []
    assert dropouts and set(dropouts) == {0.1} and model.backbone.config.attention_probs_dropout_prob == 0.1
    model.backbone.encoder.layer[0].attention.self.query.register_forward_hook(lambda _, inputs, output: seen.append(output.dtype))
    sequences = tokenizer(["Tasty.", "Вкусно, 8 из 10!"])["input_ids"]
    encoder._encoder_backward(model.train(), sequences, torch.tensor([[7.0, 5.0], [8.0, 6.0]]), given["token_budget"], torch.bfloat16)
    assert seen == [torch.bfloat16]
    assert all(parameter.grad is not None and parameter.grad.dtype == torch.float32 for parameter in model.parameters())
    assert model.backbone.embeddings.word_embeddings.weight.grad.any()


def test_bfloat16_lowers_the_loss_as_float32_does(rows, tmp_path):
    """A rate at which twelve steps are seen; no dropout, whose draws differ between the two forward passes."""
    few, means = rows[rows.role_coarse == "train"].head(24).reset_index(drop=True), {}
    for dtype in (torch.float32, torch.bfloat16):
        model, tokenizer = tuned(dtype, 0.0)
        losses = train_coarse(model, tokenizer, few, "valence", tmp_path / str(dtype), 5e-3, batch_size=8, epochs=4, token_budget=16384)["losses"]
        means[dtype] = np.array([np.mean(losses[:3]), np.mean(losses[-3:])])
    first, last = means[torch.float32]
    assert last < 0.9 * first
    assert np.abs(means[torch.bfloat16] - means[torch.float32]).max() < 0.05 * (first - last)


def test_unmerged_bfloat16_extracts_what_merged_float32_does(undisturbed, rows, tmp_path, monkeypatch):
    """bfloat16 rounds to 1 part in 512; over three layers logits of size 8 move by less than 0.1, and p (1 - p) is at most 1/4."""
    folders = {name: undisturbed / f"runs/paper-tiny/31_train_coarse@{name}/adapter" for name in ("valence", "arousal")}
    held, found = rows[rows.role_coarse == "internal"].reset_index(drop=True), {}
    for dtype in (torch.float32, torch.bfloat16):
        model, tokenizer, settings = load_adapters(folders, dtype)
        assert {p.dtype for name, p in model.named_parameters() if "lora_" in name} == {torch.float32}
        merges, merge = [], model.merge_adapter
        monkeypatch.setattr(model, "merge_adapter", lambda names, merges=merges, merge=merge: [merges.append(names), merge(names)])
        for name in folders:
            frame = extract_merged(model, tokenizer, held, name, tmp_path / f"{dtype}/{name}.jsonl", settings[name], 32768)
            found[dtype, name] = np.stack(frame["probabilities"])
        assert merges == ([["valence"], ["arousal"]] if dtype == torch.float32 else [])
    for name in folders:
        ours, theirs = found[torch.bfloat16, name], found[torch.float32, name]
        assert 0 < np.abs(ours - theirs).max() < 0.03 and np.ptp(theirs, axis=1).min() > 0.1


def test_the_chain_ends_in_table_2_and_its_records_say_bfloat16(undisturbed):
    run, found = undisturbed / "runs/paper-tiny", {}
    for path in run.glob("3[123]*/record.json"):
        found[path.parent.name] = record = json.loads(path.read_text())
        assert (record["device"], record["dtype"]) == ("cpu", "bfloat16") and record["metrics"]["dtype_reason"].startswith("asked for"), path
        if "attention" in record["metrics"]:
            assert (record["metrics"]["attention"], record["metrics"]["attention_kernel"]) == ("packed", "blocks")
    trained = found[TRAINED[1]]["metrics"]
    assert len(found) == 6 and trained["probe_error"] is None and (trained["max_length"], trained["pooled_dropout"]) == (512, 0.0)
    assert [found[stage]["metrics"]["steps"] // found[stage]["parameters"]["epochs"] > 1 for stage in TRAINED] == [True, True]
    table = (run / "92_main_results/results/table2.md").read_text()
    assert "Not comparable with any published number" in table and "| Macro |" in table


def test_killed_in_both_trainings_it_ends_in_the_same_bytes(undisturbed, tmp_path):
    """The two stages are taken away and run again; what reads them stays, for their outputs' hashes are the same."""
    before = records(undisturbed, RUN[0])
    for stage in TRAINED:
        shutil.move(undisturbed / f"runs/paper-tiny/{stage}", tmp_path / stage)
    for stage in TRAINED:
        kill_in_training(undisturbed, stage, *RUN)
    said = dimabsa(undisturbed, "run", *RUN)
    assert f"{TRAINED[1]}: goes on where it was stopped" in said and said.count("done before") == len(before) - 1, said
    assert records(undisturbed, RUN[0]) == before
