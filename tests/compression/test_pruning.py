import keras
import numpy as np
import pytest

import keras_plm as plm
from conftest import token_batch
from keras_plm.compression import prune
from keras_plm.compression.activation_capture import text_batches, text_rows
from keras_plm.compression.error_compensation import changed_kernel, fitted_kernel, sparse_kernel
from keras_plm.compression.pruning import Pruner, Sparsity, is_prunable, measured_sparsity
from keras_plm.models import weight_arrays


def kernels(model):
    return {path: kernel for path, kernel in weight_arrays(model).items() if is_prunable(path)}


def test_the_smallest_weights_go(config):
    model = plm.Encoder(config)
    pruned = prune(model, "0.7")
    before, after = kernels(model), kernels(pruned)
    assert len(after) == 6 * config.num_layers
    for path, kernel in after.items():
        zeros = kernel == 0
        assert abs(zeros.mean() - 0.7) < 1 / kernel.shape[0]
        assert np.abs(before[path][zeros]).max() <= np.abs(before[path][~zeros]).min()
        np.testing.assert_array_equal(kernel[~zeros], before[path][~zeros])
    for path, weight in weight_arrays(pruned).items():
        if path not in after:
            np.testing.assert_array_equal(weight, weight_arrays(model)[path], err_msg=path)
    assert measured_sparsity(model) == 0


def test_two_of_each_four_inputs_of_an_output_go(config):
    model = plm.Encoder(config)
    before = kernels(model)
    for path, kernel in kernels(prune(model, "2:4")).items():
        whole = kernel.shape[0] // 4 * 4  # 33 and 53 inputs: the last group is not full
        groups, old = (k[:whole].T.reshape(-1, 4) for k in (kernel, before[path]))
        assert ((groups == 0).sum(1) == 2).all()
        kept = np.sort(np.abs(old), 1)[:, 2:]
        np.testing.assert_array_equal(np.sort(np.abs(groups), 1)[:, 2:], kept)


