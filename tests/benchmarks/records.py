"""Batch mode over records: a million rows cut into batch files, and as many answers joined back.

The provider is a child process that answers each line of an uploaded file in the form of chat completions, so that its
CPU is not counted. Measured is the whole engine as `enricher records run` has it: input, store, ledger, files, output.
"""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from enricher.config import Config
from enricher.core.records.task import parse_record_task
from enricher.edges.batch_files import DirectoryBatchFiles
from enricher.edges.clock_system import SystemClock
from enricher.edges.record_inputs import open_input
from enricher.edges.record_outputs import open_output
from enricher.edges.store_sqlite import SqliteStore
from enricher.ports import ProviderBatch
from enricher.records.job import Job, JobSettings
from enricher.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Mapping

TASK: Final = """
name = "label"
version = 1
[prompt]
system = "Say how the writer feels and what the text is about."
user = "{{text}}"
[schema]
type = "object"
additionalProperties = false
required = ["sentiment", "topic", "confidence"]
[schema.properties.sentiment]
type = "string"
enum = ["positive", "neutral", "negative"]
[schema.properties.topic]
type = "string"
[schema.properties.confidence]
type = "number"
"""

_ANSWER: Final = """
import json, sys
source, target = sys.argv[1:]
text = json.dumps({"sentiment": "neutral", "topic": "an order that is late", "confidence": 0.9})
with open(source) as lines, open(target, "w") as out:
    for number, line in enumerate(lines):
        name = line[14:line.index('"', 14)]
        body = {
            "id": f"chatcmpl-{number}", "object": "chat.completion", "created": 1, "model": "bench",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text, "refusal": None},
                         "logprobs": None, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 90, "completion_tokens": 21, "total_tokens": 111,
                      "prompt_tokens_details": {"cached_tokens": 0}},
        }
        response = {"status_code": 200, "request_id": f"req-{number}", "body": body}
        out.write(json.dumps({"id": f"batch_req_{number}", "custom_id": name, "response": response, "error": None}))
        out.write("\\n")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a run took: CPU seconds of this process, peak bytes of its memory."""

    rows: int
    cut_cpu_seconds: float
    """From the input to the last batch file."""
    join_cpu_seconds: float
    """From the first result file to the output."""
    peak_bytes: int


class _Provider:
    """A Batch API whose batches are done once all were created. Answers are made in a child process."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._uploads: dict[str, Path] = {}
        self.opened = 0
        self.expected: int | None = None
        self.all_opened_at: float | None = None

    async def upload(self, path: Path, name: str) -> str:
        kept = self._directory / name
        shutil.move(path, kept)
        self._uploads[name] = kept
        return name

    async def create(self, *, input_file_id: str, endpoint: str, metadata: Mapping[str, str]) -> ProviderBatch:
        self.opened += 1
        return self._shown(input_file_id, "in_progress")

    async def retrieve(self, batch_id: str) -> ProviderBatch:
        return self._shown(batch_id, "in_progress" if self.all_opened_at is None else "completed")

    async def download(self, file_id: str, path: Path, *, max_bytes: int) -> None:
        done = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _ANSWER, str(self._uploads[file_id]), str(path)
        )
        assert await done.wait() == 0
        self._uploads[file_id].unlink()

    async def ask(self, endpoint: str, body: Mapping[str, object]) -> Mapping[str, object]:
        message = {"content": json.dumps({"sentiment": "neutral", "topic": "x", "confidence": 1}), "refusal": None}
        usage = {"prompt_tokens": 90, "completion_tokens": 21}
        return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage, "model": "bench"}

    async def delete_file(self, file_id: str) -> None:
        pass

    def _shown(self, name: str, status: str) -> ProviderBatch:
        return ProviderBatch(
            id=name,
            status=status,
            input_file_id=name,
            output_file_id=name if status == "completed" else None,
            error_file_id=None,
            created_at=None,
            expires_at=None,
            total=0,
            completed=0,
            failed=0,
            errors=(),
            metadata={},
        )


def write_rows(path: Path, rows: int) -> Path:
    """Rows of about 200 bytes, each with a text of its own."""
    with path.open("w") as out:
        for number in range(rows):
            text = (
                f"Order {number} has not arrived yet, though it was promised for the {number % 28 + 1}th; please tell"
                " me where it is, and whether I can have my money back."
            )
            out.write(json.dumps({"id": f"row-{number}", "text": text, "channel": "mail"}) + "\n")
    return path


async def _measure(source: Path, rows: int, scratch: Path) -> Measured:
    config = Config.model_validate({"state_dir": str(scratch / "state"), "batch": {"poll_interval_seconds": 1.0}})
    provider = _Provider(scratch)
    store = await SqliteStore.open(config.state_dir)
    expected = -(-(rows - 1) // config.batch.max_requests)  # the first row is asked at once, to try the schema
    marks: list[float] = [time.process_time()]

    def tell(progress: object) -> None:
        if provider.all_opened_at is None and provider.opened >= expected:
            provider.all_opened_at = time.process_time()
            marks.append(provider.all_opened_at)

    job = Job(
        config=config,
        store=store,
        records=store.records,
        client=provider,
        files=DirectoryBatchFiles(config.state_dir / "batches"),
        clock=SystemClock(),
        telemetry=Telemetry(),
        task=parse_record_task(TASK, name="label"),
        given=open_input(str(source)),
        output=open_output(str(scratch / "out.jsonl"), overwrite=True),
        settings=JobSettings(
            model="bench",
            endpoint="/v1/chat/completions",
            reasoning_effort="",
            prices=None,
            poll_interval_seconds=1.0,
        ),
        tell=tell,
        turn=asyncio.Lock(),
        sending=asyncio.Semaphore(),
    )
    report = await job.run(asyncio.Event())
    marks.append(time.process_time())
    await store.close()
    assert {"ok": rows} == report.statuses, report.statuses
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Measured(
        rows=rows, cut_cpu_seconds=marks[1] - marks[0], join_cpu_seconds=marks[2] - marks[1], peak_bytes=peak
    )


def measure(scratch: Path, rows: int) -> Measured:
    """Run once, in a process of its own, so that its memory is its own."""
    source = scratch / "rows.jsonl"
    if not source.exists():
        write_rows(source, rows)
    command = (sys.executable, "-m", "tests.benchmarks.records", str(source), str(rows), str(scratch / "run"))
    done = subprocess.run(command, check=True, capture_output=True)
    return Measured(**json.loads(done.stdout))


def main() -> None:
    """Measure one run and print it as JSON."""
    from dataclasses import asdict

    from enricher.cli.running import keep_freed_memory, set_up_logging, spare_collector

    set_up_logging(quiet=True)
    spare_collector()
    keep_freed_memory()
    source, rows, scratch = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    print(json.dumps(asdict(asyncio.run(_measure(source, rows, scratch)))))
    shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
