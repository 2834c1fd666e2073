"""A network of the catalogue, or of a weight file, on its way into an artefact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from vitruvian import __version__, weights, zoo
from vitruvian.artefacts.climb import Climb
from vitruvian.artefacts.contract import BATCH, Axis, TensorContract
from vitruvian.artefacts.manifest import WEIGHTS, Manifest, StoredWeights
from vitruvian.artefacts.pictures import PictureSubject, float32_of, post_inside
from vitruvian.artefacts.reuse import reusable_from
from vitruvian.artefacts.rung import Draft
from vitruvian.artefacts.wrapping import PostInside
from vitruvian.audit import Crop, bundled_crops
from vitruvian.bundled import bundled_runner
from vitruvian.errors import DoesNotFitError, UsageError
from vitruvian.exporting.batches import free_axes, verified_batches, with_range
from vitruvian.exporting.checking import crops_of, further_check
from vitruvian.exporting.wish import ExportWish
from vitruvian.fit.parts import blocks_of
from vitruvian.fit.precision import Precision, apply_precision
from vitruvian.fit.quality import Quality
from vitruvian.hardware import format_bytes, large_blocks_apart, target_here
from vitruvian.inference_plan import InferencePlanner, planner_here
from vitruvian.models.weight_files.writing import safetensors_pieces
from vitruvian.precision_choice import PrecisionChooser
from vitruvian.tasks.base import Task

MORE_CROPS = 64
"""Pictures of the user's that are looked at, at most."""


def network_climb(name: str | Path, wish: ExportWish, staging: Path) -> tuple[Climb, tuple[str, ...]]:
    """Everything before the first rung: plan, weights, compile type, float32's own results.

    Raises:
        UsageError: unknown name or device, or a size the network cannot have.
        DoesNotFitError: not even one picture fits.
        RefusedError: licence not accepted, or weights that do not belong.
    """
    return _Preparation(name=name, wish=wish, staging=staging).climb()


