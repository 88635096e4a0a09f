"""What APEX says of one clip: the worked example of the paper's equations, sums, invariance, every tier of head."""

import pytest
import torch
from torch import nn

from earmark.audio.stft import Stft
from earmark.audio.waveform import Waveform
from earmark.classifiers.front_ends import FrontEnd
from earmark.classifiers.wrap import wrap
from earmark.errors import InputError, MismatchError, ModelError, TargetError
from earmark.explainers.apex.config import ApexConfig
from earmark.explainers.apex.contributions import ablation
from earmark.explainers.apex.explainer import Apex, FoldedHead, view_regions
from earmark.explainers.load import load_explainer
from earmark.prototypes.bank import BankRules, PrototypeBank, basis_hash
from earmark.testing.toys import band_classifier
from earmark.types import Clip, Target

EXACT = {"rtol": 0, "atol": 1e-12}  # float64, a handful of operations


class Samples(FrontEnd):
    """Takes the samples themselves as features of a few rows, so that a test can write a map by hand."""

    def __init__(self, n_rows=4, n_columns=3):
        super().__init__()
        self.sample_rate, self.stft = 1000, Stft(4, 2)
        self.shape = (n_rows, n_columns)

    def forward(self, samples):
        return samples[:, : self.shape[0] * self.shape[1]].unflatten(1, self.shape)

    def row_edges_hz(self):
        return torch.linspace(0, 500, self.shape[0] + 1, dtype=torch.float64)

    def column_s(self):
        return 0.0, 0.001

    def to_dict(self):
        return {"kind": "samples", "shape": self.shape}


class Net(nn.Module):
    """Stacks rows of features as channels of a map `[batch, channel, freq, frame]`, then a head."""

    def __init__(self, n_channels, head):
        super().__init__()
        self.map = nn.Unflatten(1, (n_channels, -1))
        self.head = head

    def forward(self, features):
        return self.head(self.map(features))


class Pooled(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, maps):
        return self.layers(maps.mean((2, 3)))


class Statistics(nn.Module):
    """Mean and standard deviation over cells, then a linear layer."""

    def __init__(self, linear):
        super().__init__()
        self.linear = linear

    def forward(self, maps):
        return self.linear(torch.cat([maps.mean((2, 3)), maps.flatten(2).std(2)], 1))


def linear(weight, bias):
    layer = nn.Linear(len(weight[0]), len(weight)).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight, dtype=torch.float64))
        layer.bias.copy_(torch.tensor(bias, dtype=torch.float64))
    return layer


def classifier_of(head, n_channels=2, n_freq=2, n_frames=3, n_labels=2, **options):
    front_end = Samples(n_channels * n_freq, n_frames)
    labels = [f"label {i}" for i in range(n_labels)]
    net = Net(n_channels, head).double()
    seconds = n_channels * n_freq * n_frames / 1000
    return wrap(net, front_end, labels, map_layer="map", probe_s=seconds, **options)


def apex_of(classifier, A, view="square", **options):
    A = torch.as_tensor(A, dtype=torch.float64)
    U, U_inv = torch.matrix_exp(A), torch.matrix_exp(-A)
    return Apex(classifier, U, U_inv, ApexConfig(view=view), empty_bank(classifier, U, view), {}, **options)


def empty_bank(classifier, U, view="square"):
    D = len(U)
    return PrototypeBank((), torch.zeros(0, D).double(), BankRules(view), classifier.fingerprint, basis_hash(U), D, 0)


