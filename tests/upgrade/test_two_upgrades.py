"""Two who upgrade one scale set, by one machine's lock, without a lock in common, and while one of them sleeps.

Rows 87 to 89. There is no lease that could run out: what keeps them apart elsewhere is the model, which is compared,
and the instances, which are looked at, before every POST. So nobody has to be woken, asked or trusted.
"""

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import azurerm_lite as az
from azurerm_lite.emulator import Seed, serve
from azurerm_lite.emulator.http.adapter import InProcessAdapter
from azurerm_lite.upgrade import Policy, plan
from azurerm_lite.upgrade.rehearsal import Stage
from azurerm_lite.upgrade.rules.preflight import PlanRefused
from azurerm_lite.upgrade.rules.verdict import Verdict
from azurerm_lite.upgrade.run.runner import Runner
from azurerm_lite.upgrade.run.runs import opened

MID, NEW = "22.04.202610200", "22.04.202611120"
LOST = ("somebody else wrote the model", "somebody changed the model", "the model has changed since")
HOURS = 8 * 3600.0
MOST_STEPS = 600
FLOOR = 8  # of ten, by the default policy


def machine(made: Stage) -> az.Arm:
    """Another machine's Arm in the same world: a network, and so a lock, of its own."""
    options: Any = {"adapter": InProcessAdapter(made.app), "sleep": made.clock.sleep, "now": made.clock.time}
    return az.Arm(made.arm.credential, cloud=made.arm.cloud, monotonic=made.clock.time, **options)


def posts(made: Stage) -> list[Any]:
    return [one for one in made.app.recorder.find("POST", "manualupgrade") if one.status < 400]


# --- two processes of one machine ------------------------------------------------------------------------------------

PROCESS = """
import json, os, sys
from azurerm_lite import AzurermLiteError, ScaleSet, connect
from azurerm_lite.upgrade import Locked, plan
from azurerm_lite.upgrade.run.runs import opened
env = json.loads(os.environ["EMULATOR"])
arm = connect(env=env)
wanted = plan(arm, *ScaleSet(env["AZURE_SUBSCRIPTION_ID"], "web-rg", "web"), "22.04.202611120")
for line in sys.stdin:
    try:
        runner = opened(arm, wanted, None)
        print("begun by", os.getpid(), arm.correlation_id, flush=True)
    except Locked as locked:
        print(locked, flush=True)
"""


def test_a_second_process_is_refused_with_pid_and_run_of_the_first_until_that_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Row 87: a lock of the operating system, so that nothing is left locked by a process that was killed."""
    with serve(Seed.build(capacity=10), time_scale=400) as emulator:
        env = {**{key: os.environ[key] for key in ("PATH", "PYTHONPATH", "TMPDIR") if key in os.environ}}
        env["EMULATOR"] = json.dumps(emulator.env())
        line = [sys.executable, "-c", PROCESS]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": env}
        first, second = subprocess.Popen(line, **pipes), subprocess.Popen(line, **pipes)

        def told(process: Any) -> str:
            process.stdin.write("begin\n")
            process.stdin.flush()
            return str(process.stdout.readline())

        try:
            found = re.fullmatch(r"begun by (\d+) (\S+)\n", told(first))
            assert found is not None
            assert int(found[1]) == first.pid
            assert f"is being upgraded by process {found[1]} (run {found[2]}) of this machine" in told(second)
            assert emulator.recorder.writes() == []
            first.kill()
            first.wait(timeout=30)
            assert told(second).startswith(f"begun by {second.pid} ")
        finally:
            for process in (first, second):
                process.kill()
                process.communicate(timeout=30)


# --- two machines ----------------------------------------------------------------------------------------------------


class Machine:
    """One of two that upgrade the same set. It plans when it is first asked to do something."""

    def __init__(self, made: Stage, version: str, policy: Policy | None = None) -> None:
        self.made, self.arm, self.version, self.policy = made, machine(made), version, policy
        self.runner: Runner | None = None
        self.verdict: Verdict | None = None
        self.due = 0.0

    def act(self) -> None:
        """When it is time for that: plan and begin, or one step, and after the last one what `upgrade` does then."""
        self.made.clock.advance(max(0.0, self.due - self.made.clock.time()))
        self.made.simulation.events.run_due_events()
        if self.runner is None:
            self.begin()
        elif (wait := self.runner.step()) is not None:
            self.due = self.made.clock.time() + wait
        elif self.runner.verdict is not None:
            self.runner.journal.close()
            self.verdict = self.runner.verdict

    def begin(self) -> None:
        try:
            wanted = plan(self.arm, *self.made.address, self.version, policy=self.policy)
            self.runner = opened(self.arm, wanted, None)
        except PlanRefused:  # while the other one holds the set
            self.due = self.made.clock.time() + 60.0


def ours(made: Stage, who: Machine) -> bool:
    """Whether the set's model is the one that this machine brings instances to."""
    return az.image_text(made.scale_set.model).endswith(who.version)


def upgraded_once(made: Stage) -> bool:
    """Whether no instance was brought to any model twice, and all are on the last one."""
    there = made.scale_set.instances.values()
    once = all(len({to for _, to in vm.upgrades}) == len(vm.upgrades) for vm in there)
    return once and all(vm.model_version == made.scale_set.model_version for vm in there)


