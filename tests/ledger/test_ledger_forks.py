"""A forked child goes on with ledger and budgets; what its parent had under way stays the parent's."""

from __future__ import annotations

import sqlite3
import textwrap
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from pointsman.ledger.budgets.budgets import Budgets
from pointsman.ledger.ledger import Ledger

Script = Callable[..., str]

COMMON = """
    import os, signal, sys, threading, time
    from pathlib import Path
    from pointsman.configs.errors import PointsmanError
    from pointsman.configs.process import forks
    from pointsman.ledger.storage import writer
    from pointsman.ledger.budgets.budgets import LASTING, BudgetExceeded, Budgets
    from pointsman.ledger.ledger import Ledger
    from pointsman.ledger.rows import CallRow, EffectRow

    path = Path(sys.argv[1])
    RUN = {"run:a": 1_000_000}

    def row(name):
        return CallRow(name, "", "r", "", "", 1, "p/m", "economy", "low", 1.0)

    def act(name):
        return EffectRow(name, "r", "s", "a", "send", "external", "d", 1.0)

    def call(budgets, cost, most=1_000):
        assert budgets.settle(budgets.reserve(RUN, most, sent=True), cost) == cost

    def forked(work):
        "The child's number; it ends by itself and is killed where it hangs."
        pid = os.fork()
        if not pid:
            signal.alarm(60)
            try:
                work()
            except BaseException as error:
                os.write(2, f"in the child: {type(error).__name__}: {error}\\n".encode())
            os._exit(0)
        return pid

    def ended(pid):
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""


def program(code: str) -> str:
    return textwrap.dedent(COMMON) + textwrap.dedent(code)


def ids(path: Path) -> Counter[str]:
    with Ledger(path) as ledger:
        assert ledger.verify() == []
        return Counter(row.id for row in ledger.calls())


def totals(path: Path, scope: str = "run:a") -> tuple[int, int]:
    with closing(Budgets(path)) as budgets:
        return budgets.totals(scope)


@pytest.mark.slow
def test_parent_and_children_record_each_row_once(path: Path, script: Script) -> None:
    code = """
        writer._GROUP_SECONDS = 5.0
        ledger = Ledger(path)
        ledger.record(row("written before"))
        ledger.flush()
        ledger.record(row("queued before"))

        def child(number):
            ledger.record(row(f"child {number}"))
            ledger.commit(act(f"act {number}"))
            assert len(ledger.effects()) >= 1
            ledger.record(row(f"child {number}, last"))
            ledger.close()

        children = [forked(lambda number=number: child(number)) for number in range(3)]
        ledger.record(row("parent after"))
        for one in children:
            ended(one)
        assert len(ledger.effects()) == 3
        ledger.close()
    """
    script(program(code), path)
    names = ["written before", "queued before", "parent after"]
    names += [f"child {number}{last}" for number in range(3) for last in ("", ", last")]
    assert ids(path) == Counter(names)


@pytest.mark.slow
def test_money_of_parent_and_children_is_counted_and_a_reservation_stays_the_parents(
    path: Path, script: Script
) -> None:
    code = """
        budgets = Budgets(path)
        held = budgets.reserve(RUN, 1_000, sent=True)
        unsent = budgets.reserve(RUN, 500)
        batch = budgets.reserve(RUN, 300, f"{LASTING}b", sent=True)
        for _ in range(50):
            call(budgets, 3)

        def child():
            # As when what was under way in the parent is collected in the child.
            assert budgets.settle(held, 999) is None and not budgets.release(held)
            assert budgets.settle(unsent, 499) is None and not budgets.release(unsent)
            assert budgets.settle(batch, 20) == 20
            for _ in range(50):
                call(budgets, 2)
            mine = budgets.reserve(RUN, 1_000, sent=True)
            assert mine.partition("-")[0] != held.partition("-")[0]
            assert budgets.settle(mine, 1) == 1
            budgets.close()

        ended(forked(child))
        assert budgets.settle(held, 7) == 7
        assert budgets.settle(unsent, 11) == 11
        assert budgets.settle(batch, 20) is None
        budgets.close()
    """
    script(program(code), path)
    assert totals(path) == (50 * 3 + 50 * 2 + 1 + 20 + 7 + 11, 0)


@pytest.mark.slow
def test_threads_at_work_while_the_process_forks_neither_hang_the_child_nor_lose_anything(
    path: Path, script: Script
) -> None:
    code = """
        ledger, budgets = Ledger(path), Budgets(path)
        stopped = threading.Event()
        counts = [0] * 4

        def busy(number):
            while not stopped.is_set():
                ledger.record(row(f"parent {number}.{counts[number]}"))
                call(budgets, 1, 100_000 if counts[number] % 5 == 0 else 10)
                if counts[number] % 7 == 0:
                    ledger.calls(limit=1), budgets.totals("run:a")
                counts[number] += 1

        def child(name):
            for number in range(20):
                ledger.record(row(f"{name}.{number}"))
                call(budgets, 1, 10)
            assert len(ledger.calls(limit=5)) == 5
            budgets.totals("run:a")
            budgets.close()
            ledger.close()

        threads = [threading.Thread(target=busy, args=(number,)) for number in range(4)]
        for one in threads:
            one.start()
        children = []
        for name in range(12):
            children.append(forked(lambda name=name: child(f"child {name}")))
            time.sleep(0.01)
        stopped.set()
        for one in threads:
            one.join()
        for one in children:
            ended(one)
        budgets.close()
        ledger.close()
        print(*counts)
    """
    counts = list(map(int, script(program(code), path).split()))
    expected = [f"parent {number}.{one}" for number, count in enumerate(counts) for one in range(count)]
    expected += [f"child {name}.{number}" for name in range(12) for number in range(20)]
    assert ids(path) == Counter(expected)
    assert totals(path) == (sum(counts) + 12 * 20, 0)


@pytest.mark.slow
def test_a_child_keeps_its_log_when_the_parent_closes_the_file_first(path: Path, script: Script) -> None:
    # The last to close a file deletes its log, unless it sees the locks of those who still use it.
    code = """
        ledger = Ledger(path)
        ledger.record(row("parent"))
        ledger.flush()
        here, there = os.pipe(), os.pipe()

        def child():
            ledger.record(row("child, before"))
            ledger.flush()
            os.write(there[1], b"x")
            os.read(here[0], 1)
            ledger.record(row("child, after"))
            ledger.close()

        pid = forked(child)
        os.read(there[0], 1)
        ledger.close()
        with Ledger(path) as other:
            assert len(other.calls()) == 2
        os.write(here[1], b"x")
        ended(pid)
    """
    script(program(code), path)
    assert ids(path) == Counter(["parent", "child, before", "child, after"])


@pytest.mark.slow
def test_a_child_of_a_child_goes_on_too(path: Path, script: Script) -> None:
    code = """
        ledger, budgets = Ledger(path), Budgets(path)

        def work(depth):
            ledger.record(row(f"depth {depth}"))
            call(budgets, depth)
            if depth < 3:
                ended(forked(lambda: work(depth + 1)))
            call(budgets, depth)
            budgets.close()
            ledger.close()

        work(1)
    """
    script(program(code), path)
    assert ids(path) == Counter(["depth 1", "depth 2", "depth 3"])
    assert totals(path) == (2 * (1 + 2 + 3), 0)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_child_of_multiprocessing_that_ends_by_itself_has_written_and_booked_all(
    path: Path, tmp_path: Path, script: Script, method: str
) -> None:
    code = """
        import multiprocessing
        writer._GROUP_SECONDS = 5.0
        ledger, budgets = Ledger(path), Budgets(path)

        def work(name):
            for number in range(30):
                ledger.record(row(f"{name}.{number}"))
                call(budgets, 5)

        if __name__ == "__main__":
            ledger.record(row("parent"))
            context = multiprocessing.get_context(sys.argv[2])
            children = [context.Process(target=work, args=(f"child {number}",)) for number in range(2)]
            for one in children:
                one.start()
            for one in children:
                one.join(240)
                assert one.exitcode == 0
            call(budgets, 1)
    """
    file = tmp_path / "program.py"
    file.write_text(program(code))
    script("import runpy, sys; runpy.run_path(sys.argv[3], run_name='__main__')", path, method, file)
    assert ids(path) == Counter(["parent", *(f"child {one}.{number}" for one in range(2) for number in range(30))])
    assert totals(path) == (2 * 30 * 5 + 1, 0)


@pytest.mark.slow
@pytest.mark.parametrize("leave", ["main", "thread", "grandchild", "held"])
def test_a_process_that_leaves_by_os_exit_has_written_and_booked_all(path: Path, script: Script, leave: str) -> None:
    # So end the children of Celery and RQ, and of whoever forks by hand.
    code = """
        writer._GROUP_SECONDS = 600.0
        ledger, budgets = Ledger(path), Budgets(path)
        leave = sys.argv[2]

        def work(name):
            for number in range(30):
                ledger.record(row(f"{name}.{number}"))
                call(budgets, 5)

        def child():
            work("child")
            if leave == "thread":
                threading.Thread(target=os._exit, args=(0,)).start()
                signal.pause()
            if leave == "grandchild":
                ended(forked(lambda: work("grandchild")))
            if leave == "held":
                # Somebody has a lock that the end needs.
                with ledger._writer._guard:
                    threading.Thread(target=os._exit, args=(0,)).start()
                    time.sleep(0.05)
                signal.pause()

        ended(forked(child))
        work("parent")
        os._exit(0)
    """
    script(program(code), path, leave)
    names = ["child", "parent", *(["grandchild"] if leave == "grandchild" else [])]
    assert ids(path) == Counter(f"{name}.{number}" for name in names for number in range(30))
    assert totals(path) == (len(names) * 30 * 5, 0)


@pytest.mark.slow
def test_os_exit_waits_for_nothing_that_is_stuck_and_leaves_at_once_where_nothing_was_done(
    path: Path, script: Script
) -> None:
    code = """
        forks._END_SECONDS = 0.2
        ledger = Ledger(path)
        ledger.record(row("parent"))
        forks.at_exit(forks.ExitPhase.CLOSE)(lambda: (os.write(1, b"asked\\n"), threading.Event().wait()))
        ended(forked(lambda: None))
        ended(forked(lambda: ledger.record(row("child"))))
        ledger.flush()
        os._exit(0)
    """
    assert script(program(code), path) == "asked\n" * 2


@pytest.mark.slow
def test_a_child_that_waits_for_its_cap_is_woken_by_its_own_calls(path: Path, script: Script) -> None:
    code = """
        import asyncio
        from pointsman.ledger.budgets import budgets as module
        module._POLL_SECONDS = 3600.0
        budgets = Budgets(path)

        async def waits(scope):
            small = {scope: 100}
            held = await budgets.acquire(small, 100, patience=60, sent=True)
            waiting = asyncio.create_task(budgets.acquire(small, 100, patience=60, sent=True))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            budgets.settle(held, 0)
            assert budgets.release(await waiting)

        asyncio.run(waits("run:b"))

        def child():
            asyncio.run(waits("run:c"))
            budgets.close()

        ended(forked(child))
        asyncio.run(waits("run:b"))
        budgets.close()
    """
    script(program(code), path)
    assert totals(path, "run:b") == (0, 0)


@pytest.mark.slow
def test_breakers_put_before_and_after_a_fork_are_kept(path: Path, script: Script) -> None:
    code = """
        from pointsman.ledger.health import HealthBook, HealthRow
        Ledger(path).close()
        book = HealthBook(path)

        def put(name):
            book.put(HealthRow(name, "m", "", time.time() + 600, "down", "down", 1))

        def child():
            put("child")
            book._worker.finish()

        put("parent before")
        pid = forked(child)
        put("parent after")
        ended(pid)
        book._worker.finish()
        print([one.provider for one in book.load()])
    """
    assert script(program(code), path) == "['child', 'parent after', 'parent before']\n"


@pytest.mark.slow
def test_batches_opened_before_a_fork_are_kept_by_both(path: Path, script: Script) -> None:
    code = """
        from pointsman.ledger.batches import BatchBook
        book = BatchBook(path)
        book.add("parent", [], [])
        book.let_go("parent")
        ended(forked(lambda: book.add("child", [], [])))
        with book.held("parent"):
            ended(forked(lambda: book.end("parent")))
        print(sorted(one.id for one in book.batches()))
    """
    assert script(program(code), path) == "['child', 'parent']\n"


def test_a_ledger_in_memory_goes_on_in_a_child(script: Script) -> None:
    code = """
        ledger = Ledger(None)
        ledger.record(row("parent"))
        assert len(ledger.calls()) == 1

        def child():
            ledger.record(row("child"))
            assert [one.id for one in ledger.calls()] == ["parent", "child"]

        ended(forked(child))
        assert len(ledger.calls()) == 1
    """
    script(program(code), "unused")


@pytest.mark.slow
def test_a_file_that_is_being_read_while_the_process_forks_is_refused_in_the_child_alone(
    path: Path, script: Script
) -> None:
    code = """
        ledger = Ledger(path)
        ledger.record(row("parent"))
        ledger.flush()

        def child():
            try:
                ledger.calls()
            except PointsmanError as error:
                os.write(1, f"{error}\\n".encode())

        with ledger.reading() as connection:
            ended(forked(child))
            assert connection.execute("SELECT count(*) FROM calls").fetchone() == (1,)
        ledger.record(row("parent after"))
        ledger.close()
    """
    said = script(program(code), path)
    assert said.endswith("fork while nobody reads it, or start processes by spawn\n")
    assert said.count("\n") == 1
    assert ids(path) == Counter(["parent", "parent after"])


@pytest.mark.slow
def test_a_fork_does_not_wait_for_another_process_that_holds_the_file(path: Path, script: Script) -> None:
    Ledger(path).close()
    code = """
        from pointsman.ledger.storage import access
        access.BUSY_SECONDS = 10_000.0
        ledger, budgets = Ledger(path), Budgets(path)
        ledger.record(row("parent"))
        waits = threading.Thread(target=lambda: budgets.reserve(RUN, 1_000, sent=True), daemon=True)
        waits.start()
        time.sleep(0.3)
        # Both wait for the file now, and would for longer than this test may take.
        ended(forked(lambda: None))
        assert waits.is_alive()
        forks._END_SECONDS = 0.0
        os._exit(0)
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        script(program(code), path)