def random_apex(classifier, n_channels, norm, seed=0, **options):
    A = torch.randn(n_channels, n_channels, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return apex_of(classifier, A * (norm / torch.linalg.matrix_norm(A, 2)), **options)


def noise(n_samples, seed=1):
    return Waveform(torch.randn(n_samples, generator=torch.Generator().manual_seed(seed)), 1000)


# The map of the worked example: Z_0 = [[1,5,0],[2,0,3]], Z_1 = [[0,1,4],[1,1,2]]; rows are freq, columns frames.
EXAMPLE = Waveform(torch.tensor([1.0, 5, 0, 2, 0, 3, 0, 1, 4, 1, 1, 2]), 1000)


@pytest.fixture(scope="module")
def example():
    classifier = classifier_of(Pooled(linear([[2.0, -1.0], [0.5, 1.0]], [0.3, -0.2])))
    return apex_of(classifier, [[0, 1], [0, 0]])


def test_worked_example(example):
    explanation = example.using(top=2).explain(EXAMPLE, "label 0")
    evidence = explanation.evidence
    torch.testing.assert_close(
        explanation.prediction.logits, torch.tensor([37 / 15, 133 / 60], dtype=torch.float64), **EXACT
    )
    by_channel = {c.channel: c for c in evidence.channels}
    assert by_channel[0].activation == pytest.approx(20 / 6, abs=1e-12)
    assert by_channel[1].activation == pytest.approx(9 / 6, abs=1e-12)
    torch.testing.assert_close(evidence.contributions, torch.tensor([20 / 3, -4.5], dtype=torch.float64), **EXACT)
    assert evidence.offset == pytest.approx(0.3, abs=1e-12)
    assert evidence.residual < 1e-12
    assert float(evidence.maps.sum(0).mean()) == pytest.approx(37 / 15, abs=1e-6)  # maps are kept in float32
    order = [c.channel for c in evidence.channels]
    expected = torch.zeros(2, 3)
    expected[0, 0] = 1
    torch.testing.assert_close(evidence.heatmaps[order.index(1)], expected)
    assert evidence.exact and evidence.covered == pytest.approx(1.0)


def test_maps_are_the_folded_weight_times_the_channel_plus_its_share_of_the_bias(example):
    evidence = example.using(top=2).explain(EXAMPLE, "label 0").evidence
    Z = EXAMPLE.samples[0].reshape(2, 2, 3)
    What, Zhat = (2.0, -3.0), (Z[0] + Z[1], Z[1])
    for shown, values in zip(evidence.channels, evidence.maps, strict=True):
        torch.testing.assert_close(values, What[shown.channel] * Zhat[shown.channel] + 0.3 / 2)


def test_paper_mode_drops_negative_activations_and_says_that_it_does_not_add_up(example):
    loud = Waveform(-EXAMPLE.samples, 1000)  # both activations negative
    signed = example.explain(loud, "label 0").evidence
    paper = example.using(mode="paper").explain(loud, "label 0").evidence
    assert signed.exact and signed.residual < 1e-12
    assert float(signed.contributions.max()) == pytest.approx(4.5)  # channel 1: -3 times -1.5, evidence *for* the label
    assert not paper.exact
    torch.testing.assert_close(paper.contributions, torch.zeros(2).double(), **EXACT)


def test_a_contrast_sums_to_the_difference_of_logits(example):
    explanation = example.explain(EXAMPLE, "label 1", against="label 0")
    logits = explanation.prediction.logits
    evidence = explanation.evidence
    assert evidence.mode == "contrastive"
    assert evidence.score == pytest.approx(float(logits[1] - logits[0]), abs=1e-12)
    assert evidence.residual < 1e-12
    both = [example.explain(EXAMPLE, label).evidence.contributions for label in ("label 1", "label 0")]
    torch.testing.assert_close(evidence.contributions, both[0] - both[1], **EXACT)


def heads():
    torch_state = torch.random.fork_rng()
    with torch_state:
        torch.manual_seed(0)
        return {
            "T1 pooled": (Pooled(nn.Linear(6, 3)), "T1"),
            "T1 stacked": (Pooled(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)), "T1"),
            "T1 cell weights": (nn.Sequential(nn.Flatten(), nn.Linear(6 * 4 * 5, 3)), "T1"),
            "T2": (Pooled(nn.LayerNorm(6), nn.Linear(6, 3)), "T2"),
            "T3": (Pooled(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), "T3"),
            "T3 maximum": (nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(6, 3)), "T3"),
            "T4": (Pooled(nn.Linear(6, 8), nn.SiLU(), nn.LayerNorm(8), nn.Linear(8, 3)), "T4"),
            "T0": (Statistics(nn.Linear(12, 3)), "T0"),
        }


