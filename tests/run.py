#!/usr/bin/env python3
"""Runs the checks and the tests of koobridge, and prints the time of each phase: see script/test and docs/testing.md.

The test programs run with libtest's JSON events, because only they give a test's start, time and output. They are
unstable, so a stable toolchain prints them only with RUSTC_BOOTSTRAP=1, which is set for the test programs but not for
the builds.
"""

import argparse
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time

# Tests mostly wait for brokers, deadlines and timeouts, so more of them run at once than there are processors.
THREADS = "6"
# The integration tests of `script/test quick`: one report through the whole program.
QUICK = [
    "dev::the_printed_curl_makes_an_event_that_is_printed_too",
    "events::the_documents_sample_becomes_the_documented_event",
]
SLOWEST = 10
# If a test program reports nothing for this many seconds, it is stuck.
SILENCE = 900


class Failed(Exception):
    """A phase failed; the text gives the reason."""


class Run:
    def __init__(self):
        self.phases = []  # (name, seconds)
        self.tests = []  # events of ended tests

    def phase(self, name, work):
        print(f"==> {name}", flush=True)
        start = time.monotonic()
        try:
            work()
        finally:
            self.phases.append((name, time.monotonic() - start))

    def report(self, failure):
        """Prints the outputs of failed tests, then the times, and last the counts."""
        failed = [test for test in self.tests if test["event"] == "failed"]
        for test in failed:
            print(f"\n---- {test['name']} failed ----\n{test.get('stdout', '').rstrip()}")
        table("phase", self.phases + [("sum", sum(seconds for _, seconds in self.phases))])
        times = sorted(((test["name"], test["exec_time"]) for test in self.tests), key=lambda row: -row[1])
        if times:
            table(f"the {len(times[:SLOWEST])} slowest tests, waiting for a cluster included", times[:SLOWEST])
            print(f"\nAll tests in sum: {sum(seconds for _, seconds in times):.0f} s.")
        for test in failed:
            print(f"FAILED {test['name']}")
        print(f"\n{len(self.tests) - len(failed)} passed, {len(failed)} failed", flush=True)
        if failure:
            print(f"script/test: {failure}", flush=True)


def table(title, rows):
    print(f"\n| {title} | seconds |\n|---|---:|")
    for name, seconds in rows:
        print(f"| {name} | {seconds:.1f} |")


def command(*words, **environment):
    def work():
        ended = subprocess.run(words, env={**os.environ, **environment}, stdin=subprocess.DEVNULL)
        if ended.returncode != 0:
            raise Failed(f"{' '.join(words)} failed with exit code {ended.returncode}")

    return work


def build(programs):
    """Builds the test programs and adds their paths to `programs`: `lib` has the unit tests, `it` the rest."""

    def work():
        words = ["cargo", "test", "--locked", "--no-run", "--message-format", "json-render-diagnostics"]
        ended = subprocess.run(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        if ended.returncode != 0:
            raise Failed("the tests do not build")
        for message in map(json.loads, ended.stdout.splitlines()):
            if message["reason"] == "compiler-artifact" and message["profile"]["test"] and message["executable"]:
                target = message["target"]
                programs["lib" if "lib" in target["kind"] else target["name"]] = message["executable"]

    return work


def unit_tests(run, programs):
    """Runs every test program except the integration tests."""

    def work():
        for name, program in programs.items():
            if name != "it":
                run_tests(run, program, least=1 if name == "lib" else 0)

    return work


def integration_tests(run, programs, only):
    def work():
        filters = ["--exact", *only] if only else []
        run_tests(run, programs["it"], *filters, least=len(only) or 1)

    return work


def run_tests(run, program, *filters, least):
    """Runs the tests of a program. Prints a line when a test ends, and the output if it failed."""
    words = [program, "-Z", "unstable-options", "--format", "json", "--report-time"]
    words += ["--test-threads", os.environ.get("RUST_TEST_THREADS", THREADS), *filters]
    process = subprocess.Popen(
        words,
        env={**os.environ, "RUSTC_BOOTSTRAP": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    events = queue.Queue()
    threading.Thread(target=read_events, args=(process, events), daemon=True).start()
    count, ended, failed, running = 0, 0, 0, set()
    try:
        while (event := events.get(timeout=SILENCE)) is not None:
            name = event.get("name")
            if event["type"] == "suite" and event["event"] == "started":
                count = event["test_count"]
            if event["type"] != "test":
                continue
            if event["event"] == "started":
                running.add(name)
            elif event["event"] == "timeout":
                print(f"still running after a minute: {name}", flush=True)
            else:
                running.discard(name)
                ended += 1
                if event["event"] in ("ok", "failed"):
                    run.tests.append(event)
                failed += event["event"] == "failed"
                word = "FAILED" if event["event"] == "failed" else event["event"]
                seconds = event.get("exec_time", 0)
                print(f"[{ended:>{len(str(count))}}/{count}] {seconds:6.1f} s  {word}  {name}", flush=True)
                if event["event"] == "failed":
                    print(event.get("stdout", ""), flush=True)
        problem = f"exit status {process.wait()}" if process.wait() not in (0, 101) else ""
    except queue.Empty:
        problem = f"no test ended for {SILENCE} s"
    finally:
        # Kills the test program and every program that it started.
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    if problem or ended != count or ended < least:
        left = ", ".join(sorted(running)) or "none"
        raise Failed(f"{program}: {problem or 'ended early'} after {ended} of {count} tests; unfinished: {left}")
    if failed:
        raise Failed(f"{failed} of {count} tests failed")


def read_events(process, events):
    """Passes on the events, and None when the process ends, even if an orphan keeps the pipe open."""

    def read():
        for line in process.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and "type" in event:
                events.put(event)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    process.wait()
    reader.join(timeout=10)
    events.put(None)


def main():
    parser = argparse.ArgumentParser(prog="script/test", description="Runs the checks and the tests.")
    parser.add_argument("which", nargs="?", choices=["all", "quick"], default="all")
    quick = parser.parse_args().which == "quick"
    run, programs, failure = Run(), {}, None
    # The tests run in another session, so this process must end them when it ends.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    phases = [
        ("format", command("cargo", "fmt", "--check")),
        ("lints", command("cargo", "clippy", "--all-targets", "--locked", "--", "-D", "warnings")),
        ("build of the tests", build(programs)),
        ("unit tests", unit_tests(run, programs)),
        ("integration tests, with their own Kafka", integration_tests(run, programs, QUICK if quick else [])),
    ]
    if not quick:
        # Built before the tests, because otherwise one of them would wait for this for minutes.
        phases.insert(-1, ("tools of the chart's tests", command("tests/chart/tools")))
        deny = command("script/tool", "cargo-deny", "--locked", "check", "bans", "licenses", "sources")
        phases.insert(2, ("dependencies: licences, sources, duplicates", deny))
        interleavings = command("cargo", "run", "--quiet", "--locked", "--example", "interleavings")
        doc = command("cargo", "doc", "--no-deps", "--locked", RUSTDOCFLAGS="-D warnings")
        phases += [
            ("thread interleavings", interleavings),
            ("examples in the documentation", command("cargo", "test", "--locked", "--doc", "--quiet")),
            ("documentation", doc),
        ]
    try:
        for name, work in phases:
            run.phase(name, work)
    except Failed as why:
        failure = f"FAILED in {name}: {why}"
    run.report(failure)
    sys.exit(1 if failure else 0)


if __name__ == "__main__":
    main()
