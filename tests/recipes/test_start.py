"""What a fine-tuning takes from the model it starts from."""

from dataclasses import replace

import numpy as np
import pytest

import keras_plm as plm
from keras_plm.models import copy_head, weight_arrays
from keras_plm.recipes import Classify, Tag
from keras_plm.recipes.starting_model import starting_model


@pytest.fixture
def recipes(settings, review_files, tmp_path):
    """Fine-tunings that start from a model, with other fields."""

    def of(model, **fields):
        plm.save(model, tmp_path / "start", overwrite=True)
        own = {"start_from": str(tmp_path / "start"), "train": review_files["train"], "save_to": str(tmp_path / "new")}
        return Classify(**settings | own | fields)

    return of


@pytest.fixture
def trained(settings, review_files):
    recipe = Classify(**settings, train=review_files["train"], save_to="none")
    model = starting_model(recipe, recipe.read(recipe.train))
    model.head.dense.bias.assign(np.random.default_rng(0).normal(size=2))
    return model


def head(recipe):
    return np.asarray(starting_model(recipe, recipe.read(recipe.train)).head.dense.kernel)


def test_the_head_of_the_same_task_goes_on(recipes, trained):
    kernel = np.asarray(trained.head.dense.kernel)
    for field in ({}, {"quantization_aware": True}, {"embedding_rank": 8}, {"num_layers": 1}, {"trainable": "lora:2"}):
        np.testing.assert_array_equal(head(recipes(trained, **field)), kernel, str(field))


def test_what_does_the_same(config, tokenizer):
    def gets(trained, model):
        before, there = weight_arrays(model), weight_arrays(trained)
        done = copy_head(trained, model)
        for path, weight in weight_arrays(model).items():
            goes_on = done and path.startswith("head/") and path in there
            np.testing.assert_array_equal(weight, there[path] if goes_on else before[path], path)
        return done

    def classifier(labels=("a", "b"), pooling="mean", has_pooler=False, multi_label=False, width=36):
        sizes = replace(config, has_pooler=has_pooler, hidden_dim=width)
        return plm.Classifier(sizes, labels and list(labels), tokenizer, None, pooling, multi_label)

    assert gets(classifier(), classifier())
    assert gets(classifier(has_pooler=True), classifier())  # the mean of the tokens does not go through a pooler
    assert gets(classifier(labels=None), classifier(labels=None))
    assert gets(classifier(pooling="cls", has_pooler=True), classifier(pooling="cls", has_pooler=True))
    assert not gets(classifier(pooling="cls"), classifier(pooling="cls", has_pooler=True))
    assert not gets(classifier(pooling="cls"), classifier())
    assert not gets(classifier(pooling="max"), classifier())
    assert gets(classifier(pooling="max", has_pooler=True), classifier(pooling="max"))
    assert not gets(classifier(), classifier(multi_label=True))
    assert not gets(classifier(), classifier(("b", "a")))
    assert not gets(classifier(), classifier(width=48))
    bare = replace(config, has_pooler=False)
    assert gets(plm.QuestionAnswerer(config, tokenizer), plm.QuestionAnswerer(bare, tokenizer))
    assert gets(plm.Tagger(config, ["O", "B-X"], tokenizer), plm.Tagger(bare, ["O", "B-X"], tokenizer, crf=True))
    assert not gets(plm.Tagger(config, ["a", "b"], tokenizer), classifier())


def test_another_task_has_a_new_head(recipes, trained):
    kernel = np.asarray(trained.head.dense.kernel)
    assert (head(recipes(trained, pooling="mean")) != kernel).any()
    turned = plm.Classifier(trained.config, trained.labels[::-1], trained.tokenizer)
    assert (head(recipes(turned)) != np.asarray(turned.head.dense.kernel)).any()
    bare = plm.Classifier(replace(trained.config, has_pooler=False), trained.labels, trained.tokenizer)
    assert (head(recipes(bare)) != np.asarray(bare.head.dense.kernel)).any()


def test_the_transitions_of_a_tagger_go_on(settings, tmp_path):
    (tmp_path / "train.conll").write_text("the\tO\ncat\tB-X\n\nsees\tO\ndogs\tB-Y\n")
    fields = settings | {"train": str(tmp_path / "train.conll"), "save_to": str(tmp_path / "new"), "crf": True}
    recipe = Tag(**fields)
    examples = recipe.read(recipe.train)
    trained = starting_model(recipe, examples)
    for weight in trained.crf.weights:
        weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    plm.save(trained, tmp_path / "start")
    wanted = weight_arrays(trained)
    own = fields | {"start_from": str(tmp_path / "start")}
    again = weight_arrays(starting_model(Tag(**own), examples))
    assert len(again) == len(wanted)
    for path, weight in again.items():
        np.testing.assert_array_equal(weight, wanted[path], path)
    plain = starting_model(Tag(**own | {"crf": False}), examples)  # scores of tags in a chain are scores of tags
    assert plain.crf is None
    np.testing.assert_array_equal(plain.head.dense.kernel, trained.head.dense.kernel)
