// npm `ioredis`: it finds the leader, connects again and sends again by itself; with a list of endpoints its retry
// strategy takes the next one.
"use strict";

const { Redis } = require("ioredis");
const { follow } = require("./follow");

const RETRY_MS = 50;

function make({ name, master, sentinels, endpoints }) {
  const client = sentinels ? bySentinel(name, master, sentinels) : byEndpoints(name, endpoints);
  client.on("error", () => {});
  return { set: (key, value) => client.set(key, value), failed: async () => {} };
}

function bySentinel(connectionName, name, sentinels) {
  // `failoverDetector` listens to +switch-master.
  return new Redis({ sentinels, name, connectionName, failoverDetector: true });
}

function byEndpoints(connectionName, endpoints) {
  let place = 0;
  const client = new Redis({
    ...endpoints[0],
    connectionName,
    retryStrategy: () => {
      place = (place + 1) % endpoints.length;
      Object.assign(client.options, endpoints[place]);
      return RETRY_MS;
    },
  });
  return client;
}

follow(make);
