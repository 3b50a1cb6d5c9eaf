"""Speed as ratios in one run: `python -m tests.benchmarks [--short] [--json]`.

Each line: what, figure, ratio to the hand-written loop of the same run, the goal, met or not.
Absolute times depend on the machine; ratios hold. Goals: performance.md of the project's design.
"""

import asyncio
import gc
import json
import resource
import subprocess
import sys
import tempfile
import time

from statemachine_agents.journal.conform import audit, rules_of
from statemachine_agents.journal.fold import fold
from statemachine_agents.journal.replay import replay
from statemachine_agents.proof.product import prove
from statemachine_agents.proof.structure import check
from tests.benchmarks import proofs as on_proofs
from tests.benchmarks import subjects as on

SHORT = "--short" in sys.argv
ROWS = []


def best(work, count, repeat=5):
    """Seconds per unit: the best of several rounds, so that other load counts least."""
    found = []
    for _ in range(2 if SHORT else repeat):
        gc.collect()
        started = time.perf_counter()
        work()
        found.append((time.perf_counter() - started) / count)
    return min(found)


def cpu_best(work, count, repeat=3):
    """CPU seconds per unit of this process, threads included."""
    found = []
    for _ in range(2 if SHORT else repeat):
        gc.collect()
        before = resource.getrusage(resource.RUSAGE_SELF)
        work()
        after = resource.getrusage(resource.RUSAGE_SELF)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found.append(used / count)
    return min(found)


def row(what, figure, goal="", *, met=None):
    ROWS.append({"what": what, "figure": figure, "goal": goal, "met": met})
    said = "" if met is None else ("met" if met else "NOT MET")
    print(f"{what:<58} {figure:<34} {goal:<30} {said}", flush=True)


def us(seconds):
    return f"{seconds * 1e6:.1f} us"


def turns():
    runs = 100 if SHORT else 400
    flow = on.workflow()
    machine = on.bare_machine()
    kept = []
    count = runs * on.TURNS
    hand = best(lambda: on.by_hand(None, runs * 10), count * 10)
    limit = best(lambda: (kept.clear(), on.by_hand(kept.append, runs * 10)), count * 10)
    bare = best(lambda: on.bare_transitions(machine, runs * 5), count * 5)
    core = best(lambda: on.sans_io(flow, runs, seal=False), count)
    chained = best(lambda: on.sans_io(flow, runs), count)
    driven = best(lambda: asyncio.run(on.driven(flow, on.memory(), runs)), count)
    row("hand-written loop, no journal", us(hand))
    row("hand-written loop, records in memory (the limit)", us(limit))
    row("bare transitions, one shared machine", us(bare), f"{bare / limit:.1f}x the limit")
    row("our turn, no journal (sans-IO)", us(core), f"{core / limit:.1f}x the limit")
    row(
        "our turn, in-memory journal, rules, chain, prompt",
        f"{us(chained)} = {chained / limit:.1f}x",
        "<= 10x the limit",
        met=chained / limit <= 10,
    )
    row("our turn through Driver and MemoryStore", f"{us(driven)} = {driven / limit:.1f}x")
    with tempfile.TemporaryDirectory() as folder:
        few = 20 if SHORT else 60
        bare_db = on.BareSQLite(f"{folder}/bare.db")
        commit = cpu_best(lambda: on.by_hand(bare_db, few * 3), few * 3 * on.TURNS)

        async def durable():
            store = on.sqlite(folder)
            await on.driven(flow, store, few)
            await store.aclose()

        ours = cpu_best(lambda: asyncio.run(durable()), few * on.TURNS)
        row("bare SQLite FULL commit, CPU", us(commit))
        row(
            "our durable turn (read tools), CPU",
            f"{us(ours)} = {ours / commit:.1f}x",
            "<= 3x a bare commit",
            met=ours / commit <= 3,
        )
        wide = 100 if SHORT else 1000

        async def grouped(store):
            speed = await on.many(flow, store, wide, 0.005)
            await store.aclose()
            return speed

        durable_speed = asyncio.run(grouped(on.sqlite(folder)))
        loose = asyncio.run(grouped(on.memory()))
        row(
            f"{wide} runs at once on one SQLite file, 5 ms model",
            f"{durable_speed:,.0f} turns/s",
            ">= 3,000",
            met=durable_speed >= 3000,
        )
        row(
            "share of the undurable rate",
            f"{durable_speed / loose:.0%} of {loose:,.0f}",
            ">= 40 %",
            met=durable_speed / loose >= 0.4,
        )


