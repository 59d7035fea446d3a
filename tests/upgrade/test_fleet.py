"""Many scale sets from one process: no step waits by itself, limits hold, one report says how each came out."""

from azurerm_lite.emulator import Seed
from azurerm_lite.upgrade import Journal, Runner, plan
from azurerm_lite.upgrade.rehearsal import Stage
from azurerm_lite.upgrade.runner import first_entry

NEW, OLD = "22.04.202611120", "22.04.202608150"


def test_no_step_waits_by_itself_so_that_one_thread_can_drive_many() -> None:
    made = Stage(Seed.build(capacity=10))
    kept = Journal()
    kept.append(first_entry(plan(made.arm, *made.address, NEW), made.clock.time()))
    runner, steps = Runner(made.arm, kept), 0
    while True:
        before = made.clock.time()
        wait = runner.step()
        assert made.clock.time() == before, "a step must say how long to wait, not wait"
        if wait is None:
            break
        made.clock.advance(wait)
        steps += 1
    assert runner.verdict is not None
    assert runner.verdict.ok
    assert steps > 10
