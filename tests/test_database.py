"""One LMDB environment: reading, writing, grouping, and what happens when things go wrong."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from boxwork import database as database_module
from boxwork.database import Database, View
from boxwork.errors import InvariantBroken, StorageError, StorageFull, StorageReadOnly
from boxwork.settings import MiB
from boxwork.testing.faults import in_child


@pytest.fixture(params=[True, False], ids=["durable", "cache"])
def database(request, tmp_path):
    with_tables = Database(tmp_path / "db", ("a", "b"), durable=request.param)
    yield with_tables
    with_tables.close()


def rows(database, table="a", *arguments, **options):
    with database.view() as view:
        return [key for key, _ in view.scan(table, *arguments, **options)]


def fill(database, *keys, table="a"):
    database.update(lambda edit: [edit.put(table, key, b"v" + key) for key in keys])


def test_what_was_written_is_read(database):
    assert database.get("a", b"k") is None
    fill(database, b"k")
    assert database.get("a", b"k") == b"vk"
    assert database.getter("a")(b"k") == b"vk"
    assert database.get("b", b"k") is None
    assert database.count("a") == 1
    assert database.count("b") == 0
    assert database.bytes_used() > 0


def test_an_update_returns_what_the_operation_returns(database):
    assert database.update(lambda edit: 7) == 7


def test_put_without_overwrite_keeps_the_first(database):
    assert database.update(lambda edit: edit.put("a", b"k", b"1", overwrite=False))
    assert not database.update(lambda edit: edit.put("a", b"k", b"2", overwrite=False))
    assert database.get("a", b"k") == b"1"


def test_delete_says_whether_there_was_a_row(database):
    fill(database, b"k")
    assert database.update(lambda edit: edit.delete("a", b"k"))
    assert not database.update(lambda edit: edit.delete("a", b"k"))


def test_clear_empties_one_table(database):
    fill(database, b"k")
    fill(database, b"k", table="b")
    database.update(lambda edit: edit.clear("a"))
    assert database.count("a") == 0
    assert database.count("b") == 1


def test_an_operation_that_raises_writes_nothing(database):
    def operation(edit):
        edit.put("a", b"k", b"v")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        database.update(operation)
    assert database.get("a", b"k") is None


def test_a_scan_goes_through_a_prefix_in_order(database):
    fill(database, b"a", b"b1", b"b2", b"b3", b"c")
    assert rows(database) == [b"a", b"b1", b"b2", b"b3", b"c"]
    assert rows(database, "a", b"b") == [b"b1", b"b2", b"b3"]
    assert rows(database, "a", b"b", start=b"b2") == [b"b2", b"b3"]
    assert rows(database, "a", b"x") == []
    assert rows(database, "a", start=b"b3") == [b"b3", b"c"]


def test_a_scan_in_reverse_goes_from_the_end_of_the_prefix(database):
    fill(database, b"a", b"b1", b"b2", b"b3", b"c", b"\xff\xff")
    assert rows(database, "a", b"b", reverse=True) == [b"b3", b"b2", b"b1"]
    assert rows(database, "a", b"b", start=b"b2", reverse=True) == [b"b2", b"b1"]
    assert rows(database, "a", b"b", start=b"b25", reverse=True) == [b"b2", b"b1"]
    assert rows(database, "a", b"\xff", reverse=True) == [b"\xff\xff"]
    assert rows(database, reverse=True) == [b"\xff\xff", b"c", b"b3", b"b2", b"b1", b"a"]
    assert rows(database, "b", reverse=True) == []


def test_a_walk_sees_all_rows_in_small_snapshots(database):
    keys = [b"k%03d" % number for number in range(25)]
    fill(database, *keys, b"z")
    for size in (1, 7, 25, 26, 500):
        assert keys == [key for key, _ in database.walk("a", b"k", rows=size)]
    assert keys[11:] == [key for key, _ in database.walk("a", b"k", after=keys[10], rows=3)]


def test_a_walk_goes_on_while_rows_come_and_go(database):
    fill(database, *(b"k%03d" % number for number in range(20)))
    seen = []
    for key, _ in database.walk("a", rows=2):
        seen.append(key)
        database.update(lambda edit, key=key: edit.delete("a", key))
        if len(seen) == 1:
            fill(database, b"k0105")
    assert len(seen) == 21
    assert database.count("a") == 0


def test_a_view_does_not_see_what_comes_later(database):
    fill(database, b"1")
    with database.view() as view:
        assert isinstance(view, View)
        thread = threading.Thread(target=fill, args=(database, b"2"))
        thread.start()
        thread.join()
        assert view.get("a", b"1") == b"v1"
        assert view.get("a", b"2") is None
    assert database.get("a", b"2") == b"v2"


def test_threads_that_write_at_once_all_succeed(database):
    def work(number):
        for turn in range(20):
            database.update(lambda edit, turn=turn: edit.put("a", b"%d-%d" % (number, turn), b"x"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert database.count("a") == 160


def test_durable_writers_that_wait_share_one_transaction(tmp_path):
    database = Database(tmp_path / "db", ("a",), durable=True)
    transactions = set()
    first_runs, others_wait = threading.Event(), threading.Event()

    def first(edit):
        first_runs.set()
        others_wait.wait(10)

    leader = threading.Thread(target=database.update, args=(first,))
    leader.start()
    assert first_runs.wait(10)

    def work(number):
        def operation(edit):
            transactions.add(edit._transaction.id())
            edit.put("a", b"%d" % number, b"x")

        database.update(operation)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while len(database._queue) < 20 and time.monotonic() < deadline:
        time.sleep(0.001)
    others_wait.set()
    for thread in (leader, *threads):
        thread.join()
    assert len(transactions) == 1
    assert database.count("a") == 20
    database.close()


def test_one_bad_operation_of_a_group_fails_alone(tmp_path):
    database = Database(tmp_path / "db", ("a",), durable=True)
    outcomes = {}

    def work(number):
        def operation(edit):
            edit.put("a", b"%d" % number, b"x")
            if number % 3 == 0:
                raise ValueError(number)
            return number

        try:
            outcomes[number] = database.update(operation)
        except ValueError as error:
            outcomes[number] = error.args

    first_runs, others_wait = threading.Event(), threading.Event()

    def first(edit):
        first_runs.set()
        others_wait.wait(10)

    leader = threading.Thread(target=database.update, args=(first,))
    leader.start()
    assert first_runs.wait(10)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(9)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while len(database._queue) < 9 and time.monotonic() < deadline:
        time.sleep(0.001)
    others_wait.set()
    for thread in (leader, *threads):
        thread.join()
    assert {number: (number,) if number % 3 == 0 else number for number in range(9)} == outcomes
    assert database.count("a") == 6
    database.close()


def test_a_waiter_that_is_interrupted_leaves_the_queue_and_holds_nobody_up(tmp_path):
    """Ctrl-C in a thread that waits for its group, at the worst moment: just when the lead was handed to it."""
    database = Database(tmp_path / "db", ("a",), durable=True)
    database._led = True  # somebody leads
    interrupted = database_module._Ticket(lambda edit: edit.put("a", b"interrupted", b"x"))
    waiting = database_module._Ticket(lambda edit: edit.put("a", b"waiting", b"x"))
    database._queue += [interrupted, waiting]
    database._hand_on()
    database._leave(interrupted)
    assert database._queue == [waiting]
    assert waiting.turn.acquire(timeout=1)
    database._lead()
    assert not database._led
    fill(database, b"next")
    assert rows(database) == [b"next", b"waiting"]
    database.close()


def test_a_leader_that_is_interrupted_tells_its_group_and_lets_go(tmp_path):
    database = Database(tmp_path / "db", ("a",), durable=True)

    def interrupt(edit):
        edit.put("a", b"k", b"x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        database.update(interrupt)
    fill(database, b"next")
    assert rows(database) == [b"next"]
    database.close()


def test_a_second_opening_after_closing_finds_everything(tmp_path):
    for turn in range(3):
        database = Database(tmp_path / "db", ("a",), durable=False)
        assert database.count("a") == turn
        fill(database, b"%d" % turn)
        database.close()
        database.close()


def test_a_closed_database_says_so(database):
    database.close()
    with pytest.raises(StorageError, match="open it again"):
        database.get("a", b"k")
    with pytest.raises(StorageError, match="open it again"):
        database.update(lambda edit: None)


def test_a_copy_is_a_database_of_its_own(database, tmp_path):
    fill(database, b"k")
    database.copy(tmp_path / "copy")
    fill(database, b"later")
    copy = Database(tmp_path / "copy", ("a", "b"), durable=True)
    assert rows(copy) == [b"k"]
    copy.close()


def test_a_full_map_is_storage_full_and_nothing_is_written(tmp_path):
    database = Database(tmp_path / "db", ("a",), durable=False, map_bytes=1 * MiB)
    fill(database, b"k")
    with pytest.raises(StorageFull, match=r"database\.map_bytes"):
        database.update(lambda edit: [edit.put("a", b"%d" % number, bytes(100_000)) for number in range(20)])
    assert rows(database) == [b"k"]
    fill(database, b"still works")
    database.close()


@pytest.mark.parametrize("durable", [True, False])
def test_a_full_disk_is_storage_full_and_the_database_goes_on(tmp_path, durable):
    def fill_up():
        database = Database(tmp_path / "db", ("a",), durable=durable)
        fill(database, b"k")
        with pytest.raises(StorageFull, match="free some"):
            put_large_rows(database)
        assert database.get("a", b"k") == b"vk"
        kept = rows(database)
        database.update(lambda edit: edit.delete("a", b"big0"))
        fill(database, b"small")
        database.close()
        return kept

    def put_large_rows(database):
        for number in range(100):
            database.update(lambda edit, number=number: edit.put("a", b"big%d" % number, bytes(100_000)))

    kept = in_child(fill_up, file_bytes_max=1 * MiB)
    assert kept
    assert len(kept) < 20
    database = Database(tmp_path / "db", ("a",), durable=durable)
    assert database.get("a", b"small") == b"vsmall"
    assert sorted({*kept, b"small"} - {b"big0"}) == rows(database)
    assert all(len(database.get("a", key)) == 100_000 for key in kept if key.startswith(b"big") and key != b"big0")
    database.close()


def test_a_directory_that_may_not_be_written_is_read_only(nobodys):
    def attempt():
        Database(nobodys / "new", ("a",), durable=True)

    with pytest.raises(StorageReadOnly, match="you may write to"):
        in_child(attempt, as_nobody=True)


@pytest.fixture
def nobodys(tmp_path_factory):
    """A directory that everybody can reach and nobody can write to."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o555)
        yield Path(name)
        os.chmod(name, 0o755)