@pytest.mark.slow
def test_a_process_ends_after_the_imports_of_its_threads(tmp_path: Path, script: Script) -> None:
    # A run that is left early leaves a thread that loads the embedder: stopped in an extension's own code it crashes.
    slow = tmp_path / "slow_to_import.py"
    slow.write_text("import threading, time\nthreading.begun.set()\ntime.sleep(0.5)\nprint('imported', flush=True)\n")
    said = script(
        program("""
        import importlib
        threading.begun = threading.Event()
        sys.path.insert(0, str(path))
        threading.Thread(target=importlib.import_module, args=("slow_to_import",), daemon=True).start()
        threading.begun.wait()
        """),
        tmp_path,
    )
    assert said.split() == ["imported"]


@pytest.mark.slow
def test_a_fork_waits_for_the_imports_of_other_threads_and_once_only_for_one_without_end(
    tmp_path: Path, script: Script
) -> None:
    slow = tmp_path / "slow_to_import.py"
    slow.write_text("import threading, time\nthreading.begun.set()\ntime.sleep(0.5)\nfound = 0\n")
    endless = tmp_path / "endless.py"
    endless.write_text("import threading\nthreading.begun.set()\nthreading.over.wait()\n")
    code = """
        import importlib, signal
        threading.begun, threading.over = threading.Event(), threading.Event()
        sys.path.insert(0, str(path))
        threading.Thread(target=importlib.import_module, args=("slow_to_import",)).start()
        threading.begun.wait()
        pid = os.fork()
        if pid == 0:
            signal.alarm(30)
            import slow_to_import
            os._exit(slow_to_import.found)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

        forks._FORK_SECONDS = 0.1
        naps = []
        forks.time = type("Time", (), {"monotonic": time.monotonic, "sleep": lambda s: naps.append(time.sleep(s))})
        threading.begun.clear()
        threading.Thread(target=importlib.import_module, args=("endless",)).start()
        threading.begun.wait()
        for _ in range(2):
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), bool(naps))
            naps.clear()
        threading.over.set()
        """
    assert script(program(code), tmp_path).split() == ["0", "0", "True", "0", "False"]