@dataclass(frozen=True, kw_only=True)
class _Preparation:
    """One network being made ready."""

    name: str | Path
    wish: ExportWish
    staging: Path

    def climb(self) -> tuple[Climb, tuple[str, ...]]:
        if not self.planner.plan().fits:
            raise DoesNotFitError(f"got {self.spec.name} on {self.planner.device.name}: {self.planner.advice()}")
        torch.set_num_threads(self.planner.hardware.cpu.cores)
        precision = self.precision
        reference, notes = self._float32()
        subject = PictureSubject(
            task=self.task,
            provenance=self.found.provenance,
            crops=self.crops,
            with_post=self.wish.with_post,
            reference=reference,
            meaningless=not self.found.paths,
        )
        draft = self._draft(precision, subject)
        batches = verified_batches(draft.inputs, max(1, self.plain.max_batch(precision)))
        quality, place = self._quality(precision), self.wish.check_on
        climb = Climb(
            draft=draft,
            subject=subject,
            head=self._head(draft),
            staging=self.staging,
            batches=batches,
            threads=self.planner.hardware.cpu.cores,
            quality=quality,
            rounded_quality=self.wish.quality if self.found.paths else None,
            further=None if place is None else further_check(subject, place, max(batches), quality),
            unfit=self._unfit(precision),
            reusable=reusable_from(self.wish.reuse, draft, trust=self.wish.trust),
            runner=bundled_runner(self.spec.family.runner) if self.spec.family.runner else None,
            report=self.wish.report,
        )
        return climb, notes

    @cached_property
    def spec(self) -> zoo.ModelSpec:
        """What is exported."""
        return self._sized(weights.spec_of(self.name))

    def _sized(self, spec: zoo.ModelSpec) -> zoo.ModelSpec:
        return spec if self.wish.size is None else spec.at_size(self.wish.size)

    @cached_property
    def planner(self) -> InferencePlanner:
        """Knows what fits."""
        return planner_here(self.spec, self.wish.device, self.wish.budget_bytes)

    @property
    def plain(self) -> InferencePlanner:
        """The same for compiled code, which takes no memory measures."""
        return replace(self.planner, measures=False)

    @cached_property
    def found(self) -> weights.FoundWeights:
        """The weights, located."""
        wish = self.wish
        if wish.random_weights:
            found = weights.random_weights(str(self.name))
        else:
            found = weights.find_weights(
                self.name, accept_licence=wish.accept_licence, ask=wish.ask, report=wish.report
            )
        return replace(found, spec=self._sized(found.spec))

    @cached_property
    def task(self) -> Task:
        """Pre- and post-processing at the canvas of the artefact."""
        return self.found.spec.make_task()

    @cached_property
    def crops(self) -> Sequence[Crop]:
        """Real pictures to compare on: the bundled ones, then the user's."""
        bundled = bundled_crops(self.task)
        if self.wish.check_on is None:
            return bundled
        return (*crops_of(self.wish.check_on, self.task, MORE_CROPS), *bundled)

    @cached_property
    def precision(self) -> Precision:
        """Insisted on, or chosen and audited."""
        wish = self.wish
        chooser = PrecisionChooser(
            found=self.found, planner=self.planner, quality=wish.quality, dtype=wish.dtype, report=wish.report
        )
        return chooser.choose().precision

    def _float32(self) -> tuple[list[dict[str, Tensor]] | None, tuple[str, ...]]:
        """What float32 makes of the crops (None: it does not fit); its weights are written on the way."""
        self.wish.report(f"{self.spec.name} in float32, to compare with")
        with large_blocks_apart():
            loaded = self.found.build()
        self._save(loaded.network)
        fits = self.planner.device.kind == "cpu" and self.planner.fits(Precision())
        on_host = replace(self.planner, device=self.planner.hardware.cpu, budget_bytes=None)
        if not fits and not on_host.fits(Precision()):
            return None, (*loaded.notes, "float32 fits neither the device nor the host: results were not compared")
        finished = bool(self.found.paths) or self.wish.with_post
        return float32_of(loaded.network, self.task, self.crops, "cpu", finished=finished), loaded.notes

    def _save(self, network: nn.Module) -> None:
        with (self.staging / WEIGHTS).open("wb") as file:
            for piece in safetensors_pieces(network.state_dict(), self._metadata):
                file.write(piece)

    @property
    def _metadata(self) -> dict[str, str]:
        """What the weight file says of itself."""
        rounded_to = self.found.provenance.rounded_to
        rounded = {weights.ROUNDED_KEY: rounded_to} if rounded_to else {}
        return {**zoo.metadata_of(self.found.spec), **rounded, "made_by": f"vitruvian {__version__}"}

    def _draft(self, precision: Precision, subject: PictureSubject) -> Draft:
        device, workload = self.planner.device.device, self.spec.workload
        with large_blocks_apart():
            network = self.found.build(device=device, precision=precision).network
        apply_precision(network.eval().requires_grad_(False), precision)
        blocks = blocks_of(network, workload)
        module: nn.Module = network
        prefix = ""
        if self.wish.with_post:
            module = post_inside(network, self.task)
            prefix = PostInside.prefix
        contracts = [self._contract()]
        sample = self._sample(subject)
        return Draft(
            name=self.found.spec.name,
            module=module,
            inputs=with_range(contracts, module, sample, self.wish.max_batch),
            sample=sample,
            precision=precision,
            device=device,
            prefix=prefix,
            blocks=tuple(prefix + name for name in blocks),
            calibration=tuple(subject.inputs([place]) for place in range(subject.count)),
            head=tuple(prefix + pattern for pattern in (*workload.islands, *workload.head)),
        )

    def _contract(self) -> TensorContract:
        sides: tuple[int | Axis, int | Axis] = self.task.input_hw
        if self.wish.dynamic_size:
            patch = self.spec.workload.patch_size
            if patch is None:
                raise UsageError(
                    f"got --dynamic-size for {self.spec.name}; expected a network of patches; leave it out"
                )
            sides = free_axes(patch, self.task.input_hw)
        batch = Axis(name=BATCH)
        if self.wish.with_post:
            values = "RGB bytes, 0 to 255, of canvases as `preparation` describes them"
            return TensorContract(name="canvas_BHW3", dtype="uint8", shape=(batch, *sides, 3), values=values)
        values = "RGB, normalised as `preparation` describes it; about -2.2 to 2.7"
        return TensorContract(name="x_B3HW", dtype="float32", shape=(batch, 3, *sides), values=values)

    def _sample(self, subject: PictureSubject) -> tuple[Tensor, ...]:
        """Two crops; on a canvas of another size where any will do, so that the network's own is no special case."""
        (sample,) = subject.inputs([0, 1 % subject.count])
        if self.wish.dynamic_size:
            patch = self.spec.workload.patch_size or 1
            axes = (1, 2) if self.wish.with_post else (2, 3)
            for axis in axes:
                sample = torch.cat([sample, sample.narrow(axis, 0, 2 * patch)], dim=axis)
        return (sample.to(self.planner.device.device),)

    def _head(self, draft: Draft) -> Manifest:
        state = draft.module.state_dict()
        kept = (name.removeprefix(draft.prefix) for name, value in state.items() if value.dtype == torch.float32)
        wish, provenance = self.wish, self.found.provenance
        return Manifest(
            model=self.found.spec.name,
            task=self.found.spec.task,
            licence=provenance.licence,
            weights_sha256=provenance.weights_sha256,
            source=Path(self.name).name,
            backend="eager",
            precision=draft.precision,
            inputs=draft.inputs,
            outputs=_outputs(draft, any_size=wish.dynamic_size),
            with_post=wish.with_post,
            any_size=wish.dynamic_size,
            network=self._metadata,
            preparation=dict(self.task.constants()),
            target=target_here(draft.device),
            files={},
            weights=StoredWeights(prefix=draft.prefix, kept_float32=tuple(kept)),
            blocks=draft.blocks,
            report={"quality": wish.quality, "random_weights": not self.found.paths},
            version=__version__,
        )

    def _quality(self, precision: Precision) -> Quality | None:
        """What an artefact is judged by: float32 must stay float32."""
        if precision.dtype == "float32":
            return "exact"
        return self.wish.quality if self.found.paths else None

    def _unfit(self, precision: Precision) -> str:
        plan = self.plain.plan(precision, batch=1)
        if plan.fits:
            return ""
        return (
            f"one picture takes {format_bytes(plan.peak_bytes)} without the network's own memory measures, which "
            f"compiled code has not; {format_bytes(plan.budget_bytes)} are there"
        )


@torch.inference_mode()
def _outputs(draft: Draft, *, any_size: bool) -> tuple[TensorContract, ...]:
    """Shapes and types, by running the sample once."""
    outputs: Mapping[str, Tensor] = draft.module(*draft.sample)
    assert draft.batch is not None
    found = []
    for name, value in outputs.items():
        sides: tuple[int | Axis, ...] = tuple(value.shape[1:])
        if any_size and len(sides) >= 2:
            sides = (*sides[:-2], Axis(name=f"{name}_height"), Axis(name=f"{name}_width"))
        dtype = str(value.dtype).removeprefix("torch.")
        found.append(TensorContract(name=name, dtype=dtype, shape=(draft.batch, *sides)))
    return tuple(found)
