#!/usr/bin/env python3
"""What a run of the bench found: lines of JSON, a table to read, and the part of
docs/BENCHMARKS.md between its marks (`python3 bench/report.py` writes that, with the plots).

Lines of bench/results/latest.jsonl, one object each, told apart by "kind":
- run: machine, date and settings of a set's measurements;
- search: queries a CPU second at a recall, interpolated, and of wall time (wall_qps); null where
  the engine never got there; "at_least" where its fastest setting was better than that already;
- default: nigh with the width it chooses itself, k = 10, and how many times as much two threads
  answer (by wall time);
- point: what was measured, the median of the rounds, at one width of search;
- build, start; cost: what a query of nigh's touches and how near the memory's own price that is;
- left_out: an engine or profile that does not run here, and why;
- http, http-fresh: queries over HTTP, and how soon an upsert is in the graph (http_bench.py);
- flat, identity, small: exact scans and small sets (flat_report.py).
"""
import json
import math
import os
import platform
import statistics
import sys
import time

import plot
from sets import ROOT

RESULTS = os.path.join(ROOT, "bench", "results", "latest.jsonl")
PAGE = os.path.join(ROOT, "docs", "BENCHMARKS.md")
FIGURES = os.path.join(ROOT, "docs", "figures")
BEGIN, END = "<!-- bench/report.py begins -->", "<!-- bench/report.py ends -->"
HTTP_BEGIN, HTTP_END = "<!-- bench/http_bench.py begins -->", "<!-- bench/http_bench.py ends -->"
EXACT_BEGIN, EXACT_END = "<!-- exact scans begin -->", "<!-- exact scans end -->"
HTTP_PARTS = {"cpu_us": "CPU", "loop_us": "loop", "worker_us": "worker", "parse": "parse", "snapshot": "snapshot", "search": "search",
              "rows": "rows", "encode": "encode", "send": "send", "beyond_us": "beyond search", "bare_us": "bare"}
RECALLS = (0.90, 0.95, 0.99, 0.999)
COST_RECALLS = (0.95, 0.99)
REFERENCE = ("hnswlib", "M16")
EXACT_KINDS = ("flat", "identity", "small")


# ---- From measurements to lines ------------------------------------------------------------------


def frontier(points):
    """(recall, qps) without those that another beats in both, by rising recall."""
    best = []
    for recall, qps in sorted(points, key=lambda point: (-point[0], -point[1])):
        if not best or qps > best[-1][1]:
            best.append((recall, qps))
    return best[::-1]


def qps_at(points, wanted):
    """(queries a second at that recall, whether it is only a lower bound): log-linear in
    1 - recall between two measured points; (None, False) where it is never reached."""
    points = frontier(points)
    if not points or points[-1][0] < wanted:
        return None, False
    if points[0][0] >= wanted:
        return points[0][1], points[0][0] > wanted
    for (low, fast), (high, slow) in zip(points, points[1:]):
        if low < wanted <= high:
            a, b, at = (math.log(max(1 - recall, 1e-4)) for recall in (low, high, wanted))
            share = (at - a) / (b - a)
            return math.exp(math.log(fast) + share * (math.log(slow) - math.log(fast))), False
    return None, False


# What decides most about codes, best first: as /proc/cpuinfo has it, and as we call it.
INSTRUCTIONS = (("avx512_vnni", "AVX-512 VNNI"), ("avx512f", "AVX-512"), ("avx2", "AVX2"), ("asimd", "NEON"))


def machine():
    with open("/proc/cpuinfo") as file:
        lines = [[part.strip() for part in line.split(":", 1)] for line in file if ":" in line]
    model = next((text for name, text in lines if name == "model name"), platform.machine())
    flags = next((text.split() for name, text in lines if name.lower() in ("flags", "features")), [])
    instructions = next((name for flag, name in INSTRUCTIONS if flag in flags), "none")
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) / 2**20
    try:
        with open("/sys/kernel/mm/transparent_hugepage/enabled") as file:
            huge_pages = file.read().split("[")[1].split("]")[0]
    except (OSError, IndexError):
        huge_pages = "none"
    return {"processor": model, "instructions": instructions, "cores": os.cpu_count(),
            "memory_gib": round(memory, 1),
            "huge_pages": huge_pages, "system": f"{platform.system()} {platform.release().split('-')[0]}"}


