import torch

from earmark.data.scenes import scenes
from earmark.prototypes.pictures import MAX_COLUMNS, picture_of, pictures_of
from earmark.testing.toys import band_classifier


def test_a_picture_is_the_features_in_256_steps():
    classifier, clip = band_classifier(), scenes(1, 3, duration_s=1.0)[0]
    picture = picture_of(classifier, clip)
    features = classifier.at(clip.source(), "features")[0]
    assert picture.dtype == torch.uint8
    assert (int(picture.min()), int(picture.max())) == (0, 255)
    assert picture.shape == (features.shape[0], min(features.shape[1], MAX_COLUMNS))
    if features.shape[1] <= MAX_COLUMNS:
        scaled = (features - features.min()) / (features.max() - features.min()) * 255
        assert float((picture - scaled).abs().max()) <= 0.5 + 1e-4  # rounded to the nearest step


def test_long_clips_are_averaged_to_few_columns():
    picture = picture_of(band_classifier(), scenes(1, 3)[0])
    assert picture.shape[1] == MAX_COLUMNS


def test_pictures_are_found_by_hash():
    clips = scenes(2, 3, duration_s=1.0)
    found = pictures_of(band_classifier(), [("a", clips[0]), ("b", clips[1])])
    assert set(found) == {"a", "b"} and not torch.equal(found["a"], found["b"])
