"""TensorBoard logs of a training, where TensorBoard is installed."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

Log = Callable[[str, Mapping[str, float], int], None]  # group of curves, values by name, steps done


@contextmanager
def logs(folder: Path | None, step: int) -> Iterator[Log]:
    """Gives what writes curves into a folder, or nothing at all without a folder or TensorBoard.

    Parameters
    ----------
    step
        Where a training goes on: what was logged behind it is hidden. A training from step 0 removes the logs of an
        earlier one.
    """
    if folder is None or find_spec("tensorboard") is None:
        yield lambda _group, _values, _step: None
        return
    from torch.utils.tensorboard import SummaryWriter

    if step == 0:
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink(missing_ok=True)
    writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None, flush_secs=30)

    def log(group: str, values: Mapping[str, float], step: int) -> None:
        with suppress(OSError):  # a full disk stops the next checkpoint, in words
            for name, value in values.items():
                writer.add_scalar(f"{group}/{name}", value, step)

    try:
        yield log
    finally:
        with suppress(OSError):
            writer.close()
