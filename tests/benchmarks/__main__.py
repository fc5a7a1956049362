"""`make bench`: run the benchmarks, print one table, write bench-results/bench.json; exit 1 when a bound is missed.

`python -m tests.benchmarks WORD ...` runs those whose name or file holds a word.
"""

import json
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.benchmarks.harness import BENCHES, ROOT, Bench, Measured, machine

RESULTS = ROOT / "bench-results" / "bench.json"


def run(one: Bench) -> dict[str, Any]:
    """One row of the table."""
    start = time.perf_counter()
    try:
        found = one.measure()
    except Exception:
        traceback.print_exc()
        found = None
    measured = found if isinstance(found, Measured) else None if found is None else Measured(float(found))
    return {
        "name": one.name,
        "measured": None if measured is None else round(measured.value, 4),
        "bound": one.bound,
        "unit": one.unit,
        "verdict": "failed to run" if measured is None else "kept" if one.keeps(measured.value) else "MISSED",
        "how": f"{one.how} {measured.note}".strip() if measured else one.how,
        "seconds": round(time.perf_counter() - start, 1),
    }


def main(words: list[str]) -> int:
    """Run and report; the number of the process's exit."""
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if not path.stem.startswith("_") and path.stem != "harness":
            import_module(f"tests.benchmarks.{path.stem}")
    chosen = [b for b in BENCHES.values() if not words or any(w in f"{b.measure.__module__} {b.name}" for w in words)]
    if not chosen:
        sys.stdout.write(f"No benchmark is called {' '.join(words)!r}; there is {', '.join(BENCHES)}.\n")
        return 2
    rows = []
    for one in chosen:
        row = run(one)
        rows.append(row)
        value = "-" if row["measured"] is None else f"{row['measured']:.3g}"
        sys.stdout.write(f"{row['verdict']:<8} {one.name:<52} {value:>8}  {one.bound:<8} {one.unit:<24} {row['how']}\n")
        sys.stdout.flush()
    RESULTS.parent.mkdir(exist_ok=True)
    kept = {row["name"]: row for row in json.loads(RESULTS.read_text())["rows"]} if words and RESULTS.exists() else {}
    kept |= {row["name"]: row for row in rows}
    RESULTS.write_text(json.dumps({"machine": machine(), "rows": list(kept.values())}, indent=1) + "\n")
    missed = [row["name"] for row in rows if row["verdict"] != "kept"]
    sys.stdout.write(f"{len(rows) - len(missed)} of {len(rows)} bounds kept; written to {RESULTS.relative_to(ROOT)}\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
