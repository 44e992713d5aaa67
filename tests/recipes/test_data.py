"""What a recipe is trained on: files with bad rows, tables in memory, a split; and what it says of them."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_plm as plm
from keras_plm.recipes import AnswerQuestions, Classify, Embed, Pretrain, Tag
from keras_plm.recipes.splits import is_held_out
from keras_plm.text import LabeledTexts, Questions, TaggedSentences, WordRows


class Epochs(keras.callbacks.Callback):
    """Counts the epochs that it sees."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(epoch)


def test_tables_in_memory_callbacks_and_a_split(settings, review_files, tmp_path, capsys):
    rows = LabeledTexts.read(review_files["train"], "text", None, "label")
    table = {"text": rows.first, "label": np.array(rows.values)}
    seen = Epochs()
    recipe = Classify(
        **settings | {"verbose": 2}, train=table, validation_split=0.25, epochs=2, callbacks=[seen],
        save_to=str(tmp_path / "m"),
    )  # fmt: skip
    model = recipe.run()
    assert model.labels == ["cat", "dog"] and seen.seen == [0, 1]
    printed = capsys.readouterr().out
    assert "validation" in printed and "2 labels: " in printed
    record = json.loads((tmp_path / "m" / "recipe.json").read_text())
    assert record["train"]["rows"] == 96 and len(record["train"]["sha256"]) == 64 and "callbacks" not in record
    card = (tmp_path / "m" / "README.md").read_text()
    assert "| trained on | 96 rows in memory |" in card and "| validation examples | 24 |" in card
    with pytest.raises(ValueError, match="'train' was a table in memory; give it again"):
        Classify.from_json(tmp_path / "m" / "recipe.json")
    again = Classify.from_json(tmp_path / "m" / "recipe.json", train=table, save_to=str(tmp_path / "m2"))
    assert again == replace(recipe, save_to=str(tmp_path / "m2"))


