import json
import os
import unittest
import urllib.error
import urllib.request

SERVER = os.environ["SERVER"]


def get(key: str) -> bytes:
    with urllib.request.urlopen(f"{SERVER}/{key}", timeout=10) as answer:
        return answer.read()


class Store(unittest.TestCase):
    def test_what_the_server_was_filled_with_is_there(self) -> None:
        self.assertEqual(get("greeting"), b"hello")

    def test_what_is_put_can_be_got(self) -> None:
        request = urllib.request.Request(f"{SERVER}/key", data=b"x" * 100_000, method="PUT")
        urllib.request.urlopen(request, timeout=10).close()
        self.assertEqual(get("key"), b"x" * 100_000)

    def test_what_was_never_put_is_not_there(self) -> None:
        with self.assertRaises(urllib.error.HTTPError) as refused:
            get("nothing")
        self.assertEqual(refused.exception.code, 404)


class Inventory(unittest.TestCase):
    def test_both_droplets_are_in_it(self) -> None:
        with open("/run/dewpoint/inventory.json", encoding="utf-8") as file:
            inventory = json.load(file)
        hosts = [droplet["host"] for droplet in inventory["droplets"]]
        self.assertEqual(hosts, ["client", "server"])


if __name__ == "__main__":
    unittest.main()
