// What a request looks like on the page: its card with pictures, progress, the strip of denoising steps and a bar for each
// component. What a server or a user wrote gets here as text only, never as markup.

const NO_COMPONENTS = new Set(["total", "time_to_first_token"]);
const find = (id) => document.getElementById(id);

export function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

export function count(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : noun.endsWith("s") ? "es" : "s"}`;
}

export function milliseconds(value) {
  return `${value < 100 ? value.toFixed(1) : Math.round(value)} ms`;
}

export class Card {
  constructor(policy, results) {
    this.policy = policy;
    this.timings = null;
    this.element = find("card").content.firstElementChild.cloneNode(true);
    this.part("h3").textContent = policy;
    this.element.dataset.policy = policy;
    this.state = "waiting";
    this.say("waiting for its turn");
    results.append(this.element);
  }

  part(selector) {
    return this.element.querySelector(selector);
  }

  set state(name) {
    this.element.dataset.state = name;
  }

  say(text) {
    this.part(".status").textContent = text;
  }

  fail(error, at) {
    this.part("progress").hidden = true;
    this.part(".answer").removeAttribute("aria-busy");
    for (const image of this.element.querySelectorAll(".canvas img")) image.classList.remove("unfinished");
    const frames = [...this.element.querySelectorAll(".frame")];
    for (const frame of frames) frame.hidden = frame.querySelector("img").hidden;
    this.part(".frames").hidden = frames.every((frame) => frame.hidden);
    if (error.name === "AbortError") {
      this.state = "cancelled";
      this.say(at ? `cancelled after ${at}` : "cancelled");
      announce(`${this.policy}: cancelled`);
      return;
    }
    this.state = "failed";
    this.say("");
    this.part(".error .message").textContent = error.message;
    this.part(".error .detail").textContent = error.detail ?? "";
    this.part(".error").hidden = false;
  }

  finish(timings, words) {
    this.timings = timings;
    this.part("progress").hidden = true;
    this.part(".total").textContent = milliseconds(timings.total);
    this.say(words);
    this.state = "done";
    announce(`${this.policy}: done after ${milliseconds(timings.total)}`);
  }

  /** As finished at another time, by another server. */
  record(timings) {
    this.timings = timings;
    this.state = "recorded";
    this.say("");
    this.part(".mark-recorded").hidden = false;
    this.part(".total").textContent = milliseconds(timings.total);
  }

  /** What the server says beside the result. */
  warn(warnings) {
    const lines = (warnings ?? []).map(({ param, message }) => make("li", { textContent: param ? `${param}: ${message}` : message }));
    this.part(".warnings").replaceChildren(...lines);
    this.part(".warnings").hidden = !lines.length;
  }

  /** A bar for each component; `most` is what fills the width, in milliseconds. */
  drawBars(most) {
    const rows = components(this.timings).map(([name, value]) => {
      const bar = make("span", { className: "bar" });
      bar.style.width = `${(100 * value) / most}%`;
      const head = make("th", { scope: "row", textContent: name.replaceAll("_", " ") });
      return make("tr", {}, head, make("td", {}, bar), make("td", { className: "number", textContent: milliseconds(value) }));
    });
    this.part(".bars tbody").replaceChildren(...rows);
    this.part(".bars").hidden = false;
  }
}

export function components(timings) {
  return Object.entries(timings).filter(([name]) => !NO_COMPONENTS.has(name));
}

export function announce(text) {
  find("announce").textContent = text;
}

// Schedules

export function showProgress(card, step, of) {
  const strip = card.part(".strip");
  if (strip.childElementCount !== of) {
    strip.replaceChildren(...Array.from({ length: of }, () => cell("waiting")));
    strip.classList.toggle("many", of > 60);
    strip.classList.toggle("dense", of > 150);
    card.part(".schedule").hidden = false;
  }
  [...strip.children].slice(0, step).forEach((one) => (one.className = "cell ran"));
}

function cell(kind) {
  return make("span", { className: `cell ${kind}` }, make("i", { className: "backbone" }), make("i", { className: "head" }));
}

/** What a step is called in the strip: it used again what an earlier one computed, or ran the backbone so. */
function kindOf(step) {
  return step.backbone === "not_needed" ? "reused" : step.backbone;
}

export function showSchedule(card, evaluations) {
  showProgress(card, 0, evaluations.length);
  const strip = card.part(".strip");
  const cells = evaluations.map((step, index) => {
    const { backbone, head, layers_skipped: skipped } = step;
    const one = cell(kindOf(step));
    Object.assign(one.dataset, { kind: kindOf(step), backbone, head, skipped });
    one.title = `step ${index + 1}: backbone ${backbone.replace("_", " ")}${skipped ? `, ${count(skipped, "layer")} skipped` : ""}, head ${head}`;
    // Shorter where layers are skipped.
    if (skipped) one.firstElementChild.style.height = `${Math.max(45, 100 - 12 * skipped)}%`;
    return one;
  });
  strip.replaceChildren(...cells);
  const entries = ["full", "pruned", "reused"].map((kind) => [kind, evaluations.filter((one) => kindOf(one) === kind).length]);
  const shown = entries.filter(([, number]) => number);
  const skipped = evaluations.reduce((sum, one) => sum + one.layers_skipped, 0);
  const legend = shown.map(([kind, number]) => make("span", {}, make("i", { className: `key ${kind}` }), `${kind} ${number}`));
  if (skipped) legend.push(make("span", { textContent: `${count(skipped, "layer")} skipped (shorter cells)` }));
  card.part(".legend").replaceChildren(...legend);
  const words = shown.map(([kind, number]) => `${number} ${kind}`).join(", ");
  strip.setAttribute("aria-label", `${count(evaluations.length, "step")}: ${words}; ${count(skipped, "layer")} skipped`);
}

// Pictures

export function show(image, blob) {
  if (image.src) URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(blob);
  image.hidden = false;
}

export function blobOf(base64) {
  return new Blob([Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))], { type: "image/png" });
}

export function addFrames(card, number) {
  const frames = Array.from({ length: number }, () => find("frame").content.firstElementChild.cloneNode(true));
  card.part(".frames").replaceChildren(...frames);
  return frames;
}

export function showPartial(frame, data, prompt) {
  const image = frame.querySelector("img");
  show(image, blobOf(data.b64_json));
  image.classList.add("unfinished");
  image.alt = `unfinished: ${prompt}`;
}

export function showPicture(frame, data, prompt, choose) {
  const [image, use] = [frame.querySelector("img"), frame.querySelector(".use")];
  const blob = blobOf(data.b64_json);
  show(image, blob);
  image.classList.remove("unfinished");
  image.alt = prompt;
  frame.querySelector(".seed").textContent = `seed ${data.seed}`;
  use.hidden = false;
  use.addEventListener("click", () => choose(blob));
}
