"""Counts what is on the shelves; the order must not depend on how Python hashes."""

SHELVES = {
    "top": {"lamp", "rope", "map"},
    "middle": {"rope", "tent"},
    "bottom": {"lamp", "rope"},
}


def inventory(shelves):
    """Things and how many shelves have them: the most frequent first, then by name."""
    counts = {}
    for things in shelves.values():
        for thing in things:
            counts[thing] = counts.get(thing, 0) + 1
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


if __name__ == "__main__":
    for thing, count in inventory(SHELVES):
        print(f"{count} {thing}")
