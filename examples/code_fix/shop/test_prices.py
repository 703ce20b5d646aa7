import unittest

from prices import total


class Prices(unittest.TestCase):
    def test_without_a_discount(self):
        assert total([4.0, 11.5]) == 15.5

    def test_a_discount_is_in_percent(self):
        assert total([10.0, 10.0], discount=25) == 15.0
