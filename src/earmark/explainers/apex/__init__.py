"""APEX: audio prototype explanations of a frozen classifier (arXiv 2605.10153).

`config` holds the numbers, `views` equations (5) to (12), `disentangle` the change of basis and how it is learned,
`fit` ties them to a classifier and its clips, `explainer` is the result.
"""
