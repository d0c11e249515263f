import os
import pathlib
import tempfile
import unittest

import wordcount
from wordcount import runs


class Counting(unittest.TestCase):
    def test_words_are_counted_whatever_their_case(self):
        self.assertEqual(wordcount.count("Dew, dew: a point!"), {"dew": 2, "a": 1, "point": 1})

    def test_an_apostrophe_belongs_to_its_word(self):
        self.assertEqual(wordcount.count("it's IT'S"), {"it's": 2})

    def test_a_text_without_words_has_none(self):
        self.assertEqual(wordcount.count(" 42 -- "), {})


class OnTheDroplet(unittest.TestCase):
    """What only holds on a droplet that was made from the snapshot."""

    def test_the_snapshot_brought_the_settings(self):
        ignored = wordcount.ignored_words()
        self.assertEqual(wordcount.count("the point of dew", ignored), {"point": 1, "dew": 1})

    def test_the_volume_is_mounted_and_was_written_to(self):
        state = pathlib.Path(os.environ["STATE"])
        self.assertTrue(state.is_mount())
        self.assertGreaterEqual(int((state / "runs.txt").read_text()), 1)


class Runs(unittest.TestCase):
    def test_each_run_adds_one(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "runs.txt")
            self.assertEqual([runs.bump(path), runs.bump(path)], [1, 2])


if __name__ == "__main__":
    unittest.main()