@pytest.mark.parametrize("name", heads())
@pytest.mark.parametrize("norm", [1.0, 6.0])
def test_contributions_add_up_for_every_exact_head_and_are_ablations_for_others(name, norm):
    head, tier = heads()[name]
    classifier = classifier_of(head.eval(), 6, 4, 5, 3)
    apex = random_apex(classifier, 6, norm)
    assert classifier.head.tier == tier
    clip = noise(6 * 4 * 5)
    evidence = apex.explain(clip, "label 2").evidence
    if tier == "T0":
        assert not evidence.exact
        maps, k = classifier.at(clip, "map"), 3
        own = torch.einsum("d,bdft->bft", apex.U[k], maps)
        without = maps - apex.U_inv[:, k][:, None, None] * own[:, None]
        lost = classifier.logits(maps, at="map") - classifier.logits(without, at="map")
        assert float(evidence.contributions[k]) == pytest.approx(float(lost[0, 2]), abs=1e-12)
    else:
        assert evidence.exact
        assert evidence.residual < 1e-10  # float64 with cond(U) up to some 1e5 at norm 6


def test_removing_a_channel_costs_exactly_its_contribution_where_the_head_is_linear():
    classifier = classifier_of(heads()["T1 pooled"][0].eval(), 6, 4, 5, 3)
    apex = random_apex(classifier, 6, 2.0)
    clip = noise(6 * 4 * 5)
    evidence = apex.explain(clip, "label 1").evidence
    maps, target = classifier.at(clip, "map"), evidence_target(apex, clip, "label 1")
    removed = ablation(classifier, maps, target, (apex.U, apex.U_inv))
    torch.testing.assert_close(removed, evidence.contributions, rtol=0, atol=1e-10)


def evidence_target(apex, clip, label):
    return apex.explain(clip, label).target


@pytest.mark.parametrize("norm", [0.5, 3.0, 6.0])
@pytest.mark.parametrize("name", ["T1 pooled", "T2"])
def test_no_output_changes(name, norm):
    """Tapped: bit for bit. Folded: to 1e-10 in float64 for a spectral norm of A up to 6."""
    classifier = classifier_of(heads()[name][0].eval(), 6, 4, 5, 3)
    apex = random_apex(classifier, 6, norm)
    samples = classifier.prepare(noise(6 * 4 * 5))
    own = classifier.logits(samples)
    assert torch.equal(classifier.tap(samples).logits, own)
    assert torch.equal(apex.explain(noise(6 * 4 * 5)).prediction.logits, own[0])
    torch.testing.assert_close(apex.folded_logits(samples), own, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["T0", "T1 cell weights", "T3", "T3 maximum", "T4"])
def test_a_head_that_cannot_be_folded_is_refused(name):
    classifier = classifier_of(heads()[name][0].eval(), 6, 4, 5, 3)
    with pytest.raises(ModelError, match="tapped instead"):
        FoldedHead(random_apex(classifier, 6, 1.0))


def test_one_forward_pass_explains_every_label_that_was_heard():
    classifier = classifier_of(heads()["T1 pooled"][0].eval(), 6, 4, 5, 3, task="multilabel", threshold=0.01)
    apex = random_apex(classifier, 6, 1.0)
    clip = noise(6 * 4 * 5)
    apex.explain(clip)  # probes geometry once
    passes = []
    handle = classifier.module.register_forward_hook(lambda *_: passes.append(1))
    explanations = apex.explain_all(clip)
    handle.remove()
    assert len(passes) == 1
    assert [e.target.label for e in explanations] == ["label 0", "label 1", "label 2"]
    assert (
        len({tuple(e.evidence.contributions.tolist()) for e in explanations}) == 3
    )  # each with its own row of weights
    assert explanations[0].provenance.forward_passes == 1 and explanations[0].provenance.backward_passes == 0


def test_the_models_own_basis_is_explained_on_request(example):
    identity = torch.eye(2).double()
    apex = apex_of(example.classifier, [[0, 1], [0, 0]], identity_bank=empty_bank(example.classifier, identity))
    own = apex.using(basis="identity").explain(EXAMPLE, "label 0").evidence
    torch.testing.assert_close(own.contributions, torch.tensor([2 * 11 / 6, -9 / 6], dtype=torch.float64), **EXACT)
    assert own.basis == "identity"
    with pytest.raises(ModelError, match="fit it again"):
        example.using(basis="identity").explain(EXAMPLE)


