import unittest


class Sums(unittest.TestCase):
    def test_that_order_does_not_matter(self):
        self.assertEqual(sum([1, 2, 3]), sum([3, 2, 1]))


if __name__ == "__main__":
    unittest.main()