def correlated(rows, width):
    """Inputs of which many say nearly the same, as those of a layer do."""
    random = np.random.default_rng(3)
    x = random.normal(size=(rows, width // 3)) @ random.normal(size=(width // 3, width))
    return x + 2 * random.normal(size=x.shape)


@pytest.mark.parametrize("sparsity", ["2:4", "0.5", "0.7"])
@pytest.mark.parametrize("rows", [97, 128])
def test_the_other_weights_make_up_for_what_is_gone(sparsity, rows):
    """Nearer to the products than the smallest weights, even where the rest of those is fitted to them."""
    x, kernel = correlated(997, rows), np.random.default_rng(1).normal(size=(rows, 53)).astype("float32")
    products, chosen = x.T @ x, Sparsity.parse(sparsity)
    pruned = sparse_kernel(kernel, products, chosen.kept)
    plain = sparse_kernel(kernel, np.eye(rows), chosen.kept)
    assert pruned.dtype == np.float32
    whole = rows // 4 * 4
    for found in (pruned, plain):
        zeros = found == 0
        if chosen.two_of_four:
            assert (zeros[:whole].reshape(-1, 4, 53).sum(1) == 2).all() and not zeros[whole:].any()
        else:
            assert zeros.sum() == round(chosen.fraction * zeros.size)
    kept = chosen.kept(kernel)  # without inputs the smallest of those that are compared go, and the rest stays
    np.testing.assert_allclose(plain[plain != 0], kernel[plain != 0], atol=1e-6)
    assert ((plain != 0) != kept).mean() < 0.005  # nearly equal weights may change places
    if chosen.two_of_four:
        groups = np.abs(kernel[:whole]).reshape(-1, 4, 53)
        np.testing.assert_array_equal(kept[:whole], (groups.argsort(1).argsort(1) >= 2).reshape(-1, 53))
    else:
        assert np.abs(kernel[~kept]).max() < np.abs(kernel[kept]).min()
    fitted = fitted_kernel(kernel, plain, products)
    errors = [
        np.square(x @ (one - kernel)).sum() for one in (pruned, row_by_row(kernel, products, chosen), fitted, plain)
    ]
    assert errors[0] < 0.95 * errors[1] < errors[2] < 0.5 * errors[3], errors
    again = sparse_kernel(pruned, products, chosen.kept)
    np.testing.assert_array_equal(again == 0, pruned == 0)
    np.testing.assert_allclose(again, pruned, atol=1e-5)


def row_by_row(kernel, products, chosen):
    """As SparseGPT chooses zeros, the rest fitted to them."""
    size, gone = 4 if chosen.two_of_four else 64, np.zeros(kernel.shape, bool)

    def change(i, left, costs):
        if i % size == 0:
            now = slice(i, min(i + size, len(left)))
            gone[now] = ~chosen.kept(left[now] * costs[now, None])
        return np.where(gone[i], 0, left[i])

    return fitted_kernel(kernel, changed_kernel(kernel, products, np.arange(len(kernel)), change), products)


TEXTS = ["The cat sees the dog, unafraid.", "A quiet film with a naïve café.", "中国 很 大。 0123456789", "the otter"]


def drift(model, other, texts):
    """How far apart the states of two models' tokens are, of all that they differ from each other."""
    states = []
    for batch in text_batches(model, text_rows(model, texts, model.config.max_sequence_length)):
        mask = batch["padding_mask"].astype(bool)
        encoders = [one if isinstance(one, plm.Encoder) else one.encoder for one in (model, other)]
        states.append([np.asarray(encoder(batch)["sequence_output"])[mask] for encoder in encoders])
    was, now = (np.concatenate(one) for one in zip(*states, strict=True))
    return np.square(was - now).sum() / np.square(was - was.mean(0)).sum()


@pytest.mark.parametrize("kind", [plm.Encoder, plm.QuestionAnswerer])
@pytest.mark.parametrize("sparsity", ["2:4", "0.6"])
def test_with_texts_a_model_loses_less(config, tokenizer, kind, sparsity):
    model = kind(config, tokenizer)
    texts = [*TEXTS, *reversed(TEXTS)] * 5
    if kind is plm.QuestionAnswerer:
        texts = list(zip(texts, reversed(texts), strict=True))
    before, pruned = weight_arrays(model), prune(model, sparsity, texts)
    assert measured_sparsity(pruned) == pytest.approx(measured_sparsity(prune(model, sparsity)), abs=0.01)
    assert measured_sparsity(model) == 0
    for path, weight in weight_arrays(pruned).items():
        if not is_prunable(path):
            np.testing.assert_array_equal(weight, before[path], err_msg=path)
    drifts = [drift(model, one, texts) for one in (pruned, prune(model, sparsity))]
    assert drifts[0] < 0.5 * drifts[1], drifts
    if sparsity == "2:4":  # a training from there keeps the zeros
        pruner = Pruner(pruned, sparsity, steps=7)
        pruner.update()
        for path, kernel in kernels(pruned).items():
            whole = len(kernel) // 4 * 4
            assert ((kernel[:whole] == 0).reshape(-1, 4, kernel.shape[1]).sum(1) == 2).all(), path


class Recorded(keras.callbacks.Callback):
    """Where the zeros are after each batch."""

    def on_train_begin(self, logs=None):
        self.zeros = []

    def on_train_batch_end(self, batch, logs=None):
        self.zeros.append({path: kernel == 0 for path, kernel in kernels(self.model).items()})


def fit(model, sparsity, steps, **options):
    """Train on noise; the zeros step by step."""
    model.compile(keras.optimizers.Adam(**options), "mse")
    targets = np.random.default_rng(1).normal(size=(3, 1)).astype("float32")
    pruner, recorded = Pruner(model, sparsity, steps), Recorded()
    model.fit(token_batch(model.config), targets, epochs=steps, callbacks=[pruner, recorded], verbose=0)
    return pruner, recorded.zeros


def share(zeros):
    return sum(zero.sum() for zero in zeros.values()) / sum(zero.size for zero in zeros.values())


def test_zeros_grow_and_then_stay(config):
    model = plm.Classifier(config, None)
    before = kernels(model)
    _, zeros = fit(model, "0.8", 20)
    shares = [share(one) for one in zeros]
    assert shares[0] < 0.3 < shares[5] < shares[13] and shares[13] == pytest.approx(0.8, abs=0.01)
    for path, kernel in kernels(model).items():
        np.testing.assert_array_equal(zeros[13][path], zeros[-1][path])
        assert (kernel[~zeros[-1][path]] != before[path][~zeros[-1][path]]).any()  # the others learn


@pytest.mark.slow
def test_two_of_four_are_chosen_once(config):
    model = plm.Classifier(config, None)
    _, zeros = fit(model, "2:4", 5)
    for path in zeros[0]:
        np.testing.assert_array_equal(zeros[0][path], zeros[-1][path])
    # 33 and 53 inputs: of a last group of one nothing goes
    assert share(zeros[-1]) == pytest.approx(0.5, abs=0.03)


@pytest.mark.slow
def test_zeros_survive_averaged_weights(config):
    model = plm.Classifier(config, None)
    pruner, _ = fit(model, "0.6", 6, use_ema=True, ema_momentum=0.9)
    model.optimizer.finalize_variable_values(model.trainable_weights)
    assert measured_sparsity(model) < 0.55  # the average remembers
    pruner.apply()
    assert measured_sparsity(model) == pytest.approx(0.6, abs=0.012)


@pytest.mark.parametrize("sparsity", ["0", "1.0", "half", "4:2", "-0.5", ""])
def test_errors(config, sparsity):
    with pytest.raises(ValueError, match="merge_lora first"):
        prune(plm.Encoder(config, adaptation=plm.Adaptation(lora_rank=3)), "0.5")
    for texts in (None, TEXTS):
        with pytest.raises(ValueError, match='a fraction such as "0.8", or "2:4"'):
            prune(plm.Encoder(config), sparsity, texts)


def test_errors_of_texts(config, tokenizer):
    encoder = plm.Encoder(config, tokenizer)
    for model, texts, message in [
        (encoder, [], "texts has no texts"),
        (encoder, "the cat", "texts is one text or path"),
        (encoder, ["a", 3], r"texts\[1\] is '3'; it must be a text"),
        (plm.Encoder(config), TEXTS, "this Encoder has no tokenizer, but texts need one"),
        (plm.Encoder(config, tokenizer, plm.Adaptation(lora_rank=3)), TEXTS, "merge_lora first"),
    ]:
        with pytest.raises(ValueError, match=message):
            prune(model, "2:4", texts)
