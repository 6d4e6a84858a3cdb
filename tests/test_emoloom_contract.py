"EmoLoom's contract: what is written is read back, and whatever else comes gets one code."
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dimabsa_nb.emoloom.contract import (
    CODES,
    VAD,
    Answer,
    _is_complete,
    json_schema,
    parse,
    parse_lenient,
    render,
)

ROOT = Path(__file__).parents[1]
LABELS = ["anger", "disgust", "joy", "neutral"]
EXAMPLE = ('{"labels":["disgust"],"vad":{"v":0.42,"a":0.21,"d":0.49},'
           '"rationale":"tone of displeasure"}')
shares = st.floats(0, 1)
phrases = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=120)
answers = st.builds(Answer, rationale=phrases, vad=st.builds(VAD, v=shares, a=shares, d=shares),
                    labels=st.lists(st.sampled_from(LABELS), min_size=1, unique=True))
# pieces of answers, so that chance finds nearly right ones
pieces = [*'{}[]":,\\\'', "labels", '"labels":["joy"]', '"vad":{"v":0.1,"a":1e999,"d":-0.0}',
          '"rationale":"x"', "NaN", "\\ud800", "9" * 5000, EXAMPLE, EXAMPLE[:40], "null", "true",
          "\x00", "\n", "```json"]
fragments = st.lists(st.sampled_from(pieces) | st.text(max_size=5), max_size=30).map("".join)
values = st.recursive(st.none() | st.booleans() | st.floats() | st.text(),
                      lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@settings(deadline=None)
@given(answers)
def test_an_answer_is_read_back_to_two_decimals(answer):
    line = render(answer)
    assert len(line.splitlines()) == 1 and line.isascii() and _is_complete(line)
    code, parsed = parse(line, LABELS)
    assert (code, parsed.labels, parsed.rationale) == ("ok", answer.labels, answer.rationale)
    for (_, ours), (_, theirs) in zip(parsed.vad, answer.vad):
        assert abs(ours - theirs) <= 0.005 + 1e-9
    assert render(parsed) == line and parse_lenient(line, LABELS).answer == parsed


@settings(max_examples=500, deadline=None)
@given(st.text() | fragments | values.map(json.dumps))
def test_parsers_never_raise(output):
    strict, lenient = parse(output, LABELS), parse_lenient(output, LABELS)
    for code, answer in (strict, lenient):
        assert code in CODES and (answer is not None) == (code == "ok")
        if answer:
            assert set(answer.labels) <= set(LABELS)
            assert all(0 <= value <= 1 for _, value in answer.vad)
    if strict.answer: assert lenient == strict


@settings(deadline=None)
@given(answers, st.data())
def test_a_cut_answer_is_truncated(answer, data):
    line = render(answer)
    start = line[:data.draw(st.integers(1, len(line) - 1))]
    assert parse(start, LABELS).code == "truncated" and not _is_complete(start)


@pytest.mark.parametrize("output", [
    "[" * 100_000, "{" * 3_000, '{"labels":' + "[" * 50_000 + "]" * 50_000 + "}", "{}" * 3_000,
    '{"a":"' + "\\" * 9_999,
])
def test_hostile_outputs_end(output):
    assert parse(output, LABELS).code in CODES and parse_lenient(output, LABELS).code in CODES


def test_the_published_schema_is_the_model_s():
    import jsonschema
    text = (ROOT/"nbs/contract.schema.json").read_text("utf-8")
    assert text == json.dumps(json_schema(), indent=1, sort_keys=True) + "\n"
    jsonschema.Draft202012Validator.check_schema(json_schema(LABELS))
    jsonschema.validate(json.loads(EXAMPLE), json_schema(LABELS))
    for old, new in (("disgust", "ennui"), ("0.42", "1.42"), ("rationale", "why")):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(json.loads(EXAMPLE.replace(old, new)), json_schema(LABELS))
