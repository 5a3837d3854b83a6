"""What comes of a call, what a driver publishes of its tries, in order, and how often it clears its pool."""

from pymongo import errors, monitoring


class Watch(monitoring.CommandListener, monitoring.ConnectionPoolListener):
    """Notes tries and cleared pools."""

    def __init__(self):
        self.clear()

    def clear(self):
        self.tries, self.cleared = [], 0

    def seen(self):
        return {"tries": list(self.tries), "cleared": self.cleared}

    def started(self, event):
        pass

    def succeeded(self, event):
        self.tries.append([event.command_name, 0, []])

    def failed(self, event):
        failure = event.failure if isinstance(event.failure, dict) else {}
        self.tries.append([event.command_name, failure.get("code", -1), sorted(failure.get("errorLabels", []))])

    def pool_cleared(self, event):
        self.cleared += 1

    pool_created = pool_ready = pool_closed = started
    connection_created = connection_ready = connection_closed = started
    connection_check_out_started = connection_check_out_failed = started
    connection_checked_out = connection_checked_in = started


def outcome(call):
    """Calls, and says what came of it: the error's code (0 when there was none, -1 when it has none) and labels."""
    code, labels, why = 0, [], ""
    try:
        call()
    except errors.OperationFailure as error:
        code, why, labels = error.code, str(error), (error.details or {}).get("errorLabels", [])
    except errors.PyMongoError as error:
        code, why, labels = -1, repr(error), list(getattr(error, "_error_labels", []))
    return {"code": code, "labels": sorted(labels), "why": why}
