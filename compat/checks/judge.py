"""the judge itself: locks that are deleted under their holders' hands must be noticed"""

from harness import expect
from harness.resp import ask
from harness.waiting import until

from .killed_leaders import SHORT, Programs

BOUND_S = 60


def run(context):
    with context.reference() as reference, Programs(context, reference, {"lock": SHORT["lock"]}) as programs:

        def noticed():
            ask(reference.addresses[0], "DEL", "compat:lock")
            verdict = programs.judge("lock")
            return verdict if verdict.lost and verdict.overlaps() else None

        verdict = until(noticed, 20, "the judge to notice a lost lock and a double holder")
        expect(not verdict.errors, f"the reference answered errors: {verdict.errors[:3]}")
    context.note(f"noticed {len(verdict.lost)} lost locks and {len(verdict.overlaps())} double holders")
