import os

import pytest

from evaluate import ask, models

MODEL = os.environ.get("MODEL", "llama3.2:1b")


def test_the_model_is_on_the_volume():
    assert MODEL in models()


@pytest.mark.parametrize(
    ("prompt", "word"),
    [
        ("Answer with one word: what is the capital of France?", "paris"),
        ("Answer with one number: what is 2 + 2?", "4"),
    ],
)
def test_simple_questions(prompt, word):
    assert word in ask(MODEL, prompt).lower()
