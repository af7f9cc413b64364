"""The lines of flat_bench.py as tables, in the terminal and in docs/BENCHMARKS.md.

Lines of bench/results/latest.jsonl:
- flat: an exact scan of n rows beside one of the vectors in f32, microseconds a query; what share of
  the speed it has at which as many bytes can be read at all; the same for queries that share a pass;
- identity: how many of `queries` got, for each distance, just what double precision says;
- small: the CPU time of a query in a set of n rows at recall@10 of 0.99, null where that is never
  reached; of nigh also by itself, with the recall that it has then.
"""
import json
import os
import time

import report


def key(line):
    return line["kind"], line["set"], line["n"]


def merge(lines, size):
    """Puts lines in place of older ones of the same kind, set and number of rows."""
    about = {"date": time.strftime("%Y-%m-%d %H:%M"), "size": size, "version": report_version(),
             **report.machine()}
    measured = {key(line) for line in lines}
    kept = [line for line in report.read() if line["kind"] not in report.EXACT_KINDS or key(line) not in measured]
    os.makedirs(os.path.dirname(report.RESULTS), exist_ok=True)
    with open(report.RESULTS + ".tmp", "w") as file:
        for line in kept + [{"about": about, **line} for line in lines]:
            file.write(json.dumps(line) + "\n")
    os.replace(report.RESULTS + ".tmp", report.RESULTS)


def report_version():
    from engines import Nigh
    return Nigh.version()


def ordered(lines, kind):
    return sorted(report.of(lines, kind), key=lambda line: (line["dim"], line["set"].split("-first-")[0], line["n"]))


def scan_rows(lines):
    groups = sorted({int(number) for line in report.of(lines, "flat") for number in line["together_us"]})
    rows = [["set", "rows", "f32, us", "exact, us", "ratio", "GB/s", "of reading alone",
             *(f"{number} together, us each" for number in groups)]]
    for line in ordered(lines, "flat"):
        rows.append([f"{line['set']}, {line['dim']}-d", f"{line['n']:,}", f"{line['f32_us']:,.0f}",
                     f"{line['exact_us']:,.0f}", f"{line['f32_us'] / line['exact_us']:.1f}x",
                     f"{line['gb_per_s']:.0f}", f"{100 * line['gb_per_s'] / line['read_gb_per_s']:.0f} %",
                     *(f"{line['together_us'][str(number)]:,.0f}" for number in groups)])
    return rows


def identity_text(lines):
    judged = report.of(lines, "identity")
    if not judged:
        return ""
    asked = sum(line["queries"] * len(line["right"]) for line in judged)
    right = sum(sum(line["right"].values()) for line in judged)
    return (f"Of {asked} queries by {', '.join(judged[0]['right'])}, alone and together, {right} got exactly "
            "the rows that a scan in double precision gives.")


def entrants(lines):
    return list(dict.fromkeys((line["engine"], line["profile"]) for line in report.of(lines, "small")))


def show(line):
    text = f"{line['us']:.1f}" if line and line["us"] else "-"
    if line and "default_us" in line:
        text += f" / {line['default_us']:.1f} ({line['default_recall']:.3f})"
    return text


def small_rows(lines):
    who = entrants(lines)
    rows = [["set", "rows", *(f"{engine} {profile}" for engine, profile in who), "fastest"]]
    cells = {}
    for line in ordered(lines, "small"):
        cells.setdefault((line["set"].split("-first-")[0], line["dim"], line["n"]), {})[
            (line["engine"], line["profile"])] = line
    for (name, _, count), found in cells.items():
        reached = {entrant: line["us"] for entrant, line in found.items() if line["us"]}
        fastest = min(reached, key=reached.get)
        rows.append([name, f"{count:,}", *(show(found.get(entrant)) for entrant in who), " ".join(fastest)])
    return rows


NOTE = ("Microseconds of CPU a query at recall@10 of 0.99 (-: never reached); nigh also / by itself (and its recall).")


def text_of(lines):
    parts = []
    if report.of(lines, "flat"):
        parts += ["", "exact scans", report.aligned(scan_rows(lines)), identity_text(lines)]
    if report.of(lines, "small"):
        parts += ["", "small sets. " + NOTE, report.aligned(small_rows(lines))]
    return "\n".join(parts)


def section(lines):
    """The part of the page; something was measured."""
    lines = [line for line in lines if line["kind"] in report.EXACT_KINDS]
    about = lines[-1]["about"]
    parts = [f"{about['processor']}, {about['cores']} cores, {about['memory_gib']} GiB, {about['system']}; "
             f"{about['date']}, commit {about['version']}, `--size {about['size']}`.", ""]
    if report.of(lines, "flat"):
        parts += [report.markdown(scan_rows(lines)), "", identity_text(lines), ""]
    if report.of(lines, "small"):
        parts += [report.markdown(small_rows(lines)), "", NOTE, ""]
    return "\n".join(parts)