def test_a_record_is_read_whole(settings, review_files, tmp_path):
    recipe = Classify(
        **settings, train=(review_files["train"],), multi_label=True, label_column=("a", "b"), save_to="m"
    )
    path = tmp_path / "recipe.json"
    path.write_text(recipe.to_json())
    assert Classify.from_json(path) == recipe
    for content, message in (
        ("{", "not the record of a recipe"),
        ("[]", "not the record of a recipe"),
        ('{"recipe": "Tag"}', "the record of a recipe Tag, not Classify"),
        ('{"recipe": "Classify", "epoch": 3}', "unknown field 'epoch'; is it epochs?"),
        ('{"recipe": "Classify", "trainable": ["all"]}', "trainable=.*'all'.* does not have the type"),
        ('{"recipe": "Classify", "epochs": "3"}', "epochs='3' does not have the type"),
        ('{"recipe": "Classify", "epochs": 3}', "recipe.json: .*missing"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            Classify.from_json(path)
    pretrain = Pretrain(corpus="books/*.txt", config=plm.MINI, save_to="m")
    path.write_text(pretrain.to_json())
    assert Pretrain.from_json(path) == pretrain


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation_split": 1.5}, "validation_split=1.5; it is a fraction of the examples, in"),
        ({"validation_split": 0.2, "validation": "x"}, "validation and validation_split exclude each other"),
        ({"callbacks": ["x"]}, "callbacks holds 'x'; give objects of keras.callbacks.Callback"),
        ({"label_column": ("a", "b")}, "several label columns need multi_label=True"),
    ],
)
def test_fields_that_do_not_go_together(settings, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Classify(**settings, train="x", save_to="m", **options)


def test_a_split_has_its_share_of_every_label():
    rows = LabeledTexts("here", ["x"] * 60, None, ["a"] * 40 + ["b"] * 20)
    held_out = is_held_out(rows, 0.2, seed=0)
    assert held_out[:40].sum() == 8 and held_out[40:].sum() == 4
    assert not np.array_equal(held_out, is_held_out(rows, 0.2, seed=1))
    questions = Questions("here", ["x"] * 40, ["who ?"] * 40, ["one", "two"] * 20, [[]] * 40)
    assert is_held_out(questions, 0.5, seed=0).sum() == 20
    with pytest.raises(ValueError, match=r"of 2 groups \(such as contexts\), which are not divided, leaves none"):
        is_held_out(questions, 0.1, seed=0)


def test_bad_rows_are_skipped_counted_and_listed(settings, tmp_path, capsys):
    train = [{"text": f"the {animal}", "label": animal} for animal in ("cat", "dog") * 8] + [
        {"text": "", "label": "cat"}
    ]
    dev = [{"text": "the cat", "label": "cat"}, {"text": "the newt", "label": "newt"}]
    options = settings | {"verbose": 2, "epochs": 1, "save_to": str(tmp_path / "m")}
    with pytest.raises(ValueError, match="row 17 of the data: 'text' is empty"):
        Classify(**options, train=train, validation=dev).run()
    with pytest.raises(ValueError, match="unknown label 'newt'"):
        Classify(**options, train=train[:-1], validation=dev).run()
    Classify(**options, train=train, validation=dev, on_bad_row="skip").run()
    listed = (tmp_path / "m" / "skipped_rows.txt").read_text().splitlines()
    assert len(listed) == 2 and "row 17" in listed[0] and "unknown label 'newt'" in listed[1]
    card = (tmp_path / "m" / "README.md").read_text()
    assert "| train rows skipped | 1 |" in card and "| validation rows skipped | 1 |" in card
    assert "1 rows of train were skipped" in capsys.readouterr().out
    tagged = [{"words": ["the", "cat"], "tags": ["O", "B-x"]}] * 4
    unseen = [{"words": ["dog"], "tags": ["B-x"]}, {"words": ["the", "dog"], "tags": ["B-x", "I-x"]}]
    Tag(**options | {"overwrite": True}, train=tagged, validation=unseen, on_bad_row="skip").run()
    assert "1 rows of validation were skipped" in capsys.readouterr().out


def test_labels_that_look_like_missing_values_are_shown(settings, tmp_path, capsys):
    rows = [{"text": f"the cat {i}", "label": label} for i, label in enumerate(["good", "nan", "bad", "None"] * 4)]
    options = settings | {"verbose": 2, "epochs": 1}
    Classify(**options, train=rows, validation=rows[:5], save_to=str(tmp_path / "m")).run()
    printed = " ".join(capsys.readouterr().out.split())
    assert "warning: the labels 'nan' (4), 'None' (4) look like missing values" in printed
    assert "│ 5 │" in printed  # all of the validation rows are training rows


def test_one_column_for_each_label(settings, tmp_path):
    rows = [
        {"text": f"the {word}", "cat": int(word != "dog"), "dog": word == "dog", "rare": 0}
        for word in ("cat", "dog") * 8
    ]
    model = Classify(
        **settings, train=rows, multi_label=True, label_column=("cat", "dog", "rare"), epochs=12, save_to=str(tmp_path)
        + "/m",
    ).run()  # fmt: skip
    assert model.labels == ["cat", "dog", "rare"]
    assert model.predict_labels(["the dog"]) == [["dog"]]


def test_validation_rows_that_changed_are_refused(settings, review_files, tmp_path, monkeypatch):
    from keras_plm.recipes import output_folder

    dev = tmp_path / "dev.tsv"
    dev.write_text("label\ttext\ncat\tthe cat\ndog\ta dog\n")
    recipe = Classify(
        **settings, train=review_files["train"], validation=str(dev), epochs=1, save_to=str(tmp_path / "m")
    )

    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(output_folder, "save", interrupted)
        recipe.run()
    dev.write_text("label\ttext\ncat\tthe cat\ncat\ta dog\n")
    with pytest.raises(ValueError, match="unfinished training with other settings or other examples"):
        recipe.run()


def test_a_resume_says_from_where(settings, review_files, tmp_path, capsys):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    recipe = Classify(
        **settings | {"verbose": 2}, train=review_files["train"], epochs=3, callbacks=[Stop()],
        save_to=str(tmp_path / "m"),
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        recipe.run()
    assert "resumes" not in capsys.readouterr().out
    replace(recipe, callbacks=()).run()
    assert f"resumes after batch 24 of 36, from the checkpoint in {tmp_path / 'm.training'}" in capsys.readouterr().out


def test_next_sentences_that_are_never_next_are_said(tmp_path):
    sentences = [f"The cat sees the dog number {i}." for i in range(60)]
    sizes = replace(plm.TINY, vocabulary_size=60, num_layers=1, hidden_dim=32, num_heads=2, intermediate_dim=40)
    (tmp_path / "blank.txt").write_text("\n\n".join(sentences))
    options = {"config": sizes, "steps": 1, "max_length": 16, "verbose": 0, "fast_dev_run": True, "save_to": "x"}
    with pytest.warns(UserWarning, match="60 of 60 documents are a single sentence"):
        Pretrain(corpus=str(tmp_path / "blank.txt"), **options).run()
    (tmp_path / "whole.txt").write_text("\n".join(sentences) + "\n\n" + "\n".join(reversed(sentences)))
    Pretrain(corpus=str(tmp_path / "whole.txt"), **options).run()


def test_scores_of_similarity_are_left_alone_between_0_and_1(settings, config, tokenizer):
    model = plm.Embedder(config, tokenizer)
    recipe = Embed(**settings, train="x", save_to="m", similarity="cosine")
    rows = LabeledTexts("here", ["a"] * 4, ["b"] * 4, [0.5, 0.9, 0.7, 0.5])
    assert recipe.rows(model, rows).targets[::2].tolist() == pytest.approx([0.5, 0.9, 0.7, 0.5])
    rows = replace(rows, values=[1.0, 5.0, 3.0, 1.0])
    assert recipe.rows(model, rows).targets[::2].tolist() == [0, 1, 0.5, 0]


def test_contrastive_rows_know_equal_texts(settings, config, tokenizer):
    recipe = Embed(**settings, train="x", save_to="m", similarity="contrastive", label_column=None)
    rows = recipe.read({"sentence1": ["the cat", "a dog", "the cat"], "sentence2": ["sees", "hears", "follows"]})
    assert recipe.rows(plm.Embedder(config, tokenizer), rows).targets.tolist() == [0, 1, 2, 3, 0, 4]


@pytest.mark.parametrize("crf", [False, True])
def test_accumulated_gradients_are_those_of_one_batch(config, tokenizer, crf):
    """Sentences of very different lengths: the mean over tokens is not the mean of two means."""
    random = np.random.default_rng(0)
    sentences = [["cat"] * n for n in (1, 2, 17, 3, 1, 23, 5, 2)]
    rows = TaggedSentences("x", sentences, [random.choice(["O", "B-x"], len(s)).tolist() for s in sentences], [0] * 8)
    recipe = Tag(start_from="x", train="x", save_to="m", crf=crf, max_length=32)
    model = plm.Tagger(
        replace(config, dropout=0.0, attention_dropout=0.0, has_pooler=False), ["B-x", "O"], tokenizer, crf=crf
    )
    tokens = recipe.rows(model, rows)

    def gradients(batches):
        found = []
        for inputs, labels, weights in batches:
            with tf.GradientTape() as tape:
                loss = recipe.loss(model)(labels, model(inputs, training=True), sample_weight=weights)
            found.append(tape.gradient(loss, [v.value for v in model.trainable_variables]))
        return [np.mean([tf.convert_to_tensor(g).numpy() for g in part], 0) for part in zip(*found, strict=True)]

    order = np.arange(8)
    whole = gradients(tokens._batches(order, 8))
    halves = gradients(tokens._batches(order, 4, gradient_accumulation_steps=2))
    apart = gradients(tokens._batches(order, 4))
    scale = max(np.abs(part).max() for part in whole)
    distance = [
        max(np.abs(a - b).max() for a, b in zip(whole, other, strict=True)) / scale for other in (halves, apart)
    ]
    assert distance[0] < 1e-5 and (distance[1] > 0.02 or crf)


def test_lengths_of_sentences_are_those_before_they_are_divided(tokenizer):
    found = WordRows.from_words(tokenizer, [["cat"] * 40, [], ["cat"]], max_length=12).rows
    assert found.num_tokens.tolist() == [42, 2, 3] and found.lengths.max() <= 12


def test_questions_in_memory(settings, tmp_path):
    rows = [{"question": "who ?", "context": "the cat sees", "answers": {"text": ["cat"], "answer_start": [4]}}] * 4
    model = AnswerQuestions(**settings, train=rows, test=rows, epochs=1, save_to=str(tmp_path / "m")).run()
    assert isinstance(model, plm.QuestionAnswerer)