def medians(rounds):
    """Of the rounds at one width. Recall and work are those of the first, which ran all queries."""
    return {"recall": rounds[0]["recall"], "work": rounds[0]["work"],
            "cpu": statistics.median(got["cpu"] for got in rounds),
            "wall": statistics.median(got["wall"] for got in rounds)}


def lines_of(run, races, versions, size):
    """All lines of a set. Of an engine that ran in several groups, those of the first."""
    bench_set, journal = run.set, run.journal
    head = {"set": bench_set.name, "n": bench_set.count, "dim": bench_set.dimension}
    lines = [{"kind": "run", **head, "metric": bench_set.metric, "size": size,
              "date": time.strftime("%Y-%m-%d %H:%M"), "rounds": run.scale.rounds,
              "queries": min(run.scale.queries, len(bench_set.queries)), **machine()}]
    lines += [{"kind": "left_out", "set": bench_set.name, "engine": engine, "profile": profile,
               "reason": reason} for (engine, profile), reason in run.left_out.items()]
    measured = {}
    for race in races:
        for entrant, by_k in race.items():
            measured.setdefault(tuple(entrant.split(" ", 1)), by_k)
    for (engine, profile), by_k in measured.items():
        who = {**head, "engine": engine, "version": versions[engine], "profile": profile}
        for k, by_ef in by_k.items():
            points = {ef: medians(rounds) for ef, rounds in sorted(by_ef.items())}
            for wanted in RECALLS:
                qps, is_bound = qps_at([(p["recall"], 1 / p["cpu"]) for p in points.values()], wanted)
                wall, _ = qps_at([(p["recall"], 1 / p["wall"]) for p in points.values()], wanted)
                lines.append({"kind": "search", **who, "k": k, "recall": wanted,
                              "qps": qps and round(qps, 1), "wall_qps": wall and round(wall, 1),
                              **({"at_least": True} if is_bound else {})})
            lines += [{"kind": "point", **who, "k": k, "ef": ef, "recall": round(point["recall"], 5),
                       "qps": round(1 / point["cpu"], 1), "wall_qps": round(1 / point["wall"], 1)}
                      for ef, point in points.items()]
            facts = journal.get(*run.key("facts", engine, profile))
            if facts:
                lines += costs(who, k, points, facts)
        facts = journal.get(*run.key("facts", engine, profile))
        if facts:
            lines.append({"kind": "default", **who, "k": 10, "ef": facts["default_ef"],
                          "recall": round(facts["default"]["recall"], 5),
                          "qps": round(1 / facts["default"]["cpu"], 1),
                          "speedup_of_two": round(facts["speedup_of_two"], 2)})
        for threads in (1, 2):
            built = journal.get(*run.key("build", engine, profile, threads))
            if built:
                lines.append({"kind": "build", **who, "threads": threads,
                              "seconds": round(built["seconds"], 2),
                              "cpu_seconds": round(built["cpu"], 2),
                              "bytes_per_vector": round(built["bytes_per_vector"])})
        start = journal.get(*run.key("start", engine, profile))
        if start:
            lines.append({"kind": "start", **who, "seconds": round(start["seconds"], 4),
                          "cpu_seconds": round(start["cpu"], 4), "right_of_10": start["right_of_10"],
                          "settled_cpu_seconds": round(start["settled"], 4)})
    return lines


