"""Small models of each family, saved once for all tests here."""

import pytest

from earmark.testing.hugging_face import KINDS, save_tiny


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Writes a family's folder when it is first asked for."""
    made = {}

    def folder(kind):
        if kind not in made:
            made[kind] = save_tiny(kind, tmp_path_factory.mktemp("models") / kind)
        return made[kind]

    return folder


@pytest.fixture(scope="session")
def loaded(folders):
    """Loads a family once; classifiers are never changed."""
    import earmark as em

    made = {}

    def classifier(kind):
        if kind not in made:
            front_end = {} if KINDS[kind] is None else {"front_end": KINDS[kind]}
            made[kind] = em.load_classifier(folders(kind), probe_s=2.0, **front_end)
        return made[kind]

    return classifier