def test_regions_of_each_view_lie_where_a_tone_sounds():
    """Physics: a tone in band 3 from 0.5 to 0.7 s excites channel 3 there and nowhere else."""
    classifier = band_classifier()
    seconds = torch.arange(8000, dtype=torch.float64) / 8000
    tone = torch.sin(2 * torch.pi * 1750 * seconds) * ((seconds > 0.5) & (seconds < 0.7))
    for view in ("square", "time", "frequency", "time-frequency"):
        apex = apex_of(classifier, torch.zeros(8, 8), view)
        (shown,) = apex.using(top=1).explain(Waveform(tone, 8000)).evidence.channels
        assert shown.channel == 3
        for region in shown.regions:
            middle_s, middle_hz = (region.start_s + region.end_s) / 2, (region.low_hz + region.high_hz) / 2
            whole_time, whole_band = region.end_s - region.start_s > 0.9, region.high_hz - region.low_hz > 3900
            assert whole_time == (view == "frequency" or (view == "time-frequency" and not whole_band))
            assert whole_band == (view == "time" or (view == "time-frequency" and not whole_time))
            assert whole_time or 0.5 < middle_s < 0.7
            assert whole_band or 1500 <= middle_hz <= 2000


def test_a_channel_that_speaks_by_being_negative_is_placed_where_it_is_most_negative(example):
    """Channel 1 of the example, turned around: its weight is -3, its lowest cell is row 0, frame 2."""
    turned = Waveform(-EXAMPLE.samples, 1000)
    (shown,) = example.using(top=1).explain(turned, "label 0").evidence.channels
    assert (shown.channel, shown.contribution, shown.activation) == (1, pytest.approx(4.5), pytest.approx(-1.5))
    geometry = example.classifier.geometry(12)
    (box,) = shown.regions
    assert (box.start_s, box.low_hz) == (geometry.box(0, 2).start_s, geometry.box(0, 2).low_hz)
    # Zhat = (Z_0 + Z_1, Z_1) = -(4, 4) there, of which channel 1 holds 4 / sqrt(32).
    assert shown.purity == pytest.approx(0.5**0.5, abs=1e-6)


def test_a_view_has_one_box_and_the_cross_two(example):
    geometry = example.classifier.geometry(12)
    boxes = {view: view_regions(geometry, view, (1, 2), 2.0, "x") for view in ("square", "time-frequency")}
    assert [len(b) for b in boxes.values()] == [1, 2]
    column, row = boxes["time-frequency"]
    assert (column.low_hz, column.high_hz) == (0, 500) and (row.start_s, row.end_s) == (0, 0.012)
    assert {region.weight for b in boxes.values() for region in b} == {2.0}


def test_saved_and_loaded_it_says_the_same(example, tmp_path):
    example.save(tmp_path / "apex")
    loaded = load_explainer(tmp_path / "apex", classifier=example.classifier, top=2)
    assert torch.equal(loaded.U, example.U) and torch.equal(loaded.U_inv, example.U_inv)
    first, second = (a.using(top=2).explain(EXAMPLE).evidence for a in (example, loaded))
    assert torch.equal(first.contributions, second.contributions) and first.channels == second.channels


def test_another_classifier_is_refused(example, tmp_path):
    example.save(tmp_path / "apex")
    other = classifier_of(Pooled(linear([[2.0, -1.0], [0.5, 1.5]], [0.3, -0.2])))
    with pytest.raises(MismatchError, match="fingerprint"):
        load_explainer(tmp_path / "apex", classifier=other)
    with pytest.raises(MismatchError):
        Apex(other, example.U, example.U_inv, example.config, example.bank, {})


def test_what_is_not_served_is_said(example):
    with pytest.raises(TargetError, match="did you mean"):
        example.explain(EXAMPLE, "lable 1")
    with pytest.raises(TargetError, match="logit and contrast"):
        example.explain(EXAMPLE, Target(0, "label 0", "prob"))
    with pytest.raises(InputError, match="top is at least 1"):
        example.using(top=0)


def test_a_batch_says_what_single_clips_say(example):
    clips = [EXAMPLE, noise(12), noise(12, 2)]
    batch = torch.cat([example.classifier.prepare(c) for c in clips])
    together = example.evidence(batch, [None] * 3)
    for clip, evidence in zip(clips, together, strict=True):
        alone = example.explain(clip).evidence
        torch.testing.assert_close(evidence.contributions, alone.contributions, **EXACT)
        assert evidence.channels[0].regions == alone.channels[0].regions