def costs(who, k, points, facts):
    """At the cheapest measured width that reaches each recall: the rows a query reads at random
    places and what reading them alone would take, if nothing else took time."""
    found = []
    for wanted in COST_RECALLS:
        reached = [(point["cpu"], ef) for ef, point in points.items() if point["recall"] >= wanted]
        if not reached:
            continue
        cpu, ef = min(reached)
        work = points[ef]["work"]
        # lean reads a record for each entry of its pool; turbo one for each code it measures.
        records = max(ef, k) if who["profile"] == "lean" else work["codes"]
        rows = {"code": work["codes"] - work["halved"], "half": work["halved"], "record": records,
                "original": work["originals"]}
        bound = sum(count * facts["ns"][what] for what, count in rows.items()) / 1e9
        found.append({
            "kind": "cost", **who, "k": k, "recall": wanted, "ef": ef,
            "rows": {what: round(count, 1) for what, count in rows.items()},
            "row_bytes": facts["bytes"], "row_ns": {w: round(ns, 1) for w, ns in facts["ns"].items()},
            "bytes": round(sum(count * facts["bytes"][what] for what, count in rows.items())),
            "query_us": round(cpu * 1e6, 1), "memory_us": round(bound * 1e6, 1),
            "share": round(bound / cpu, 3)})
    return found


def read():
    try:
        with open(RESULTS) as file:
            return [json.loads(line) for line in file]
    except OSError:
        return []


def family(line):
    """Which program a line is of: "http", "exact" for scans and small sets, or "" for races in
    process."""
    if line["kind"].startswith("http"):
        return "http"
    return "exact" if line["kind"] in EXACT_KINDS else ""


def merge(lines):
    """Puts the lines of a set in place of older ones of the same set and program."""
    replaced = {(line["set"], family(line)) for line in lines}
    kept = [line for line in read() if (line["set"], family(line)) not in replaced]
    os.makedirs(os.path.dirname(RESULTS), exist_ok=True)
    with open(RESULTS + ".tmp", "w") as file:
        for line in kept + lines:
            file.write(json.dumps(line) + "\n")
    os.replace(RESULTS + ".tmp", RESULTS)


# ---- From lines to text --------------------------------------------------------------------------


def of(lines, kind, **wanted):
    return [line for line in lines if line["kind"] == kind
            and all(line[name] == value for name, value in wanted.items())]


def entrants(lines):
    return list(dict.fromkeys((line["engine"], line["profile"]) for line in of(lines, "search")))


def cell(lines, who, k, recall):
    return next((line for line in of(lines, "search", engine=who[0], profile=who[1], k=k,
                                     recall=recall)), None)


def show_qps(line, base):
    """Of CPU time (against the reference) / of wall time."""
    if line is None or line["qps"] is None:
        return "-"
    text = f"{'>= ' if line.get('at_least') else ''}{line['qps']:,.0f}"
    if base and base["qps"]:
        text += f" ({line['qps'] / base['qps']:.2f}x)"
    return f"{text} / {line['wall_qps']:,.0f}"


def show_build(lines, who, threads):
    built = of(lines, "build", engine=who[0], profile=who[1], threads=threads)
    return f"{built[0]['seconds']:.1f} ({built[0]['cpu_seconds']:.1f})" if built else "-"


def tables(lines):
    """One for each k, as rows of cells, the heads first; building is told in the first."""
    return [table(lines, k, number == 0)
            for number, k in enumerate(sorted({line["k"] for line in of(lines, "search")}))]


def table(lines, k, with_building):
    rows = [[f"k = {k}", *(f"recall {recall:g}" for recall in RECALLS)]]
    if with_building:
        rows[0] += ["build, 2 threads", "1 thread", "bytes", "start, ms"]
    for who in entrants(lines):
        version = of(lines, "search", engine=who[0])[0]["version"]
        rows.append([
            f"{who[0]} {who[1]}" + ("" if who[0] == "nigh" else f" ({version})"),
            *(show_qps(cell(lines, who, k, recall), cell(lines, REFERENCE, k, recall))
              for recall in RECALLS)])
        if with_building:
            built = of(lines, "build", engine=who[0], profile=who[1])
            start = of(lines, "start", engine=who[0], profile=who[1])
            rows[-1] += [show_build(lines, who, 2), show_build(lines, who, 1),
                         f"{built[-1]['bytes_per_vector']:,}" if built else "-",
                         f"{1000 * start[0]['seconds']:.0f} ({1000 * start[0]['cpu_seconds']:.0f})"
                         if start else "-"]
    return rows


