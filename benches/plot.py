"""Log-log plots as SVG, as small as they come."""

import html
import math

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 640, 400, 70, 40, 170, 50
COLORS = ["#1b6ca8", "#c8553d", "#3c8d5a", "#7b5ea7", "#b08900"]


def log_log(title, x_label, y_label, series, straight=None):
    """An SVG of `series`, {name: [(x, y), ...]}, on logarithmic axes; `straight` names a series beside which a dashed line
    shows what linear growth from its last point would have been."""
    points = [point for line in series.values() for point in line]
    (x0, x1), (y0, y1) = ((math.floor(math.log10(min(v))), math.ceil(math.log10(max(v)))) for v in zip(*points, strict=True))
    x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)

    def at(x, y):
        return (LEFT + (math.log10(x) - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT),
                HEIGHT - BOTTOM - (math.log10(y) - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM))

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
             text(LEFT, 22, title, size=15)]
    for power in range(x0, x1 + 1):
        x, _ = at(10.0**power, 10.0**y0)
        parts += [rule(x, TOP, x, HEIGHT - BOTTOM), text(x, HEIGHT - BOTTOM + 16, number(power), anchor="middle")]
    for power in range(y0, y1 + 1):
        _, y = at(10.0**x0, 10.0**power)
        parts += [rule(LEFT, y, WIDTH - RIGHT, y), text(LEFT - 6, y + 4, number(power), anchor="end")]
    parts += [text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x_label, anchor="middle"), text(8, TOP - 8, y_label)]
    for i, (name, line) in enumerate(series.items()):
        color = COLORS[i % len(COLORS)]
        parts.append(path([at(x, y) for x, y in line], color))
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in (at(*point) for point in line)]
        parts.append(text(WIDTH - RIGHT + 12, TOP + 14 + 18 * i, name, fill=color))
    if straight:
        (first, _), (last, cost) = series[straight][0], series[straight][-1]
        lowest = max(first, last * 10.0**y0 / cost)
        parts.append(path([at(lowest, cost * lowest / last), at(last, cost)], "#888888", dashed=True))
        parts.append(text(WIDTH - RIGHT + 12, TOP + 14 + 18 * len(series), "linear", fill="#888888"))
    return "\n".join([*parts, "</svg>", ""])


def number(power):
    return f"{10**power:,}" if 0 <= power <= 4 else f"1e{power}" if power > 4 else f"{10.0**power:g}"


def text(x, y, words, anchor="start", size=12, fill="#222222"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{fill}">{html.escape(words)}</text>'


def rule(x1, y1, x2, y2):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#dddddd"/>'


def path(points, color, dashed=False):
    data = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<path d="M{data}" fill="none" stroke="{color}" stroke-width="1.8"{dash}/>'