def test_a_part_of_a_recording_is_said_to_be_one(example):
    twice = Waveform(torch.cat([EXAMPLE.samples, 2 * EXAMPLE.samples], 1), 1000)
    explanation = example.explain(Clip("rec", twice, start_s=0.012, end_s=0.024))
    assert (explanation.provenance.start_s, explanation.provenance.end_s, explanation.name) == (0.012, 0.024, "rec")
    assert torch.equal(explanation.waveform.samples, 2 * EXAMPLE.samples)
    assert example.explain(Clip("all", EXAMPLE)).provenance.start_s is None


def test_the_cost_of_ablations_counts():
    classifier = classifier_of(heads()["T0"][0].eval(), 6, 4, 5, 3)
    apex, clip = random_apex(classifier, 6, 1.0), noise(6 * 4 * 5)
    apex.explain(clip)  # probes geometry once
    passes = []
    handle = classifier.module.register_forward_hook(lambda _module, _inputs, logits: passes.append(len(logits)))
    said = apex.explain(clip).provenance.forward_passes
    handle.remove()
    assert sum(passes) == said == 8  # the clip, the head on the whole map, the head without each of six channels


@pytest.mark.parametrize("name", ["T3", "T3 maximum", "T4"])
def test_held_gates_cost_no_more_passes_of_the_model(name):
    """The head is recorded once for a length of clips; then one forward pass tells every label, and one contrast."""
    classifier = classifier_of(heads()[name][0].eval(), 6, 4, 5, 3, task="multilabel", threshold=0.01)
    apex, clip = random_apex(classifier, 6, 1.0), noise(6 * 4 * 5)
    apex.explain(clip)
    passes = []
    handle = classifier.module.register_forward_hook(lambda *_: passes.append(1))
    explanations = apex.explain_all(noise(6 * 4 * 5, seed=2))
    assert len(passes) == 1 and len(explanations) == 3
    apex.explain(clip, "label 1", against="label 0")
    handle.remove()
    assert len(passes) == 2
    provenance = explanations[0].provenance
    assert (provenance.forward_passes, provenance.backward_passes) == (1, 0)
    assert all(e.evidence.exact and e.evidence.mode == "signed" for e in explanations)


@pytest.mark.parametrize("name", ["T3", "T3 maximum", "T4"])
def test_held_weights_give_maps_contrasts_and_the_paper_mode(name):
    classifier = classifier_of(heads()[name][0].eval(), 6, 4, 5, 3)
    apex, clip = random_apex(classifier, 6, 2.0).using(top=6), noise(6 * 4 * 5)
    explanation = apex.explain(clip, "label 1")
    evidence = explanation.evidence
    # maps of all channels average to the score; they are kept in float32
    assert float(evidence.maps.sum(0).mean()) == pytest.approx(evidence.score, abs=1e-5)
    maps = classifier.at(clip, "map")
    J, offset = classifier.head.linearize(maps, 1)
    Zhat = torch.einsum("kd,dft->kft", apex.U, maps[0])
    folded = torch.einsum("dk,dft->kft", apex.U_inv, J[0])
    torch.testing.assert_close(evidence.contributions, (folded * Zhat).sum((1, 2)), **EXACT)
    assert evidence.offset == float(offset[0])
    contrast = apex.explain(clip, "label 1", against="label 0").evidence
    other = apex.explain(clip, "label 0").evidence
    assert contrast.mode == "contrastive" and contrast.exact
    torch.testing.assert_close(contrast.contributions, evidence.contributions - other.contributions, **EXACT)
    paper = apex.using(mode="paper").explain(clip, "label 1").evidence
    torch.testing.assert_close(paper.contributions, (folded * Zhat.clamp_min(0)).sum((1, 2)), **EXACT)
    assert not paper.exact


def test_a_float32_head_is_exact_to_float32():
    net = Net(6, heads()["T4"][0].eval()).float()
    classifier = wrap(net, Samples(24, 5), ["a", "b", "c"], map_layer="map", probe_s=0.12)
    evidence = random_apex(classifier, 6, 2.0).explain(noise(6 * 4 * 5)).evidence
    assert classifier.head.tier == "T4" and evidence.exact and 0 < evidence.residual < 1e-5


