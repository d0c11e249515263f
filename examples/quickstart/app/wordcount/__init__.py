"""Counts the words of a text."""

import configparser
import re
from collections import Counter

SETTINGS = "/etc/wordcount/settings.ini"


def ignored_words(path=SETTINGS):
    """The words that are not counted, from the settings that the snapshot brings."""
    settings = configparser.ConfigParser()
    if not settings.read(path):
        raise FileNotFoundError(path)
    return frozenset(settings["words"]["ignore"].split())


def count(text, ignore=frozenset()):
    """How often each word stands in a text, in lower case, ignored words left out."""
    words = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", text.lower())
    return Counter(word for word in words if word not in ignore)
