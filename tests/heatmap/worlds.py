"""Scale sets to draw: plain, zonal, in several placement groups, with a thousand instances, with hostile names."""

import random
from typing import Any

from hypothesis import strategies as st

from azurerm_lite.upgrade.rules.snapshot import InstanceStatus, Snapshot

AT = 1_790_000_000.0
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></svg><script>1</script>",
    "&amp;&lt;",
    "esc\x1b[2Jbell\x07c1\x9b31m",
    "rtl\u202egpj.exe\u2066",
    "line\r\nbreak\u2028",
    "zero\u200bwidth\ufeff\ufffe",
]


def instance(number: int | str, **changes: Any) -> InstanceStatus:
    plain = InstanceStatus(
        str(number), "", "", "", 0, 0, True, "22.04.202608150", "Succeeded", "running", "healthy", False
    )
    return plain._replace(**changes)


def snapshot(*members: InstanceStatus) -> Snapshot:
    return Snapshot({instance.instance_id: instance for instance in members}, AT, True)


def spread(count: int, *, zones: int = 0, groups: int = 1, **changes: Any) -> Snapshot:
    """`count` instances over five by five domains, in every kind of state."""
    rng = random.Random(count)
    members = []
    for number in range(count):
        members.append(
            instance(
                number,
                zone=str(number % zones + 1) if zones else "",
                group=f"{number % groups:08x}-1111-4222-8333-9e0f1a2b3c4d",
                update_domain=rng.randrange(5),
                fault_domain=rng.randrange(5),
                latest=rng.random() < 0.5,
                state=rng.choice(["Succeeded"] * 8 + ["Updating", "Failed"]),
                power=rng.choice(["running"] * 8 + ["stopped", "deallocated", "starting", ""]),
                health=rng.choice(["healthy"] * 8 + ["unhealthy", "initializing", "unknown", ""]),
                **changes,
            )
        )
    return snapshot(*members)


TEXTS = st.text(max_size=12) | st.sampled_from(HOSTILE)
DOMAINS = st.none() | st.integers(-3, 25) | st.integers()
INSTANCES = st.builds(
    InstanceStatus,
    TEXTS,
    TEXTS,
    st.sampled_from(["", "1", "2", "3"]) | TEXTS,
    st.sampled_from(["", "a"]) | TEXTS,
    DOMAINS,
    DOMAINS,
    st.booleans(),
    TEXTS,
    st.sampled_from(["Succeeded", "Failed", "Updating", "Creating", ""]) | TEXTS,
    st.sampled_from(["running", "stopped", ""]) | TEXTS,
    st.sampled_from(["", "healthy", "unhealthy", "initializing", "unknown"]),
    st.booleans(),
)
SNAPSHOTS = st.lists(INSTANCES, max_size=12).map(lambda members: snapshot(*members))
