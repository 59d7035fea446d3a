"""Engine and emulator together, driven at random through a rude world: habits, faults, other writers, crashes, resumes.

The invariants are judged on the emulator's journal and its own record of each instance, never on what the engine says.
AZURERM_LITE_ROLLOUTS says how many upgrades are tried, pytest's --hypothesis-seed which (CI: 3,000 over two workers,
`nox -s long` 10,000).
"""

import json
import math
import os
from typing import Any, NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, HypothesisProvider
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from azurerm_lite.emulator import Seed
from azurerm_lite.emulator.habits import EVENTS
from azurerm_lite.upgrade import Policy, plan
from azurerm_lite.upgrade.rehearsal import Stage
from azurerm_lite.upgrade.rules.preflight import PlanRefused
from azurerm_lite.upgrade.rules.state import CLASSES
from azurerm_lite.upgrade.run.journal import Journal
from azurerm_lite.upgrade.run.runner import Runner
from azurerm_lite.upgrade.run.runs import first_entry

NEW = "22.04.202611120"
ROLLOUTS = int(os.environ.get("AZURERM_LITE_ROLLOUTS", "50" if os.environ.get("CI") else "20"))
MOST_STEPS, MOST_RESUMES = 3000, 5
RUDE_STEPS = 200  # that an upgrade goes on in the rude world before the faults stop
SNAPSHOT_SECONDS = 30.0  # a request is sent so soon after the end of the snapshot that it was decided on

TOPOLOGIES = st.fixed_dictionaries(
    {
        "capacity": st.integers(1, 14),
        "zones": st.sampled_from([(), ("1", "2"), ("1", "2", "3")]),
        "health_source": st.sampled_from(["", "extension", "probe"]),
        "page_size": st.sampled_from([0, 3]),
        "orchestration": st.sampled_from(["Uniform", "Uniform", "Uniform", "Flexible"]),
        "ephemeral": st.sampled_from([False] * 5 + [True]),
        "properties": st.sampled_from([{}, {"automaticRepairsPolicy": {"enabled": True, "gracePeriod": "PT10M"}}]),
    }
)
POLICIES = st.builds(
    Policy,
    batch_by=st.sampled_from(["update_domain", "fault_domain", "zone", "batch"]),
    max_batch_instance_percent=st.sampled_from([10, 20, 34, 50, 100]),
    batch_size=st.sampled_from([None, None, 1, 2, 3]),
    min_healthy_instance_percent=st.sampled_from([0, 50, 66, 80]),
    min_healthy_zone_percent=st.sampled_from([0, 30, 50]),
    failure_budget=st.sampled_from([0, 0, 1, 3]),
    canary_instances=st.sampled_from([0, 1, 2]),
    canary_bake_seconds=st.sampled_from([0.0, 60.0]),
    bake_seconds=st.sampled_from([0.0, 45.0]),
    pause_seconds=st.sampled_from([0.0, 30.0]),
    health_timeout_seconds=st.sampled_from([60.0, 300.0]),
    floor_timeout_seconds=st.just(120.0),
    prioritize_unhealthy_instances=st.booleans(),
    checkpoints=st.sampled_from([(), (), (50,), (30, 70)]),
    suspend_repairs=st.booleans(),
    protect_from_scale_in=st.sampled_from([False] * 4 + [True]),
    max_unhealthy_upgraded_instance_percent=st.sampled_from([100, 100, 30]),
)
# What a gate answers, time after time; True once they are used up. None: there is no gate.
GATES = st.none() | st.none() | st.lists(st.sampled_from([True, True, True, None, False]), max_size=6)
MISFORTUNES = st.sampled_from(["fail", "unhealthy", "flap", "vanish"])
TROUBLES = st.sampled_from(
    [
        {"drop": "before"}, {"drop": "after"}, {"status": 503}, {"status": 504}, {"truncate": 3}, {"status": 409},
        {"status": 429, "retry_after": 3}, {"expire": True}, {"garbage": "<html>"},
        {"status": 504, "late": True}, {"status": 504, "late": True, "times": 2}, {"status": 500, "late": True},
    ]
)  # fmt: skip


