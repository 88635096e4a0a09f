"""What a check has finished: small files in a hidden folder, by name, so that a killed run goes on."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

Tensors = dict[str, Tensor]


class Memory:
    """Finished parts by name; without a folder nothing is kept.

    Parameters
    ----------
    place
        The folder of the results.
    key
        The hash of all that the results depend on.
    """

    def __init__(self, place: Path | None, key: str = "") -> None:
        self.place = place
        self.folder = None if place is None else place / f".parts-{key[:16]}"

    def json(self, name: str, make: Callable[[], Any]) -> Any:
        """Returns the JSON values of a part: those that are there, else what `make` returns, which is kept."""
        path = self._path(name, "json")
        if path is None:
            return json.loads(json.dumps(make()))
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            pass
        text = json.dumps(make())
        self._write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
        return json.loads(text)

    def tensors(self, name: str, make: Callable[[], Tensors]) -> Tensors:
        """Returns the tensors of a part: those that are there, else what `make` returns, which is kept."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file, save_file

        path = self._path(name, "safetensors")
        if path is None:
            return make()
        try:
            return load_file(path)
        except (OSError, SafetensorError):
            pass
        found = {key: value.contiguous().cpu() for key, value in make().items()}
        self._write(path, lambda temporary: save_file(found, temporary))
        return found

    def clear(self) -> None:
        """Removes the parts of this run, and those of runs with other settings."""
        if self.place is not None:
            for folder in self.place.glob(".parts-*"):
                shutil.rmtree(folder, ignore_errors=True)

    def _path(self, name: str, ending: str) -> Path | None:
        if self.folder is None:
            return None
        return self.folder / f"{name.replace('/', '--')}.{ending}"

    def _write(self, path: Path, write: Callable[[Path], Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.part")
        write(temporary)
        temporary.replace(path)
