// npm `redis` (node-redis): a plain lock with scripts of its own definition. It connects again by itself; a command
// that was under way fails.
"use strict";

const { createClient, defineScript } = require("redis");
const { contend } = require("./contend");
const { EXTEND, RELEASE } = require("./plain");

const NAME = "compat:node-redis";

function script(text) {
  return defineScript({
    SCRIPT: text,
    NUMBER_OF_KEYS: 1,
    parseCommand: (parser, name, ...values) => {
      parser.pushKey(name);
      parser.push(...values.map(String));
    },
    transformReply: (reply) => reply === 1,
  });
}

async function make({ url, ttlMs }) {
  const client = createClient({ url, scripts: { extendLock: script(EXTEND), releaseLock: script(RELEASE) } });
  client.on("error", () => {});
  await client.connect();
  let holder;
  return {
    acquire: async (me) => {
      holder = me;
      const expiration = { type: "PX", value: ttlMs };
      return (await client.set(NAME, me, { condition: "NX", expiration })) === "OK";
    },
    extend: () => client.extendLock(NAME, holder, ttlMs),
    release: () => client.releaseLock(NAME, holder),
  };
}

contend(make);
