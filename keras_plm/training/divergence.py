import math
from typing import Any

import keras

_FAST, _SLOW = 20, 200  # batches of the two running means
_RATIO, _MARGIN = 1.3, 0.5


class Diverged(RuntimeError):  # noqa: N818  it is handled by the training loop
    """A loss or a weight is not finite, or the loss rose far above what it was.

    Attributes:
        batches: number of batches on which the model was trained, including the bad one.
        since: number of batches after which the model was still good.
    """

    def __init__(self, reason: str, batches: int, since: int | None = None) -> None:
        super().__init__(f"{reason} at batch {batches:,}")
        self.batches = batches
        self.since = batches if since is None else max(since, 0)


class DivergenceGuard(keras.callbacks.Callback):
    """Raises `Diverged` if the loss of a batch is not finite, or if the loss rises and stays high.

    The second rule compares the mean loss of about 20 batches with that of about 200: it is a spike if the first is 1.3
    times as large as the second, plus 0.5. In a resumed training, the means begin again.

    Args:
        steps: batches of an epoch.
        border: the number of batches after which the means begin again, because the loss may rise; 0 for none.

    Source: Chowdhery et al. 2022, §5.1, which restarts from a checkpoint before a spike and skips some batches,
        https://arxiv.org/abs/2204.02311
    """

    def __init__(self, steps: int, border: int = 0) -> None:
        super().__init__()
        self.steps = steps
        self.border = border
        self._fast = self._slow = 0.0
        self._seen = self._before = self._count = 0
        self._last = 0
        self._sum = math.nan

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start the sum of the epoch, whose mean is in the logs."""
        self._before = self._batches() % self.steps  # of the epoch in which a training resumes
        self._sum, self._count = (math.nan if self._before else 0.0), self._before

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Check the loss of the batch."""
        mean = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(mean):
            raise Diverged(f"the loss became {mean}", self._batches())
        if self._before and not batch:
            return  # this mean is without the batches before the interruption, the next ones are with them
        count = self._before + batch + 1
        total = mean * count
        loss = (total - self._sum) / max(count - self._count, 1)  # several batches, if they are executed together
        self._sum, self._count = total, count
        if math.isnan(loss):
            return
        if self._batches() > self.border >= self._last:
            self._seen = 0  # the first batch sets both means
        self._last = self._batches()
        self._seen += 1
        self._fast += (loss - self._fast) / min(self._seen, _FAST)
        self._slow += (loss - self._slow) / min(self._seen, _SLOW)
        if self._seen > _SLOW and self._fast > _RATIO * self._slow + _MARGIN:
            reason = f"the loss rose from {self._slow:.3g} to {self._fast:.3g}"
            raise Diverged(reason, self._batches(), self._batches() - 2 * _FAST)

    def _batches(self) -> int:
        return int(self.model.optimizer._iterations.numpy())
