"""What the project wants of its speed, each bar with what was measured."""

import dataclasses


@dataclasses.dataclass
class Check:
    bar: str
    query: str
    wanted: str
    measured: str
    # 1 on the bar, more where it holds.
    room: float

    @property
    def holds(self):
        return self.room >= 1


def ms(seconds):
    return f"{seconds * 1e3:.2f} ms"


def at_most(bar, query, limit, seconds):
    return Check(bar, query, f"<= {ms(limit)}", ms(seconds), limit / seconds)


def factor(bar, query, least, theirs, ours):
    return Check(bar, query, f">= {least}x", f"{theirs / ours:.1f}x", theirs / ours / least)


def checks(questions, ours, theirs, decoding, peaks):
    """All bars that the measured questions allow. `ours` holds (best, median) by (question, variant, threads, with
    statistics); the others hold seconds, and megabytes."""
    by_name = {question.name: question for question in questions}

    def own(name, variant, threads=2, known=False):
        return ours[name, variant, threads, known][0]

    found = []
    for name, question in by_name.items():
        numpy = theirs.get((name, "numpy in memory, 1 thread"))
        if question.reads != "point" and numpy is not None:
            found.append(at_most("none: numpy in memory + 2 ms", name, numpy + 2e-3, own(name, "none")))
        if question.reads == "point":
            found += point(name, own, theirs)
            continue
        for file, threads, what in decoding:
            if what == question.reads:
                limit = 1.15 * decoding[file, threads, what]
                bar = f"{file}: 1.15x of bare decoding, threads: {threads}"
                found.append(at_most(bar, name, limit, own(name, file, threads)))
        least = 30 if question.reads == "all" else 10
        for peer in ["xarray-sql on zarr", "reference + dask, none"]:
            if theirs.get((name, peer)) is not None:
                found.append(factor(f"none: {peer}", name, least, theirs[name, peer], own(name, "none")))
        for peer in ["xarray-sql on zarr", "reference + dask, blosc2"]:
            if theirs.get((name, peer)) is not None:
                found.append(factor(f"blosc2: {peer}", name, 6, theirs[name, peer], own(name, "blosc2")))
        if question.reads == "all":
            for variant in dict.fromkeys(variant for _, variant in peaks):
                peak = peaks[name, variant]
                found.append(Check(f"{variant}: peak memory", name, "< 150 MB", f"{peak:.0f} MB", 150 / peak))
    one, four = "mean of all", "mean, std, min, max of all"
    if one in by_name and four in by_name:
        for threads in [1, 2]:
            mean, all_four = own(one, "none", threads), own(four, "none", threads)
            bar = f"none: four statistics below 1.3x of the mean, threads: {threads}"
            found.append(Check(bar, four, "< 1.30x", f"{all_four / mean:.2f}x", 1.3 * mean / all_four))
    for name in ["mean at level 500", four]:
        if name in by_name and theirs.get((name, "TileDB")) is not None:
            for variant in dict.fromkeys(variant for _, variant in peaks):
                limit = theirs[name, "TileDB"]
                found.append(at_most(f"{variant}, with statistics: TileDB", name, limit, own(name, variant, 2, True)))
    return found


def point(name, own, theirs):
    checks = [
        at_most("none: point series in 2 ms", name, 2e-3, own(name, "none")),
        at_most("blosc2: point series in 4 ms", name, 4e-3, own(name, "blosc2")),
    ]
    blosc2 = theirs.get((name, "python-blosc2"))
    if blosc2 is not None:
        checks += [at_most(f"{v}: python-blosc2", name, blosc2, own(name, v)) for v in ["none", "blosc2"]]
    return checks
