// npm `redis-semaphore`, on ioredis: its mutex, which refreshes itself in the background and calls when it is lost.
// That its release was refused it does not say.
"use strict";

const { Redis } = require("ioredis");
const { Mutex } = require("redis-semaphore");
const { contend } = require("./contend");

const NAME = "compat:redis-semaphore";

function make({ url, ttlMs }) {
  const client = new Redis(url);
  client.on("error", () => {});
  const limits = { lockTimeout: ttlMs, acquireAttemptsLimit: 1 };
  let mutex, lost;
  return {
    acquire: async (me) => {
      lost = false;
      const onLockLost = () => (lost = true);
      mutex = new Mutex(client, NAME, { ...limits, identifier: me, onLockLost });
      return mutex.tryAcquire();
    },
    // Another object that takes the same lock over by its identifier extends it, as the package's documentation has it.
    extend: async () => {
      const taking = { identifier: mutex.identifier, acquiredExternally: true, refreshInterval: 0 };
      return !lost && (await new Mutex(client, NAME, { ...limits, ...taking }).tryAcquire());
    },
    release: async () => {
      await mutex.release();
      return lost ? false : null;
    },
  };
}

contend(make);