def growth():
    flow = on.workflow(on.LOOPING)
    sizes = (100, 1000, 5000)
    seen = {}
    for size in sizes:
        repeat = max(1, sizes[-1] // size)
        per_step = best(lambda n=size, r=repeat: on.sans_io(flow, r, steps=n), size * repeat, 3)
        records = on.sans_io(flow, 1, steps=size)
        seen[size] = (per_step, sum(len(record.data) for record in records) / size)
        row(f"{size} steps: CPU and body bytes a step", f"{us(per_step)}, {seen[size][1]:.0f} B")
    time_ratio = seen[sizes[-1]][0] / seen[100][0]
    byte_ratio = seen[sizes[-1]][1] / seen[100][1]
    goal = "<= 1.10x of 100 steps"
    row(f"growth at {sizes[-1]}: CPU", f"{time_ratio:.2f}x", goal, met=time_ratio <= 1.10)
    row(f"growth at {sizes[-1]}: bytes", f"{byte_ratio:.2f}x", goal, met=byte_ratio <= 1.10)
    size = sizes[-1]
    records = on.sans_io(flow, 1, steps=size)
    row("mean record", f"{sum(len(r.data) for r in records) / len(records):.0f} B body", "~400 B")
    folding = best(lambda: fold(flow, "r-bench", records), len(records), 3)
    row(
        "fold, chain checked", f"{1 / folding:,.0f} records/s", ">= 100,000", met=1 / folding >= 1e5
    )
    steps = sum(record.kind == "stepped" for record in records)
    again = best(lambda: replay(flow, "r-bench", records), steps, 3)
    row(
        "replay, every guard and hash",
        f"{1 / again:,.0f} steps/s",
        ">= 25,000",
        met=1 / again >= 25e3,
    )
    row("replay, records", f"{len(records) / steps / again:,.0f} records/s")


def proofs():
    for states, goal in ((100, 0.050), (1000, 0.5)):
        if SHORT and states > 100:
            continue
        table = on_proofs.chain(states)
        took = best(lambda t=table: check(t, on_proofs.SPECS), 1, 3)
        what = f"check of {states} states x {len(table.rules)} rules"
        row(what, f"{took * 1e3:.0f} ms", f"<= {goal * 1e3:.0f} ms", met=took <= goal)
        took = best(lambda t=table: prove(t, on_proofs.SPECS), 1, 2)
        what = f"proving {len(table.rules)} rules of {states} states"
        row(what, f"{took * 1e3:.0f} ms", f"<= {goal * 1e3:.0f} ms", met=took <= goal)
    rules, states, scope = on_proofs.gate()
    judged = best(lambda: [rules.forbids(states, "pay", scope) for _ in range(2000)], 2000, 3)
    row("gate with 20 rules on one call", us(judged), "<= 20 us", met=judged <= 20e-6)
    command = [sys.executable, "-m", "statemachine_agents", "check", "refund"]
    checked = best(lambda: subprocess.run(command, check=True, capture_output=True), 1, 5)
    row(
        "sma check refund, whole process",
        f"{checked * 1e3:.0f} ms",
        "<= 400 ms",
        met=checked <= 0.4,
    )


def starts():
    def clean(code):
        return best(lambda: subprocess.run([sys.executable, "-c", code], check=True), 1, 5)

    nothing = clean("pass")
    ours = clean("import statemachine_agents") - nothing
    row("import statemachine_agents", f"{ours * 1e3:.0f} ms", "<= 120 ms", met=ours <= 0.120)
    command = [sys.executable, "-m", "statemachine_agents", "--help"]
    helped = best(lambda: subprocess.run(command, check=True, capture_output=True), 1, 5)
    row("sma --help, whole process", f"{helped * 1e3:.0f} ms", "<= 250 ms", met=helped <= 0.250)


def conforming():
    for what, texts, goal in (
        ("conform, rules without where or per", on.PLAIN_RULES, 1e6),
        ("conform, rules with where and per", on.KEYED_RULES, 1e5),
    ):
        facts = on.facts(5_000 if SHORT else 25_000)
        rules = rules_of(texts)
        moved = sum(len(rules.listening(fact.name)) for fact in facts)
        speed = 1 / best(lambda f=facts, r=rules: audit("r", f, r), moved, 3)
        row(what, f"{speed:,.0f} rule-events/s", f">= {goal:,.0f}", met=speed >= goal)


def main():
    print(f"{'what':<58} {'figure':<34} {'goal':<30}")
    turns()
    growth()
    conforming()
    proofs()
    starts()
    if "--json" in sys.argv:
        print(json.dumps(ROWS))


main()
