"""What a check found survives JSON."""

import json

from earmark.checks.results import Chart, CheckResult, Line, Point, Table


def test_a_result_survives_json():
    line = Line("cascading", (Point("linear", 0.5, 0.4, 0.6), Point("blocks.3", None)))
    result = CheckResult(
        "randomization",
        True,
        "Maps change.",
        (Table("similarity", ("layer", "mean"), (("linear", 0.5), ("blocks.3", None))),),
        (Chart("SSIM", "layer", "SSIM", (line,)),),
        {"seeds": [0, 1]},
    )
    assert CheckResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result
