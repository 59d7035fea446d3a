"""How an upgrade came out: every instance in exactly one class, and the evidence. PURE."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .. import markup


@dataclass(frozen=True, slots=True, repr=False)
class Verdict:
    """`outcome`: succeeded, stopped (a rule ended it), paused (it could not go on), cancelled (somebody did),
    rolled-back or rollback-failed (a rule ended it, and the policy had it taken back).

    `classes`: instance id to updated, already-current, arrived-current, skipped-protected, not-selected, vanished,
    failed or not-reached; of Azure's own rolling upgrade also still-unavailable (on the model, and as unavailable as
    before), evicted and in-flight. `failures`: Azure's code, message and request id for each that failed. `lowest`:
    the fewest healthy instances: seen, or left while a batch was away.
    """

    outcome: str
    reason: str
    classes: Mapping[str, str]
    version: str
    batches: int
    seconds: float
    lowest: int | None = None
    journal: str | None = None
    failures: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.outcome == "succeeded"

    @property
    def counts(self) -> dict[str, int]:
        return dict(Counter(self.classes.values()))

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "classes": dict(self.classes), "failures": dict(self.failures), "counts": self.counts}

    def __repr__(self) -> str:
        return f"<Verdict {markup.visible(self, 300)}>"

    def _repr_html_(self) -> str:
        rows = [("reason", self.reason)] if self.reason else []
        rows += [(kind, str(count)) for kind, count in sorted(self.counts.items())]
        rows += [("version", self.version)] if self.version else []
        rows += [("batches", f"{self.batches} in {self.seconds:.0f} s")]
        rows += [("fewest healthy", str(self.lowest))] if self.lowest is not None else []
        rows += [("journal", self.journal)] if self.journal else []
        return markup.card(self.outcome, rows)

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(self.counts.items()))
        why = f": {self.reason}" if self.reason else ""
        took = f"{markup.batches(self.batches)} in {self.seconds:.0f} s"
        return markup.visible(f"{self.outcome}{why} ({counts or 'no instances'}; {took})", 2000)
