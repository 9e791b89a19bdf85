"""Images of rare classes come more often, by LVIS's repeat factors."""

import numpy as np
import pytest
from checks import BOXES, IMAGE, write_examples

from lowlight.dataset.record_counts import balance_images, balance_records, format_balance
from lowlight.dataset.writing import make_example

CAT, DOG, OWL = 1, 2, 3
# Cats are in 8 of 10 images, dogs in 4, owls in 1; one image has nothing.
SEEN = [{CAT}] * 5 + [{CAT, DOG}] * 3 + [[DOG, OWL, OWL]] + [()]


def test_a_class_in_a_share_f_of_the_images_has_the_factor_sqrt_t_over_f():
    found = balance_images(SEEN, 0.4)
    assert found.counts == {OWL: 1, DOG: 4, CAT: 8}
    assert [found.of_class[number] for number in (CAT, DOG, OWL)] == [1, 1, 2]


def test_an_images_factor_is_the_largest_of_its_classes_and_1_without_any():
    found = balance_images(SEEN, 0.9)
    cat, dog, owl = (found.of_class[number] for number in (CAT, DOG, OWL))
    assert (cat, dog, owl) == pytest.approx((1.125**0.5, 1.5, 3))
    assert found.factors.tolist() == [cat] * 5 + [dog] * 3 + [owl, 1]


def test_without_a_share_the_rarer_half_of_the_classes_comes_more_often():
    found = balance_images(SEEN)
    assert found.share == 0.4
    assert [found.of_class[number] > 1 for number in (CAT, DOG, OWL)] == [False, False, True]


def test_without_any_box_every_image_comes_once():
    assert balance_images([(), ()]).factors.tolist() == [1, 1]


def test_factors_are_shown_by_class_the_rarest_first():
    text = format_balance(balance_images(SEEN * 200, 0.4), {CAT: "Cat", DOG: "Dog", OWL: "Owl"})
    assert text.splitlines() == [
        "classes in fewer than 40.0% of the images come more often; 2,000 images are 2,200 an "
        "epoch",
        "  Owl                      200 images  10.0%  x 2.00",
        "  2 other classes                              x 1.00",
    ]


def test_of_many_rare_classes_the_rarest_are_shown():
    images = [{number} for number in range(30) for _ in range(number + 1)]
    *_, last, rest = format_balance(balance_images(images, 0.9), {}).splitlines()
    assert last.split()[:2] == ["19", "20"]
    assert rest.split() == ["10", "other", "classes", "up", "to", "x", "4.46"]


def test_records_are_read_as_tfod_reads_their_classes(tmp_path):
    ids = {"Cat": CAT, "Owl": OWL}
    boxes = [BOXES[0]._replace(class_name=name) for name in ("Cat", "Owl", "Cat", "Cat")]
    examples = (make_example(IMAGE, [box], b"jpeg", ids) for box in boxes)
    path = write_examples(tmp_path / "train.tfrecord", *examples)
    factors = balance_records([path], ids, 1.0).factors
    np.testing.assert_allclose(factors, np.sqrt([4 / 3, 4, 4 / 3, 4 / 3]))
    assert balance_records([path], ids, 1.0, every_n=2).factors.tolist() == [1, 1]
