// What the followers of Node share: `redis_py.py`, with the same options, the same life and the same journal.
"use strict";

const fs = require("node:fs");
const { parseArgs } = require("node:util");

const PAUSE_MS = 10;

/** Host and port of each address. */
function pairs(text) {
  return text.split(",").map((address) => {
    const at = address.lastIndexOf(":");
    return { host: address.slice(0, at), port: Number(address.slice(at + 1)) };
  });
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Writes until SIGTERM. `make` answers, given the options, a way to write: `set(key, value)`, and `failed()`, which is
 * called after an error.
 */
async function follow(make) {
  const text = { type: "string" };
  const options = { sentinels: text, master: text, endpoints: text, name: text, log: text, "clock-offset": text };
  const given = parseArgs({ options }).values;
  const settings = {
    name: given.name,
    master: given.master ?? "quorate",
    sentinels: given.sentinels && pairs(given.sentinels),
    endpoints: given.endpoints && pairs(given.endpoints),
  };
  let stopped = false;
  process.on("SIGTERM", () => (stopped = true));
  const now = () => Number(process.hrtime.bigint()) / 1e9 + Number(given["clock-offset"]);
  const journal = fs.openSync(given.log, "a");
  const way = await make(settings);
  for (let number = 1; !stopped; number++) {
    const line = { number, sent: now(), error: null };
    try {
      await way.set(settings.name, number);
    } catch (error) {
      line.error = `${error.name}: ${error.message}`;
    }
    line.answered = now();
    fs.writeSync(journal, JSON.stringify(line) + "\n");
    if (line.error) await way.failed();
    await pause(PAUSE_MS);
  }
  process.exit(0);
}

module.exports = { follow, pause };
