"""the judge itself: it must notice locks deleted under their holders' hands, and believe no half line of a journal"""

import json

from harness import expect, holders
from harness.resp import ask
from harness.waiting import until

from .killed_leaders import SHORT, Programs

BOUND_S = 60

# Locks that must be lost before the programs are stopped: by then some of them had two holders.
LOST_MIN = 10


def half_lines(folder):
    """Cuts a journal at each byte of its last line, as one that is read while it is written may be."""
    journal = folder / "cut.jsonl"
    first, last = (
        json.dumps({"action": "acquire", "id": "me", "sent": sent, "answer": True, "answered": sent + 1}) + "\n"
        for sent in (0, 10)
    )
    for kept in range(len(last) + 1):
        journal.write_text(first + last[:kept])
        verdict = holders.judge({"me": journal}, 5)
        whole = kept == len(last)
        held, cut = len(verdict.holdings), verdict.cut
        expect(held == 1 + whole, f"{held} holdings in a journal with {kept} of {len(last)} bytes of its second line")
        expect(cut == (["me"] if 0 < kept and not whole else []), f"at {kept} of {len(last)} bytes cut is {cut}")


def deleted_locks(context):
    """Deletes the lock again and again while three programs take it in turn; answers the verdict."""
    with context.reference() as reference, Programs(context, reference, {"lock": SHORT["lock"]}) as programs:

        def lost():
            ask(reference.addresses[0], "DEL", "compat:lock")
            return len(programs.judge("lock").lost) >= LOST_MIN

        until(lost, 30, f"the judge to notice {LOST_MIN} lost locks")
        programs.stop()
        return programs.judge("lock")


def run(context):
    half_lines(context.folder)
    verdict = deleted_locks(context)
    expect(verdict.overlaps(), f"no double holder among {len(verdict.holdings)} holdings whose locks were deleted")
    expect(not verdict.errors, f"the reference answered errors: {verdict.errors[:3]}")
    expect(not verdict.cut, f"programs that were stopped left half a line: {verdict.cut}")
    context.note(f"noticed {len(verdict.lost)} lost locks and {len(verdict.overlaps())} double holders")
