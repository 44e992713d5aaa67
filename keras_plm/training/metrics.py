from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_plm")
class Pearson(keras.metrics.Metric):
    """Pearson correlation of predictions and targets over all rows of an epoch, in [-1, 1]; 0 if one is constant.

    Call args:
        y_true: (B, 1) scores.
        y_pred: (B, 1) predictions.

    Differs: `keras.metrics.PearsonCorrelation` computes the correlation within a row (0/0 for one score), or averages
        over batches, which is distorted if batches are sorted by length. Here the moments are float64.
    """

    def __init__(self, name: str = "pearson", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.moments = self.add_variable((6,), "zeros", dtype="float64", name="moments")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        x = ops.reshape(ops.cast(y_true, "float64"), (-1,))
        y = ops.reshape(ops.cast(y_pred, "float64"), (-1,))
        w = ops.ones_like(x) if sample_weight is None else ops.reshape(ops.cast(sample_weight, "float64"), (-1,))
        sums = [w, w * x, w * y, w * x * x, w * y * y, w * x * y]
        self.moments.assign_add(ops.stack([ops.sum(s) for s in sums]))

    def result(self) -> Any:
        """The correlation over all rows since the last reset."""
        n, x, y, xx, yy, xy = ops.unstack(self.moments)
        scale = ops.sqrt(ops.maximum(n * xx - x * x, 0)) * ops.sqrt(ops.maximum(n * yy - y * y, 0))
        return ops.cast(ops.divide_no_nan(n * xy - x * y, scale), "float32")
