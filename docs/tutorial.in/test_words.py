import unittest

from words import count


class Count(unittest.TestCase):
    def test_words_are_counted(self):
        self.assertEqual(count("to be or not to be")["be"], 2)
