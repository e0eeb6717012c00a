#!/usr/bin/env python3
"""Each kind of write that our programs send for a plane, arriving when the plane is gone and another one has its name: it is
refused, or changes nothing of the new plane. A worker that is paused between its check and its request does just that.

All writes of a plane's life (create, change, drift, delete) are taken down at the gateway; then the plane is made anew and each
of them is sent once more, as it was.

usage: test_late.py BUS WATCHER RECONCILER AGENT
"""
import asyncio
import sys
import traceback

from world import PLANES, Servers, can_run, programs_from, without_status


def again(servers, write):
    """Its status."""
    async def ask():
        status, _, reader, writer = await servers.upstream.ask(write.method, write.path, write.headers, write.body)
        await reader.read()
        writer.close()
        return status
    return asyncio.run_coroutine_threadsafe(ask(), servers.loop).result(10)


def life(lane, name):
    """All writes of a plane, from first to last."""
    lane.set_trap()
    uid = lane.create(name)
    lane.await_made()
    lane.change()
    lane.delete()
    lane.await_gone(uid)
    return list(lane.writes)


def mine(lane):
    """What of the new plane may not change: all that its writers are answerable for, and its status."""
    found = lane.objects()
    plane = found.pop(f"{PLANES}/{lane.plane}")
    kept = {path: without_status(thing) for path, thing in found.items()}
    kept["plane"] = {key: plane["metadata"].get(key) for key in ("uid", "labels", "annotations", "finalizers", "deletionTimestamp")}
    kept["status"] = plane["status"]
    return kept


def replay(lane, writes):
    """TAP, one line a kind of write."""
    before, kinds = mine(lane), {}
    for point, write in writes:
        status = again(lane.servers, write)
        after = mine(lane)
        changed = [path for path in before.keys() | after.keys() if before.get(path) != after.get(path)]
        kind = " ".join(point[:4]).strip()
        kinds.setdefault(kind, ([], []))
        kinds[kind][0].append(str(status))
        kinds[kind][1].extend(changed)
        before = after
    print(f"1..{len(kinds)}")
    bad = 0
    for number, (kind, (statuses, changed)) in enumerate(sorted(kinds.items()), 1):
        bad += bool(changed)
        print(f"{'not ok' if changed else 'ok'} {number} - late: {kind}: {', '.join(sorted(set(statuses)))}"
              + (f" changed {sorted(set(changed))}" if changed else ""))
    return bad


def main():
    why = can_run()
    if why:
        print(why)
        return 77
    servers, failed = Servers(programs_from(sys.argv[1:])), True
    try:
        servers.start()
        lane = servers.lane(0)
        servers.start_postgres()
        writes = life(lane, "late")
        uid = lane.create("late")
        lane.await_made()
        failed = replay(lane, writes) > 0
        lane.delete()
        lane.await_gone(uid)
    except Exception:  # pylint: disable=broad-except
        failed = True
        traceback.print_exc(file=sys.stdout)
    finally:
        servers.close(failed)
    return 1 if failed else 0


sys.exit(main())
