"""The last lines of .ci/gpu: counts, a table, and what fell short. Arguments: tests or speed, the folder, seconds.

Exit status 1 where something failed.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

GAVE_WAY = re.compile(r"takes? (its|their) place|no CUDA graph|do not start|could not be measured")  # in warnings
PASSED = {"0", "5"}  # of pytest: all passed; none was chosen


def records(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.startswith("{")]


def tests(folder: Path) -> list[str]:
    """Prints what the suite and the comparisons found; what fell short."""
    text = (folder / "tests.txt").read_text(encoding="utf-8", errors="replace")
    lines = text.splitlines()
    short = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    skipped = [line for line in lines if line.startswith("SKIPPED")]
    parts = re.split(r"^== (.+)$", text, flags=re.MULTILINE)[1:]
    for marked, said in zip(parts[::2], parts[1::2]):
        counts = re.findall(r"^.*\d+ (?:passed|failed|error|skipped|deselected).*$", said, re.MULTILINE)
        print(f"suite, {marked}: {counts[-1].strip('= ') if counts else 'did not end'}")
        status = re.search(r"^exit status (\d+)$", said, re.MULTILINE)
        if status is None or status[1] not in PASSED:
            short.append(f"suite, {marked}: it did not pass, or was cut")
    for line in skipped:
        print(f"  {line}")
    if not parts:
        short.append("suite: it did not begin")
    print(f"{'network':<20} {'device':<10} {'float32':>9} {'at most':>9} {'float64':>9} {'at most':>9}")
    for found in sorted(records(folder / "parity.jsonl"), key=lambda each: each["network"]):
        if found.get("failed"):
            short.append(f"{found['network']}: the comparison failed or was cut, see the end of tests.txt")
            continue
        held: dict[str, dict[str, Any]] = {}
        for target in found["targets"]:
            if target["what"].startswith("theta"):
                held.setdefault(target["device"], {})[target["dtype"]] = target
            if not target["met"]:
                limit = f"{target['found']} is above {target['limit']}"
                short.append(f"{found['network']} on {target['device']}, {target['dtype']}, {target['what']}: {limit}")
        for name, of in held.items():
            cells = [f"{of[dtype][what]:9.1e}" for dtype in ("float32", "float64") for what in ("found", "limit")]
            print(f"{found['network']:<20} {name:<10} {' '.join(cells)}")
    return short


def speed(folder: Path) -> list[str]:
    """Prints every row of the benches; where another library was faster, what gave way, and what was left out."""
    lines = (folder / "speed.txt").read_text(encoding="utf-8", errors="replace").splitlines()
    short = [line for line in lines if line.startswith(("failed or cut", "left out"))]
    short += dict.fromkeys(line for line in lines if GAVE_WAY.search(line))
    for found in records(folder / "speed.jsonl"):
        for row in found["rows"]:
            if found["mode"] in ("profile", "tune"):
                {"profile": profile, "tune": tune}[found["mode"]](row)
                continue
            unit = "seconds" if "seconds" in row else "milliseconds"
            ratio, peer = (row["ratio"] or {}).get("median"), row["peer"]
            medians = {name: (of or {}).get("median") for name, of in row[unit].items()}
            shown = ", ".join(f"{name} {'never' if time is None else f'{time:.3g}'}" for name, time in medians.items())
            what = f"{row['network']} {row['what']} {row['batch']}"
            print(f"{what:<36} {'' if ratio is None else f'ratio {ratio:.2f}':<11} {shown} {unit}")
            short += [f"{what}: {note}" for note in row.get("notes", ())]
            if not row["rounds"]:
                short.append(f"{what}: no figures, all rounds were discarded")
            if ratio is not None and ratio > 1:
                short.append(f"{what}: {peer} is {ratio:.2f} times as fast")
    return short


def profile(row: dict[str, Any]) -> None:
    """The step's slowest kernels in a line."""
    seen = row.get("on_the_device", {"kernels": [], "by": "nothing"})
    of = seen["kernels"]
    slowest = sorted(of, key=lambda each: -each["microseconds"])[:8]
    total = sum(each["microseconds"] for each in of)
    names = ", ".join(f"{each['kernel'][:30]} {each['microseconds']:.1f}" for each in slowest)
    print(
        f"{row['network']} {row['batch']}, {row['kernels']}: a step {row['step']:.3f} ms; {len(of)} kernels by "
        f"{seen['by']}, {total:.0f} us{', of which ' * bool(names)}{names}"
    )


def tune(row: dict[str, Any]) -> None:
    """A convolution's microseconds by each way, and which was the fastest."""
    times = ", ".join(f"{name} {time:.1f}" for name, time in row["microseconds"].items())
    print(f"{row['network']} {row['batch']}, {row['convolution']}: {times} us; {row['chosen']}")


def main() -> int:
    part, folder, took = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    print(f"\n.ci/gpu {part}, {took} s; all of it is in {folder}")
    short = {"tests": tests, "speed": speed}[part](folder)
    print("fell short: nothing" if not short else f"fell short: {len(short)}")
    for line in short:
        print(f"  {line[:200]}")
    return int(bool(short))


if __name__ == "__main__":
    sys.exit(main())
