import numpy as np
import pytest
import torch
from safetensors import safe_open

from earmark.data import arrays


@pytest.mark.parametrize(("dtype", "of_numpy"), [("F32", np.float32), ("I64", np.int64)])
def test_rows_that_are_written_are_read_by_safetensors(tmp_path, dtype, of_numpy):
    rows = arrays.create(tmp_path / "new" / "a.safetensors", (5, 3), dtype, "rows")
    assert rows.dtype == of_numpy and not rows.any()
    rows[3] = [1, -2, 3]
    rows.flush()
    with safe_open(tmp_path / "new" / "a.safetensors", "pt") as file:
        assert list(file.keys()) == ["rows"]
        expected = torch.zeros(5, 3).to(torch.from_numpy(rows).dtype)
        expected[3] = torch.tensor([1, -2, 3])
        assert torch.equal(file.get_tensor("rows"), expected)
