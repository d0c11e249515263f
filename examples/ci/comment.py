#!/usr/bin/env python3
"""Keeps one comment for each marker on a pull request (GitHub) or merge request (GitLab).

    comment.py github NUMBER < body.md
    comment.py gitlab NUMBER < body.md

The first line of the body is a comment that nobody sees, such as `<!-- dewpoint:plan:shop:pr-7 -->`:
`dewpoint plan --format markdown` and `dewpoint diff --format markdown` write it. A comment of this
author that begins with the same line is updated, and left alone when it says the same; else a new
one is made, unless the body says that nothing changes.

GitHub: GITHUB_TOKEN, GITHUB_REPOSITORY and GITHUB_API_URL, as a workflow has them. COMMENT_AUTHOR
names the token's user when it is not the workflow's own token.
GitLab: GITLAB_TOKEN (a project access token with the scope `api`), CI_PROJECT_ID and CI_API_V4_URL.

Python's standard library is all it needs.
"""

import json
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

PER_PAGE = 100
MOST_PAGES = 100
TIMEOUT = 30
MARKER = re.compile(r"<!-- [A-Za-z0-9._:/-]+ -->")
# What `plan` and `diff` say when there is nothing to do.
NOTHING = re.compile(r"^(\*\*No changes\.\*\*|No changes\.|#+ .*: no changes$)", re.MULTILINE)


class Problem(Exception):
    """What went wrong, in words for the log. Never holds the token."""


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A token goes where it was sent, and nowhere an answer says."""

    def redirect_request(self, *_):
        return None


OPENER = urllib.request.build_opener(NoRedirect)


def setting(name):
    value = os.environ.get(name, "").strip()
    if not value:
        raise Problem(f"{name} is not set")
    return value


def address(name):
    """The address of an API: over TLS, or on this machine."""
    url = setting(name).rstrip("/")
    parts = urllib.parse.urlsplit(url)
    is_near = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_near):
        raise Problem(f"{name} is no https address: a token is not sent in the clear")
    return url


def said(raw):
    """What an API says of an error, in one short line."""
    try:
        answer = json.loads(raw)
    except ValueError:
        return ""
    text = answer.get("message") or answer.get("error") if isinstance(answer, dict) else None
    return " ".join(str(text or "").split())[:300]


class Api:
    def __init__(self, base, headers, token):
        self.base = base
        self.headers = headers
        self.token = token

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data=data, method=method)
        for name, value in self.headers.items():
            request.add_unredirected_header(name, value)
        request.add_header("User-Agent", "dewpoint-comment")
        if data is not None:
            request.add_header("Content-Type", "application/json")
        what = f"{method} {path.split('?')[0]}"
        try:
            with OPENER.open(request, timeout=TIMEOUT) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            text = f"{what} was answered with {error.code}: {said(error.read())}"
            raise Problem(text.replace(self.token, "***").rstrip(": ")) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise Problem(f"{what} failed: {reason}".replace(self.token, "***")) from None

    def pages(self, path):
        for page in range(1, MOST_PAGES + 1):
            items = self.call("GET", f"{path}?per_page={PER_PAGE}&page={page}")
            if not isinstance(items, list):
                raise Problem(f"GET {path} was not answered with a list")
            yield from items
            if len(items) < PER_PAGE:
                return


class GitHub:
    def __init__(self, number):
        token = setting("GITHUB_TOKEN")
        headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        self.api = Api(address("GITHUB_API_URL"), headers, token)
        self.repository = "/repos/" + urllib.parse.quote(setting("GITHUB_REPOSITORY"))
        self.comments = f"{self.repository}/issues/{number}/comments"
        self.author = os.environ.get("COMMENT_AUTHOR", "").strip() or "github-actions[bot]"

    def ours(self):
        for comment in self.api.pages(self.comments):
            if (comment.get("user") or {}).get("login") == self.author:
                yield comment

    def create(self, body):
        return self.api.call("POST", self.comments, {"body": body}).get("html_url", "")

    def update(self, comment, body):
        path = f"{self.repository}/issues/comments/{comment['id']}"
        return self.api.call("PATCH", path, {"body": body}).get("html_url", "")


class GitLab:
    def __init__(self, number):
        token = setting("GITLAB_TOKEN")
        self.api = Api(address("CI_API_V4_URL"), {"PRIVATE-TOKEN": token}, token)
        project = urllib.parse.quote(setting("CI_PROJECT_ID"), safe="")
        self.notes = f"/projects/{project}/merge_requests/{number}/notes"

    def ours(self):
        author = self.api.call("GET", "/user")["id"]
        for note in self.api.pages(self.notes):
            if (note.get("author") or {}).get("id") == author:
                yield note

    def create(self, body):
        return f"note {self.api.call('POST', self.notes, {'body': body})['id']}"

    def update(self, note, body):
        self.api.call("PUT", f"{self.notes}/{note['id']}", {"body": body})
        return f"note {note['id']}"


def plain(body):
    """A body without what a server may change of it: kinds of line end, blanks at the end."""
    return "\n".join(line.rstrip() for line in body.replace("\r\n", "\n").split("\n")).strip()


def main(arguments):
    services = {"github": GitHub, "gitlab": GitLab}
    if len(arguments) != 2 or arguments[0] not in services or not arguments[1].isdecimal():
        raise Problem("usage: comment.py github|gitlab NUMBER < body.md")
    body = plain(sys.stdin.buffer.read().decode("utf-8", "replace"))
    marker = body.split("\n", 1)[0]
    if not MARKER.fullmatch(marker):
        raise Problem("the first line of the body is no marker such as <!-- dewpoint:plan:shop:main -->")
    service = services[arguments[0]](arguments[1])
    found = None
    for comment in service.ours():
        if plain(comment.get("body") or "").split("\n", 1)[0] == marker:
            found = comment
            break
    if found is None:
        if NOTHING.search(body):
            return "nothing changes: no comment is made"
        return f"made {service.create(body)}".rstrip()
    if plain(found["body"]) == body:
        return "the comment says the same already"
    return f"updated {service.update(found, body)}".rstrip()


if __name__ == "__main__":
    try:
        print(main(sys.argv[1:]))
    except (Problem, KeyError, AttributeError) as problem:
        if not isinstance(problem, Problem):
            problem = f"an answer has no {problem}"
        print(f"comment.py: {problem}", file=sys.stderr)
        sys.exit(1)
