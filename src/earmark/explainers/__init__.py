"""Explainers: one file or one folder per published method, found by name in `EXPLAINERS`.

Installed packages add their own under the entry points `earmark.explainers`, see `plugins.py`.
"""

#: Registry names and where each lives, as "module:attribute"; nothing is imported before it is asked for.
EXPLAINERS: dict[str, str] = {
    "apex": "earmark.explainers.apex.explainer:Apex",
    "lmac": "earmark.explainers.lmac.explainer:Lmac",
    "lmac-td": "earmark.explainers.lmac_td.explainer:LmacTd",
    "lmac-zs": "earmark.explainers.lmac_zs.explainer:LmacZs",
    "l2i": "earmark.explainers.l2i.explainer:L2i",
    "codec-latent": "earmark.explainers.codec_latent.explainer:CodecLatent",
    "saliency": "earmark.explainers.gradient:Saliency",
    "input-x-gradient": "earmark.explainers.gradient:InputXGradient",
    "smoothgrad": "earmark.explainers.gradient:SmoothGrad",
    "integrated-gradients": "earmark.explainers.gradient:IntegratedGradients",
    "gradient-shap": "earmark.explainers.gradient:GradientShap",
    "deeplift": "earmark.explainers.rules:DeepLift",
    "guided-backprop": "earmark.explainers.rules:GuidedBackprop",
    "guided-grad-cam": "earmark.explainers.rules:GuidedGradCam",
    "grad-cam": "earmark.explainers.cam:GradCam",
    "grad-cam-plus-plus": "earmark.explainers.cam:GradCamPlusPlus",
    "occlusion": "earmark.explainers.occlusion:Occlusion",
    "rise": "earmark.explainers.rise:Rise",
    "lime": "earmark.explainers.surrogates:Lime",
    "kernel-shap": "earmark.explainers.surrogates:KernelShap",
    "slime": "earmark.explainers.surrogates:Slime",
    "audiolime": "earmark.explainers.surrogates:AudioLime",
    "energy": "earmark.explainers.controls:Energy",
    "random": "earmark.explainers.controls:Random",
    "all-ones": "earmark.explainers.controls:AllOnes",
    "all-zeros": "earmark.explainers.controls:AllZeros",
    "edge": "earmark.explainers.controls:Edge",
}

#: Of these, the ones that are fitted to a classifier first, and loaded from a folder; the others are always ready.
FITTED = ("apex", "lmac", "l2i", "lmac-td", "lmac-zs")
