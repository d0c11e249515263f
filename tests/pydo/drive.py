"""Drives an API through the official client, as any user of it would.

Takes the endpoint in DIGITALOCEAN_API_URL and the token in DIGITALOCEAN_TOKEN.
Makes a key, a volume and a droplet, attaches, takes a snapshot, and deletes it all.
"""

import os
import sys
import time

from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.policies import AzureKeyCredentialPolicy
from pydo import Client

PUBLIC_KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAvovswfldoSzuT6929HCOXtF0jF3hcf8weEP9vW447F pydo"
)
REGION = "nyc3"
PATIENCE = 60.0

# The client's usual policy sends no token without TLS, which loopback has none of: this one of the
# same library does.
TOKEN = os.environ["DIGITALOCEAN_TOKEN"]
client = Client(
    token=TOKEN,
    endpoint=os.environ["DIGITALOCEAN_API_URL"],
    authentication_policy=AzureKeyCredentialPolicy(
        AzureKeyCredential(TOKEN), "Authorization", prefix="Bearer"
    ),
)


def say(what):
    print(f"pydo: {what}", flush=True)


def wait_until(what, is_so):
    """Waits until something is so, and returns what it was."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = is_so()
        if found:
            return found
        if time.monotonic() > deadline:
            sys.exit(f"waited in vain until {what}")
        time.sleep(0.02)


def checked(answer):
    """The client hands some errors back as answers: an answer with an error is none."""
    if isinstance(answer, dict) and "id" in answer and "message" in answer:
        raise RuntimeError(f"{answer['id']}: {answer['message']}")
    return answer


def completed(answer):
    """Waits for an action to end well."""
    action_id = checked(answer)["action"]["id"]

    def is_so():
        status = checked(client.actions.get(action_id))["action"]["status"]
        if status == "errored":
            sys.exit(f"action {action_id} failed")
        return status == "completed"

    wait_until(f"action {action_id} is completed", is_so)


def create_droplet(body):
    """A new key is unknown to creates for a while: as users do, try again."""

    def is_so():
        try:
            return checked(client.droplets.create(body=body))
        except (HttpResponseError, RuntimeError) as error:
            if "invalid key identifiers" not in str(error):
                raise
            return None

    return wait_until("the key is known to creates", is_so)


def is_gone(get):
    try:
        return checked(get()) is None
    except HttpResponseError as error:
        return error.status_code == 404
    except RuntimeError as error:
        return str(error).startswith("not_found")


def main():
    account = checked(client.account.get())["account"]
    assert account["status"] == "active", account

    key = checked(client.ssh_keys.create(body={"name": "pydo", "public_key": PUBLIC_KEY}))
    key = key["ssh_key"]
    say(f"key {key['fingerprint']}")
    found = checked(client.ssh_keys.get(key["fingerprint"]))["ssh_key"]
    assert found["id"] == key["id"], found

    volume = checked(
        client.volumes.create(
            body={"name": "pydo-data", "region": REGION, "size_gigabytes": 1, "tags": ["pydo"]}
        )
    )["volume"]
    say(f"volume {volume['id']}")
    listed = checked(client.volumes.list(name="pydo-data", region=REGION))["volumes"]
    assert [v["id"] for v in listed] == [volume["id"]], listed

    droplet = create_droplet(
        {
            "name": "pydo-droplet",
            "region": REGION,
            "size": "s-1vcpu-1gb",
            "image": "ubuntu-24-04-x64",
            "ssh_keys": [key["fingerprint"]],
            "tags": ["pydo"],
        }
    )["droplet"]
    droplet_id = droplet["id"]
    say(f"droplet {droplet_id}")

    def public_address():
        shown = checked(client.droplets.get(droplet_id))["droplet"]
        public = [n["ip_address"] for n in shown["networks"]["v4"] if n["type"] == "public"]
        return public[0] if shown["status"] == "active" and public else None

    say(f"active at {wait_until('the droplet is active', public_address)}")
    tagged = checked(client.droplets.list(tag_name="pydo"))["droplets"]
    assert [d["id"] for d in tagged] == [droplet_id], tagged

    completed(
        client.volume_actions.post_by_id(
            volume["id"], body={"type": "attach", "droplet_id": droplet_id, "region": REGION}
        )
    )
    attached = checked(client.volumes.get(volume["id"]))["volume"]
    assert attached["droplet_ids"] == [droplet_id], attached
    say("attached")
    completed(
        client.volume_actions.post_by_id(
            volume["id"], body={"type": "detach", "droplet_id": droplet_id, "region": REGION}
        )
    )
    say("detached")

    completed(client.droplet_actions.post(droplet_id, body={"type": "shutdown"}))
    completed(
        client.droplet_actions.post(droplet_id, body={"type": "snapshot", "name": "pydo-snapshot"})
    )

    def snapshot():
        for found in checked(client.snapshots.list(resource_type="droplet"))["snapshots"]:
            if found["resource_id"] == str(droplet_id) and found["name"] == "pydo-snapshot":
                return found
        return None

    snapshot = wait_until("the snapshot is listed", snapshot)
    say(f"snapshot {snapshot['id']}, {snapshot['size_gigabytes']} GB")

    second = create_droplet(
        {
            "name": "pydo-second",
            "region": REGION,
            "size": "s-1vcpu-1gb",
            "image": int(snapshot["id"]),
            "ssh_keys": [key["id"]],
        }
    )["droplet"]
    wait_until(
        "the droplet from the snapshot is active",
        lambda: checked(client.droplets.get(second["id"]))["droplet"]["status"] == "active",
    )
    say(f"droplet {second['id']} from the snapshot")

    for one in (droplet_id, second["id"]):
        client.droplets.destroy(one)
        wait_until(
            "the droplet is gone", lambda one=one: is_gone(lambda: client.droplets.get(one))
        )
    client.snapshots.delete(snapshot["id"])
    client.volumes.delete(volume["id"])
    client.ssh_keys.delete(key["fingerprint"])
    client.tags.delete("pydo")
    for kind, left in (
        ("droplets", client.droplets.list()),
        ("volumes", client.volumes.list()),
        ("snapshots", client.snapshots.list()),
        ("ssh_keys", client.ssh_keys.list()),
        ("tags", client.tags.list()),
    ):
        assert checked(left)[kind] == [], (kind, left)
    say("all deleted")


main()
