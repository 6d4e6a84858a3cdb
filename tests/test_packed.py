"""The packed pass in training: loss and gradient are the plain ones, with LoRA, repeats, shared texts, sliding windows, and the batch cut anywhere."""
import numpy as np
import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, Qwen3Config, Qwen3ForCausalLM

from dimabsa_nb.baselines import _padded_backward, _padded_lora
from dimabsa_nb.coarse import _coarse_backward, _use_fast_lora, add_lora
from dimabsa_nb.packed import token_batches, use_packed_attention
from dimabsa_nb.train import _trained_parameters

DIGITS = [11, 12, 13, 14, 15, 16, 17, 18]
SHAPE = dict(vocab_size=99, hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=16)


def tuned(kind):
    torch.manual_seed(0)
    if kind == "qwen3":
        model = Qwen3ForCausalLM(Qwen3Config(**SHAPE))
    else:
        layers = ["sliding_attention", "full_attention", "sliding_attention"]
        model = Gemma3ForCausalLM(Gemma3TextConfig(**SHAPE, sliding_window=8, layer_types=layers))
    model = add_lora(use_packed_attention(model), rank=4, dropout=0.0)
    for name, value in _trained_parameters(model).items():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.2)
    return model


@pytest.fixture(scope="module")
def batch():
    draw = np.random.default_rng(0)

    def words(count):
        return draw.integers(20, 99, count).tolist()

    instruction, texts = words(9), [words(count) for count in (5, 30, 12)]
    prompts = [instruction + text + words(count) for text in texts for count in (2, 3, 1)]
    drawn = [0, 4, 4, 1, 8, 4, 2, 6, 0]  # a weighted draw with replacement repeats rows
    return [prompts[k] for k in drawn], torch.tensor([1.5, 8.2, 8.2, 6.0, 3.3, 8.2, 5.5, 7.0, 1.5])


def gradient(model):
    return torch.cat([value.grad.flatten() for value in _trained_parameters(model).values()])


@pytest.fixture(scope="module", params=["qwen3", "gemma3"])
def plain(request, batch):
    model = _padded_lora(tuned(request.param))
    model.get_base_model().set_attn_implementation("eager")
    loss = _padded_backward(model, *batch, "valence", DIGITS)
    return request.param, loss, gradient(model)


@pytest.mark.parametrize("budget", [1, 17, 48, 90, 100_000])
def test_gradient_is_the_plain_one_wherever_the_batch_is_cut(plain, batch, budget):
    kind, loss, expected = plain
    model = _use_fast_lora(tuned(kind))
    assert _coarse_backward(model, *batch, "valence", DIGITS, budget) == pytest.approx(loss, rel=1e-5)
    torch.testing.assert_close(gradient(model), expected, atol=2e-6, rtol=2e-4)


def test_gradient_checkpointing_changes_nothing(plain, batch):
    kind, _, expected = plain
    model = _use_fast_lora(tuned(kind)).train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    _coarse_backward(model, *batch, "valence", DIGITS, 48)
    torch.testing.assert_close(gradient(model), expected, atol=2e-6, rtol=2e-4)


def test_the_cut_keeps_every_row_once(batch):
    for budget in (1, 17, 48, 90, 100_000):
        assert sorted(sum(token_batches(batch[0], budget), [])) == list(range(9))
