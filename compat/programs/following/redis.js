// npm `redis`: `createSentinel` finds the leader by itself; with a list of endpoints the program makes a client of the
// next one.
"use strict";

const { createClient, createSentinel } = require("redis");
const { follow, pause } = require("./follow");

const RETRY_MS = 50;

function make(settings) {
  return settings.sentinels ? bySentinel(settings) : byEndpoints(settings);
}

async function bySentinel({ name, master, sentinels }) {
  const sentinel = createSentinel({ name: master, sentinelRootNodes: sentinels, nodeClientOptions: { name } });
  sentinel.on("error", (error) => console.error(new Date().toISOString(), String(error)));
  await sentinel.connect();
  return { set: (key, value) => sentinel.set(key, String(value)), failed: async () => {} };
}

async function byEndpoints({ name, endpoints }) {
  let place = 0;
  let client = await connected();
  return {
    set: (key, value) => client.set(key, String(value)),
    failed: async () => {
      client.destroy();
      client = await connected();
    },
  };

  /** A client of the next node that answers. */
  async function connected() {
    for (;;) {
      const socket = { ...endpoints[place++ % endpoints.length], reconnectStrategy: false };
      const next = createClient({ socket, name, disableOfflineQueue: true });
      next.on("error", () => {});
      try {
        await next.connect();
        return next;
      } catch {
        await pause(RETRY_MS);
      }
    }
  }
}

follow(make);
