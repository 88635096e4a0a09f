"""Small random classifiers of the structures that people bring: one of each family, as plain torch modules.

    for name, family in FAMILIES.items():
        classifier = family()

Each keeps what matters of its family: what its blocks are made of, where its map is, and what its head does with it.
"""

from .pretrained import PRETRAINED as PRETRAINED
from .pretrained import Pretrained as Pretrained
from .pretrained import family as family
from .registry import FAMILIES as FAMILIES
from .registry import Family as Family
