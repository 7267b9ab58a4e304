// One contender for one lock, whatever package it takes it with: `compat/programs/contend.py` in JavaScript, with the
// same options, the same life and the same journal.
"use strict";

const crypto = require("node:crypto");
const fs = require("node:fs");
const { parseArgs } = require("node:util");

// Between two attempts to take the lock, and how often and long it works while it holds it.
const RETRY_MS = 50;
const WORK_MS = 50;
const EXTENSIONS_MAX = 3;

/**
 * Runs a program. `make` answers, given the options, a lock with `acquire(me)`, `extend()` and `release()`: each
 * answers true for yes, false for no, null where the package does not say, and throws when it does not know.
 */
async function contend(make) {
  const options = parse();
  const stop = new AbortController();
  process.on("SIGTERM", () => stop.abort());
  const journal = new Journal(options.log, Number(options["clock-offset"]));
  const lock = await make({ url: options.url, ttlMs: Number(options.ttl) * 1000 });
  while (!stop.signal.aborted) {
    try {
      await holdOnce(lock, journal, stop.signal);
    } catch (error) {
      if (error instanceof TypeError || error instanceof ReferenceError) throw error;
      // It is in the journal. What was held runs out by itself.
      await wait(RETRY_MS, stop.signal);
    }
  }
  process.exit(0);
}

async function holdOnce(lock, journal, signal) {
  const me = crypto.randomUUID();
  if (await journal.call("acquire", me, () => lock.acquire(me))) {
    for (let left = crypto.randomInt(1, EXTENSIONS_MAX + 1); left > 0; left--) {
      await wait(WORK_MS, signal);
      await journal.call("extend", me, () => lock.extend());
    }
    await journal.call("release", me, () => lock.release());
  }
  await wait(RETRY_MS, signal);
}

function parse() {
  const text = { type: "string" };
  const options = { url: text, name: text, log: text, ttl: text, "clock-offset": text };
  return parseArgs({ options }).values;
}

/** Lets time pass, unless the program is stopped. */
function wait(ms, signal) {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
    function done() {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
  });
}

/**
 * Append-only lines of JSON. Their times are of CLOCK_BOOTTIME, as in all journals. Node has only CLOCK_MONOTONIC,
 * which is behind by a constant while the machine does not sleep: the suite measures it and hands it over.
 */
class Journal {
  constructor(path, offsetS) {
    this.file = fs.openSync(path, "a");
    this.offsetS = offsetS;
  }

  now() {
    return Number(process.hrtime.bigint()) / 1e9 + this.offsetS;
  }

  async call(action, id, request) {
    const line = { action, id, sent: this.now() };
    try {
      line.answer = await request();
      return line.answer;
    } catch (error) {
      line.error = `${error.name}: ${error.message}`;
      throw error;
    } finally {
      line.answered = this.now();
      fs.writeSync(this.file, JSON.stringify(line) + "\n");
    }
  }
}

/** Whether a promise is kept: false if it fails with an error of the class of refusals. */
async function unless(refusal, promise) {
  try {
    await promise;
    return true;
  } catch (error) {
    if (error instanceof refusal) return false;
    throw error;
  }
}

module.exports = { contend, unless };