def cost_rows(lines):
    rows = [["", "recall", "ef", "codes", "halves", "records", "vectors", "KB", "us if only memory",
             "us", "share"]]
    for line in of(lines, "cost"):
        rows.append([f"{line['engine']} {line['profile']} k {line['k']}", f"{line['recall']:g}",
                     str(line["ef"]), *(f"{line['rows'].get(what, 0):.0f}" for what in
                                        ("code", "half", "record", "original")),
                     f"{line['bytes'] / 1000:.0f}", f"{line['memory_us']:.1f}",
                     f"{line['query_us']:.1f}", f"{100 * line['share']:.0f} %"])
    return rows


def shames(lines):
    """Every cell in which a peer is better than the best of nigh's profiles."""
    found = []
    ours = [who for who in entrants(lines) if who[0] == "nigh"]
    peers = [who for who in entrants(lines) if who[0] != "nigh"]
    if not ours:
        return found
    for k in sorted({line["k"] for line in of(lines, "search")}):
        for recall in RECALLS:
            mine = max((cell(lines, who, k, recall)["qps"] or 0) for who in ours)
            faster = [(cell(lines, who, k, recall)["qps"] or 0, who) for who in peers
                      if cell(lines, who, k, recall) is not None]
            theirs, who = max(faster, default=(0, None))
            if theirs > mine:
                by = f"{theirs / mine:.2f} times our queries" if mine else "where we never get"
                found.append(f"k {k} at recall {recall:g}: {who[0]} {who[1]}, {by}")
    for kind, field, what, wanted in (
            ("build", "cpu_seconds", "CPU seconds of building", {"threads": 2}),
            ("build", "bytes_per_vector", "bytes a vector", {"threads": 2}),
            ("start", "cpu_seconds", "CPU seconds of a start", {})):
        mine = min((line[field] for line in of(lines, kind, engine="nigh", **wanted)), default=0)
        theirs = [(line[field], line) for line in of(lines, kind, **wanted)
                  if line["engine"] != "nigh" and line[field] < mine]
        if theirs:
            least, line = min(theirs, key=lambda pair: pair[0])
            found.append(f"{what}: {line['engine']} {line['profile']} {least:g}, we {mine:g}")
    return found


def aligned(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(text.ljust(width) if i == 0 else text.rjust(width)
                               for i, (text, width) in enumerate(zip(row, widths)))
                     for row in rows)


def markdown(rows):
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|---" + "|---:" * (len(rows[0]) - 1) + "|", *lines[1:]])


def title(lines):
    run = of(lines, "run")[0]
    return (f"{run['set']}: {run['n']:,} x {run['dim']}, "
            f"{ {'dot': 'cosine', 'l2': 'L2'}[run['metric']] }, {run['queries']:,} queries")


def default_text(lines):
    def tell(line):
        threads = f", two threads {line['speedup_of_two']:.2f} times as many" if "speedup_of_two" in line else ""
        return (f"{line['engine']} {line['profile']} by default (ef {line['ef']}): recall@10 {line['recall']:.4f}, "
                f"{line['qps']:,.0f} queries a second{threads}")
    return "; ".join(tell(line) for line in of(lines, "default"))


def left_out_text(lines):
    return "; ".join(f"{line['engine']} {line['profile']}: {line['reason']}"
                     for line in of(lines, "left_out"))


def text_of(lines):
    parts = ["", title(lines), *(aligned(rows) for rows in tables(lines))]
    if of(lines, "cost"):
        parts += ["", aligned(cost_rows(lines)), "", default_text(lines)]
    if of(lines, "left_out"):
        parts += ["", "left out: " + left_out_text(lines)]
    behind = shames(lines)
    parts += ["", "ours to be ashamed of: " + ("; ".join(behind) if behind else "nothing here")]
    return "\n".join(parts)


# ---- Over HTTP -----------------------------------------------------------------------------------


def http_title(lines):
    line = lines[0]
    return (f"{line['set']}: {line['n']:,} x {line['dim']} over HTTP, k = {line['k']}, default parameters, recall {line['recall']:.4f}; "
            f"microseconds of CPU a query; {line['date']}")


