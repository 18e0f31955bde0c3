"""What the exit code of the command tells."""

from __future__ import annotations

DONE, SOME_FAILED, BAD_INPUT, CANNOT_GO_ON, INTERRUPTED = 0, 1, 2, 3, 130

EXPLAINED = """exit codes:
  0    all done
  1    some cases failed or were refused, each of which is named; the others are done
  2    wrong arguments or bad input: the error says what to do
  3    it could not go on: disk full, server away, an error that nobody foresaw
  130  stopped by Ctrl+C"""
