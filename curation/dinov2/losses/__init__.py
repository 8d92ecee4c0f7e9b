"""What the student is trained to minimise, one formula per module."""

from curation.dinov2.losses.centering import Centre
from curation.dinov2.losses.cross_entropy import cross_entropy, dino_global_loss, dino_local_loss, ibot_loss
from curation.dinov2.losses.koleo import koleo_loss
from curation.dinov2.losses.sinkhorn import sinkhorn_knopp

__all__ = [
    "Centre",
    "cross_entropy",
    "dino_global_loss",
    "dino_local_loss",
    "ibot_loss",
    "koleo_loss",
    "sinkhorn_knopp",
]
