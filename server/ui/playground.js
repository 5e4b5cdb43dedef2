// The playground: draws and asks through the native routes, one policy or two compared. It keeps nothing: the key and
// the pictures are gone with the page.

import { call, events } from "./calls.js";
import { addFrames, announce, blobOf, Card, components, count, make, milliseconds, show, showPartial, showPicture, showProgress, showSchedule } from "./cards.js";
import { connect, key } from "./connection.js";
import { examplesOf, wordsOf } from "./examples.js";
import { add, chips } from "./gallery.js";
import * as showcase from "./showcase.js";

const COMPARED = ["exact", "flashu"];
const find = (id) => document.getElementById(id);
const forms = { draw: find("draw"), ask: find("ask") };
const running = { draw: null, ask: null };
let picture = null; // the Blob that is asked about

function choose(blob) {
  picture = blob;
  show(find("chosen"), blob);
  find("chosen").alt = "the picture that is asked about";
  find("drop-text").textContent = "Drop, paste or choose another";
}

function askAbout(blob) {
  choose(blob);
  forms.ask.elements.question.focus();
  forms.ask.elements.question.select();
}

// The two tasks

async function draw(card, frames, body, signal) {
  const bar = card.part("progress");
  let at = "";
  bar.hidden = false;
  bar.setAttribute("aria-label", `progress of ${card.policy}`);
  card.say("queued");
  try {
    const request = { ...body, acceleration: card.policy };
    const asked = JSON.stringify({ ...request, stream: true });
    const made = [];
    const headers = { "Content-Type": "application/json" };
    for await (const [name, data] of events(await call("v1/generate", key(), { method: "POST", headers, body: asked, signal }))) {
      if (name === "progress") {
        Object.assign(bar, { max: data.of, value: data.evaluation });
        at = `step ${data.evaluation} of ${data.of}`;
        card.state = "running";
        card.say(data.eta_s ? `${at}, ${data.eta_s.toFixed(1)} s left` : at);
        showProgress(card, data.evaluation, data.of);
        if (data.evaluation === Math.ceil(data.of / 2)) announce(`${card.policy}: half way`);
      } else if (name === "partial_image") showPartial(frames[0], data, body.prompt);
      else if (name === "image") {
        showPicture(frames[data.index], data, body.prompt, askAbout);
        made.push(data);
      } else if (name === "done") {
        finishPictures(card, data);
        for (const one of made) keep(request, one, data);
      }
    }
  } catch (error) {
    card.fail(error, at);
    mark(forms.draw, error.param);
  }
}

function finishPictures(card, data) {
  showSchedule(card, data.evaluations);
  card.warn(data.warnings);
  const { evaluations, backbone_passes: backbone, head_passes: head } = data.schedule;
  const words = [count(evaluations, "step"), count(backbone, "backbone pass"), count(head, "head pass")];
  card.finish(data.timings_ms, words.join(", "));
}

/** Puts a picture into the gallery; what one opens there again is the picture alone, with the form as it was. */
function keep(request, picture, data) {
  const { partial_images: _, n: __, ...one } = request;
  const own = JSON.parse(JSON.stringify({ ...one, negative_prompt: one.negative_prompt || undefined, seed: picture.seed }));
  const open = () => {
    running.draw?.abort();
    fill({ ...request, seed: picture.seed, n: 1 });
    find("pictures").replaceChildren();
    find("draw-comparison").textContent = "";
    const card = new Card(request.acceleration, find("pictures"));
    showPicture(addFrames(card, 1)[0], picture, request.prompt, askAbout);
    finishPictures(card, data);
    card.drawBars(Math.max(...components(card.timings).map(([, value]) => value)));
    forms.draw.scrollIntoView({ block: "nearest" });
  };
  add(blobOf(picture.b64_json), own, milliseconds(data.timings_ms.total), open, () => key() !== "");
}

/** The draw form with the fields of a request. */
function fill(request) {
  const fields = forms.draw.elements;
  for (const name of ["prompt", "negative_prompt", "seed", "n", "num_inference_steps", "guidance_scale", "size"]) {
    fields[name].value = request[name] ?? "";
  }
  fields.partial_images.disabled = false;
  const policy = [...forms.draw.querySelectorAll(".policies input")].find((box) => box.value === request.acceleration);
  if (policy) policy.checked = true;
  explain("draw");
}

