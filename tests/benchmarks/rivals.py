"""The same batch files built by others, `bespokelabs-curator` and `gpt-batch-api`, each as its documentation has it.

Run by the interpreter of an environment of their own (`make .venv/.rivals`), so this file imports nothing of ours and
of theirs only what is measured. Counted is the CPU of the process from the file of rows to the lines of batch files,
without imports; nothing is sent. Both get the rows of one batch file, which is where they are fastest: what they hold
in memory and write again for each batch grows with the rows.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from pydantic import BaseModel

ENVIRONMENT = Path(sys.prefix) / "rivals"
NAMES = ("bespokelabs-curator", "gpt-batch-api")
SYSTEM = "Say how the writer feels and what the text is about."
MODEL = "gpt-4o"
NOWHERE = "http://127.0.0.1:9/v1"


# The answer, in the form in which both take it. A docstring would be sent with each request.
class Label(BaseModel):
    sentiment: Literal["positive", "neutral", "negative"]
    topic: str
    confidence: float


class NotRunError(Exception):
    """A rival cannot be run here; says why."""


def cpu_seconds(name: str, rows: Path, count: int) -> float:
    """What cutting the rows of a JSONL file takes, in a process of its own. Raises NotRunError."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        raise NotRunError("not installed: make .venv/.rivals")
    # The vocabularies of tiktoken lie in litellm, so that tokens are counted without a network.
    vocabularies = next(ENVIRONMENT.glob("lib/*/site-packages/litellm/litellm_core_utils/tokenizers"), Path())
    variables = {"PATH": os.environ["PATH"], "TIKTOKEN_CACHE_DIR": str(vocabularies), "OPENAI_API_KEY": "none"}
    variables |= {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled", "CURATOR_DISABLE_RICH_DISPLAY": "1"}
    variables |= {"TELEMETRY_ENABLED": "0", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    with TemporaryDirectory(prefix="enricher-rival-") as home:
        command = [python, __file__, name, str(rows), str(count), home]
        done = subprocess.run(
            command, env=variables | {"HOME": home}, cwd=home, capture_output=True, text=True, check=False
        )
    if done.returncode != 0:
        raise NotRunError((done.stderr.strip().splitlines() or ["it failed"])[-1][:120])
    measured = json.loads(done.stdout.splitlines()[-1])
    assert measured["lines"] == count, measured
    return measured["cpu_seconds"]


def curator(rows: Path, home: Path) -> tuple[float, int]:
    """What `LLM(...)(dataset)` does before it uploads: `create_request_files`, then each file's `create_batch_file`."""
    from bespokelabs.curator.llm.prompt_formatter import PromptFormatter
    from bespokelabs.curator.request_processor.batch.openai_batch_request_processor import OpenAIBatchRequestProcessor
    from bespokelabs.curator.request_processor.config import BatchRequestProcessorConfig
    from datasets import Dataset

    begun = time.process_time()
    dataset = Dataset.from_json(str(rows), cache_dir=str(home / "datasets"))
    processor = OpenAIBatchRequestProcessor(
        BatchRequestProcessorConfig(model=MODEL, api_key="none", base_url=NOWHERE, batch_size=50_000)
    )
    processor.working_dir = str(home / "curator")
    processor.prompt_formatter = PromptFormatter(
        model_name=MODEL, prompt_func=lambda row: row["text"], response_format=Label, system_prompt=SYSTEM
    )
    lines = 0
    for file in processor.create_request_files(dataset):
        content = processor.create_batch_file(processor.requests_from_generic_request_file(file, set()))
        lines += content.count(b"\n") + 1
    return time.process_time() - begun, lines


def gpt_batch_api(rows: Path, home: Path) -> tuple[float, int]:
    """What `TaskManager.run` does before it pushes: `commit_requests` of all of them, then `batch_requests`."""
    import logging

    if sys.version_info < (3, 12):
        sys.exit("it needs Python 3.12: install that, and make -B .venv/.rivals")
    from gpt_batch_api import GPTRequest, GPTRequester

    logging.disable(logging.WARNING)

    def request(line: str) -> GPTRequest:
        row = json.loads(line)
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": row["text"]}]
        payload = {"model": MODEL, "max_completion_tokens": 500, "messages": messages, "response_format": Label}
        return GPTRequest(payload=payload, meta={"id": row["id"]})

    begun = time.process_time()
    requester = GPTRequester(
        working_dir=str(home / "gpt"),
        name_prefix="bench",
        openai_api_key="none",
        client_base_url=NOWHERE,
        wandb=False,
        max_batch_mb=200,
        max_remote_mb=100_000,
        max_batch_ktokens=1_000_000,
        max_remote_ktokens=100_000_000,
        max_batch_cost=1e6,
        max_remote_cost=1e8,
        max_unpushed_batches=1_000,
    )
    with requester, rows.open() as lines:
        with requester.commit_requests(request(line) for line in lines):
            pass
        requester.batch_requests(force=True)
        cpu = time.process_time() - begun
        written = sum(
            1 for path in (home / "gpt").glob("bench_batch*.jsonl") for line in path.read_bytes().splitlines() if line
        )
    return cpu, written


def main() -> None:
    name, rows, count, home = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    cut = home / "rows.jsonl"
    with rows.open() as source, cut.open("w") as out:
        for _ in range(count):
            out.write(next(source))
    cpu, lines = {"bespokelabs-curator": curator, "gpt-batch-api": gpt_batch_api}[name](cut, home)
    print(json.dumps({"cpu_seconds": cpu, "lines": lines}))


if __name__ == "__main__":
    main()
