"""Does a model, or an explainer, do what it promises?"""