# Events that have a rule of their own here, since what is right depends on them; and lists, which end with a read.
_WITH_RULES = frozenset({"model-changed", "tags-changed", "scaled-out", "scaled-in"})
RUDE = sorted(set(EVENTS) - _WITH_RULES)
PARAMETERS: dict[str, Any] = {
    "when": st.sampled_from(["at", "during", "after", "read"]),
    "at": st.sampled_from([0.0, 5.0, 30.0, 200.0]),
    "nth": st.integers(1, 3),
    "delay": st.sampled_from([0.0, 0.0, 10.0, 60.0]),
    "count": st.integers(0, 3),
    "among": st.sampled_from(["any", "batch", "others"]),
    "seed": st.integers(0, 99),
    "seconds": st.sampled_from([0.0, 60.0, 600.0, 3600.0]),
    "policy": st.sampled_from(["Deallocate", "Delete"]),
    "form": st.sampled_from(["null", "absent", "empty", "no-statuses"]),
    "answer": st.sampled_from(["503", "reset"]),
    "age": st.sampled_from([0.0, 60.0, 600.0]),
    "operation_ends": st.booleans(),
    "path": st.sampled_from(["manualupgrade", "virtualMachines", "operations", "web", "subscriptions"]),
    "method": st.sampled_from(["GET", "POST", "PATCH", ""]),
}


@st.composite
def habits(draw: st.DrawFn) -> dict[str, Any]:
    """One use of an event, with some of its parameters drawn."""
    name = draw(st.sampled_from(RUDE))
    known = [key for key in EVENTS[name].parameters or {} if key in PARAMETERS]
    return {"habit": name, **{key: draw(PARAMETERS[key]) for key in known}}


# After which entry the process dies, and how many hours later somebody resumes it.
CRASHES = st.tuples(
    st.sampled_from(["", "intent", "intent", "model-intent", "posted", "ended", "shielded", "guarded", "fit", "end"]),
    st.sampled_from([0.0, 0.5, 2.0, 10.0]),
)


class Fact(NamedTuple):
    """What is true of one instance. `zone`, `group`: where it stands, "" where nothing that is shown says so."""

    available: bool
    state: str
    protected: bool
    current: bool
    zone: str
    group: str


class Truth(NamedTuple):
    """What the emulator knows at the moment of one page of the list, as that page could have it."""

    at: float
    facts: dict[str, Fact]
    capacity: int
    begun: bool
    busy: bool
    failed: set[str]


class Crash(BaseException):
    """The process is gone, between an entry and what it is about."""


class CrashingJournal(Journal):
    """A journal whose process dies right after an entry of this kind, once."""

    crash_at = ""

    def append(self, entry: dict[str, Any]) -> None:
        super().append(entry)
        if entry["kind"] == self.crash_at:
            self.crash_at = ""
            raise Crash


