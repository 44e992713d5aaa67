import queue
import threading
from collections.abc import Callable

_GONE = (
    "a worker was killed, perhaps because the memory is full; start again with the same settings and fewer workers "
    "(finished shards are kept)"
)


def run_with_workers(run: Callable[[], None]) -> None:
    """Run a pipeline whose workers are processes of this machine, until it ends or one of them is killed.

    Beam (2.77) notices a killed worker only in the thread that started it, and may wait for it forever. So the pipeline
    runs in a thread, and does not outlive this process.

    Args:
        run: runs the pipeline.

    Raises:
        RuntimeError: a worker was killed.
    """
    ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def run_to_end() -> None:
        try:
            run()
        except BaseException as error:
            ended.put(error)
        else:
            ended.put(None)

    usual = threading.excepthook

    def note_killed_worker(failure: threading.ExceptHookArgs) -> None:
        if failure.thread is not None and failure.thread.name == "run_worker":
            gone = RuntimeError(_GONE)
            gone.__cause__ = failure.exc_value  # it has the status of the process
            ended.put(gone)
        else:
            usual(failure)

    threading.excepthook = note_killed_worker
    try:
        threading.Thread(target=run_to_end, daemon=True).start()
        error = ended.get()
    finally:
        threading.excepthook = usual
    if isinstance(error, RuntimeError) and "Channel closed prematurely" in str(error):  # the pipeline noticed it first
        raise RuntimeError(_GONE) from error
    if error is not None:
        raise error