async function ask(card, question, signal) {
  const answer = card.part(".answer");
  answer.hidden = false;
  answer.ariaBusy = "true"; // read as a whole by a screen reader, when it is there
  card.state = "running";
  card.say("reading the picture");
  try {
    const body = new FormData();
    for (const [name, value] of Object.entries({ question, acceleration: card.policy, stream: "true" })) body.append(name, value);
    body.append("image", picture, "picture");
    for await (const [name, data] of events(await call("v1/vqa", key(), { method: "POST", body, signal }))) {
      if (name === "text") {
        answer.textContent += data.text;
        card.say("answering");
      } else if (name === "done") {
        answer.removeAttribute("aria-busy");
        const { visual_tokens_kept: kept, visual_tokens_pruned: pruned } = data.schedule;
        const words = [count(data.usage.completion_tokens, "token"), `the first after ${milliseconds(data.timings_ms.time_to_first_token)}`];
        if (pruned) words.push(`${kept} of ${kept + pruned} image tokens kept`);
        card.warn(data.warnings);
        card.finish(data.timings_ms, words.join(", "));
      }
    }
  } catch (error) {
    answer.hidden = !answer.textContent;
    card.fail(error);
    mark(forms.ask, error.param);
  }
}

/** One policy after the other, so that neither slows the other down and their times can be compared. */
async function run(task, results, prepare) {
  running[task]?.abort();
  const control = (running[task] = new AbortController());
  const form = forms[task];
  const choice = form.elements[`${task}-policy`].value;
  for (const image of results.querySelectorAll("img")) URL.revokeObjectURL(image.src);
  results.replaceChildren();
  mark(form, null);
  find(`${task}-comparison`).textContent = "";
  form.querySelector(".cancel").disabled = false;
  const cards = (choice === "compare" ? COMPARED : [choice]).map((policy) => new Card(policy, results));
  const works = cards.map(prepare); // all cards have their places before the first one begins
  results.scrollIntoView({ block: "nearest" }); // where the form is long, progress must be seen
  for (const [index, card] of cards.entries()) {
    if (control.signal.aborted) card.fail(control.signal.reason);
    else await works[index](control.signal);
    const done = cards.filter((one) => one.timings);
    const most = Math.max(1e-6, ...done.flatMap((one) => components(one.timings).map(([, value]) => value)));
    for (const one of done) one.drawBars(most);
  }
  if (cards.length > 1 && cards.every((card) => card.timings)) compare(find(`${task}-comparison`), ...cards);
  if (running[task] === control) idle(task);
}

function compare(line, slow, fast) {
  const [before, after] = [slow.timings.total, fast.timings.total];
  const words = before >= after ? `${(before / after).toFixed(2)} times as fast` : `${(after / before).toFixed(2)} times as long`;
  line.replaceChildren(`${fast.policy} took ${milliseconds(after)}, ${slow.policy} ${milliseconds(before)}: `, make("strong", { textContent: words }));
}

function idle(task) {
  running[task] = null;
  const cancel = forms[task].querySelector(".cancel");
  if (document.activeElement === cancel) forms[task].querySelector("[type=submit]").focus();
  cancel.disabled = true;
}

/** Marks the field that an error is about, or none. */
function mark(form, param) {
  for (const field of form.elements) field.removeAttribute("aria-invalid");
  const field = param && form.elements.namedItem(param.split(".")[0]);
  if (field instanceof Element) field.setAttribute("aria-invalid", "true");
}

// What the user does

