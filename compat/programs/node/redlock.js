// npm `redlock`, on ioredis, with the one server that a cluster is.
"use strict";

const { Redis } = require("ioredis");
const Redlock = require("redlock");
const { contend, unless } = require("./contend");

function make({ url, ttlMs }) {
  // A command without a connection fails at once: the package has a time-out for neither.
  const client = new Redis(url, { maxRetriesPerRequest: 1 });
  client.on("error", () => {});
  const redlock = new Redlock([client], { retryCount: 0 });
  let lock;
  return {
    acquire: async () => {
      lock = null;
      const take = async () => (lock = await redlock.lock("compat:redlock", ttlMs));
      return unless(Redlock.LockError, take());
    },
    extend: () => unless(Redlock.LockError, lock.extend(ttlMs)),
    release: () => unless(Redlock.LockError, lock.unlock()),
  };
}

contend(make);
