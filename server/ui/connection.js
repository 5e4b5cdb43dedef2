// Whether the server is there: what it serves when it is, a banner when it went away, and the key's field when it wants
// one. It asks a probe while the page is seen, and at once when a request failed.

import { call } from "./calls.js";

const INTERVAL_MS = 2000;
const find = (id) => document.getElementById(id);
const line = find("model");
let here = null; // null: not known yet
let timer = 0;

export const key = () => find("key").value.trim();

function schedule() {
  clearTimeout(timer);
  timer = setTimeout(() => document.hidden || probe(), INTERVAL_MS);
}

async function probe() {
  clearTimeout(timer);
  let words = "";
  try {
    const response = await fetch("readyz", { cache: "no-store" });
    if (!response.ok) words = (await response.json().catch(() => null))?.error?.message ?? "the server is not ready";
  } catch {
    words = "the server cannot be reached";
  }
  const was = here;
  here = !words;
  if (here) {
    find("lost").hidden = true;
    if (!was) await meet();
  } else {
    line.dataset.state = "failed";
    line.textContent = words;
    // Where it never was ready, the line says enough.
    if (was !== null && line.dataset.met) lose(words);
  }
  schedule();
}

function lose(words) {
  find("lost").textContent = `${words[0].toUpperCase()}${words.slice(1)}. This page tries again every ${INTERVAL_MS / 1000} seconds.`;
  find("lost").hidden = false;
}

let offer = () => {};

async function meet() {
  try {
    const { data } = await (await call("v1/models", key())).json();
    const [model] = data;
    const size = model.parameters < 1e9 ? `${(model.parameters / 1e6).toFixed(1)} M` : `${(model.parameters / 1e9).toFixed(1)} B`;
    line.textContent = `${model.id}, ${size} parameters, ${model.dtype} on ${model.device}`;
    Object.assign(line.dataset, { state: "ready", met: "yes" });
    find("access").hidden = true;
    offer(model);
  } catch (error) {
    line.textContent = error.message;
    line.dataset.state = "failed";
    if (error.status !== 401) here = false; // a key is waited for, not asked about again and again
  }
}

/** Begins; `use` gets the model whenever a server answers after it had not. */
export function connect(use) {
  offer = use;
  addEventListener("server-lost", probe);
  addEventListener("online", probe);
  document.addEventListener("visibilitychange", () => document.hidden || probe());
  addEventListener("key-wanted", ({ detail }) => {
    const begun = find("access").hidden;
    find("access").hidden = false;
    if (detail.refused) find("access-words").textContent = "The server does not know this key, or no longer takes it. Enter another one.";
    if (begun) find("key").focus();
  });
  find("access").addEventListener("submit", (event) => {
    event.preventDefault();
    meet();
  });
  probe();
}
