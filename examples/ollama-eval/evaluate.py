"""Asks a model of a local Ollama, over its HTTP API."""

import json
import os
import urllib.request

BASE = os.environ.get("OLLAMA_HOST", "http://127.0.0.1:11434")


def ask(model, prompt, seed=7):
    """The model's answer to a prompt; the same for the same seed."""
    body = {
        "model": model,
        "prompt": prompt,
        "stream": False,
        "options": {"temperature": 0, "seed": seed},
    }
    request = urllib.request.Request(
        f"{BASE}/api/generate",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.load(answer)["response"].strip()


def models():
    """Names of the models that are there."""
    with urllib.request.urlopen(f"{BASE}/api/tags", timeout=30) as answer:
        return {model["name"] for model in json.load(answer)["models"]}