class Rollout(RuleBasedStateMachine):
    """One upgrade, and everything that may happen to it."""

    @initialize(
        topology=TOPOLOGIES,
        policy=POLICIES,
        seed=st.integers(0, 10**6),
        protected=st.booleans(),
        gate=GATES,
        rude=st.lists(habits(), max_size=4),
        crash=CRASHES,
    )
    def begin(
        self,
        topology: dict[str, Any],
        policy: Policy,
        seed: int,
        protected: bool,
        gate: list[bool | None] | None,
        rude: list[dict[str, Any]],
        crash: tuple[str, float],
    ) -> None:
        self.runner: Runner | None = None
        self.refused = False
        self.foreign_edit = False
        self.stage = Stage(Seed.build(**topology), random_seed=seed)
        self.stage.app.recorder.keeps_responses = False
        self.simulation, self.arm, self.policy = self.stage.simulation, self.stage.arm, policy
        self.steps = 0
        self.truths, self.posts = list[Truth](), list[tuple[Any, list[Truth], bool]]()
        self.wrote = False  # whether anything of ours has been sent since the last list
        self.accepted = False  # whether Azure has taken an upgrade, which may have left its instances unchanged
        self.resumes, self.hours = 0, 0.0
        self.denied = set[str]()  # instances that Azure has answered 404 for when they were last asked for
        self.listen()
        if protected:
            first = next(iter(self.there.values()))
            first.document["properties"]["protectionPolicy"] = {"protectFromScaleSetActions": True}
        self.had = dict(self.there)
        self.first = sum(vm.is_available for vm in self.there.values())
        self.allowed = ["/setOrchestrationServiceState"] * policy.suspend_repairs + ["/reimage"] * topology["ephemeral"]
        try:
            self.plan = plan(self.arm, *self.stage.address, NEW, policy=policy)
        except PlanRefused:
            self.refused = True
            self.nothing_was_written()
            return
        self.nothing_was_written()
        answers = iter(gate or [])
        self.gate: Any = None if gate is None else lambda _members: next(answers, True)
        self.journal = CrashingJournal()
        self.journal.append(first_entry(self.plan, self.arm.time(), gated=gate is not None))
        self.runner = Runner(self.arm, self.journal, gate=self.gate)
        self.journal.crash_at, self.hours = crash
        for habit in rude:
            self.azure_will_be_rude(habit)

    @property
    def scale_set(self) -> Any:
        return self.stage.scale_set

    @property
    def there(self) -> dict[str, Any]:
        found: dict[str, Any] = self.scale_set.instances
        return found

    def nothing_was_written(self) -> None:
        """I23: looking and planning are reads."""
        assert self.stage.app.recorder.writes() == []

    def ended(self) -> bool:
        return self.runner is None or self.runner.verdict is not None

    # --- what the engine does

    @rule(turns=st.integers(1, 12))
    def go_on(self, turns: int) -> None:
        for _ in range(turns):
            self.one_step()

    def one_step(self) -> None:
        """What the machine raises is a failure of this test: everything that Azure does is its to decide."""
        if self.ended():
            return
        assert self.runner is not None
        self.steps += 1
        try:
            wait = self.runner.step()
        except Crash:
            wait = None
            self.resume_after_the_crash()
        self.judge_posts()
        if wait:
            self.stage.clock.advance(wait)
            self.simulation.events.run_due_events()

    def resume_after_the_crash(self) -> None:
        self.judge_posts()
        self.stage.clock.advance(self.hours * 3600)
        self.simulation.events.run_due_events()
        self.reopen(self.journal.entries)

    def listen(self) -> None:
        """Remember what was true at each page of the list that a POST is decided on: time may pass within a step."""
        journal, add = self.stage.app.recorder, self.stage.app.recorder.add

        def added(entry: Any) -> None:
            add(entry)
            if "/virtualMachines/" in entry.path:
                (self.denied.add if entry.status == 404 else self.denied.discard)(entry.path.rpartition("/")[2])
            if entry.method == "GET" and entry.path.endswith("/virtualMachines") and entry.status == 200:
                if "$skiptoken" not in entry.query:
                    self.truths.clear()
                    self.wrote = False
                self.truths.append(self.truth())
            if entry.method == "POST" and entry.path.endswith("/manualupgrade"):
                self.posts.append((entry, list(self.truths), self.wrote))
                self.accepted = self.accepted or entry.status < 400
            # A 401 has no effect, and the same request follows at once with a fresh token.
            self.wrote = self.wrote or (entry.method != "GET" and entry.status != 401)

        journal.add = added

    def truth(self) -> "Truth":
        """What is true; in place of what an old list has shown, what was true then."""
        shown, model, upgrading = (
            self.simulation.disturbances.stale_set,
            self.scale_set.model_version,
            self.scale_set.upgrade,
        )
        seen = shown if shown is not None and shown.resource_id == self.scale_set.resource_id else self.scale_set
        vms = {**seen.instances, **seen.ghosts}
        return Truth(
            self.simulation.events.now,
            {name: fact_of(vm, model) for name, vm in vms.items()},
            max(int(self.scale_set.model["sku"]["capacity"]), len(self.there)),
            self.accepted or any(vm.upgrades for vm in {**self.had, **self.there}.values()),
            upgrading is not None and not upgrading.is_done,
            {
                one
                for one, vm in self.there.items()
                if vm.upgrades and vm.state == "Failed" and vm.model_version != model
            },
        )

    def judge_posts(self) -> None:
        """I1 to I6, I9 and I11: at each POST of an upgrade, by the emulator's own truth."""
        posts, self.posts = self.posts, []
        for post, truths, wrote in posts:
            ids = post.body["instanceIds"]
            assert ids
            assert len(set(ids)) == len(ids)
            assert "*" not in ids
            # An instance whose upgrade is behind it, and its reimage is not, is in the batch and not in the request.
            intents = [entry for entry in self.journal.entries if entry["kind"] == "intent"]
            assert any(ids in (intent["ids"], intent["request_ids"]) for intent in intents), "no intent"
            assert truths, "nobody looked before it"
            assert not wrote, "another request of ours lies between the snapshot and this one"
            if post.status < 400:
                assert post.time - truths[-1].at <= SNAPSHOT_SECONDS, "decided on an old snapshot"
                # Pages that came at different moments may each show what was true then.
                complaints = [self.complaint(ids, truth) for truth in truths]
                assert "" in complaints, complaints

    def complaint(self, ids: list[str], truth: "Truth") -> str:
        """What is wrong with upgrading these now, "" for nothing."""
        policy, facts = self.policy, truth.facts
        total = max(len(self.plan.observation.members), truth.capacity)
        up = [one for one, fact in facts.items() if fact.available]
        left = [one for one in up if one not in ids]
        need = math.ceil(policy.min_healthy_instance_percent * total / 100)
        size = policy.batch_size or max(1, policy.max_batch_instance_percent * total // 100)
        domains = {(vm.zone, vm.view.get("platformUpdateDomain")) for n, vm in self.there.items() if n in ids}
        # Whether one was upgraded, by the instances: a POST that was answered with 504 may have had its effect.
        rules = {
            "one upgrade was in flight already": truth.busy,
            f"{truth.failed} have failed": len(truth.failed) > policy.failure_budget,
            "no canary": not truth.begun and len(ids) > (policy.canary_instances or len(ids)),
            f"{len(left)} of {need} would be left": len(left) < need and set(ids) & set(up),
            "too few of a zone": self.too_few(ids, facts, "zone"),
            "too few of a placement group": self.too_few(ids, facts, "group"),
            f"more than {size} at once": len(ids) > size,
            "one is not there": not set(ids) <= set(facts),
            "one is protected": any(facts[one].protected for one in ids if one in facts),
            "one was current already": any(facts[one].current for one in ids if one in facts),
            "others change one": {facts[one].state for one in ids if one in facts}
            & {"Creating", "Deleting", "Updating"},
            "more than one update domain": policy.batch_by == "update_domain" and len(domains) > 1,
        }
        return "; ".join(rule for rule, broken in rules.items() if broken)

    def too_few(self, ids: list[str], facts: dict[str, Fact], kind: str) -> bool:
        """Whether fewer than are to stay available would be left in a zone or placement group that loses one."""
        places = {getattr(fact, kind) for one, fact in facts.items() if one in ids and fact.available} - {""}
        for place in places:
            there = [one for one, fact in facts.items() if getattr(fact, kind) == place]
            left = [one for one in there if facts[one].available and one not in ids]
            if len(left) < math.ceil(self.policy.min_healthy_zone_percent * len(there) / 100):
                return True
        return False

    @rule(crash=CRASHES)
    def the_process_will_die(self, crash: tuple[str, float]) -> None:
        """After the next such entry: an intent that is never sent, an answer that is written; resumed hours later."""
        if not self.ended():
            self.journal.crash_at, self.hours = crash

    @rule(habit=habits())
    def azure_will_be_rude(self, habit: dict[str, Any]) -> None:
        if not self.refused and self.runner is not None:
            self.simulation.faults.add(**habit)

    @rule()
    def crash_and_resume(self) -> None:
        """L3: another process takes up the journal; what it knows is what was written."""
        if not self.ended():
            self.reopen(self.journal.entries)

    def reopen(self, entries: list[dict[str, Any]]) -> None:
        self.journal = CrashingJournal()
        self.journal.entries = json.loads(json.dumps(entries))
        self.runner = Runner(self.arm, self.journal, gate=self.gate)
        self.runner.take_up()

    @rule()
    def somebody_cancels(self) -> None:
        if not self.ended():
            assert self.runner is not None
            try:
                self.runner.end()
            except Crash:
                self.resume_after_the_crash()
            else:
                self.judge_guards()

    @rule(hours=st.sampled_from([0.0, 0.0, 1.5, 10.0]))
    def somebody_resumes(self, hours: float) -> None:
        """After a checkpoint, a gate that could not tell, lost rights, or a cancel."""
        if self.unfinished():
            self.stage.clock.advance(hours * 3600)
            self.simulation.events.run_due_events()
            self.reopen(self.journal.entries)

    def unfinished(self) -> bool:
        verdict = self.runner.verdict if self.runner is not None else None
        return verdict is not None and verdict.outcome in ("paused", "cancelled")

    @rule(cut=st.integers(1, 2))
    def crash_before_the_last_entries_reached_the_disk(self, cut: int) -> None:
        """A crash between what was done and the entry that says so: intents are never lost, answers may be."""
        if self.ended() or len(self.journal.entries) <= cut:
            return
        kept = self.journal.entries
        for _ in range(cut):
            if kept[-1]["kind"] in ("posted", "ended", "fit", "gate", "settled"):
                kept = kept[:-1]
        self.reopen(kept)

    # --- what others do

    @rule(number=st.integers(0, 13), effect=MISFORTUNES)
    def an_instance_will_fare_badly(self, number: int, effect: str) -> None:
        ids = list(self.there)
        if ids and not self.refused:
            self.simulation.faults.add(on="upgrade", instance=ids[number % len(ids)], effect=effect)

    @rule(trouble=TROUBLES, method=st.sampled_from(["GET", "POST", "PATCH"]))
    def the_network_or_azure_has_trouble(self, trouble: dict[str, Any], method: str) -> None:
        self.simulation.faults.add(method=method, **trouble)

    @rule(count=st.integers(1, 3))
    def somebody_scales_out(self, count: int) -> None:
        self.scale(len(self.there) + count)

    @rule()
    def somebody_scales_in(self) -> None:
        if len(self.there) > 1:
            self.scale(len(self.there) - 1)

    def scale(self, capacity: int) -> None:
        if self.refused or self.scale_set.state != "Succeeded":
            return
        self.simulation.scale_sets.write(self.scale_set, {"sku": {"capacity": capacity}}, null_deletes=True)

    @rule(number=st.integers(0, 13), state=st.sampled_from(["healthy", "unhealthy", "unknown"]))
    def an_application_changes_its_mind(self, number: int, state: str) -> None:
        ids = list(self.there)
        if ids and self.plan_has_health():
            self.simulation.health.set_health(self.scale_set, self.there[ids[number % len(ids)]], state)

    def plan_has_health(self) -> bool:
        return not self.refused and self.runner is not None and self.plan.observation.reports

    @rule()
    def somebody_edits_tags(self) -> None:
        if not self.refused and self.scale_set.state == "Succeeded":
            self.simulation.scale_sets.write(self.scale_set, {"tags": {"by": "another"}}, null_deletes=True)

    @precondition(lambda self: self.runner is not None and self.runner.state.model_written)
    @rule()
    def somebody_edits_the_model(self) -> None:
        if self.scale_set.upgrade is not None and not self.scale_set.upgrade.is_done:
            return
        if not self.ended() and self.scale_set.state == "Succeeded":
            self.foreign_edit = True
            profile = {"virtualMachineProfile": {"licenseType": f"by-{self.steps}"}}
            self.simulation.scale_sets.write(self.scale_set, {"properties": profile}, null_deletes=True)
            self.edited_after = len(self.stage.app.recorder.find("POST", "manualupgrade"))

    @rule(seconds=st.sampled_from([1.0, 30.0, 400.0, 36_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.stage.clock.advance(seconds)
        self.simulation.events.run_due_events()

    # --- what must always hold

    @invariant()
    def no_instance_is_upgraded_twice_to_one_model(self) -> None:
        """I7, whatever crashed: per instance and model at most one effective upgrade."""
        if getattr(self, "stage", None) is None:
            return
        for vm in {**self.had, **self.there}.values():
            generations = [generation for _, generation in vm.upgrades]
            assert len(generations) == len(set(generations)), vm.instance_id

    @invariant()
    def nothing_else_is_written(self) -> None:
        """I10: upgrades and the one change of the model, and what the policy asks for; and the capacity never."""
        if getattr(self, "stage", None) is None:
            return
        for entry in self.stage.app.recorder.writes():
            assert entry.path.endswith(("/manualupgrade", "/virtualMachineScaleSets/web", *self.allowed)) or (
                self.policy.protect_from_scale_in and entry.method == "PUT" and "/virtualMachines/" in entry.path
            ), entry.path
            assert entry.method != "PATCH" or "sku" not in entry.body

    @invariant()
    def after_a_foreign_edit_no_batch_is_begun(self) -> None:
        """I8: the model is compared before every POST."""
        if getattr(self, "foreign_edit", False):
            assert len(self.stage.app.recorder.find("POST", "manualupgrade")) <= self.edited_after

    def teardown(self) -> None:
        if getattr(self, "runner", None) is None:
            return
        for _ in range(RUDE_STEPS):
            self.one_step()
        self.simulation.faults.clear()
        self.journal.crash_at = ""
        for _ in range(MOST_STEPS):
            if self.unfinished() and self.resumes < MOST_RESUMES:  # what nobody mends stays paused, and says why
                self.resumes += 1
                self.stage.clock.advance(600)
                self.reopen(self.journal.entries)
            if self.ended():
                break
            self.one_step()
        assert self.runner is not None
        verdict = self.runner.verdict
        assert verdict is not None, "it never ended"  # L1, L2
        self.judge(verdict)

    def judge_guards(self) -> None:
        """I19: what was done to guard it is taken back, or the journal says that it is outstanding.

        What Azure answered 404 for is not to be reached, and may come back as it was.
        """
        assert self.runner is not None
        state = self.runner.state
        assert self.scale_set.repairs_state == "Running" or state.guarded
        listed = {name: vm for name, vm in self.there.items() if "unlisted" not in vm.marks and name not in self.denied}
        policies = {name: vm.document["properties"].get("protectionPolicy") or {} for name, vm in listed.items()}
        assert {one for one, policy in policies.items() if policy.get("protectFromScaleIn")} <= set(state.shielded)

    def judge(self, verdict: Any) -> None:
        """I20, I21, I22: the verdict is true, complete and says why."""
        last, self.posts = self.truths[-1] if self.truths else None, []
        self.simulation.events.run_due_events()
        self.judge_guards()
        assert set(verdict.classes.values()) <= set(CLASSES)
        if verdict.outcome != "paused":
            assert set(self.plan.observation.members) <= set(verdict.classes)
        for one, vm in self.there.items():
            kind = verdict.classes.get(one)
            if kind in ("updated", "arrived-current") and not self.foreign_edit:
                image = vm.document["properties"]["storageProfile"]["imageReference"]
                assert image["exactVersion"] == NEW, (one, kind)
        if not verdict.ok:
            assert verdict.reason
            return
        assert "in-flight" not in verdict.classes.values()
        assert last is not None
        up = sum(fact.available for fact in last.facts.values())
        need = math.ceil(self.policy.min_healthy_instance_percent * last.capacity / 100)
        assert up >= min(need, self.first), "succeeded below the floor"


def fact_of(vm: Any, generation: int) -> Fact:
    hidden = vm.marks & {"view-null", "view-absent", "view-empty", "unlisted"}
    zone = "" if "unlisted" in hidden else vm.zone or ""
    group = "" if hidden else vm.view.get("placementGroupId") or ""
    return Fact(vm.is_available, vm.state, vm.is_protected, vm.model_version == generation, zone, group)


# Each upgrade is drawn on its own. Hypothesis' usual search makes five variants of each, and every second upgrade that
# it tries is, request for request, one that it has tried.
AVAILABLE_PROVIDERS["independent"] = f"{HypothesisProvider.__module__}.{HypothesisProvider.__name__}"

Rollout.TestCase.settings = settings(
    max_examples=ROLLOUTS,
    backend="independent",
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=bool(os.environ.get("CI")) and "AZURERM_LITE_ROLLOUTS" not in os.environ,
    database=None,
)
TestRollout = Rollout.TestCase