@settings(max_examples=16, deadline=None)
@given(
    st.lists(st.integers(1, 25), min_size=1, max_size=8),
    st.sampled_from([MID, MID, NEW]),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_two_machines_without_a_lock_in_common_upgrade_nobody_twice_and_the_loser_stops(
    turns: list[int], version: str, back: bool, seed: int
) -> None:
    """Row 88: whoever's model is not the set's any more begins no batch, however their steps come to lie."""
    made = Stage(Seed.build(capacity=10, health_source="extension"), random_seed=seed)
    policy = Policy(rollback_on_failure=back, pause_seconds=200)
    both = (Machine(made, NEW, policy), Machine(made, version, policy))
    order = [both[number % 2] for number, steps in enumerate(turns) for _ in range(steps)]
    for who in (*order, *both * MOST_STEPS):
        sent, was_ours = len(posts(made)), ours(made, who)
        if who.verdict is None:
            who.act()
        assert len(posts(made)) == sent or was_ours
        if both[0].verdict is not None and both[1].verdict is not None:
            break
    assert all(one.verdict.ok or one.verdict.reason.startswith(LOST) for one in both if one.verdict)
    assert [one for one in both if one.verdict and one.verdict.ok and ours(made, one)]
    assert upgraded_once(made)
    assert made.lowest() >= FLOOR


@pytest.mark.parametrize("version", [MID, NEW])
def test_who_loses_against_another_machine_takes_nothing_of_its_change_back(version: str) -> None:
    """Row 88: not even where the policy takes a failed upgrade back. What is there is the winner's."""
    made = Stage(Seed.build(capacity=10))
    loser, winner = Machine(made, NEW, Policy(rollback_on_failure=True)), Machine(made, version)
    loser.begin()
    while winner.verdict is None:
        winner.act()
    while loser.verdict is None:
        loser.act()
    assert loser.verdict.outcome == ("succeeded" if version == NEW else "stopped")
    assert ours(made, winner)
    assert upgraded_once(made)
    assert len([one for one in made.app.recorder.find("PATCH") if one.status < 400]) == 1


@pytest.mark.parametrize("batches", [1, 3])
def test_who_is_overtaken_in_its_middle_leaves_the_model_to_the_other(batches: int) -> None:
    """Row 88: its own batches stay with the winner too, which brings them to its model."""
    made = Stage(Seed.build(capacity=10))
    loser, winner = Machine(made, NEW, Policy(rollback_on_failure=True)), Machine(made, MID)
    while loser.runner is None or loser.runner.progress.batches < batches:
        loser.act()
    sent = len(posts(made))
    while winner.runner is None or not winner.runner.state.model_written:
        winner.act()
    while loser.verdict is None:
        loser.act()
    assert (loser.verdict.outcome, len(posts(made))) == ("rollback-failed", sent)
    assert "not taken back: somebody changed the model" in loser.verdict.reason
    while winner.verdict is None:
        winner.act()
    assert winner.verdict.ok
    assert ours(made, winner)
    assert upgraded_once(made)


# --- one of them asleep ----------------------------------------------------------------------------------------------


def by(made: Stage, who: Machine) -> list[Any]:
    """What this machine asked of Azure, in order."""
    entries = made.app.recorder.entries
    return [one for one in entries if one.headers.get("x-ms-correlation-request-id") == who.arm.correlation_id]


def moved_on(other: Machine, until: str) -> None:
    """The other one, while everybody else sleeps: to its end, or until its first batch is in flight."""
    while other.verdict is None:
        other.act()
        batch = other.runner.progress.batch if other.runner else None
        if until == "in flight" and batch is not None:
            return


@pytest.mark.parametrize("until", ["in flight", "the end"])
@pytest.mark.parametrize("version", [MID, NEW])
@pytest.mark.parametrize("point", ["begin", "model-intent", "model-written", "intent", "posted", "settled"])
def test_who_wakes_after_hours_looks_at_model_and_instances_before_it_changes_anything(
    point: str, version: str, until: str
) -> None:
    """Row 89: what the other one has taken down counts, what it wrote stays, and no batch follows from an old look."""
    made = Stage(Seed.build(capacity=10, health_source="extension"))
    other = Machine(made, version)
    sleeper = Machine(made, NEW)
    slept: list[int] = []

    def sleep(event: dict[str, Any]) -> None:
        if event["kind"] == point and not slept:
            slept.append(len(by(made, sleeper)))
            made.clock.advance(HOURS)
            moved_on(other, until)
            slept.append(len(posts(made)))

    wanted = plan(sleeper.arm, *made.address, NEW)
    sleeper.runner = opened(sleeper.arm, wanted, None, on_event=sleep)
    while sleeper.verdict is None:
        sent, awake = len(posts(made)), bool(slept)
        sleeper.act()
        if slept:
            assert len(posts(made)) == (sent if awake else slept[1]) or ours(made, sleeper)
    after = by(made, sleeper)[slept[0] :]
    acts = [number for number, one in enumerate(after) if one.method == "POST"]
    seen = [one.path.rpartition("/")[2] for one in after[: acts[0]]] if acts else []
    assert not acts or {"web", "virtualMachines"} <= set(seen), seen
    while other.verdict is None:
        other.act()
    assert sleeper.verdict.ok == (version == NEW), sleeper.verdict
    assert other.verdict.ok
    assert upgraded_once(made)
    assert made.lowest() >= FLOOR


def test_where_there_are_no_etags_a_model_that_was_read_before_the_sleep_is_read_again() -> None:
    """Row 89: nothing else would keep the change from being written over that of the other."""
    made = Stage(Seed.build(capacity=10))
    options: Any = {"adapter": InProcessAdapter(made.app), "sleep": made.clock.sleep, "now": made.clock.time}
    old = az.Arm(made.arm.credential, cloud=made.arm.cloud, api_version="2022-11-01", **options)
    sleeper, other = Machine(made, NEW), Machine(made, MID)
    sleeper.arm = old
    sleeper.begin()
    moved_on(other, "the end")
    while sleeper.verdict is None:
        sleeper.act()
    assert str(sleeper.verdict.reason) == "the model has changed since it was planned: plan again"
    assert ours(made, other)
    assert len(made.app.recorder.find("PATCH")) == 1
