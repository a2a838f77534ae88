#!/usr/bin/env python3
"""Runs the checks and the tests of koobridge, and prints where the time went: see script/test.

The test programs run with libtest's JSON events, which are the only ones that carry a test's start, time and output.
They are unstable, so a stable toolchain shows them only with RUSTC_BOOTSTRAP=1, which is set for the test programs
alone: the builds are those of plain cargo.
"""

import argparse
import json
import os
import subprocess
import sys
import time

# Tests mostly wait for brokers, deadlines and timeouts, so more of them run at once than there are processors.
THREADS = 6
# What `script/test quick` runs of the integration tests: one report through the whole program.
QUICK = [
    "dev::the_printed_curl_makes_an_event_that_is_printed_too",
    "events::the_documents_sample_becomes_the_documented_event",
]
SLOWEST = 10


class Failed(Exception):
    """A phase failed; it has said why."""


class Test:
    def __init__(self, name, seconds, passed, output):
        self.name, self.seconds, self.passed, self.output = name, seconds, passed, output


class Run:
    def __init__(self):
        self.phases = []
        self.tests = []

    def phase(self, name, work):
        print(f"==> {name}", flush=True)
        start = time.monotonic()
        try:
            work()
        finally:
            self.phases.append((name, time.monotonic() - start))

    def report(self):
        """Prints the failures first, then the times, and last the line that sums the tests up."""
        failed = [test for test in self.tests if not test.passed]
        for test in failed:
            print(f"\n---- {test.name} failed ----\n{test.output.rstrip()}")
        slowest = sorted(self.tests, key=lambda test: -test.seconds)[:SLOWEST]
        rows = [(name, seconds) for name, seconds in self.phases]
        table("phase", rows + [("sum", sum(seconds for _, seconds in rows))])
        if slowest:
            table(f"the {len(slowest)} slowest tests", [(test.name, test.seconds) for test in slowest])
            total = sum(test.seconds for test in self.tests)
            print(f"\nAll tests one after the other: {total:.0f} s.")
        for test in failed:
            print(f"FAILED {test.name}")
        print(f"\n{len(self.tests) - len(failed)} passed, {len(failed)} failed", flush=True)


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
    """Builds the test programs and fills `programs` with their paths, by name: `it`, and `lib` for the unit tests."""

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


def tests(run, programs, name, *filters):
    """Runs the tests of a program, a line each, with the output of those that fail."""

    def work():
        words = [programs[name], "-Z", "unstable-options", "--format", "json", "--report-time"]
        words += ["--test-threads", os.environ.get("RUST_TEST_THREADS", str(THREADS)), *filters]
        environment = {**os.environ, "RUSTC_BOOTSTRAP": "1"}
        program = subprocess.Popen(
            words, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace"
        )
        count, done, running, failed = 0, 0, set(), 0
        for line in program.stdout:
            event = parsed(line)
            if event is None:
                continue
            if event["type"] == "suite" and event["event"] == "started":
                count = event["test_count"]
            if event["type"] != "test":
                continue
            if event["event"] == "started":
                running.add(event["name"])
            elif event["event"] in ("ok", "failed"):
                passed = event["event"] == "ok"
                test = Test(event["name"], event["exec_time"], passed, event.get("stdout", ""))
                running.discard(test.name)
                run.tests.append(test)
                done, failed = done + 1, failed + (not passed)
                word = "ok" if passed else "FAILED"
                print(f"[{done:>{len(str(count))}}/{count}] {test.seconds:6.1f} s  {word}  {test.name}", flush=True)
                if not passed:
                    print(test.output, flush=True)
        status = program.wait()
        if failed:
            raise Failed(f"{failed} of {count} tests failed")
        if status != 0 or done != count or count == 0:
            raise Failed(
                f"{programs[name]} ended with status {status} after {done} of {count} tests; "
                f"these were running: {', '.join(sorted(running)) or 'none'}"
            )

    return work


def parsed(line):
    """Returns the event of a line, or None if something else printed the line."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "type" in event else None


def main():
    parser = argparse.ArgumentParser(prog="script/test", description="Checks everything that must hold.")
    parser.add_argument("which", nargs="?", choices=["all", "quick"], default="all")
    quick = parser.parse_args().which == "quick"
    run, programs, passed = Run(), {}, True
    lints = ["cargo", "clippy", "--all-targets", "--locked", "--", "-D", "warnings"]
    doc = command("cargo", "doc", "--no-deps", "--locked", RUSTDOCFLAGS="-D warnings")
    end_to_end = ["--exact", *QUICK] if quick else []
    phases = [
        ("format", command("cargo", "fmt", "--check")),
        ("lints", command(*lints)),
        ("build of the tests", build(programs)),
        ("unit tests", tests(run, programs, "lib")),
        ("integration tests, with a Kafka of their own", tests(run, programs, "it", *end_to_end)),
    ]
    if not quick:
        phases += [
            ("examples in the documentation", command("cargo", "test", "--locked", "--doc", "--quiet")),
            ("documentation", doc),
        ]
    try:
        for name, work in phases:
            run.phase(name, work)
    except Failed as why:
        passed = False
        print(f"script/test: {why}", file=sys.stderr)
    run.report()
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
