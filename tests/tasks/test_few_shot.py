"""Few-shot learning: probabilities of labels, beside the whole prompt read at once."""

import json

import numpy as np
import pytest

import keras_plm as plm
from keras_plm.__main__ import main
from keras_plm.commands.generating import _balanced
from keras_plm.tasks import FewShot
from tests.tasks.test_text_generation import allowed, make

EXAMPLES = [("the house", "red"), ("a cat", "blue green"), ("the end", "red")]


@pytest.fixture(scope="module")
def model():
    return make("llama", max_sequence_length=300)


def test_probabilities_are_those_of_the_whole_prompts(model):
    task = FewShot(model, EXAMPLES, instruction="Colors:")
    assert task.labels == ["red", "blue green"]
    queries = ["a dog", "the house is on the hill and more"]

    def scores(text):
        prompt = f"{task.shots}Text: {text}\nAnswer:"
        # the tokens of a label are those behind the prompt
        split = [
            (model.tokenizer.encode(prompt).token_ids, model.tokenizer.encode(f" {la}").token_ids) for la in task.labels
        ]
        found = []
        for before, after in split:
            ids = np.array([before + after], "int32")
            logits = np.asarray(model({"token_ids": ids, "padding_mask": np.ones_like(ids)})[0], "float64")
            logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
            found.append(sum(logits[len(before) - 1 + i, token] for i, token in enumerate(after)))
        return np.array(found)

    plain = np.array([np.exp(scores(q)) / np.exp(scores(q)).sum() for q in queries])
    np.testing.assert_allclose(task.predict_probabilities(queries, calibrated=False), plain, atol=1e-4)
    free = np.mean([np.exp(scores(q)) / np.exp(scores(q)).sum() for q in ("N/A", "", "[MASK]")], 0)
    wanted = plain / free / (plain / free).sum(-1, keepdims=True)
    np.testing.assert_allclose(task.predict_probabilities(queries), wanted, atol=1e-3)
    assert task.predict_labels(queries) == [task.labels[i] for i in wanted.argmax(-1)]
    assert task.predict_probabilities([]).shape == (0, 2)


def test_it_writes_one_line(model):
    task = FewShot(model, EXAMPLES, template="{text} is")
    text = task.complete("a dog", max_new_tokens=9, logit_bias=allowed(model))
    whole = model.generate([f"{task.shots}a dog is"], max_new_tokens=9, logit_bias=allowed(model))[0]
    assert text == whole.split("\n")[0].strip()


def test_the_command(model, tmp_path, capsys):
    plm.save(model, tmp_path / "writer")
    rows = [{"text": f"text {i}", "label": ["red", "blue", "red"][i % 3]} for i in range(12)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = [
        "complete",
        "--model",
        str(tmp_path / "writer"),
        "--examples",
        str(tmp_path / "rows.jsonl"),
        "--shots",
        "4",
    ]
    main([*flags, "a dog", "a cat"])
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[2] for line in lines] == ["a dog", "a cat"]
    assert all(line[0] in ("red", "blue") and 0.5 <= float(line[1]) <= 1 for line in lines)
    main([*flags, "--write", "a dog"])
    assert "a dog" in capsys.readouterr().out
    chosen = _balanced([(row["text"], row["label"]) for row in rows], 4, 0)
    assert sorted(label for _, label in chosen) == ["blue", "blue", "red", "red"] and len(set(chosen)) == 4


def test_refused(model):
    with pytest.raises(ValueError, match="no {text}"):
        FewShot(model, EXAMPLES, template="Text:")
    with pytest.raises(ValueError, match="the examples have .* tokens; the model reads 300"):
        FewShot(model, EXAMPLES * 50)
    with pytest.raises(ValueError, match="at least two"):
        FewShot(model, EXAMPLES[:1]).predict_labels(["a"])
    with pytest.raises(ValueError, match="examples, query and label have"):
        FewShot(model, EXAMPLES).predict_labels(["the " * 290])
