// The playground: draws and asks through the native routes, and shows where each request's time went.
// It knows the stream's events; it keeps nothing once the page is closed.

const find = (id) => document.getElementById(id);
const running = { draw: null, ask: null };
let picture = null; // the Blob that is asked about

function headers(extra = {}) {
  const key = find("key").value;
  return key ? { ...extra, Authorization: `Bearer ${key}` } : extra;
}

// Server-sent events of a POST, as {event, data}. EventSource can only GET.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  while (true) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value.replaceAll("\r\n", "\n");
    for (let end = buffer.indexOf("\n\n"); end >= 0; end = buffer.indexOf("\n\n")) {
      const lines = buffer.slice(0, end).split("\n");
      buffer = buffer.slice(end + 2);
      const field = (name) => lines.filter((line) => line.startsWith(`${name}:`))
        .map((line) => line.slice(name.length + 1).trimStart()).join("\n");
      if (field("data")) yield { event: field("event") || "message", data: JSON.parse(field("data")) };
    }
  }
}

async function stream(route, options, signal) {
  const response = await fetch(route, { method: "POST", signal, ...options });
  if (response.ok) return events(response);
  const body = await response.json().catch(() => null);
  throw new Error(body?.error?.message ?? `the server answered ${response.status}`);
}

function bars(table, timings) {
  table.replaceChildren();
  const parts = Object.entries(timings).filter(([name]) => !["total", "time_to_first_token"].includes(name));
  const most = Math.max(...parts.map(([, milliseconds]) => milliseconds), 1e-9);
  for (const [name, milliseconds] of parts) {
    const row = table.insertRow();
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = name.replaceAll("_", " ");
    const meter = document.createElement("meter");
    meter.max = most;
    meter.value = milliseconds;
    row.append(head);
    row.insertCell().append(meter);
    row.insertCell().textContent = `${milliseconds.toFixed(1)} ms`;
  }
}

function strip(element, kinds) {
  element.replaceChildren(...kinds.map((kind) => {
    const cell = document.createElement("span");
    cell.className = kind;
    cell.title = kind;
    return cell;
  }));
  const counts = ["full", "pruned", "reused"].map((kind) => `${kinds.filter((one) => one === kind).length} ${kind}`);
  element.ariaLabel = element.title = `${kinds.length} evaluations: ${counts.join(", ")}`;
}

function card(template, title, target) {
  const article = find(template).content.firstElementChild.cloneNode(true);
  article.querySelector("h3").textContent = title;
  article.dataset.policy = title;
  target.append(article);
  return Object.assign(article, { part: (name) => article.querySelector(name) });
}

function tell(article, text, bad = false) {
  const status = article.part(".status");
  status.textContent = text;
  status.classList.toggle("bad", bad);
}

function failed(article, error) {
  article.dataset.state = error.name === "AbortError" ? "cancelled" : "failed";
  tell(article, error.name === "AbortError" ? "cancelled" : error.message, error.name !== "AbortError");
}

function blobOf(part) {
  const bytes = Uint8Array.from(atob(part.b64_json), (character) => character.charCodeAt(0));
  return new Blob([bytes], { type: `image/${part.output_format ?? "png"}` });
}

function show(image, blob) {
  URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(blob);
}

async function draw(policy, body, signal) {
  const article = card("picture-template", policy, find("pictures"));
  const [image, bar, use] = [article.part(".picture"), article.part("progress"), article.part(".use")];
  let drawn = null;
  tell(article, "waiting");
  try {
    const asked = { ...body, acceleration: policy, stream: true };
    const options = { headers: headers({ "content-type": "application/json" }), body: JSON.stringify(asked) };
    for await (const { event, data } of await stream("v1/generate", options, signal)) {
      if (event === "progress") {
        bar.max = data.of;
        bar.value = data.evaluation;
        tell(article, `evaluation ${data.evaluation} of ${data.of}`);
      } else if (event === "partial_image" || event === "image") {
        drawn = blobOf(data);
        show(image, drawn);
        image.alt = event === "image" ? body.prompt : `${body.prompt}, unfinished`;
      } else if (event === "done") {
        bar.value = bar.max;
        bars(article.part(".bars"), data.timings_ms);
        strip(article.part(".strip"), data.evaluations ?? []);
        tell(article, `${data.timings_ms.total.toFixed(0)} ms, ${data.schedule.backbone_passes} backbone passes`);
        article.dataset.state = "done";
      } else if (event === "error") throw new Error(data.error.message);
    }
    use.hidden = false;
    use.onclick = () => {
      choose(drawn);
      find("question").focus();
    };
  } catch (error) {
    failed(article, error);
  }
}