class Beside(nn.Module):
    """A rectifier and a linear layer behind the map, and a path that passes the map by."""

    def __init__(self, bent):
        super().__init__()
        self.map = nn.Unflatten(1, (6, -1))
        self.head = heads()["T3" if bent else "T1 pooled"][0]

    def forward(self, features):
        return self.head(self.map(features)) + features.abs().mean((1, 2))[:, None] * features.new_tensor([1.0, -1, 2])


@pytest.mark.parametrize("bent", [False, True])
def test_what_passes_the_map_by_is_part_of_the_offset(bent):
    net = Beside(bent).double().eval()
    classifier = wrap(net, Samples(24, 5), ["a", "b", "c"], map_layer="map", probe_s=0.12)
    apex, clip = random_apex(classifier, 6, 2.0), noise(6 * 4 * 5)
    evidence = apex.explain(clip, "c").evidence
    assert evidence.exact and evidence.residual < 1e-10
    passes = []
    handle = classifier.module.register_forward_hook(lambda *_: passes.append(1))
    said = apex.explain(noise(6 * 4 * 5, seed=2)).provenance.forward_passes
    handle.remove()
    assert len(passes) == said == 2  # the clip, and its head recorded


def test_a_batch_refuses_what_a_single_clip_refuses(example):
    batch = example.classifier.prepare(EXAMPLE)
    for wrong in (Target(0, "label 0", "prob"), Target(7, "no such"), Target(0, "label 0", "contrast")):
        with pytest.raises(TargetError):
            example.evidence(batch, [wrong])


def test_layer_norm_treatments_agree_and_gradient_times_input_fails():
    """Contributions of the lifted map sum to the logit, those of the raw map with frozen statistics too.

    Treatment (a): `c_k = [W diag(gamma) (I - 1/D) U^-1]_k vhat_k / s` and the offset `W beta + b`. Plain gradient times
    input does not: LayerNorm is scale invariant, so it sums to about nothing.
    """
    head, _ = heads()["T2"]
    with torch.no_grad():
        head.layers[0].weight.copy_(torch.linspace(0.5, 1.5, 6))
        head.layers[0].bias.copy_(torch.linspace(-0.2, 0.3, 6))
    classifier = classifier_of(head.eval(), 6, 4, 5, 3)
    apex, clip = random_apex(classifier, 6, 2.0), noise(6 * 4 * 5)
    norm, linear_layer = head.layers
    maps = classifier.at(clip, "map")
    v = maps.mean((2, 3))[0]
    logit = classifier.logits(maps, at="map")[0, 1]
    s = (v.var(unbiased=False) + norm.eps).sqrt()
    row = linear_layer.weight[1] * norm.weight
    raw = ((row - row.mean()) @ apex.U_inv) * (apex.U @ v) / s
    offset = linear_layer.weight[1] @ norm.bias + linear_layer.bias[1]
    torch.testing.assert_close(raw.sum() + offset, logit, rtol=0, atol=1e-10)
    assert apex.explain(clip, "label 1").evidence.residual < 1e-10
    inputs = maps.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(classifier.logits(inputs, at="map")[0, 1], inputs)
    # eps in the variance leaves a trace of eps / var of what is right
    assert abs((gradient * inputs).sum().item()) < 1e-3 * abs((logit - offset).item())


def test_a_maximum_over_cells_cannot_be_folded():
    class Max(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = linear([[1.0, 2, 0, 1, 0, 1], [0.0, 1, 1, 0, 2, 0]], [0.0, 0.5])

        def forward(self, maps):
            return self.linear(maps.amax((2, 3)))

    classifier = classifier_of(Max(), 6, 4, 5, 2)
    assert classifier.head.tier == "T3"
    with pytest.raises(ModelError, match="tapped instead"):
        FoldedHead(random_apex(classifier, 6, 1.0))


def test_a_head_that_sums_over_cells_is_not_taken_for_a_mean():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = linear([[1.0, 2], [0.5, 1]], [0.0, 0.5])

        def forward(self, maps):
            return self.linear(maps.sum((2, 3)))

    classifier = classifier_of(Sum())
    assert classifier.head.tier == "T3" and not classifier.head.is_linear  # linear, but for each length anew
    evidence = random_apex(classifier, 2, 1.0).explain(EXAMPLE, "label 0").evidence
    assert evidence.exact and evidence.offset == 0
