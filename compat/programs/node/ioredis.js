// npm `ioredis`: a plain lock with commands that it defines from scripts (EVALSHA, then EVAL). It connects again and
// sends again by itself.
"use strict";

const { Redis } = require("ioredis");
const { contend } = require("./contend");
const { EXTEND, RELEASE } = require("./plain");

const NAME = "compat:ioredis";

function make({ url, ttlMs }) {
  const client = new Redis(url);
  client.on("error", () => {});
  client.defineCommand("extendLock", { numberOfKeys: 1, lua: EXTEND });
  client.defineCommand("releaseLock", { numberOfKeys: 1, lua: RELEASE });
  let holder;
  return {
    acquire: async (me) => {
      holder = me;
      return (await client.set(NAME, me, "PX", ttlMs, "NX")) === "OK";
    },
    extend: async () => (await client.extendLock(NAME, holder, ttlMs)) === 1,
    release: async () => (await client.releaseLock(NAME, holder)) === 1,
  };
}

contend(make);
