"""The packed pass in training: loss and gradient are the plain ones, with LoRA, repeats, shared texts, sliding windows, and the batch cut anywhere."""
import tracemalloc

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, Qwen3Config, Qwen3ForCausalLM

from dimabsa_nb import packed
from dimabsa_nb.baselines import _padded_backward, _padded_lora
from dimabsa_nb.coarse import _coarse_backward, _use_fast_lora, add_lora
from dimabsa_nb.packed import _visible, prefix_tree, token_batches, use_packed_attention
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


def random_tree(seed):
    draw, prompts = np.random.default_rng(seed), [[0]]
    for _ in range(draw.integers(1, 40)):
        before = prompts[draw.integers(len(prompts))]
        prompts.append(before[:draw.integers(len(before) + 1)] + draw.integers(1, 5, draw.integers(2, 60)).tolist())
    return prefix_tree(prompts)


@pytest.mark.parametrize("window", [None, 1, 4, 20])
def test_blocks_are_those_of_the_dense_mask(window):
    for seed in range(20):
        tree = random_tree(seed)
        tokens = np.arange(len(tree.input_ids))
        for size in (2, 3, 16):
            part, whole = packed._block_relations(tree, window, size)
            dense = np.zeros([len(part) * size] * 2, dtype=bool)
            dense[:len(tokens), :len(tokens)] = _visible(tree, tokens, tokens, window)
            dense = dense.reshape(len(part), size, len(part), size).swapaxes(1, 2)
            assert (whole == dense.all((2, 3))).all() and not (part & whole).any()
            assert (dense.any((2, 3)) <= part | whole).all()
            assert window or (dense.any((2, 3)) == part | whole).all()


@pytest.mark.parametrize("window", [None, 20])
def test_flex_attention_reads_our_mask_as_torchs_own(window):
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention
    tree = random_tree(38)
    tokens = len(tree.input_ids)
    ours = packed._flex_masks(tree, (window,), torch.device("cpu"))[window]
    own = create_block_mask(ours.mask_mod, None, None, tokens, tokens, device="cpu")
    assert tokens > 512 and window or torch.equal(ours.full_kv_indices, own.full_kv_indices) and torch.equal(ours.q_indices, own.q_indices)
    torch.manual_seed(0)
    states = [torch.randn(1, heads, tokens, 16) for heads in (4, 2, 2)]
    torch.testing.assert_close(*(flex_attention(*states, block_mask=mask, enable_gqa=True) for mask in (ours, own)))


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that any operation makes."""
    elements = 0

    def __torch_dispatch__(self, function, types, arguments=(), settings=None):
        made = function(*arguments, **(settings or {}))
        self.elements = max([self.elements, *(one.numel() for one in (made if isinstance(made, (list, tuple)) else [made]) if isinstance(one, torch.Tensor))])
        return made


def test_masks_of_32768_tokens_take_little_memory():
    tree = prefix_tree([[*range(199), *range(1000 * k, 1000 * k + 241)] for k in range(1, 136)])
    assert 32_700 < len(tree.input_ids) <= 32_768
    tracemalloc.start()
    with Largest() as largest:
        masks = packed._flex_masks(tree, (None, 512), torch.device("cpu"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert largest.elements < 100_000 and peak < 2**26 and masks[None].kv_indices.shape[-1] == 256


def dense(query, key, value, block_mask, scale, enable_gqa):
    """What FlexAttention computes, by the rule for single tokens; it has a backward pass on the CPU."""
    tokens = torch.arange(query.shape[2])
    seen = block_mask.mask_mod(None, None, tokens[:, None], tokens)
    return scaled_dot_product_attention(query, key, value, seen, scale=scale, enable_gqa=enable_gqa)


def causal(query, key, value, block_mask, scale, enable_gqa):
    return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale, enable_gqa=enable_gqa)


def wrong_gradient(*inputs, **settings):
    right = dense(*inputs, **settings)
    return 2 * right - right.detach()


def endless(*inputs, **settings):
    return dense(*inputs, **settings) * float("nan")


def refusing(*inputs, **settings):
    raise NotImplementedError("no such kernel\nfor this head size")


class WrongRecomputation:
    """Right, but for the third call: the one that gradient checkpointing makes in the backward pass."""
    calls = 0

    def __call__(self, query, *inputs, **settings):
        self.calls += 1
        return dense(query * (2 if self.calls == 3 else 1), *inputs, **settings)


def verdict(monkeypatch, kernel, dtype=torch.float32, windows=(None,)):
    monkeypatch.setattr(packed, "_flex_kernel", lambda device_type: kernel)
    with torch.inference_mode():  # an extraction asks here
        return packed._flex_verdict.__wrapped__(torch.device("cpu"), dtype, (4, 2), 16, windows)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_kernel_that_agrees_is_taken(monkeypatch, dtype):
    assert verdict(monkeypatch, dense, dtype, (None, 512))[0] == "flex"


@pytest.mark.parametrize("kernel, reason", [
    (causal, "differ by"), (wrong_gradient, "differ by 1, limit"), (endless, "differ by nan"), (WrongRecomputation(), "differ by"),
    (refusing, "does not run here (NotImplementedError: no such kernel for this head size)")])
def test_a_kernel_that_errs_anywhere_is_not_taken(monkeypatch, kernel, reason):
    chosen, why = verdict(monkeypatch, kernel)
    assert chosen == "blocks" and reason in why


def test_the_choice_leaves_the_random_stream_alone(monkeypatch):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    verdict(monkeypatch, dense)
    assert torch.equal(torch.get_rng_state(), before)


def test_gradient_through_flex_masks_is_the_plain_one(monkeypatch, plain, batch):
    kind, loss, expected = plain
    monkeypatch.setattr(packed, "_flex_kernel", lambda device_type: dense)
    monkeypatch.setattr(packed, "kernel_choice", lambda model: ("flex", "for this test"))
    model = _use_fast_lora(tuned(kind)).train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    assert _coarse_backward(model, *batch, "valence", DIGITS, 90) == pytest.approx(loss, rel=1e-5)
    torch.testing.assert_close(gradient(model), expected, atol=2e-6, rtol=2e-4)


def test_bfloat16_attention_on_a_cpu_is_the_fused_one():
    torch.manual_seed(0)
    states = [torch.randn(3, heads, 5, 8) for heads in (4, 2, 2)]
    mask = packed._additive_mask(np.tril(np.ones((3, 5, 5), dtype=bool)), torch.float32)
    fused, plain = (packed._attend(*(state.to(dtype) for state in (*states, mask)), None, 0.0).float()
                    for dtype in (torch.float32, torch.bfloat16))
    torch.testing.assert_close(plain, fused, atol=0.03, rtol=0.03)
