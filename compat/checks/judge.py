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


def kinds_of_holders(folder):
    """Readers may overlap, up to a number, and writers nothing; an extension that comes too late begins anew; fencing
    tokens rise."""
    journals = {}

    def held(who, begun, over, **more):
        journals[who] = folder / f"{who}.jsonl"
        lines = [
            {"action": "acquire", "id": who, "sent": begun, "answer": True, "answered": begun, **more},
            {"action": "release", "id": who, "sent": over, "answer": True, "answered": over},
        ]
        journals[who].write_text("".join(json.dumps(line) + "\n" for line in lines))
        return holders.judge(journals, 5)

    held("first", 0, 3, shared=True, token=1)
    verdict = held("second", 1, 4, shared=True, token=2)
    expect(not verdict.overlaps(), "two readers were taken for too many")
    expect(len(verdict.overlaps(shared_max=1)) == 1, "two holders of one permit were not noticed")
    expect(not verdict.tokens_out_of_order(), "rising tokens were taken for falling ones")
    verdict = held("writer", 3.5, 4, token=2)
    expect(len(verdict.overlaps()) == 1, "a writer beside a reader was not noticed")
    expect(len(verdict.tokens_out_of_order()) == 1, "a token that was given twice was not noticed")
    late = {"action": "extend", "id": "late", "sent": 20, "answer": True, "answered": 21}
    held("late", 10, 18)
    lines = journals["late"].read_text().splitlines()
    journals["late"].write_text("\n".join([lines[0], json.dumps(late), ""]))
    spans = [(holding.begun, holding.until) for holding in holders.judge(journals, 5).holdings if holding.who == "late"]
    expect(spans == [(10, 15), (21, 25)], f"a late extension was judged as {spans}")


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
    kinds_of_holders(context.folder)
    verdict = deleted_locks(context)
    expect(verdict.overlaps(), f"no double holder among {len(verdict.holdings)} holdings whose locks were deleted")
    expect(not verdict.errors, f"the reference answered errors: {verdict.errors[:3]}")
    expect(not verdict.cut, f"programs that were stopped left half a line: {verdict.cut}")
    context.note(f"noticed {len(verdict.lost)} lost locks and {len(verdict.overlaps())} double holders")
