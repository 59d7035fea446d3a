"""Remove a safeguard, and check that a test fails: `python tools/mutations.py [NAME]`.

Each mutation removes one safeguard from a copy of the package and runs the tests for it. If they still pass, the
mutation has survived, and the exit code is 1.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Mutation(NamedTuple):
    """Replace `old` by `new` in `file`; `tests`: the arguments of pytest."""

    name: str
    file: str
    old: str
    new: str
    tests: str


MUTATIONS = [
    Mutation(
        "host check",
        "_http/responses.py",
        "origin is not None and _origin(origin) != _origin(base)",
        "False",
        "tests/unit/test_wire.py -k links",
    ),
    Mutation(
        "If-Match",
        "arm.py",
        'headers = {"If-Match": if_match, "If-None-Match": if_none_match}',
        'headers = {"If-Match": None, "If-None-Match": if_none_match}',
        "tests/emulated/test_main_job.py -k somebody_else",
    ),
    Mutation("POST retry rule", "_http/retry.py", "(transient and not write)", "transient", "tests/unit/test_retry.py"),
    Mutation(
        "deadline of the body",
        "_http/transport.py",
        "seconds_left = self._deadline - time.monotonic()",
        "seconds_left = 3600.0",
        "tests/emulated/test_faults.py -k drips",
    ),
    Mutation(
        "deadline of the headers",
        "_http/transport.py",
        "        if deadline is not None:",
        "        if False:",
        "tests/emulated/test_faults.py -k drips",
    ),
    Mutation(
        "clamp of Retry-After",
        "operation.py",
        "return min(LONGEST_SECONDS, max(floor, self._retry_after))",
        "return self._retry_after",
        "tests/unit/test_operation.py",
    ),
    Mutation(
        "token lock",
        "auth/credential.py",
        "self._lock = threading.Lock()\n        self._tokens",
        "self._lock = __import__('contextlib').nullcontext()\n        self._tokens",
        "tests/unit/test_auth.py",
    ),
    Mutation(
        "size cap",
        "_http/transport.py",
        "if len(body) > self._max_bytes:",
        "if False:",
        "tests/emulated/test_raw_socket.py -k unpacks",
    ),
    Mutation(
        "redaction",
        "auth/tokens.py",
        "return f\"Token(token='(secret)', expires_on={self.expires_on})\"",
        'return f"Token({self.token}, {self.expires_on})"',
        "tests/unit/test_auth.py",
    ),
    Mutation(
        "interim responses",
        "_http/transport.py",
        "if not 100 <= status < 200:",
        "if True:",
        "tests/emulated/test_wrong_responses.py -k passed_over",
    ),
    Mutation(
        "repeated keys",
        "_common/parsing.py",
        "if len(entries) != len(pairs):",
        "if False:",
        "tests/unit/test_parsing.py",
    ),
    Mutation(
        "fastest poll",
        "operation.py",
        "FASTEST_SECONDS / getattr",
        "0.05 / getattr",
        "tests/emulated/test_wrong_responses.py -k more_than_once",
    ),
    Mutation("segment check", "_http/wire.py", 'value.strip(".") == "" or ', "", "tests/unit/test_wire.py -k names"),
    Mutation(
        "reconcile of a model",
        "_lost_responses.py",
        "return model.matches_written(resource, model.without_read_only(write.body))",
        "return True",
        "tests/emulated/test_emulator_faults.py -k lost",
    ),
    Mutation(
        "who may write a journal",
        "upgrade/run/journal.py",
        "if _lock.writable_by_others(status):",
        "if False:",
        "tests/upgrade/test_journal_trust.py -k others_may_write",
    ),
    Mutation(
        "endpoint of a journal",
        "upgrade/rules/trust.py",
        "    if named != endpoint:",
        "    if False:",
        "tests/upgrade/test_journal_trust.py -k at_another_address",
    ),
    Mutation(
        "patch of a journal",
        "upgrade/rules/trust.py",
        "if other or not leads or _beside(first, vmss, after):",
        "if False:",
        "tests/upgrade/test_journal_trust.py -k patch_that_is_not",
    ),
    Mutation(
        "names of a lock file",
        "upgrade/run/lock.py",
        "_is_own(status) and status.st_nlink <= 1",
        "_is_own(status)",
        "tests/upgrade/test_lock.py -k plain_file",
    ),
    Mutation(
        "change of a fleet's journal",
        "upgrade/fleet.py",
        "attempt.verdict.ok and attempt.same:",
        "attempt.verdict.ok:",
        "tests/upgrade/test_fleet_journals.py -k no_answer",
    ),
    Mutation(
        "reconcile of an upgrade",
        "_lost_responses.py",
        "if wire.has_upgrade_begun(items, instances.ids) and state != wire.FAILED:",
        "if False:",
        "tests/emulated/test_faults.py -k answer_is_lost",
    ),
    Mutation(
        "slowing before the 429",
        "_http/retry.py",
        "if not counted or min(counted) > LOW_REMAINING:",
        "if True:",
        "tests/emulated/test_faults.py -k nearly_empty",
    ),
]


def survives(mutation: Mutation) -> bool:
    """Whether the tests pass without this safeguard."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        ignored = shutil.ignore_patterns(".git", ".venv*", ".ci", "__pycache__", ".hypothesis", ".*_cache")
        shutil.copytree(ROOT, copy, ignore=ignored)
        path = copy / "azurerm_lite" / mutation.file
        text = path.read_text()
        if not _green(copy, mutation):
            raise SystemExit(f"{mutation.name}: its tests fail without any mutation, so they prove nothing")
        if text.count(mutation.old) != 1:
            raise SystemExit(f"{mutation.name}: {mutation.old!r} stands {text.count(mutation.old)} times, not once")
        path.write_text(text.replace(mutation.old, mutation.new))
        return _green(copy, mutation)


def _green(copy: Path, mutation: Mutation) -> bool:
    line = f"{sys.executable} -m pytest -q -x -p no:cacheprovider {mutation.tests}"
    env = {**os.environ, "PYTHONPATH": str(copy)}
    done = subprocess.run(line, shell=True, cwd=copy, env=env, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{mutation.name}: the tests did not run: {done.stdout[-800:]} {done.stderr[-800:]}")
    return done.returncode == 0


def main(*names: str) -> int:
    selected = [mutation for mutation in MUTATIONS if not names or mutation.name in names]
    survivors = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for mutation, survived in zip(selected, pool.map(survives, selected), strict=True):
            survivors += [mutation.name] if survived else []
            print(f"{'SURVIVED' if survived else 'noticed '}  {mutation.name}", flush=True)
    if survivors:
        print(f"{len(survivors)} safeguards can be removed without a failing test")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
