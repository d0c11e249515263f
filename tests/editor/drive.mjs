// Opens a manifest in the language server that editors use for YAML, with dewpoint's schema through
// the modeline, and asks what an editor asks: what is wrong, what can stand here, what is this.
//
// Arguments: the folder that holds node_modules, and a manifest whose modeline names the schema.
// Prints `all answered` in the end.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [modules, manifest] = process.argv.slice(2);
const require = createRequire(path.join(modules, "package.json"));
const rpc = require("vscode-jsonrpc/node");

const server = spawn(
  process.execPath,
  [path.join(modules, "node_modules/yaml-language-server/bin/yaml-language-server"), "--stdio"],
  { stdio: ["pipe", "pipe", "inherit"] },
);
const connection = rpc.createMessageConnection(
  new rpc.StreamMessageReader(server.stdout),
  new rpc.StreamMessageWriter(server.stdin),
);
const problems = new Map();
let heard = () => {};
connection.onNotification("textDocument/publishDiagnostics", (told) => {
  problems.set(told.uri, told.diagnostics);
  heard();
});
// The server asks for its settings; no schema comes from elsewhere.
const settings = { schemaStore: { enable: false }, hover: true, completion: true, validate: true };
connection.onRequest("workspace/configuration", (asked) =>
  asked.items.map((item) => (item.section === "yaml" ? settings : null)),
);
connection.onRequest("client/registerCapability", () => null);
connection.listen();

await connection.sendRequest("initialize", {
  processId: process.pid,
  rootUri: null,
  capabilities: {
    textDocument: {
      hover: { contentFormat: ["markdown"] },
      completion: { completionItem: { snippetSupport: false } },
    },
    workspace: { configuration: true },
  },
});
await connection.sendNotification("initialized", {});
await connection.sendNotification("workspace/didChangeConfiguration", { settings: { yaml: settings } });

const uri = pathToFileURL(manifest).href;
let version = 0;
const text = readFileSync(manifest, "utf8");

async function open(text) {
  const told = new Promise((resolve) => {
    heard = () => problems.has(uri) && resolve();
  });
  problems.delete(uri);
  version += 1;
  if (version === 1) {
    await connection.sendNotification("textDocument/didOpen", {
      textDocument: { uri, languageId: "yaml", version, text },
    });
  } else {
    await connection.sendNotification("textDocument/didChange", {
      textDocument: { uri, version },
      contentChanges: [{ text }],
    });
  }
  await told;
  return problems.get(uri);
}

function position(text, marker, offset = 0) {
  const at = text.indexOf(marker);
  assert.notEqual(at, -1, marker);
  const before = text.slice(0, at + offset).split("\n");
  return { line: before.length - 1, character: before.at(-1).length };
}

// As it is, nothing is wrong with it.
assert.deepEqual(await open(text), []);

// Every key says what it is.
for (const [key, word] of [
  ["after_run", "destroyed, whatever happened"],
  ["source", "Code to fetch"],
  ["ttl", "expire"],
  // And what could stand there.
  ["ttl", "4h"],
  ["provision", "recipe"],
]) {
  const hover = await connection.sendRequest("textDocument/hover", {
    textDocument: { uri },
    position: position(text, `${key}:`, 1),
  });
  const said = JSON.stringify(hover?.contents ?? "");
  assert.ok(said.includes(word), `${key}: ${said}`);
}

// A slip is underlined.
const slip = text.replace("after_run:", "after_runn:");
const wrong = await open(slip);
assert.ok(
  wrong.some((problem) => problem.message.includes("after_runn")),
  JSON.stringify(wrong),
);

// What can stand below a droplet is offered, and what a key can be.
const more = text.replace(/\n( +)after_run: \w+.*/, "\n$1after_run: destroy\n$1\n");
await open(more);
const keys = await connection.sendRequest("textDocument/completion", {
  textDocument: { uri },
  position: position(more, "after_run: destroy\n    ", "after_run: destroy\n    ".length),
});
const labels = (list) => (list.items ?? list).map((item) => item.label);
for (const key of ["needs", "matrix", "tags"]) {
  assert.ok(labels(keys).includes(key), `${key}: ${labels(keys)}`);
}
const empty = text.replace(/after_run: \w+.*/, "after_run: ");
await open(empty);
const values = await connection.sendRequest("textDocument/completion", {
  textDocument: { uri },
  position: position(empty, "after_run: ", "after_run: ".length),
});
for (const value of ["keep", "destroy", "destroy_on_success"]) {
  assert.ok(labels(values).includes(value), `${value}: ${labels(values)}`);
}

await connection.sendRequest("shutdown");
await connection.sendNotification("exit");
connection.dispose();
server.kill();
console.log("all answered");