def test_a_writer_that_is_killed_leaves_nothing_and_holds_nobody_up(tmp_path):
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from boxwork.database import Database\n"
        "database = Database(Path(sys.argv[1]), ('a',), durable=True)\n"
        "database.update(lambda edit: edit.put('a', b'acknowledged', b'x'))\n"
        "def hang(edit):\n"
        "    edit.put('a', b'half', b'x')\n"
        "    print('writing', flush=True)\n"
        "    time.sleep(60)\n"
        "database.update(hang)\n"
    )
    database = Database(tmp_path / "db", ("a",), durable=True)
    child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "db")], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"writing\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    start = time.monotonic()
    fill(database, b"next")
    assert time.monotonic() - start < 5
    assert rows(database) == [b"acknowledged", b"next"]
    database.close()


def test_a_forked_child_neither_uses_nor_closes_what_is_its_parents(database):
    fill(database, b"k")
    get = database.getter("a")
    assert get(b"k") == b"vk"

    def child():
        database.close()
        try:
            database.get("a", b"k")
        except StorageError:
            return "refused"

    assert in_child(child) == "refused"
    assert get(b"k") == b"vk"
    fill(database, b"after")
    assert rows(database) == [b"after", b"k"]


def test_a_row_that_lmdb_cannot_hold_is_our_bug(database):
    with pytest.raises((InvariantBroken, StorageError)):
        database.update(lambda edit: edit.put("a", b"", b"v"))
    with pytest.raises(StorageError):
        database.update(lambda edit: edit.put("a", b"x" * 600, b"v"))
