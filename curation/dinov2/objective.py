"""One step's losses and gradients (arXiv 2304.07193 section 4).

The batch may be computed in pieces to save memory. What couples images then still sees all of them: the teacher runs
first over every piece, so that Sinkhorn-Knopp or the centre gets the whole batch; and KoLeo's gradient with respect to
the class tokens is taken over the whole batch, from a first pass without gradients, before the pieces are
differentiated one by one. The result is that of one big batch to rounding.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from curation.dinov2.batch import Batch
from curation.dinov2.config import LossConfig
from curation.dinov2.depth import DropPathPlan, draw, narrow
from curation.dinov2.layout import Layout
from curation.dinov2.losses import dino_global_loss, dino_local_loss, ibot_loss, koleo_loss, sinkhorn_knopp
from curation.dinov2.model import Output, OutputRows, SelfDistillation

__all__ = ["Losses", "Objective"]


@dataclass(frozen=True)
class Losses:
    """Losses of a step on this rank, detached scalars; each before its weight."""

    dino_local: Tensor
    dino_global: Tensor
    ibot: Tensor
    koleo: Tensor
    total: Tensor
    """The weighted sum that is minimised."""

    def as_dict(self) -> dict[str, Tensor]:
        """Losses by name."""
        return dict(vars(self))


@dataclass(frozen=True)
class _Piece:
    """What one piece of the batch needs for its passes."""

    crops: list[Tensor]
    images: int
    layout: Layout
    mask: Tensor
    student: OutputRows
    teacher: OutputRows
    patch_weight: Tensor
    draw: DropPathPlan | None


class Objective:
    """Computes losses and leaves their gradients on the student."""

    def __init__(
        self,
        model: SelfDistillation,
        loss: LossConfig,
        *,
        drop_rates: list[float],
        accumulate: int = 1,
        bf16: bool = False,
        parallel: bool = False,
    ) -> None:
        self.model = model
        self.loss = loss
        self.drop_rates = drop_rates
        self.accumulate = accumulate
        self.bf16 = bf16
        self.device = next(model.parameters()).device
        self.student: nn.Module = DistributedDataParallel(model.student) if parallel else model.student

    def close(self) -> None:
        """Let go of the process group: whoever drops the last hold on it must not do so under Python's lock.

        The group waits for its threads when it goes, and one of them may be waiting for that lock. Torch's own
        `destroy_process_group` releases it first; the end of a `DistributedDataParallel` does not.
        """
        self.student = self.model.student

    def forward_backward(self, batch: Batch, temperature: float, generator: torch.Generator) -> Losses:
        """Add the gradients of `batch` to the student's; moves the centres, if those are used.

        `temperature` is the teacher's; `generator` (CPU) draws stochastic depth.
        """
        pieces = [self._prepare(piece, generator) for piece in batch.pieces(self.accumulate)]
        targets = self._targets(pieces, temperature)
        koleo, koleo_gradients = self._koleo_ahead(pieces)
        totals: dict[str, Tensor] = {}
        for index, (piece, target) in enumerate(zip(pieces, targets, strict=True)):
            with self._no_sync(index < len(pieces) - 1):
                with self._autocast():
                    output = self.student(piece.crops, piece.mask, piece.student, piece.draw)
                parts = self._piece_losses(piece, output, *target, batch.images)
                total = self._weighted(parts)
                features = _views(output.features[: 2 * piece.images].float(), piece)
                if koleo_gradients is not None:
                    total = total + (features * koleo_gradients[index]).sum()
                elif self.loss.koleo_weight:
                    koleo = self._koleo(features)
                    total = total + self.loss.koleo_weight * koleo
                torch.autograd.backward(total)
            for name, value in parts.items():
                totals[name] = totals.get(name, torch.zeros_like(value)) + value.detach()
        koleo = koleo.detach()
        return Losses(**totals, koleo=koleo, total=self._weighted(totals) + self.loss.koleo_weight * koleo)

    def _prepare(self, batch: Batch, generator: torch.Generator) -> _Piece:
        backbone = self.model.student.backbone
        crops = batch.crops(self.device)
        mask = batch.masks.flatten(0, 1)
        layout = backbone.layout(crops)
        masked_image, masked_patch = mask.nonzero(as_tuple=True)
        patches = masked_image * layout.groups[0][1] + backbone.prefix + masked_patch
        student, teacher = (_wanted(lay, patches) for lay in (layout, Layout(layout.groups[:1])))
        depth = draw(self.drop_rates, layout, student.rows, generator) if any(self.drop_rates) else None
        patch_weight = (1 / mask.sum(-1).clamp(min=1))[masked_image]
        return _Piece(crops, batch.images, layout, *self._moved((mask, student, teacher, patch_weight, depth)))

    def _moved(self, tensors: Any) -> Any:
        """Tensors in tuples of any depth, on the model's device."""
        if isinstance(tensors, Tensor):
            return tensors.to(self.device, non_blocking=True)
        if not isinstance(tensors, tuple):
            return tensors
        moved = map(self._moved, tensors)
        return type(tensors)(*moved) if hasattr(tensors, "_fields") else tuple(moved)

    @torch.no_grad()
    def _targets(self, pieces: list[_Piece], temperature: float) -> list[tuple[Tensor, Tensor]]:
        """Teacher assignments of each piece: of class tokens `(2, b, K)`, and of masked patches `(M, K')`."""
        with self._autocast():
            outputs = [self.model.teacher(piece.crops[:1], None, piece.teacher, None) for piece in pieces]
        views = torch.cat([_views(output.classes, piece) for output, piece in zip(outputs, pieces, strict=True)], dim=1)
        patches = torch.cat([output.patches for output in outputs])
        classes = self._targets_of(views.flatten(0, 1), temperature, self.model.dino_loss.assign).view_as(views)
        if self.loss.ibot_weight:
            patches = self._targets_of(patches, temperature, self.model.ibot_patch_loss.assign)
        counts = [len(output.patches) for output in outputs]
        images = [piece.images for piece in pieces]
        return list(zip(torch.split(classes, images, dim=1), torch.split(patches, counts), strict=True))

    def class_targets(self, logits: Tensor, temperature: float) -> Tensor:
        """What class-token `logits` `(B, K)` are as targets, `(B, K)` float32; moves no centre."""
        return self._targets_of(logits, temperature, self.model.dino_loss.targets)

    def _targets_of(self, logits: Tensor, temperature: float, centred: Callable[[Tensor, float], Tensor]) -> Tensor:
        if self.loss.centering == "centering":
            return centred(logits, temperature)
        return sinkhorn_knopp(logits, temperature, self.loss.sinkhorn_iterations)

    def _piece_losses(
        self, piece: _Piece, output: Output, classes: Tensor, patches: Tensor, images: int
    ) -> dict[str, Tensor]:
        temperature = self.loss.student_temperature
        views = _views(output.classes, piece)
        pairs = 2 * (len(views) - 1)  # of each global view with all others
        share = piece.images / images
        return {
            "dino_local": dino_local_loss(views[2:], classes, temperature) * (share / pairs),
            "dino_global": dino_global_loss(views[:2], classes, temperature) * (share / pairs),
            "ibot": ibot_loss(output.patches, patches, piece.patch_weight, 2 * images, temperature),
        }

    def _weighted(self, parts: dict[str, Tensor]) -> Tensor:
        dino = parts["dino_local"] + parts["dino_global"]
        return self.loss.dino_weight * dino + self.loss.ibot_weight * parts["ibot"]

    def _koleo(self, features: Tensor) -> Tensor:
        """Sum over the two global views of `features` `(2, B, D)`: views of one image are not neighbours."""
        shared, group = self.loss.koleo_all_ranks, self.loss.koleo_group
        return torch.stack([koleo_loss(view, all_ranks=shared, group=group) for view in features]).sum()

    def _koleo_ahead(self, pieces: list[_Piece]) -> tuple[Tensor, list[Tensor] | None]:
        """KoLeo of the whole batch and its weighted gradient per piece `(2, b, D)`; None if no pass ahead is due."""
        if len(pieces) == 1 or not self.loss.koleo_weight:
            return torch.zeros((), device=self.device), None
        with torch.no_grad(), self._autocast():
            features = torch.cat([self._global_features(piece) for piece in pieces], dim=1).float()
        features.requires_grad_(True)
        koleo = self._koleo(features)
        (gradient,) = torch.autograd.grad(self.loss.koleo_weight * koleo, features)
        return koleo, list(torch.split(gradient, [piece.images for piece in pieces], dim=1))

    def _global_features(self, piece: _Piece) -> Tensor:
        layout = Layout(piece.layout.groups[:1])
        rows = layout.class_rows()
        wanted, depth = self._moved((rows, piece.draw and narrow(piece.draw, layout, rows)))
        return _views(self.model.student.backbone.forward_rows(piece.crops[:1], piece.mask, wanted, depth), piece)

    def _autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def _no_sync(self, wait: bool) -> AbstractContextManager[object]:
        if wait and isinstance(self.student, DistributedDataParallel):
            return self.student.no_sync()
        return nullcontext()


def _views(rows: Tensor, piece: _Piece) -> Tensor:
    """Class-token rows `(V * b, C)` of the piece's views as `(V, b, C)`."""
    return rows.view(-1, piece.images, rows.shape[-1])


def _wanted(layout: Layout, patches: Tensor) -> OutputRows:
    classes = layout.class_rows()
    return OutputRows(torch.cat([classes, patches]), len(classes))
