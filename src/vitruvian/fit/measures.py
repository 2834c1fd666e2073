"""What can be done to need less memory: how each measure shows in the knobs, what it is called and what it costs."""

from __future__ import annotations

from dataclasses import dataclass

from vitruvian.fit.knobs import Knobs, TrainingKnobs

PLAIN = TrainingKnobs()


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """One way to need less memory."""

    knob: str
    """Field of `Knobs` or `TrainingKnobs`."""
    value: str | bool
    label: str
    """In a table row; empty where the compute type says it."""
    price: str
    """What it costs in quality and time; empty: nothing that was measured."""
    alters: bool = False
    """Whether it changes what is computed or learnt; the others give the same numbers."""

    def active(self, knobs: Knobs) -> bool:
        """Whether these knobs make use of it."""
        return knob_of(knobs, self.knob) == self.value


def knob_of(knobs: Knobs, name: str) -> object:
    """A knob by name, training knobs included; inference has plain training knobs."""
    return getattr(knobs, name) if name in Knobs.__slots__ else getattr(knobs.training or PLAIN, name)


MEASURES: tuple[Measure, ...] = (
    Measure(
        knob="chunked_head",
        value=True,
        label="head in strips",
        price="",
    ),
    Measure(
        knob="checkpointing",
        value="blocks",
        label="checkpointed",
        price="blocks computed twice",
    ),
    Measure(
        knob="checkpointing",
        value="selective",
        label="checkpointed but for products",
        price="norms, activations and sums of blocks computed twice",
    ),
    Measure(
        knob="parallel",
        value="fsdp",
        label="sharded",
        price="weights travel between devices in every pass",
    ),
    Measure(
        knob="state",
        value="host",
        label="state on the host",
        price="state crosses to the host and back every step",
    ),
    Measure(
        knob="optimizer",
        value="adamw-8bit",
        label="8-bit state",
        price="updates from 8-bit state (needs torchao)",
        alters=True,
    ),
    Measure(
        knob="gradients",
        value="released",
        label="gradients released",
        price="no clipping, no accumulation",
        alters=True,
    ),
    Measure(
        knob="precision",
        value="pure",
        label="",
        price="weights rounded to 8 bits of mantissa (stochastically)",
        alters=True,
    ),
    Measure(
        knob="trainable",
        value="lora",
        label="LoRA",
        price="only adapters and the head learn",
        alters=True,
    ),
    Measure(
        knob="trainable",
        value="half",
        label="first half frozen",
        price="half of the blocks learns nothing",
        alters=True,
    ),
    Measure(
        knob="trainable",
        value="head",
        label="head only",
        price="the encoder learns nothing",
        alters=True,
    ),
)


def active(knobs: Knobs) -> tuple[Measure, ...]:
    """The measures these knobs make use of."""
    return tuple(measure for measure in MEASURES if measure.active(knobs))


def label_of(knobs: Knobs, native_hw: tuple[int, int] | None = None, native_patch: int | None = None) -> str:
    """The way to run in a few words."""
    words = [_type_label(knobs), *(measure.label for measure in active(knobs) if measure.label)]
    training = knobs.training or PLAIN
    if training.optimizer == "adamw-foreach":
        words.append("foreach AdamW")
    if training.parallel == "ddp":
        words.append("DDP")
    if training.attention == "materialised":
        words.append("materialised attention")
    if knobs.input_hw not in (None, native_hw):
        assert knobs.input_hw is not None
        words.append(f"crop {knobs.input_hw[0]}x{knobs.input_hw[1]}")
    if knobs.patch_size not in (None, native_patch):
        words.append(f"patch {knobs.patch_size}")
    return ", ".join(words)


def _type_label(knobs: Knobs) -> str:
    if knobs.training is None or knobs.dtype == "float32":
        return knobs.dtype
    return f"{knobs.dtype} autocast" if knobs.training.precision == "autocast" else f"pure {knobs.dtype}"


def price_of(knobs: Knobs, native_hw: tuple[int, int] | None = None, remark: str = "") -> str:
    """What it costs in quality and time, apart from the images per second; empty: nothing."""
    prices = [remark, *(measure.price for measure in active(knobs) if measure.price)]
    if native_hw is not None and knobs.input_hw not in (None, native_hw):
        prices.append("smaller pictures: fine detail is lost")
    return "; ".join(price for price in prices if price)
