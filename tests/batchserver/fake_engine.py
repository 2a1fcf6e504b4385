"""A stand-in for the engine of the embedded model: its two names, and its HTTP on loopback.

The model's file is a directory here. Files in it say what happens at load (`fate`, `loading`) and whether schemas are
kept (`ignores-schemas`); the last message of a request says what happens with that request.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace


def CommonParams():  # noqa: N802 - the engine's name
    return SimpleNamespace(model=SimpleNamespace(), cpuparams=SimpleNamespace(), cpuparams_batch=SimpleNamespace())


class Server:
    def __init__(self, params):
        self.home = Path(params.model.path)
        with (self.home / "launches").open("a") as stream:
            print(os.getpid(), file=stream)
        print("the engine talks", flush=True)
        self.load()
        together = threading.Barrier(2)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.headers["Authorization"] != "Bearer " + params.api_keys[0]:
                    self.reply(401, b"{}")
                elif "response_format" in body and not (outer.home / "ignores-schemas").exists():
                    self.say(json.dumps({"answer": "zebra"}))
                else:
                    self.act(body)

            def act(self, body):
                wish = body["messages"][-1]["content"]
                if wish.startswith("die"):
                    # Told before the wait: of two requests neither may find the other's mark.
                    marker = outer.home / "died"
                    is_first = not marker.exists()
                    if wish == "die together" and is_first:
                        together.wait()
                    if wish == "die" or is_first:
                        marker.touch()
                        os._exit(3)
                if wish == "hang":
                    threading.Event().wait()
                elif wish == "babble":
                    self.reply(200, b"<html>")
                elif wish == "too long":
                    error = {"code": 400, "message": "5000 tokens", "type": "exceed_context_size_error"}
                    self.reply(400, json.dumps({"error": error}).encode())
                else:
                    self.say(json.dumps(body))

            def say(self, content):
                choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
                self.reply(200, json.dumps({"choices": [choice], "model": "file.gguf"}).encode())

            def reply(self, status, data):
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.listening_address = f"http://127.0.0.1:{server.server_address[1]}"

    def load(self):
        fate = self.home / "fate"
        match fate.read_text() if fate.exists() else "":
            case "refused":
                raise RuntimeError("bad magic")
            case "aborts":
                print("ggml: it broke", file=sys.stderr, flush=True)
                os._exit(134)
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "old processor":
                os.kill(os.getpid(), signal.SIGILL)
            case "hangs":
                if (self.home / "loading").exists():
                    (self.home / "loading").write_text("now")
                threading.Event().wait()
