"""What the checks stand on: nodes as processes, raw RESP, waiting by condition, event logs."""


class Failure(Exception):
    """A check found something that must not be. Its text says what was done, expected, and got."""


def expect(condition, message):
    """Fails the check with a message, unless the condition holds."""
    if not condition:
        raise Failure(message)
