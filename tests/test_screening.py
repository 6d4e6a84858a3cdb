"EmoLoom: the contract, exact decoding, and a screening run that is killed and goes on."
import json
from pathlib import Path
import pytest
from hypothesis import given, settings, strategies as st
from dimabsa_nb.contract import CODES, VAD, Answer, complete, json_schema, parse, parse_lenient, render

ROOT = Path(__file__).parents[1]
LABELS = ["anger", "disgust", "joy", "neutral"]
EXAMPLE = '{"labels":["disgust"],"vad":{"v":0.42,"a":0.21,"d":0.49},"rationale":"tone of displeasure"}'
shares = st.floats(0, 1)
answers = st.builds(Answer, labels=st.lists(st.sampled_from(LABELS), min_size=1, unique=True),
                    vad=st.builds(VAD, v=shares, a=shares, d=shares), rationale=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=120))
# pieces of answers, so that chance finds nearly right ones
fragments = st.lists(st.sampled_from([*'{}[]":,\\\'', "labels", '"labels":["joy"]', '"vad":{"v":0.1,"a":1e999,"d":-0.0}', '"rationale":"x"', "NaN", "\\ud800", "9" * 5000,
                                      EXAMPLE, EXAMPLE[:40], "null", "true", "\x00", "\n", "```json"]) | st.text(max_size=5), max_size=30).map("".join)


# every training target parses as ok: what is written is read back, to two decimals
@given(answers)
def test_round_trip(answer):
    line = render(answer)
    assert len(line.splitlines()) == 1 and line.isascii() and complete(line)
    code, found = parse(line, LABELS)
    assert code == "ok" and found.labels == answer.labels and found.rationale == answer.rationale
    assert all(abs(ours - theirs) <= 0.005 + 1e-9 for (_, ours), (_, theirs) in zip(found.vad, answer.vad))
    assert render(found) == line and parse_lenient(line, LABELS).answer == found


@settings(max_examples=500)
@given(st.text() | fragments | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)).map(json.dumps))
def test_parsers_never_raise(output):
    strict, lenient = parse(output, LABELS), parse_lenient(output, LABELS)
    for parsed in (strict, lenient):
        assert parsed.code in CODES and (parsed.answer is not None) == (parsed.code == "ok")
        if parsed.answer: assert set(parsed.answer.labels) <= set(LABELS) and all(0 <= value <= 1 for _, value in parsed.answer.vad)
    if strict.answer: assert lenient == strict


# a prefix of an answer is never taken for one
@given(answers, st.data())
def test_a_cut_answer_is_truncated(answer, data):
    line = render(answer)
    cut = data.draw(st.integers(1, len(line) - 1))
    assert parse(line[:cut], LABELS).code == "truncated" and not complete(line[:cut])


@pytest.mark.parametrize("output", ["[" * 100_000, "{" * 3_000, '{"labels":' + "[" * 50_000 + "]" * 50_000 + "}", "{}" * 3_000, '{"a":"' + "\\" * 9_999])
def test_hostile_outputs_end(output):
    assert parse(output, LABELS).code in CODES and parse_lenient(output, LABELS).code in CODES


def test_the_published_schema_is_the_model_s():
    text = (ROOT/"nbs/contract.schema.json").read_text("utf-8")
    assert text == json.dumps(json_schema(), indent=1, sort_keys=True) + "\n"
    import jsonschema
    jsonschema.Draft202012Validator.check_schema(json_schema(LABELS))
    jsonschema.validate(json.loads(EXAMPLE), json_schema(LABELS))
    for wrong in (EXAMPLE.replace("disgust", "ennui"), EXAMPLE.replace("0.42", "1.42"), EXAMPLE.replace("rationale", "why")):
        with pytest.raises(jsonschema.ValidationError): jsonschema.validate(json.loads(wrong), json_schema(LABELS))
