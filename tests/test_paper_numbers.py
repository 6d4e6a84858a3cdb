"""The paper's own numbers, across modules: Table 3, equations 1-3, and Appendix A in the models' real tokens."""
import numpy as np
import pytest
import torch

from dimabsa_nb import guidance, losses, prompts

TEXTS = ["The keys feel cheap.", "很好。", "5 stars", "(ok)", "Доставка была быстрой!", "Ашы бик тәмле", "トイレ が 汚い 。", "no stop"]


# --- equations 1-3 against a plain float64 computation --------------------------------------------------------------------
def softmax(logits):
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.fixture
def batch():
    random = np.random.default_rng(3)
    values = np.concatenate([random.uniform(1, 9, 60), [1.0, 2.5, 2.99, 3.0, 3.5, 5.99, 6.0, 8.5, 9.0]])
    return random.normal(0, 3, (len(values), 8)), values


@pytest.mark.parametrize("faithful_to", ["paper", "release"])
def test_equation_1(batch, faithful_to):
    logits, valence = batch
    probabilities, classes = softmax(logits), np.clip(np.rint(valence), 1, 8).astype(int) - 1
    score = np.clip(valence, 1, 8) if faithful_to == "release" else valence
    expected = -np.log(probabilities[np.arange(len(valence)), classes]) + 0.25 * (probabilities @ np.arange(1, 9) - score) ** 2
    ours = losses.valence_loss(torch.tensor(logits), torch.tensor(valence), faithful_to=faithful_to, reduction="none")
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("faithful_to", ["paper", "release"])
def test_equation_2(batch, faithful_to):
    logits, arousal = batch[0][:, :6], batch[1]
    if faithful_to == "release":
        arousal = np.clip(arousal, 3, 8)
    target = np.exp(-((np.arange(3, 9) - arousal[:, None]) ** 2) / (2 * 0.8**2))
    target /= target.sum(axis=1, keepdims=True)
    probabilities = softmax(logits)
    expected = -(target * np.log(probabilities)).sum(axis=1) + 0.4 * (probabilities @ np.arange(3, 9) - arousal) ** 2
    ours = losses.arousal_loss(torch.tensor(logits), torch.tensor(batch[1]), faithful_to=faithful_to, reduction="none")
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_equation_3(batch):
    random = np.random.default_rng(4)
    target = np.stack([batch[1], batch[1][::-1]], axis=1)
    predicted, bins = random.uniform(1, 9, target.shape), random.normal(0, 2, (*target.shape, 3))
    error = np.abs(predicted - target)
    smooth = np.where(error < 0.5, error**2 / (2 * 0.5), error - 0.5 * 0.5)
    truth = np.where(target < 3, 0, np.where(target < 6, 1, 2))
    cross_entropy = -np.log(np.take_along_axis(softmax(bins.reshape(-1, 3)), truth.reshape(-1, 1), axis=1)).reshape(target.shape)
    ours = losses.encoder_loss(*(torch.tensor(array) for array in (predicted, bins, target)))
    assert ours.item() == pytest.approx((smooth + 0.15 * cross_entropy).sum(axis=1).mean(), rel=1e-4)


@pytest.mark.parametrize("dimension", ["valence", "arousal"])
def test_losses_teach(dimension):
    """Plain gradient descent on the logits ends near the true value."""
    values = torch.tensor([3.0, 4.4, 6.6, 7.9])
    logits = torch.zeros(4, len(prompts.DIGITS[dimension]), requires_grad=True)
    for _ in range(300):
        (gradient,) = torch.autograd.grad(losses.coarse_loss(dimension, logits, values, reduction="none").sum(), logits)
        logits = (logits - 0.3 * gradient).detach().requires_grad_()
    assert (prompts.expected_score(dimension, logits.detach().softmax(-1)) - values).abs().max() < 0.5


# --- Table 3 --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("number, edge", list(enumerate([0.05, 0.15, 0.30, 0.50, 0.70, 0.85])))
def test_table_3_edges(number, edge):
    assert guidance.bucket(edge - 1e-6) == number and guidance.bucket(edge) == number + 1
    rest = (1 - edge) / 7
    (tokens,) = guidance.guidance_tokens("valence", [[edge] + [rest] * 7])
    assert tokens["pA"] == f"v{guidance.bucket(edge + rest)}" and tokens["conf"] == tokens["top1"]


@pytest.mark.parametrize("digits", [6, 8])
def test_table_3_entropy_has_seven_levels(digits):
    levels = guidance.entropy_level(np.log(digits) * np.linspace(0, 1, 601), digits)
    assert sorted(set(levels)) == list(range(7)) and (np.diff(levels) >= 0).all()