async function ask(policy, question, signal) {
  const article = card("answer-template", policy, find("answers"));
  tell(article, "reading");
  try {
    const form = new FormData();
    form.append("question", question);
    form.append("acceleration", policy);
    form.append("stream", "true");
    form.append("image", picture, "picture");
    for await (const { event, data } of await stream("v1/vqa", { headers: headers(), body: form }, signal)) {
      if (event === "text") article.part(".answer").textContent += data.text;
      else if (event === "done") {
        bars(article.part(".bars"), data.timings_ms);
        tell(article, `${data.timings_ms.total.toFixed(0)} ms, ${data.usage.completion_tokens} tokens`);
        article.dataset.state = "done";
      } else if (event === "error") throw new Error(data.error.message);
    }
  } catch (error) {
    failed(article, error);
  }
}

function choose(blob) {
  picture = blob;
  const preview = find("preview");
  show(preview, blob);
  preview.alt = "the picture that is asked about";
  preview.hidden = false;
  find("drop-text").textContent = "Drop, paste or choose another";
}

// One policy after the other, so that neither slows the other down and their times can be compared.
async function run(name, results, work) {
  running[name]?.abort();
  const control = (running[name] = new AbortController());
  results.replaceChildren();
  find(`${name}-cancel`).disabled = false;
  const policies = [...document.querySelectorAll(`#${name}-policies input:checked`)].map((box) => box.value);
  for (const policy of policies.length ? policies : ["flashu"]) {
    if (!control.signal.aborted) await work(policy, control.signal);
  }
  if (running[name] === control) find(`${name}-cancel`).disabled = true;
}

find("draw").addEventListener("submit", (event) => {
  event.preventDefault();
  const number = (id) => (find(id).value === "" ? undefined : Number(find(id).value));
  const body = {
    prompt: find("prompt").value,
    seed: number("seed"),
    num_inference_steps: number("steps"),
    guidance_scale: number("guidance"),
    partial_images: number("partials"),
  };
  run("draw", find("pictures"), (policy, signal) => draw(policy, body, signal));
});

find("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (picture === null) {
    find("drop-text").textContent = "Choose a picture first: drop, paste, or pick a file";
    find("file").focus();
    return;
  }
  run("ask", find("answers"), (policy, signal) => ask(policy, find("question").value, signal));
});

for (const name of ["draw", "ask"]) find(`${name}-cancel`).addEventListener("click", () => running[name]?.abort());
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") for (const control of Object.values(running)) control?.abort();
});

find("file").addEventListener("change", (event) => event.target.files[0] && choose(event.target.files[0]));
const drop = find("drop");
for (const kind of ["dragover", "dragleave", "drop"]) {
  drop.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
    const file = kind === "drop" && [...event.dataTransfer.files].find((one) => one.type.startsWith("image/"));
    if (file) choose(file);
  });
}
document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
  if (file) choose(file);
});

function offer(policies) {
  for (const name of ["draw", "ask"]) {
    const boxes = policies.map((policy) => {
      const label = document.createElement("label");
      const box = document.createElement("input");
      Object.assign(box, { type: "checkbox", value: policy, checked: policy === "flashu" });
      label.append(box, policy);
      return label;
    });
    find(`${name}-policies`).replaceChildren(...boxes);
  }
}

async function meet() {
  try {
    const response = await fetch("v1/models", { headers: headers() });
    const body = await response.json();
    if (!response.ok) throw new Error(body.error.message);
    const [model] = body.data;
    find("model").textContent = `${model.id}, ${(model.parameters / 1e6).toFixed(1)} M parameters, ${model.dtype} on ${model.device}`;
    offer(model.policies);
  } catch (error) {
    find("model").textContent = error.message;
    setTimeout(meet, 2000);
  }
}

offer(["exact", "flashu"]);
meet();
