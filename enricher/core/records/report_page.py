"""The style and the script of the HTML report, as they stand in the page; their hashes are in its policy."""

from typing import Final

STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2330; --muted: #667085; --line: #e4e7ec; --page: #f7f8fa; --card: #fff;
  --good: #067647; --good-bg: #d9f5e5; --bad: #b42318; --bad-bg: #fde4e1; --accent: #3b5bdb; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --muted: #98a2b3; --line: #2d3442; --page: #12161f;
  --card: #1a202c; --good: #5fd39a; --good-bg: #12372a; --bad: #ff8b80; --bad-bg: #43201e; --accent: #8ea6ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 24px 8px; }
footer { max-width: 1120px; margin: 0 auto; padding: 0 24px 32px; color: var(--muted); font-size: 13px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 0 0 12px; display: inline-block; overflow-wrap: anywhere; }
h3 { font-size: 13px; margin: 0 0 6px; color: var(--muted); font-weight: 600; overflow-wrap: anywhere; }
p { margin: 4px 0 12px; }
.muted { color: var(--muted); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 20px; margin: 20px 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 14px; margin-top: 16px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px;
  font-size: 13px; }
.figure { font-size: 22px; font-weight: 650; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.badge { font-size: 12px; font-weight: 650; border-radius: 999px; padding: 2px 9px; vertical-align: middle;
  white-space: nowrap; }
.badge.passed { color: var(--good); background: var(--good-bg); }
.badge.failed { color: var(--bad); background: var(--bad-bg); }
h1 .badge { font-size: 14px; padding: 4px 12px; }
.reasons { color: var(--bad); padding-left: 20px; margin: 8px 0 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; color: var(--muted); font-weight: 600; font-size: 12.5px; white-space: nowrap; }
th, td { padding: 7px 8px; border-bottom: 1px solid var(--line); vertical-align: middle; }
td { overflow-wrap: break-word; }
td:not(.number) { min-width: 6.5em; }
tbody tr:last-child > * { border-bottom: 0; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.wide + .muted { font-size: 13px; margin: 12px 0 0; }
.name { min-width: 7.5em; overflow-wrap: anywhere; }
.bar { width: 120px; height: 16px; display: block; }
.bar .track { fill: var(--line); } .bar .value { fill: var(--accent); }
.bar .whisker { stroke: var(--ink); stroke-width: 1.5; fill: none; }
.confusion { width: auto; } .confusion td { min-width: 56px; border: 2px solid var(--card); border-radius: 6px; }
.confusion th { border: 0; }
HEAT
details.plain > summary { cursor: pointer; } details.plain > summary h2 { margin: 0; }
details.plain[open] > summary { margin-bottom: 12px; }
.filter { display: flex; flex-wrap: wrap; gap: 10px 20px; align-items: center; margin-bottom: 14px; }
select, input[type=search] { font: inherit; color: inherit; background: var(--page); border: 1px solid var(--line);
  border-radius: 7px; padding: 4px 8px; max-width: 300px; }
.case { border-top: 1px solid var(--line); } .case[hidden], .answer[hidden] { display: none; }
.case > summary { cursor: pointer; padding: 9px 4px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.case > summary:hover { background: var(--page); }
.case[open] { padding-bottom: 14px; }
.marks { display: inline-flex; gap: 3px; margin: 0 10px 0 4px; }
.marks i { width: 9px; height: 9px; border-radius: 50%; background: var(--good); display: inline-block; }
.marks i.no { background: var(--bad); border-radius: 2px; }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 16px; margin: 6px 4px 12px; }
.two > div { min-width: 0; }
.answer { border-left: 3px solid var(--good); padding: 2px 0 2px 14px; margin: 12px 4px; }
.answer.failed { border-color: var(--bad); }
pre { margin: 0 0 8px; padding: 9px 12px; background: var(--page); border: 1px solid var(--line); border-radius: 7px;
  white-space: pre-wrap; overflow-wrap: anywhere; max-height: 260px; overflow-y: auto;
  font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace; }
code { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace; }
dl { margin: 0; } dt { font-size: 12.5px; color: var(--muted); } dd { margin: 0; }
.scores { list-style: none; padding: 0; margin: 0; font-size: 13.5px; overflow-wrap: anywhere; }
.yes { color: var(--good); } .no { color: var(--bad); } .scores .yes, .scores .no { font-weight: 600; }
@media print { .filter { display: none; } section, .card { break-inside: avoid; } body { background: #fff; } }
""".replace(
    "HEAT",
    "\n".join(
        f".hit{step} {{ background: color-mix(in srgb, var(--good) {step * 7}%, transparent); }} "
        f".miss{step} {{ background: color-mix(in srgb, var(--bad) {step * 7}%, transparent); }}"
        for step in range(11)
    ),
)

SCRIPT: Final = """
(() => {
  const by = id => document.getElementById(id);
  const cell = by("cell"), failed = by("failed"), find = by("find"), count = by("count");
  const cases = [...document.querySelectorAll(".case")];
  const update = () => {
    const wanted = find.value.toLowerCase();
    let shown = 0;
    for (const one of cases) {
      const failures = one.dataset.failed ? one.dataset.failed.split(" ") : [];
      const fails = cell.value === "" ? failures.length > 0 : failures.includes(cell.value);
      const has = !wanted || one.textContent.toLowerCase().includes(wanted);
      one.hidden = !(has && (fails || !failed.checked));
      shown += !one.hidden;
      for (const answer of one.querySelectorAll(".answer"))
        answer.hidden = cell.value !== "" && answer.dataset.cell !== cell.value;
    }
    count.textContent = `${shown} of ${cases.length} shown`;
  };
  for (const control of [cell, failed, find]) control.addEventListener("input", update);
  update();
})();
"""
