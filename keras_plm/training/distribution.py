import os
from importlib.metadata import version
from typing import Any, Literal

import tensorflow as tf

from .cluster import cluster, join_slurm_step

Strategy = Literal["auto", "one", "mirrored", "multi_worker", "tpu"]


def make_strategy(name: Strategy = "auto") -> tf.distribute.Strategy:
    """Make the `tf.distribute` strategy with this name. Call it before any other TensorFlow operation.

    Args:
        name: "one" uses one device (a GPU if there is one). "mirrored" uses all GPUs, or several logical CPUs.
            "multi_worker" uses the processes in the environment variable TF_CONFIG, or those that Slurm's `srun`
            started. "tpu" uses the address in TPU_NAME. "auto" means the first that applies: tpu, multi_worker,
            mirrored, one.

    Raises:
        ValueError: the name is unknown, TF_CONFIG is missing for "multi_worker", or the TPU is missing for "tpu".

    Source: https://www.tensorflow.org/guide/distributed_training
    Differs: it fixes two bugs of Keras 3.15 with several workers, see `repair_keras`.
    """
    if name in ("auto", "multi_worker"):
        join_slurm_step()
    num_workers = sum(len(cluster().get(kind, [])) for kind in ("chief", "worker"))
    if name == "auto":
        name = _detect(num_workers)
    if name == "multi_worker":
        if not num_workers:
            raise ValueError('strategy "multi_worker" needs TF_CONFIG: {"cluster": {"worker": […]}, "task": …}')
        repair_keras()
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "tpu":
        return _tpu_strategy()
    devices = [device.name for device in tf.config.list_logical_devices("GPU")]
    if name == "mirrored":
        repair_keras()
        devices = devices or [device.name for device in tf.config.list_logical_devices("CPU")]
        return tf.distribute.MirroredStrategy(devices)
    if name == "one":
        return tf.distribute.OneDeviceStrategy(devices[0] if devices else "/CPU:0")
    raise ValueError(f"strategy={name!r}; choose auto, one, mirrored, multi_worker or tpu")


def _detect(num_workers: int) -> Strategy:
    if "TPU_NAME" in os.environ:
        return "tpu"
    if num_workers > 1:
        return "multi_worker"
    return "mirrored" if len(tf.config.list_logical_devices("GPU")) > 1 else "one"


def _tpu_strategy() -> tf.distribute.Strategy:
    address = os.environ.get("TPU_NAME")
    if not address:
        raise ValueError('strategy "tpu" needs the address of a TPU in TPU_NAME ("local" on a TPU VM)')
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=address)
    tf.config.experimental_connect_to_cluster(resolver)
    tf.tpu.experimental.initialize_tpu_system(resolver)
    return tf.distribute.TPUStrategy(resolver)


def repair_keras() -> None:
    """Fix two bugs of `Model.fit` under tf.distribute in Keras 3.15. Other versions are not changed.

    1. To build a model, Keras averages the first batch over the replicas. This fails for several workers and for bool
       inputs. Only the shapes are needed, so the values of one replica are used instead.
    2. Keras averages the logs of several workers over an axis that a scalar does not have.
    """
    if not version("keras").startswith("3.15."):
        return
    from keras.src import tree
    from keras.src.backend.tensorflow import trainer

    if getattr(trainer, "_repaired_by_keras_plm", False):
        return

    def build(self: Any, iterator: Any = None, data_batch: Any = None) -> None:
        if self._distribute_strategy is None:
            return
        if iterator is not None:
            for _, _, batches in iterator:
                data_batch = tree.map_structure(
                    lambda v: self.distribute_strategy.experimental_local_results(v)[0],
                    next(batches),
                )
                break
        with self.distribute_strategy.scope():
            self._symbolic_build(data_batch=data_batch)

    reduce_stock = trainer.reduce_per_replica

    def reduce(values: Any, strategy: Any, reduction: str) -> Any:
        several = trainer._collective_all_reduce_multi_worker(strategy)
        if several and reduction in ("auto", "mean"):
            return tree.map_structure(lambda v: strategy.reduce("MEAN", v, axis=None), values)
        return reduce_stock(values, strategy, reduction)

    trainer.TensorFlowTrainer._maybe_symbolic_build = build
    trainer.reduce_per_replica = reduce
    trainer._repaired_by_keras_plm = True
