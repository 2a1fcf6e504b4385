"""Measure the embedded model on labelled lines: how right it is, how fast, how many tokens.

usage: local_model.py LINES.jsonl [--model NAME] [--task FILE] [--threads N] [--show]

LINES has one object per line: {"line", "severity", "category"}. The model must have been pulled.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enricher.batchserver.model_process import CHAT_ENDPOINT, ModelProcess, ModelSettings, spare_threads
from enricher.batchserver.model_weights import WEIGHTS, model_dir

TASK = Path(__file__).parents[2] / "config" / "tasks" / "logs-local.toml"
# Labels of sets made for another list of categories, and what they may be called in the task's list.
SAME_AS = {
    "application": {"app_error", "performance", "other"},
    "http": {"network", "app_error", "performance", "other"},
}
LINE_CHARACTERS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    wanted: dict[str, Any]
    answer: dict[str, Any] | None
    seconds: float
    output_tokens: int
    input_tokens: int
    cached_tokens: int


def to_body(task: dict[str, Any], line: str) -> dict[str, Any]:
    messages = [{"role": "system", "content": task["prompt"]["system"].strip()}]
    for example in task["prompt"]["examples"]:
        messages.append({"role": "user", "content": example["line"]})
        messages.append({"role": "assistant", "content": example["answer"]})
    messages.append({"role": "user", "content": line.replace('"', "'")[:LINE_CHARACTERS]})
    schema = {"name": "answer", "strict": True, "schema": task["schema"]}
    return {
        **task["parameters"],
        "messages": messages,
        "max_tokens": task["max_output_tokens"],
        "response_format": {"type": "json_schema", "json_schema": schema},
    }


async def ask(model: ModelProcess, task: dict[str, Any], wanted: dict[str, Any]) -> Outcome:
    started = time.monotonic()
    status, reply = await model.answer(CHAT_ENDPOINT, to_body(task, wanted["line"]))
    seconds = time.monotonic() - started
    if status != 200:
        raise SystemExit(f"{status}: {reply}")
    try:
        answer = json.loads(reply["choices"][0]["message"]["content"])
    except ValueError:
        answer = None
    usage = reply["usage"]
    return Outcome(
        wanted=wanted,
        answer=answer,
        seconds=seconds,
        output_tokens=usage["completion_tokens"],
        input_tokens=usage["prompt_tokens"],
        cached_tokens=usage.get("prompt_tokens_details", {}).get("cached_tokens", 0),
    )


def print_figures(outcomes: list[Outcome], severities: list[str]) -> None:
    valid = [o for o in outcomes if o.answer is not None]
    level = {name: number for number, name in enumerate(severities)}
    steps = [level[o.answer["severity"]] - level[o.wanted["severity"]] for o in valid]
    attention = level["warning"]
    said = [level[o.answer["severity"]] >= attention for o in valid]
    due = [level[o.wanted["severity"]] >= attention for o in valid]
    categories = [o.answer["category"] in SAME_AS.get(o.wanted["category"], {o.wanted["category"]}) for o in valid]
    values = [(str(value), o.wanted["line"].replace('"', "'")) for o in valid for value in o.answer["fields"].values()]
    # The first line pays for reading the examples.
    rest = outcomes[1:]
    total = len(outcomes)
    print(f"lines                  {total}")
    print(f"valid JSON             {len(valid)}/{total}")
    print(f"severity exact         {steps.count(0) / total:.2f}")
    print(f"severity within 1      {sum(abs(step) <= 1 for step in steps) / total:.2f}")
    print(f"category               {sum(categories) / total:.2f}")
    print(f"attention accuracy     {sum(a == b for a, b in zip(said, due, strict=True)) / total:.2f}")
    print(f"attention recall       {sum(a and b for a, b in zip(said, due, strict=True)) / max(1, sum(due)):.2f}")
    print(f"fields in the line     {sum(value in line for value, line in values)}/{len(values)}")
    print(f"first line             {outcomes[0].seconds:.1f} s, {outcomes[0].input_tokens} tokens in")
    print(f"seconds a line         {sum(o.seconds for o in rest) / len(rest):.2f}")
    print(f"tokens an answer       {sum(o.output_tokens for o in outcomes) / total:.0f}")
    print(f"new tokens a prompt    {sum(o.input_tokens - o.cached_tokens for o in rest) / len(rest):.0f}")


async def measure(arguments: argparse.Namespace) -> None:
    task = tomllib.loads(arguments.task.read_text())
    lines = [json.loads(line) for line in arguments.lines.read_text().splitlines()]
    settings = ModelSettings(
        file=model_dir() / WEIGHTS[arguments.model].file_name, name=arguments.model, threads=arguments.threads
    )
    model = ModelProcess(settings)
    started = time.monotonic()
    try:
        await model.start()
        print(
            f"{arguments.model}, {arguments.threads} thread(s), ready in {time.monotonic() - started:.1f} s", flush=True
        )
        outcomes = []
        for wanted in lines:
            outcome = await ask(model, task, wanted)
            outcomes.append(outcome)
            if arguments.show:
                print(f"{wanted['severity']:8} {wanted['category']:11} {wanted['line'][:100]}", flush=True)
                print(f"    {json.dumps(outcome.answer)}", flush=True)
    finally:
        await model.close()
    print_figures(outcomes, task["schema"]["properties"]["severity"]["enum"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lines", type=Path)
    parser.add_argument("--model", choices=sorted(WEIGHTS), default="qwen2.5-coder-1.5b")
    parser.add_argument("--task", type=Path, default=TASK)
    parser.add_argument("--threads", type=int, default=spare_threads())
    parser.add_argument("--show", action="store_true")
    asyncio.run(measure(parser.parse_args()))
