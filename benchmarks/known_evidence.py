"""Where scenes' events are known: do APEX's regions and heatmaps lie on them? Beside an energy control and chance.

    python benchmarks/known_evidence.py [--clips 600] [--scenes 150]

For each view an APEX is fitted to `scenes-cnn` on generated scenes, and asked about every label of fresh scenes
that sounds and that the classifier heard. *Pointing*: the largest value of the summed positive maps lies on the
event's support, on the map's cells and on STFT bins (tolerance one bin and one frame). *IoU*: of the top channel's
region with the event, projected as the view does (its time span for `time`, its band for `frequency`, both for
`time-frequency`, its cells for `square`). *All channels* sums the signed maps of all channels, which is the class
activation map and the same in every basis. *Energy* puts the same region where the sound is loudest. *Chance* is
the mean over all places of the region.
"""

import argparse
from functools import lru_cache

import numpy as np
import torch
from tables import markdown, put

import earmark as em
from earmark.data.scenes import render
from earmark.explainers.apex import views
from earmark.explainers.apex.explainer import view_regions
from earmark.masking import region_mask
from earmark.metrics.localization import intersection_over_union, pointing

VIEWS = ("square", "time", "frequency", "time-frequency")


def on_cells(values, geometry, grid):
    """Returns STFT values [freq, frame] summed over the map's cells [freq, frame]."""
    rows = torch.bucketize(grid.hz.double(), torch.tensor(geometry.hz_edges).double(), right=True) - 1
    columns = torch.bucketize(grid.seconds.double(), torch.tensor(geometry.time_edges_s).double(), right=True) - 1
    to_row = torch.nn.functional.one_hot(rows + 1, geometry.freq.n_cells + 2)[:, 1:-1].float()
    to_column = torch.nn.functional.one_hot(columns + 1, geometry.frame.n_cells + 2)[:, 1:-1].float()
    return to_row.T @ values @ to_column


def projected(support, cells, geometry, grid, view):
    """Returns what the view can mark of an event at best, on STFT bins."""
    if view == "square":
        boxes = [geometry.box(int(f), int(t)) for f, t in cells.nonzero()]
        return region_mask(boxes, grid) > 0
    time, band = support.any(0)[None].expand_as(support), support.any(1)[:, None].expand_as(support)
    return {"time": time, "frequency": band, "time-frequency": time | band}[view]


def places(geometry, view):
    """Returns every cell that a view can choose, with -1 for a whole axis."""
    rows, columns = range(geometry.freq.n_cells), range(geometry.frame.n_cells)
    if view == "time":
        return [(views.WHOLE, t) for t in columns]
    if view == "frequency":
        return [(f, views.WHOLE) for f in rows]
    return [(f, t) for f in rows for t in columns]


def region_of(geometry, view, cell, grid):
    """Returns a view's region at a cell, on STFT bins."""
    return region_mask(view_regions(geometry, view, cell, 1.0, ""), grid) > 0


@lru_cache(maxsize=1)
def everywhere_of(geometry, view, grid):
    """Returns a view's region at every cell, flat over STFT bins; all scenes are equally long."""
    return torch.stack([region_of(geometry, view, cell, grid).flatten() for cell in places(geometry, view)]).float()


def chance_iou(everywhere, truth):
    """Returns the mean IoU of a truth with the regions at every cell."""
    both = everywhere @ truth.flatten().float()
    return float((both / (everywhere.sum(1) + truth.sum() - both)).mean())


def rows_of(apex, clip):
    """Returns one dict of numbers per label that sounds and was heard."""
    scene, view = render(clip.id), apex.config.view
    rows = []
    for explanation in apex.explain_all(scene.waveform):
        label = explanation.target.label
        if label not in scene.labels:
            continue
        grid, evidence = explanation.grid, explanation.evidence
        geometry = evidence.geometry
        support = torch.from_numpy(scene.support(label, grid.stft.n_fft, grid.stft.hop_length))
        cells = on_cells(support.float(), geometry, grid) > 0
        power = apex.classifier.at(scene.waveform, "stft")[0].abs().square()
        energy = on_cells(power, geometry, grid)
        wide = torch.nn.functional.max_pool2d(support.float()[None], 3, 1, 1)[0] > 0
        truth = projected(support, cells, geometry, grid, view)
        freq, frame = views.cells(energy[None, None], view)
        loudest = region_of(geometry, view, (int(freq), int(frame)), grid)
        found = region_mask(evidence.channels[0].regions, grid) > 0
        everywhere = everywhere_of(geometry, view, grid)
        positive = evidence.maps.clamp_min(0).sum(0)
        whole = all_channels(apex, explanation)
        rows.append(
            {
                "cell cam": pointing(whole[None], cells[None]).item(),
                "bin cam": pointing(geometry.sample(whole, grid.hz, grid.seconds)[None], support[None], (1, 1)).item(),
                "cell": pointing(positive[None], cells[None]).item(),
                "cell energy": pointing(energy[None], cells[None]).item(),
                "cell chance": cells.float().mean().item(),
                "bin": pointing(evidence.ranking(grid)[None], support[None], (1, 1)).item(),
                "bin energy": pointing(power[None], support[None], (1, 1)).item(),
                "bin chance": wide.float().mean().item(),
                "iou": intersection_over_union(found[None], truth[None]).item(),
                "iou energy": intersection_over_union(loudest[None], truth[None]).item(),
                "iou chance": chance_iou(everywhere, truth),
            }
        )
    return rows


def all_channels(apex, explanation):
    """Returns the sum of all channels' signed maps: the class activation map, the same in every basis."""
    every = apex.using(top=len(apex.U), prototypes=0)
    return every.explain(explanation.waveform, explanation.target).evidence.maps.sum(0)


def with_interval(per_scene, key, seed=0, resamples=2000):
    """Returns mean and percentile-bootstrap 95 % interval over scenes."""
    sums = np.array([(sum(r[key] for r in rows), len(rows)) for rows in per_scene if rows])
    draws = np.random.default_rng(seed).integers(len(sums), size=(resamples, len(sums)))
    means = sums[draws].sum(1)
    low, high = np.percentile(means[:, 0] / means[:, 1], [2.5, 97.5])
    return f"{sums[:, 0].sum() / sums[:, 1].sum():.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=600)
    parser.add_argument("--scenes", type=int, default=150)
    options = parser.parse_args()
    classifier = em.load_classifier("scenes-cnn")
    table = []
    for view in VIEWS:
        apex = em.fit_apex(classifier, em.scenes(options.clips, 0), view=view)
        per_scene = [rows_of(apex, clip) for clip in em.scenes(options.scenes, 1000)]
        n = sum(map(len, per_scene))
        keys = ("cell", "cell cam", "cell energy", "cell chance", "bin", "bin cam", "bin energy", "bin chance")
        keys += ("iou", "iou energy", "iou chance")
        table.append([view, n, *(with_interval(per_scene, key) for key in keys)])
        print(table[-1], flush=True)
    header = ["view", "events", "pointing, cells: four channels", "all channels", "energy", "chance"]
    header += ["pointing, bins: four channels", "all channels", "energy", "chance"]
    header += ["IoU, top channel", "energy", "chance"]
    command = f"python benchmarks/known_evidence.py --clips {options.clips} --scenes {options.scenes}"
    put("known_evidence", command, markdown(header, table))


if __name__ == "__main__":
    main()