def test_p_low_is_the_probability_of_3_4_5():
    one_digit = guidance.arousal_features(np.eye(6))
    assert one_digit["pLow"].tolist() == [1, 1, 1, 0, 0, 0]
    assert one_digit["bin"].tolist() == list("BBBCCC")
    assert guidance.valence_features(np.eye(8))["bin"].tolist() == list("AABBBCCC")


@pytest.mark.parametrize("faithful_to", ["paper", "release"])
@pytest.mark.parametrize("variant", list(prompts.VARIANTS))
def test_tokens_fill_every_input(variant, faithful_to):
    """Whatever a coarse LLM answers, the encoder's input is complete."""
    random = np.random.default_rng(5)
    valence, arousal = (
        guidance.guidance_tokens(dimension, random.dirichlet(np.ones(len(digits)) / 3, 50), faithful_to)
        for dimension, digits in prompts.DIGITS.items()
    )
    for tokens in zip(valence, arousal):
        written = prompts.encoder_input(variant, "tat", "restaurant", "Ашы бик тәмле", "аш", *tokens, faithful_to=faithful_to)
        assert not {"{", "}", "nan", "None"} & set(written.replace("=", " ").split())


# --- Appendix A in Qwen's tokens ------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def qwen():
    """Qwen's real vocabulary, with the answer token added as the coarse LLM adds it."""
    weights = pytest.importorskip("dimabsa_nb.weights")
    from transformers import AutoTokenizer

    try:
        folder = weights.resolve("tiny-random-qwen3")
    except ValueError as unavailable:
        pytest.skip(str(unavailable))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": [prompts.ANSWER_TOKEN]})
    return lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]


def test_digits_are_single_tokens(qwen):
    """Digits 1-8 have the ids 16-23 in Qwen3, as the authors' training log prints them."""
    assert [qwen(str(digit)) for digit in range(1, 9)] == [[token] for token in range(16, 24)]


def test_answer_position(qwen):
    """`Output: <ANS>` is [5097, 25, 220, answer] in the authors' log: the space is a token of its own."""
    *before, answer = qwen("Output: <ANS>")
    assert before == qwen("Output: ") == [5097, 25, 220] and qwen("<ANS>") == [answer]
    for digit in "12345678":
        assert qwen(f"Output: {digit}") == before + qwen(digit)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("dimension", ["valence", "arousal"])
def test_prompt_boundaries(qwen, dimension, text):
    """The instructions end where the text begins; the answer token is the last one and the only one of its kind."""
    prefix, middle, suffix = prompts.coarse_prompt(dimension, "eng", "laptop", text, "keyboard")
    tokens = qwen(prefix + middle + suffix)
    assert tokens == qwen(prefix) + qwen(middle + suffix)
    assert tokens[-1] == qwen(prompts.ANSWER_TOKEN)[0] and tokens.count(tokens[-1]) == 1
    assert tokens[-4:] == qwen("Output: <ANS>")


@pytest.mark.parametrize("text", TEXTS)
def test_aspects_of_one_text_share_its_tokens(qwen, text):
    """Prompts of one text differ in the aspect alone, which is what computing shared tokens once rests on."""
    first, second = (qwen("".join(prompts.coarse_prompt("valence", "eng", "laptop", text, aspect))) for aspect in ("keyboard", "屏幕"))
    shared = next(place for place, pair in enumerate(zip(first, second)) if pair[0] != pair[1])
    assert first[:shared] == qwen("".join(prompts.coarse_prompt("valence", "eng", "laptop", text, "")[:2]) + "\nAspect:")


def test_length_of_a_printed_example(qwen):
    """The instructions cost few of the 384 tokens: about 60 before the text and 10 behind it."""
    prefix, _, suffix = prompts.coarse_prompt("valence", "eng", "laptop", "", "keyboard")
    assert len(qwen(prefix)) + len(qwen(suffix)) < 80


# --- Appendix A in E5's tokens --------------------------------------------------------------------------------------------
def test_line_breaks_do_not_reach_the_encoder():
    """E5's tokenizer reads any white space as one space, so the line breaks of the printed input cost nothing."""
    weights = pytest.importorskip("dimabsa_nb.weights")
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(weights.resolve("multilingual-e5-small"))
    except ValueError as unavailable:
        pytest.skip(str(unavailable))
    tokens = [guidance.guidance_tokens(dimension, [[1] + [0] * (len(digits) - 1)])[0] for dimension, digits in prompts.DIGITS.items()]
    written = prompts.encoder_input("joint", "eng", "laptop", "The keys feel cheap.", "keyboard", *tokens)
    assert tokenizer(written)["input_ids"] == tokenizer(" ".join(written.split()))["input_ids"]
