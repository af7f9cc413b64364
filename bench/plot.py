"""Recall against queries a second as SVG: both axes logarithmic, recall by what is missing to 1.

Up and to the right is better.
"""
import html
import math

WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 90, 190, 40, 50
MISSES = (0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
MISS_MIN, MISS_MAX = 0.0005, 0.3
# Told apart by people who see colours differently (Okabe and Ito); nigh's come first, thick.
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#8c6d31")


def across(recall):
    miss = min(max(1 - recall, MISS_MIN), MISS_MAX)
    share = (math.log(MISS_MAX) - math.log(miss)) / (math.log(MISS_MAX) - math.log(MISS_MIN))
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def ticks(low, high):
    """1, 2 and 5 times the powers of ten that lie between."""
    found = []
    for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        found += [factor * 10**power for factor in (1, 2, 5) if low <= factor * 10**power <= high]
    return found


def draw(curves, title):
    """curves: {name: [(recall, qps), ...]} by rising recall."""
    shown = {name: [point for point in curve if 1 - point[0] <= MISS_MAX]
             for name, curve in curves.items()}
    shown = {name: curve for name, curve in shown.items() if curve}
    speeds = [qps for curve in shown.values() for _, qps in curve] or [1, 10]
    low, high = min(speeds) * 0.9, max(speeds) * 1.1

    def up(qps):
        share = (math.log(qps) - math.log(low)) / (math.log(high) - math.log(low))
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
             'font-family="sans-serif" font-size="12">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
             f'<text x="{LEFT}" y="22" font-size="14">{html.escape(title)}</text>']
    for miss in MISSES:
        x = across(1 - miss)
        parts.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}" '
                     'stroke="#dddddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">'
                     f'{1 - miss:g}</text>')
    for qps in ticks(low, high):
        y = up(qps)
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" '
                     'stroke="#dddddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{qps:,}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">'
                 'recall@10</text>')
    parts.append(f'<text transform="translate(16 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">'
                 'queries a second, one thread</text>')
    for number, (name, curve) in enumerate(shown.items()):
        colour = COLOURS[number % len(COLOURS)]
        thick = 3 if name.startswith("nigh") else 1.5
        dash = ' stroke-dasharray="6 3"' if number >= len(COLOURS) else ""
        line = " ".join(f"{across(recall):.1f},{up(qps):.1f}" for recall, qps in curve)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" '
                     f'stroke-width="{thick}"{dash}/>')
        parts += [f'<circle cx="{across(recall):.1f}" cy="{up(qps):.1f}" r="{thick}" '
                  f'fill="{colour}"/>' for recall, qps in curve]
        y = TOP + 10 + 20 * number
        x = WIDTH - RIGHT + 14
        parts.append(f'<line x1="{x}" y1="{y}" x2="{x + 22}" y2="{y}" stroke="{colour}" '
                     f'stroke-width="{thick}"{dash}/>')
        parts.append(f'<text x="{x + 28}" y="{y + 4}">{html.escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])
