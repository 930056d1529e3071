"""The settings of a run."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.models import MEASURED


@dataclass(frozen=True)
class Settings:
    """The extent of the measurements.

    Attributes:
        models: keys of `NETWORKS`.
        batches: images at a time.
        rounds: largest number of rounds of a comparison.
        seconds: time after which a comparison starts no further round.
        files: number of photographs in the folder.
    """

    models: tuple[str, ...] = tuple(MEASURED)
    batches: tuple[int, ...] = (1, 8, 32)
    rounds: int = 15
    seconds: float = 15.0
    files: int = 96

    def model_like(self, wanted: str) -> str:
        """Return `wanted` if it is among the models, else the first of them."""
        return wanted if wanted in self.models else self.models[0]
