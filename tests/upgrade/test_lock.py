"""The lock of a scale set: where it lies, what may lie in its place, who is kept out, and what it leaves behind."""

import fcntl
import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import azurerm_lite as az
from azurerm_lite.upgrade import Journal, Locked
from azurerm_lite.upgrade.run import lock

from . import windows

WEB = az.ScaleSet("11111111-2222-3333-4444-555555555555", "rg", "web").resource_id
PLACE = "https://management.azure.com"
NOBODY = 65534
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root gives a file to another user")


@pytest.fixture(name="env")
def _env(tmp_path: Path) -> dict[str, str]:
    """A user with a home and a session folder."""
    session = tmp_path / "session"
    session.mkdir(mode=0o700)
    (tmp_path / "home").mkdir()
    return {"HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(session)}


def cache(env: dict[str, str]) -> Path:
    return Path(env["HOME"]) / ".cache" / "azurerm-lite"


def lock_file(env: dict[str, str]) -> Path:
    """Where the lock of WEB is in the cache; what lies there is removed."""
    held = lock.acquire(WEB, PLACE, env=env)
    ((path, _),) = [one for one in held.files if one[0].parent == cache(env)]
    held.release()
    assert not path.exists()
    return path


# --- where it lies ---------------------------------------------------------------------------------------------------


def test_it_lies_in_private_folders_of_the_user(env: dict[str, str]) -> None:
    held = lock.acquire(WEB, PLACE, "run-1", env=env)
    session, home = (path for path, _ in held.files)
    assert session.parent == Path(env["XDG_RUNTIME_DIR"]) / "azurerm-lite"
    assert home.parent == cache(env)
    for path in (session, home):
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.read_text() == f"{os.getpid()} (run run-1)"
    held.release()


@pytest.mark.parametrize("name", ["TMPDIR", "TEMP", "TMP", "XDG_RUNTIME_DIR"])
def test_another_environment_of_the_same_user_does_not_hide_a_lock(
    name: str, env: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As with sudo, cron, or a service with a private /tmp."""
    held = lock.acquire(WEB, PLACE, env=env)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for other in ({**env, name: str(tmp_path)}, {key: value for key, value in env.items() if key != name}):
        with pytest.raises(Locked):
            lock.acquire(WEB, PLACE, env=other)
    held.release()
    lock.acquire(WEB, PLACE, env=env).release()


def test_other_sets_and_other_places_have_locks_of_their_own(env: dict[str, str]) -> None:
    held = [lock.acquire(WEB, PLACE, env=env), lock.acquire(WEB, "https://localhost:1", env=env)]
    held.append(lock.acquire(WEB.replace("web", "db"), PLACE, env=env))
    with pytest.raises(Locked):
        lock.acquire(WEB.upper(), PLACE, env=env)
    for one in held:
        one.release()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o720, 0o702])
def test_a_session_folder_that_others_may_write_is_passed_over(env: dict[str, str], mode: int) -> None:
    Path(env["XDG_RUNTIME_DIR"]).chmod(mode)
    held = lock.acquire(WEB, PLACE, env=env)
    assert [path.parent for path, _ in held.files] == [cache(env)]
    held.release()


def test_a_session_folder_that_is_a_link_is_passed_over(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(env["XDG_RUNTIME_DIR"])
    held = lock.acquire(WEB, PLACE, env={**env, "XDG_RUNTIME_DIR": str(tmp_path / "link")})
    assert [path.parent for path, _ in held.files] == [cache(env)]
    held.release()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o775, 0o702])
def test_without_a_private_folder_nothing_begins_and_the_command_that_mends_it_is_named(
    env: dict[str, str], mode: int
) -> None:
    del env["XDG_RUNTIME_DIR"]
    cache(env).mkdir(parents=True)
    cache(env).chmod(mode)
    with pytest.raises(az.InvalidInput, match=f"chmod 700 {cache(env)}"):
        lock.acquire(WEB, PLACE, env=env)
    cache(env).chmod(0o700)
    lock.acquire(WEB, PLACE, env=env).release()


@pytest.mark.parametrize("kind", ["link", "file", "home is a file", "relative", "nul"])
def test_what_is_no_folder_is_none(env: dict[str, str], kind: str, tmp_path: Path) -> None:
    del env["XDG_RUNTIME_DIR"]
    cache(env).parent.mkdir()
    if kind == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        cache(env).symlink_to(tmp_path / "elsewhere")
    elif kind == "file":
        cache(env).touch()
    elif kind == "home is a file":
        (tmp_path / "file").touch()
        env["XDG_CACHE_HOME"] = str(tmp_path / "file")
    elif kind == "relative":
        env["XDG_CACHE_HOME"] = "here"  # the specification says: to be ignored
        lock.acquire(WEB, PLACE, env=env).release()
        return
    else:
        env["XDG_CACHE_HOME"] = "/a\0b"
    with pytest.raises(az.InvalidInput, match="no private folder"):
        lock.acquire(WEB, PLACE, env=env)


@needs_root
def test_a_home_of_another_user_is_passed_over_for_the_own_one(env: dict[str, str]) -> None:
    """As after sudo -E: what root made there, its owner could not use."""
    os.chown(env["HOME"], NOBODY, NOBODY)
    folders = lock.private_folders({"HOME": env["HOME"]})
    assert folders
    assert not any(str(one).startswith(env["HOME"]) for one in folders)
    assert not list(Path(env["HOME"]).iterdir())


@needs_root
def test_a_folder_of_another_user_is_none(env: dict[str, str]) -> None:
    del env["XDG_RUNTIME_DIR"]
    cache(env).mkdir(parents=True, mode=0o700)
    os.chown(cache(env), NOBODY, NOBODY)
    with pytest.raises(az.InvalidInput, match="not your folder"):
        lock.acquire(WEB, PLACE, env=env)


# --- what may lie in its place ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["link", "dangling link", "folder", "fifo", "hard link", "socket", "other user's"])
def test_what_is_no_plain_file_of_ours_is_refused_at_once_and_not_touched(
    kind: str, env: dict[str, str], tmp_path: Path
) -> None:
    path, victim = lock_file(env), tmp_path / "victim"
    victim.write_text("precious")
    make = {
        "link": lambda: path.symlink_to(victim),
        "dangling link": lambda: path.symlink_to(tmp_path / "nothing"),
        "folder": path.mkdir,
        "fifo": lambda: os.mkfifo(path),
        "hard link": lambda: os.link(victim, path),
        "socket": lambda: os.mknod(path, stat.S_IFSOCK | 0o600),
        "other user's": path.touch,
    }
    make[kind]()
    if kind == "other user's":
        if os.getuid() != 0:
            pytest.skip("only root gives a file to another user")
        os.chown(path, NOBODY, NOBODY)
    with pytest.raises(az.InvalidInput, match=f"remove it with rm {path}"):
        lock.acquire(WEB, PLACE, env=env)
    assert victim.read_text() == "precious"
    assert not (tmp_path / "nothing").exists()
    lock.acquire(WEB.replace("web", "db"), PLACE, env=env).release()


def test_what_a_holder_wrote_is_one_printable_line(env: dict[str, str]) -> None:
    path = lock_file(env)
    path.write_bytes(b"\x1b[2J\x1b]0;owned\x07 1 (run\r\nALL DONE\xff\xe2\x80\xae" + b"x" * 1000)
    with path.open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Locked) as refused:
            lock.acquire(WEB, PLACE, env=env)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 400


def test_a_file_without_a_holder_is_taken_over_and_removed(env: dict[str, str]) -> None:
    """That of a process which was killed."""
    path = lock_file(env)
    path.write_text("99999 (run old)" * 20)
    held = lock.acquire(WEB, PLACE, "new", env=env)
    assert path.read_text() == f"{os.getpid()} (run new)"
    held.release()
    assert not path.exists()


def test_lock_files_do_not_pile_up(env: dict[str, str]) -> None:
    for number in range(50):
        lock.acquire(WEB, f"https://localhost:{number}", env=env).release()
    assert list(cache(env).iterdir()) == []
    assert list((Path(env["XDG_RUNTIME_DIR"]) / "azurerm-lite").iterdir()) == []


def test_a_lock_that_was_removed_by_hand_locks_again(env: dict[str, str]) -> None:
    path = lock_file(env)
    first = lock.acquire(WEB, PLACE, env=env)
    path.unlink()
    with pytest.raises(Locked):  # by the session's folder
        lock.acquire(WEB, PLACE, env=env)
    path.write_text("another")
    first.release()
    assert path.exists()  # which is not ours
    lock.acquire(WEB, PLACE, env=env).release()


@pytest.mark.parametrize("own_first", [True, False])
def test_a_lock_that_fails_halfway_leaves_nothing_locked(env: dict[str, str], own_first: bool) -> None:
    other = {key: value for key, value in env.items() if key != "XDG_RUNTIME_DIR"}
    held = lock.acquire(WEB, PLACE, env=other)
    with pytest.raises(Locked):
        lock.acquire(WEB, PLACE, env=env)
    assert list((Path(env["XDG_RUNTIME_DIR"]) / "azurerm-lite").iterdir()) == []
    held.release()
    lock.acquire(WEB, PLACE, env=env if own_first else other).release()


CONTENDER = """
import sys
from azurerm_lite.upgrade import Locked
from azurerm_lite.upgrade.run import lock
for line in sys.stdin:
    for _ in range(200):
        try:
            held = lock.acquire(sys.argv[1], "https://place", env={"HOME": sys.argv[2]})
        except Locked:
            continue
        with open(sys.argv[3], "x") as inside:   # which fails while another is inside
            inside.write("x")
        import os; os.unlink(sys.argv[3])
        held.release()
    print("done", flush=True)
"""


def contenders(count: int, arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    for _ in range(count):
        line = [sys.executable, "-c", CONTENDER, *arguments]
        yield subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_of_many_processes_that_take_it_and_leave_it_one_is_inside_at_a_time(env: dict[str, str]) -> None:
    """The file is removed by each holder: who had it open before then must not hold a lock on nothing."""
    started = list(contenders(3, [WEB, env["HOME"], str(Path(env["HOME"]) / "inside")]))
    threads = [threading.Thread(target=one.communicate, args=("go\n",)) for one in started]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert [one.returncode for one in started] == [0, 0, 0]


def test_closing_a_journal_twice_closes_nothing_of_others(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    journal = Journal()
    journal.lock(WEB, PLACE)
    journal.close()
    with (Path(env["HOME"]) / "x").open("w") as file:
        journal.close()
        file.write("still open")


# --- Windows, simulated ----------------------------------------------------------------------------------------------


def test_windows_simulated_the_lock_is_one_of_msvcrt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    windows.simulate(monkeypatch, tmp_path)
    held = lock.acquire(WEB, PLACE, "first")
    assert [path.parent for path, _ in held.files] == [tmp_path / "azurerm-lite"]
    with pytest.raises(Locked, match=f"process {os.getpid()} \\(run first\\)"):
        lock.acquire(WEB, PLACE, "second")
    held.release()
    lock.acquire(WEB, PLACE).release()