def test_a_lock_that_a_thread_of_the_parent_had_only_asked_for_is_free_in_the_child(path: Path, script: Script) -> None:
    # What is registered first runs last: the only member goes while the process forks, and the lock is still known.
    code = """
        import os, sys, threading
        from pathlib import Path
        members = []
        os.register_at_fork(before=members.clear)
        from pointsman.configs.process import forks

        class Member:
            def close_for_fork(self): pass
            def reset_after_fork(self): pass

        path = Path(sys.argv[1])
        lock = forks.lock_of(path)
        members.append(Member())
        forks.close_before_forks(members[0], lock)
        pid = os.fork()
        if not pid:
            free = []
            other = threading.Thread(target=lambda: free.append(forks.lock_of(path).acquire(10)))
            other.start()
            other.join()
            os._exit(0 if free == [True] else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), members)
        """
    assert script(code, path) == "0 []\n"


def test_a_fork_waits_for_a_process_that_another_thread_starts(path: Path, script: Script) -> None:
    # The child would inherit the pipe on which the thread waits for the program to begin.
    code = """
        import signal, subprocess
        begun, go_on = threading.Event(), os.pipe()

        class Slow(dict):
            def items(self):
                begun.set()
                time.sleep(0.5)
                return super().items()

        starter = threading.Thread(target=lambda: subprocess.run(["true"], env=Slow(os.environ)))
        starter.start()
        begun.wait()
        pid = os.fork()
        if not pid:
            signal.alarm(60)
            os.read(go_on[0], 1)
            os._exit(0)
        starter.join(20)
        print(starter.is_alive())
        os.write(go_on[1], b".")
        ended(pid)
        """
    assert script(program(code), path) == "False\n"


@pytest.mark.slow
def test_threads_that_start_processes_with_code_of_their_own_do_not_wait_for_each_other(
    path: Path, script: Script
) -> None:
    code = """
        import subprocess
        forks._FORK_SECONDS = 1e6

        def start():
            for _ in range(20):
                subprocess.run(["true"], preexec_fn=int)

        starters = [threading.Thread(target=start) for _ in range(4)]
        for one in starters: one.start()
        for one in starters: one.join()
        print("ended")
        """
    assert script(program(code), path) == "ended\n"
