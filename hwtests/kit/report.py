"""The report that a person signs: one HTML file without anything from elsewhere, with what was measured drawn beside its bound."""

import html
import json
import time

STYLE = """body{font:15px/1.45 system-ui,sans-serif;max-width:62em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ddd;padding:.35em .6em;text-align:left;vertical-align:top}
.passed{color:#17692b}.failed{color:#b3161b}.skipped{color:#806000}svg{display:block}.sign td{height:3em}pre{white-space:pre-wrap;font-size:12px}"""
WIDTH = 320


def bar(value, bound):
    """A value beside its bound, drawn to scale."""
    most = max(value, bound or 0, 1e-9) * 1.1
    colour = "#b3161b" if bound is not None and value > bound else "#17692b"
    mark = "" if bound is None else f'<line x1="{bound / most * WIDTH:.0f}" x2="{bound / most * WIDTH:.0f}" y1="0" y2="14" stroke="#222"/>'
    return f'<svg width="{WIDTH}" height="14"><rect width="{value / most * WIDTH:.0f}" y="3" height="8" fill="{colour}"/>{mark}</svg>'


def line(values, bound):
    """Values in their order."""
    most = max([*values, bound or 0, 1e-9]) * 1.1
    step = WIDTH / max(len(values) - 1, 1)
    points = " ".join(f"{i * step:.1f},{60 - v / most * 60:.1f}" for i, v in enumerate(values))
    mark = "" if bound is None else f'<line x1="0" x2="{WIDTH}" y1="{60 - bound / most * 60:.1f}" y2="{60 - bound / most * 60:.1f}" stroke="#b3161b" stroke-dasharray="4"/>'
    return f'<svg width="{WIDTH}" height="62"><polyline points="{points}" fill="none" stroke="#17692b"/>{mark}</svg>'


def page(facts, results):
    """`facts`: of the box, by name. `results`: {name, purpose, outcome, why, measured}; `measured`: {name, value or values, unit, bound}."""
    counts = {o: sum(r["outcome"] == o for r in results) for o in ("passed", "failed", "skipped")}
    rows = []
    for r in results:
        drawn = ""
        for m in r["measured"]:
            shown = f"{m['value']:g}" if "value" in m else f"{min(m['values']):g} to {max(m['values']):g}"
            bound = "" if m["bound"] is None else f" (at most {m['bound']:g})"
            picture = bar(m["value"], m["bound"]) if "value" in m else line(m["values"], m["bound"])
            drawn += f"<div>{html.escape(m['name'])}: <b>{shown}</b> {html.escape(m['unit'])}{bound}{picture}</div>"
        why = f"<pre>{html.escape(r['why'])}</pre>" if r["why"] else ""
        rows.append(f"<tr><td>{html.escape(r['purpose'])}<br><small>{html.escape(r['name'])}</small></td><td class={r['outcome']}>{r['outcome']}</td><td>{drawn}{why}</td></tr>")
    # `</` would end the script's element.
    data = json.dumps({"facts": facts, "results": results}).replace("</", "<\\/")
    about = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(str(v))}</td></tr>" for k, v in facts.items())
    return f"""<!doctype html><meta charset=utf-8><title>Acceptance: {html.escape(facts.get('machine', 'a box'))}</title><style>{STYLE}</style>
<h1>Acceptance of a Postern box</h1><table>{about}</table>
<h2><span class=passed>{counts['passed']} passed</span>, <span class=failed>{counts['failed']} failed</span>, <span class=skipped>{counts['skipped']} skipped</span></h2>
<p>Skipped means: the box has no such hardware, or the test disturbs and was not asked for. It was not shown to work.</p>
<table><tr><th>What</th><th>Outcome</th><th>Measured</th></tr>{''.join(rows)}</table>
<h2>Signed</h2><table class=sign><tr><th>Name</th><td></td><th>Date</th><td></td><th>Signature</th><td></td></tr></table>
<script type=application/json id=data>{data}</script>
"""


def facts(box):
    """Which box this was."""
    def one(command):
        return box.run(command, check=False).strip() or "unknown"
    return {
        "machine": one("cat /sys/class/dmi/id/sys_vendor /sys/class/dmi/id/product_name 2>/dev/null | tr '\\n' ' '"),
        "serial number": one("cat /sys/class/dmi/id/product_serial 2>/dev/null"),
        "processor": one("sed -n 's/^model name.*: //p' /proc/cpuinfo | sort | uniq -c | sed 's/^ *//'"),
        "memory": one("awk '/MemTotal/ {printf \"%.1f GB\", $2 / 1e6}' /proc/meminfo"),
        "system": one(". /etc/os-release; echo \"$PRETTY_NAME ${IMAGE_VERSION:-}\"; uname -r"),
        "postern": one("posternd --version 2>/dev/null || echo not installed"),
        "reached as": str(box),
        "tested": time.strftime("%F %T UTC", time.gmtime()),
    }