def http_rows(lines):
    parts = [part for part in HTTP_PARTS if part in lines[0]]
    rows = [["query", "conn.", "a second", "p50", "p95", "p99 ms", *(HTTP_PARTS[part] for part in parts)]]
    return rows + [[line["query"], str(line["connections"]), f"{line['qps']:,.0f}",
                    *(f"{line[part]:.2f}" for part in ("p50_ms", "p95_ms", "p99_ms")), *(f"{line[part]:.1f}" for part in parts)]
                   for line in lines]


def fresh_text(line):
    return (f"{line['set']}: {line['rate']:.0f} points/s stream in; from sending an upsert to finding it by an indexed_only search: "
            f"p50 {line['p50_s']:.3f} s, p99 {line['p99_s']:.3f} s, at most {line['max_s']:.3f} s (wanted: < 2 s); {line['probes']:.0f} looked "
            f"for, {line['lost']:.0f} never found; upserts p99 {line['upsert_p99_s']:.3f} s; most waiting {line['waiting_max']:.0f}; "
            f"CPU a point {line['cpu_us']:.0f} us, of it builders {line['builder_us']:.0f}")


def http_section(lines):
    """Tables of the sets that were asked over HTTP, for the page."""
    parts = []
    for name in dict.fromkeys(line["set"] for line in of(lines, "http")):
        asked = of(lines, "http", set=name)
        parts += [http_title(asked) + ":", "", markdown(http_rows(asked)), ""]
        parts += [text for line in of(lines, "http-fresh", set=name) for text in (fresh_text(line) + ".", "")]
    return "\n".join(parts)


# ---- The page ------------------------------------------------------------------------------------


def section(lines):
    run, name = of(lines, "run")[0], of(lines, "run")[0]["set"]
    version = next((line["version"] for line in of(lines, "search", engine="nigh")), "-")
    points = {}
    for line in of(lines, "point", k=10):
        points.setdefault(f"{line['engine']} {line['profile']}", []).append(
            (line["recall"], line["qps"]))
    os.makedirs(FIGURES, exist_ok=True)
    with open(os.path.join(FIGURES, f"bench-{name}.svg"), "w") as file:
        file.write(plot.draw({who: frontier(curve) for who, curve in points.items()}, title(lines)))
    parts = [f"### {title(lines)}", "",
             f"{run['processor']}, {run['instructions']}, {run['cores']} cores, {run['memory_gib']} GiB, {run['system']}, "
             f"huge pages: {run['huge_pages']}; "
             f"{run['date']}, commit {version}, `--size {run['size']}`, {run['rounds']} rounds.", "",
             f"![Recall against queries a second](figures/bench-{name}.svg)", "",
             "\n\n".join(map(markdown, tables(lines))), ""]
    if of(lines, "cost"):
        parts += [markdown(cost_rows(lines)), "", default_text(lines) + ".", ""]
    if of(lines, "left_out"):
        parts += ["Left out: " + left_out_text(lines) + ".", ""]
    behind = shames(lines)
    parts += ["Ours to be ashamed of: " + ("; ".join(behind) if behind else "nothing here") + ".", ""]
    return "\n".join(parts)


def between(page, begin, end, text):
    """The page with the text between its two marks, in place of what stands there."""
    before, rest = page.split(begin)
    return f"{before}{begin}\n\n{text}{end}{rest.split(end)[1]}"


def write_page():
    import flat_report  # which needs what is above
    lines = read()
    names = list(dict.fromkeys(line["set"] for line in of(lines, "run")))
    sections = [section([line for line in lines if line["set"] == name]) for name in names]
    with open(PAGE) as file:
        page = file.read()
    page = between(page, BEGIN, END, "\n".join(sections))
    if of(lines, "http"):
        page = between(page, HTTP_BEGIN, HTTP_END, http_section(lines))
    if any(line["kind"] in EXACT_KINDS for line in lines):
        page = between(page, EXACT_BEGIN, EXACT_END, flat_report.section(lines))
    with open(PAGE, "w") as file:
        file.write(page)


if __name__ == "__main__":
    sys.exit(write_page())