forms.draw.addEventListener("submit", (event) => {
  event.preventDefault();
  const fields = forms.draw.elements;
  const number = (name) => (fields[name].value === "" ? undefined : Number(fields[name].value));
  // A seed is drawn here where none is given: the server's may be larger than a number of this language can be.
  const seed = number("seed") ?? crypto.getRandomValues(new Uint32Array(1))[0];
  const n = number("n");
  const body = {
    prompt: fields.prompt.value,
    negative_prompt: fields.negative_prompt.value,
    seed,
    n,
    size: fields.size.value || undefined,
    num_inference_steps: number("num_inference_steps"),
    guidance_scale: number("guidance_scale"),
    partial_images: n === 1 ? number("partial_images") : 0,
  };
  run("draw", find("pictures"), (card) => {
    const frames = addFrames(card, n);
    return (signal) => draw(card, frames, body, signal);
  });
});

forms.ask.addEventListener("submit", (event) => {
  event.preventDefault();
  if (picture === null) {
    find("drop-text").textContent = "First a picture: drop one here, paste one, or choose a file";
    find("file").focus();
    return;
  }
  const question = forms.ask.elements.question.value;
  run("ask", find("answers"), (card) => {
    const [frame] = addFrames(card, 1);
    show(frame.querySelector("img"), picture);
    frame.querySelector("img").alt = "the picture that the question is about";
    frame.querySelector("figcaption").hidden = true;
    return (signal) => ask(card, question, signal);
  });
});

forms.draw.elements.prompt.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  forms.draw.requestSubmit();
});
// Partial images are of a single picture.
forms.draw.elements.n.addEventListener("input", ({ target }) => (forms.draw.elements.partial_images.disabled = target.value !== "1"));
for (const [task, form] of Object.entries(forms)) form.querySelector(".cancel").addEventListener("click", () => running[task]?.abort());
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.isComposing) for (const control of Object.values(running)) control?.abort();
});

function take(files) {
  const file = [...files].find((one) => one.type.startsWith("image/"));
  if (file) choose(file);
  else if (files.length) find("drop-text").textContent = "That is no picture; PNG, JPEG, WEBP and GIF are read";
}

find("file").addEventListener("change", ({ target }) => take(target.files));
document.addEventListener("paste", (event) => take(event.clipboardData.files));
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault(); // a picture that misses the field must not take the page's place
    find("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") take(event.dataTransfer.files);
  });
}

// What the model can do

function offerPolicies(names) {
  const choices = COMPARED.every((name) => names.includes(name)) ? [...names, "compare"] : names;
  for (const [task, form] of Object.entries(forms)) {
    const chosen = form.elements[`${task}-policy`]?.value ?? "flashu";
    const labels = choices.map((value) => {
      const box = make("input", { type: "radio", name: `${task}-policy`, value, checked: value === chosen, required: true });
      return make("label", {}, box, value === "compare" ? "compare" : value);
    });
    form.querySelector(".policies div").replaceChildren(...labels);
    explain(task);
  }
}

function explain(task) {
  find(`${task}-policy-words`).textContent = wordsOf(forms[task].elements[`${task}-policy`].value);
}

for (const task of Object.keys(forms)) forms[task].querySelector(".policies").addEventListener("change", () => explain(task));

function offer(model) {
  const fields = forms.draw.elements;
  offerPolicies(model.policies);
  offerExamples(examplesOf(model.id));
  const sizes = model.sizes.map((size, index) => new Option(size.replace("x", " × "), index ? size : ""));
  fields.size.replaceChildren(...sizes);
  fields.num_inference_steps.placeholder = model.num_inference_steps;
  fields.guidance_scale.placeholder = model.guidance_scale;
}

/** Chips that are sent with one click, and what the fields begin with. */
function offerExamples(examples) {
  const { prompt } = forms.draw.elements;
  const { question } = forms.ask.elements;
  for (const [field, first] of [[prompt, examples.draw[0]], [question, examples.ask[0]]]) {
    // What a user wrote stays.
    if (field.value === field.defaultValue) field.value = first;
    field.defaultValue = first;
  }
  chips(forms.draw, examples.draw, (text) => {
    prompt.value = text;
    forms.draw.requestSubmit();
  });
  chips(forms.ask, examples.ask, (text) => {
    question.value = text;
    forms.ask.requestSubmit();
  });
}

offerPolicies(COMPARED);
offerExamples(examplesOf(null));
connect(offer);
showcase.show(find("pictures"), find("draw-comparison"), askAbout);
