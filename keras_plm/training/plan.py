"""What a pre-training costs: operations, memory, time, energy and price, before it starts."""

import io
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from keras_plm.config import DecoderConfig, EncoderConfig, EncoderDecoderConfig

from .devices import DEVICES, Device, this_machine

Config = EncoderConfig | DecoderConfig | EncoderDecoderConfig


@dataclass(frozen=True)
class Plan:
    """What a training costs.

    Attributes:
        parameters: number of weights.
        flops_per_token: floating-point operations of a training step, divided by its tokens.
        tokens: number of tokens of all steps.
        device: the device.
        devices: number of devices.
        utilization: the part of the device's largest number of operations per second that a training reaches.
        tokens_per_second: of all devices together.
        seconds: duration.
        weights_bytes: memory on each device for weights, gradients and the states of AdamW.
        activation_bytes: memory on each device for what the backward pass needs.
        price_per_hour: of one device, in any currency; None if it was not given.
    """

    parameters: int
    flops_per_token: float
    tokens: float
    device: Device
    devices: int
    utilization: float
    tokens_per_second: float
    weights_bytes: float
    activation_bytes: float
    price_per_hour: float | None = None

    @property
    def flops(self) -> float:
        """Floating-point operations of the whole training."""
        return self.flops_per_token * self.tokens

    @property
    def seconds(self) -> float:
        """Duration of the training."""
        return self.tokens / self.tokens_per_second

    @property
    def bytes_per_device(self) -> float:
        """Memory on each device."""
        return self.weights_bytes + self.activation_bytes

    @property
    def fits(self) -> bool:
        """Whether a device has enough memory; a tenth of it is left for the runtime."""
        return self.bytes_per_device < 0.9 * self.device.memory

    @property
    def kilowatt_hours(self) -> float | None:
        """Energy of the devices at full load, without cooling and host machines; None if their power is unknown."""
        watts = self.device.watts
        return None if watts is None else watts * self.devices * self.seconds / 3.6e6

    @property
    def price(self) -> float | None:
        """Price of the devices; None if the price of an hour was not given."""
        return None if self.price_per_hour is None else self.price_per_hour * self.devices * self.seconds / 3_600

    def __str__(self) -> str:
        table = Table(title="plan of a pre-training", show_header=False)
        table.add_column()
        table.add_column(justify="right")
        table.add_row("parameters", f"{self.parameters:,}")
        table.add_row("operations for each token", f"{self.flops_per_token:.3g}")
        table.add_row("operations", f"{self.flops:.3g}")
        memory = f"{self.weights_bytes / 1e9:,.2f} + {self.activation_bytes / 1e9:,.2f} GB"
        room = "" if self.fits else f", but {self.device.name} has {self.device.memory / 1e9:,.0f} GB"
        table.add_row("memory on each device: weights + activations", f"{memory}{room}")
        table.add_row("tokens per second", f"{self.tokens_per_second:,.0f}")
        table.add_row(f"time on {self.devices:,} × {self.device.name}", _duration(self.seconds))
        if self.kilowatt_hours is not None:
            table.add_row("energy of the devices", f"{self.kilowatt_hours:,.1f} kWh")
        if self.price is not None:
            table.add_row("price", f"{self.price:,.2f}")
        console = Console(file=io.StringIO(), width=100, force_terminal=False)
        with console.capture() as capture:
            console.print(table)
        return capture.get().rstrip()


