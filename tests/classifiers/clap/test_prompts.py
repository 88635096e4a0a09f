"""Words for labels: which are learned, which are held out and of what kind, and what is refused."""

import json

import pytest

from earmark.classifiers.clap.prompts import (
    BUILT_IN,
    HELD_OUT_TEMPLATES,
    TEMPLATES,
    Prompts,
    held_out_kinds,
    prompts_of,
)
from earmark.classifiers.zero_shot import TEMPLATE, filled_in
from earmark.errors import InputError


def test_labels_have_the_words_of_a_file_or_built_in_ones_or_their_name(tmp_path):
    file = tmp_path / "prompts.json"
    file.write_text(json.dumps({"dog": {"train": ["a  dog", "a hound", "a dog"], "held_out": ["doggy"]}}))
    assert prompts_of(("cat_call", "dog"), file) == {
        "cat_call": Prompts(("cat call",)),
        "dog": Prompts(("a dog", "a hound"), ("doggy",)),
    }
    assert prompts_of(("dog",))["dog"].name == "dog" and "a hound" in prompts_of(("dog",))["dog"].held_out


def test_no_built_in_text_of_the_training_is_held_out():
    """As whole texts: no held-out word in any sentence, and no held-out sentence around any word."""
    built_in = prompts_of(sorted(json.loads(BUILT_IN.read_text())))
    learned = {text for own in built_in.values() for text in own.texts}
    assert TEMPLATES[0] == TEMPLATE and not set(TEMPLATES) & set(HELD_OUT_TEMPLATES)
    for own in built_in.values():
        held = {filled_in(form, words) for words in own.held_out for form in (*TEMPLATES, *HELD_OUT_TEMPLATES)}
        held |= {filled_in(form, words) for words in own.train for form in HELD_OUT_TEMPLATES}
        assert not held & learned
        assert len(own.train) > 1 and own.held_out


def test_kinds_of_held_out_words():
    prompts = {
        "dog": Prompts(("a dog barking",), ("the barking dog", "a barking hound", "a hound")),
        "rain": Prompts(("a rain",), ("rainfall",)),
    }
    assert held_out_kinds(prompts) == {
        "seen words": {"dog": ("the barking dog",), "rain": ()},  # `the` is a word of the sentences
        "some unseen words": {"dog": ("a barking hound",), "rain": ()},
        "unseen words": {"dog": ("a hound",), "rain": ("rainfall",)},
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", 'has no object, and {"label": {"train"'),
        ('{"dog": ["a dog"]}', "something else for 'dog'"),
        ('{"dog": {"train": [" "]}}', "something else for 'dog'"),
        ('{"dog": {"train": [], "held_out": ["hound"]}}', "no prompt to train 'dog' with"),
        ('{"dgo": {"train": ["dog"]}}', "has prompts for 'dgo', and no training clip has that label; labels are dog"),
        ('{"dog": {"train": ["rain"]}}', "'this is the sound of rain' stands for 'dog' and 'rain'"),
        ('{"dog": {"train": ["a dog"], "held_out": ["A dog"]}}', "'A dog' of 'dog' is held out, and learned from"),
        ('{"dog": {"train": ["dog"], "held_out": ["rain"]}}', "'rain' of 'dog' is held out, and learned from"),
    ],
)
def test_files_of_no_use_are_refused(tmp_path, content, said):
    file = tmp_path / "prompts.json"
    file.write_text(content)
    with pytest.raises(InputError) as error:
        prompts_of(("dog", "rain"), file)
    assert said in str(error.value)
