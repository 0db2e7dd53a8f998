"""Draw docs/images/polling.svg and print the table of docs/polling.md: ``python docs/plots/polling.py``.

It needs matplotlib (the extra ``bench``), and nothing else; durations are drawn from a fixed seed.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from airflow_provider_falinvoke.api.schedule import REMEMBERED, Durations, PollSchedule

MEDIANS = (2.0, 15.0, 45.0)
SIGMA = 0.5
JOBS = 3000
TARGET = Path(__file__).resolve().parent.parent / "images" / "polling.svg"


def main() -> None:
    """Draw and print."""
    mpl.rcParams.update({"svg.hashsalt": "polling", "svg.fonttype": "none", "font.size": 9})
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6))
    pauses(left)
    costs(right)
    figure.tight_layout()
    TARGET.parent.mkdir(exist_ok=True)
    figure.savefig(TARGET, metadata={"Date": None})
    print(f"wrote {TARGET.name}, {TARGET.stat().st_size:,} bytes")


def pauses(axes: Axes) -> None:
    """Draw the ages at which a job is looked at that lives three times as long as its model's median."""
    schedule = PollSchedule(jitter=0.0)
    rows: list[tuple[str, list[float], str]] = []
    for median in MEDIANS:
        quantiles = [NormalDist(0, SIGMA).inv_cdf((rank + 0.5) / REMEMBERED) for rank in range(REMEMBERED)]
        known = [median * math.exp(quantile) for quantile in quantiles]
        axes.axvspan(known[2], known[-3], *_band(len(rows)), color="tab:blue", alpha=0.15, linewidth=0)
        rows.append((f"{median:g} s, by age", looks_of(schedule, 3 * median, ()), "black"))
        rows.append((f"{median:g} s, learned", looks_of(schedule, 3 * median, known), "tab:blue"))
    axes.eventplot([ages for _, ages, _ in rows], colors=[colour for *_, colour in rows], linelengths=0.7, linewidths=1)
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.set_ylim(-0.5, len(rows) - 0.5)
    axes.set(xscale="log", xlabel="age at each look, s (shaded: when nine of ten jobs end)")


def _band(row: int) -> tuple[float, float]:
    rows = 2 * len(MEDIANS)
    return row / rows, (row + 2) / rows


def looks_of(schedule: PollSchedule, until: float, known: Sequence[float]) -> list[float]:
    """Return the ages at which a job is looked at."""
    ages = [schedule.pause(0.0, known=known)]
    while ages[-1] < until:
        ages.append(ages[-1] + schedule.pause(ages[-1], known=known))
    return ages


def costs(axes: Axes) -> None:
    """Draw what a job costs in looks and in delay, and print it."""
    for learn, marker, name in ((False, "o", "by age alone"), (True, "s", "learned")):
        found = [simulate(median, learn=learn) for median in MEDIANS]
        axes.plot(*zip(*found, strict=True), marker=marker, label=name, color="tab:blue" if learn else "black")
        for median, (looks, delay) in zip(MEDIANS, found, strict=True):
            axes.annotate(f"{median:g} s", (looks, delay), textcoords="offset points", xytext=(5, 5))
            print(f"{name}, median {median:g} s: {looks:.1f} looks, {delay:.0f} %")
    axes.set(xlabel="looks a job", ylabel="mean delay, % of the job's duration", xlim=(0, 19), ylim=(0, 27))
    axes.legend(fontsize=7)


def simulate(median: float, *, learn: bool) -> tuple[float, float]:
    """Return the looks a job, and the mean delay in percent of its duration."""
    rng, schedule, durations = random.Random(7), PollSchedule(), Durations()
    looks, delays = 0, []
    for number, duration in enumerate(sample(rng, median, JOBS + REMEMBERED)):
        age = 0.0
        while age < duration:
            age += schedule.pause(age, rng.random, known=durations.of("m") if learn else ())
            looks += number >= REMEMBERED
        durations.add("m", duration)
        if number >= REMEMBERED:
            delays.append(100 * (age - duration) / duration)
    return looks / JOBS, statistics.mean(delays)


def sample(rng: random.Random, median: float, count: int) -> Sequence[float]:
    """Return log-normal durations."""
    return [median * rng.lognormvariate(0, SIGMA) for _ in range(count)]


if __name__ == "__main__":
    main()