def plan(
    config: Config,
    tokens: float,
    device: str = "a100-80gb",
    devices: int = 1,
    batch_size: int = 256,
    max_length: int = 128,
    bfloat16: bool = True,
    utilization: float = 0.4,
    rematerialize: bool = False,
    mask_rate: float = 0.15,
    price_per_hour: float | None = None,
) -> Plan:
    """Estimate the cost of a pre-training with AdamW and data parallelism: each device has all weights.

    A step has 6 operations for each weight of a block and each token, and 12 · L · A · H · T for attention: a forward
    pass, and a backward pass twice as long.

    Args:
        config: the sizes of the model.
        tokens: number of tokens of all steps: batch size × row length × steps.
        device: a name of `DEVICES`, or "here" to measure this machine.
        devices: number of devices.
        batch_size: rows per step, on all devices together.
        max_length: T, row length in tokens; of an encoder-decoder, of the source and of the target.
        bfloat16: mixed precision.
        utilization: the part of the device's largest number of operations per second that the training reaches. BERT's
            authors reached 0.1, GPT-3's 0.2, and Megatron-LM 0.45.
        rematerialize: compute each block again in the backward pass, which saves memory.
        mask_rate: of an encoder: the fraction of tokens for which the head computes logits.
        price_per_hour: of one device, in any currency.

    Raises:
        ValueError: the device is unknown, or a number is out of range.

    Source: operations: Chowdhery et al. 2022, appendix B, https://arxiv.org/abs/2204.02311; activations: Korthikanti
        et al. 2022, §4, https://arxiv.org/abs/2205.05198
    """
    numbers = {"tokens": tokens, "devices": devices, "batch_size": batch_size, "max_length": max_length}
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"{name}={value}; it must be at least 1")
    if not 0 < utilization <= 1:
        raise ValueError(f"utilization={utilization}; it is a fraction, in (0, 1]")
    if device != "here" and device not in DEVICES:
        raise ValueError(f"device={device!r}; choose one of {', '.join(DEVICES)}, or here")
    chosen = this_machine() if device == "here" else DEVICES[device]
    passes = 4 if rematerialize else 3
    blocks = _block_products(config, max_length)
    head, logits = _head(config, mask_rate)
    flops = 2 * (passes * blocks + 3 * head)
    peak = chosen.bfloat16 if bfloat16 else chosen.float32
    parameters = config.least_numbers if isinstance(config, EncoderDecoderConfig) else config.num_parameters
    kept = _activations(config, max_length, bfloat16, rematerialize)
    # the gradients inside of one block; the logits and their gradients
    working = (2 if bfloat16 else 4) * (_numbers_of_block(config, max_length) + 2 * logits)
    return Plan(
        parameters=parameters,
        flops_per_token=flops,
        tokens=tokens,
        device=chosen,
        devices=devices,
        utilization=utilization,
        tokens_per_second=devices * utilization * peak / flops,
        weights_bytes=parameters * (4 + 4 + 8 + (2 if bfloat16 else 0)),
        activation_bytes=-(-batch_size // devices) * max_length * (kept + working),
        price_per_hour=price_per_hour,
    )


def _stacks(config: Config) -> list[tuple[int, int]]:
    """The number of blocks, and the number of attention layers in each."""
    if isinstance(config, EncoderDecoderConfig):
        return [(config.num_layers, 1), (config.decoder_layers, 2)]
    return [(config.num_layers, 1)]


def _block_products(config: Config, length: int) -> float:
    """Multiplications of the forward pass through all blocks, for each token; of both stacks, for a pair of tokens."""
    width, inner, keys = config.hidden_dim, *_inner_widths(config)
    feed_forward = (3 if getattr(config, "gated", False) else 2) * width * config.intermediate_dim
    attention = width * (2 * inner + 2 * keys) + 2 * length * inner
    return sum(blocks * (layers * attention + feed_forward) for blocks, layers in _stacks(config))


def _inner_widths(config: Config) -> tuple[int, int]:
    """The width of all queries together, and of all keys."""
    if isinstance(config, EncoderConfig):
        return config.hidden_dim, config.hidden_dim
    inner = config.num_heads * config.width_per_head
    groups = (config.num_key_value_heads if isinstance(config, DecoderConfig) else None) or config.num_heads
    return inner, groups * config.width_per_head


def _head(config: Config, mask_rate: float) -> tuple[float, float]:
    """Multiplications of the head and the number of logits, for each token."""
    if isinstance(config, EncoderConfig):
        width = config.embedding_dim or config.hidden_dim
        return mask_rate * width * (config.hidden_dim + config.vocabulary_size), mask_rate * config.vocabulary_size
    size = config.output_size if isinstance(config, EncoderDecoderConfig) else config.vocabulary_size
    return config.hidden_dim * size, size


def _activations(config: Config, length: int, bfloat16: bool, rematerialize: bool) -> float:
    """Bytes that all blocks keep for the backward pass, for each token."""
    size, width = (2 if bfloat16 else 4), config.hidden_dim
    masks = 2 * width + config.num_heads * length  # of dropout, a byte each
    each = size * _numbers_of_block(config, length) + masks
    count = sum(blocks * layers for blocks, layers in _stacks(config))
    return count * size * width + each if rematerialize else count * each


def _numbers_of_block(config: Config, length: int) -> float:
    """The outputs of all operations of a block, for each token; their gradients are as many."""
    return 8 * config.hidden_dim + 2 * config.intermediate_dim + 2 * config.num_heads * length


def _duration(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.0f} seconds"
