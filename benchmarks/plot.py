"""Draws throughput and CPU of all contenders: python -m benchmarks.plot FOLDER. Runs where matplotlib is installed."""

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

PARTS = {"workers": "tab:blue", "postgres": "tab:orange", "valkey": "tab:red"}


def main() -> None:
    folder = Path(sys.argv[1])
    document = json.loads((folder / "throughput.json").read_text("utf-8"))
    latency_ms = min(one["latency_ms"] for one in document["records"])
    rounds = defaultdict(list)
    for one in document["records"]:
        if one["latency_ms"] == latency_ms:
            rounds[one["contender"]].append(one)
    names = sorted(rounds, key=lambda name: median(one["jobs"] / one["seconds"] for one in rounds[name]))
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 0.45 * len(names) + 1.6), sharey=True)
    rates = [[one["jobs"] / one["seconds"] for one in rounds[name]] for name in names]
    middles = [median(found) for found in rates]
    spread = [[m - min(found) for m, found in zip(middles, rates, strict=True)]]
    spread.append([max(found) - m for m, found in zip(middles, rates, strict=True)])
    colours = ["tab:green" if name.startswith("ours") else "0.7" if "bare" in name else "tab:gray" for name in names]
    left.barh(names, middles, xerr=spread, color=colours)
    left.set_xlabel(f"verifications a second, provider at {latency_ms} ms")
    begun = [0.0] * len(names)
    for part, colour in PARTS.items():
        costs = [median(one["cpu"][part] * 1000 / one["jobs"] for one in rounds[name]) for name in names]
        right.barh(names, costs, left=begun, color=colour, label=part)
        begun = [sum(pair) for pair in zip(begun, costs, strict=True)]
    right.set_xlabel("ms of CPU a job")
    right.legend(loc="lower right")
    machine = document["machine"]
    figure.suptitle(f"{machine['processor']}, {machine['cores']} cores, {document['at'][:10]}", fontsize=9)
    figure.tight_layout()
    figure.savefig(folder / "throughput.png", dpi=110)


if __name__ == "__main__":
    main()
