// The pictures of this visit, newest first: each can be kept, downloaded, opened again, or made by a program instead.

import { make } from "./cards.js";

const MAX_LOOSE = 24; // pictures that are not kept
const find = (id) => document.getElementById(id);
const list = find("gallery").querySelector("ul");

/**
 * Adds a picture.
 * @param blob its file
 * @param request the body that made it, `seed` and `acceleration` included
 * @param milliseconds what it took
 * @param open called when its picture is chosen
 * @param needsKey whether the server wanted a key
 */
export function add(blob, request, milliseconds, open, needsKey) {
  const item = find("kept").content.firstElementChild.cloneNode(true);
  const address = URL.createObjectURL(blob);
  const part = (selector) => item.querySelector(selector);
  part("img").src = address;
  part("img").alt = `open again: ${request.prompt}`;
  part(".words").textContent = request.prompt;
  part(".about").textContent = `${request.acceleration}, seed ${request.seed}, ${milliseconds}`;
  part(".open").addEventListener("click", open);
  part(".keep").addEventListener("click", ({ target }) => {
    const kept = target.ariaPressed !== "true";
    target.ariaPressed = String(kept);
    target.textContent = kept ? "Kept" : "Keep";
    item.classList.toggle("is-kept", kept);
  });
  Object.assign(part(".download"), { href: address, download: fileName(request) });
  part(".curl").addEventListener("click", ({ target }) => copy(target, curl(request, needsKey())));
  part(".python").addEventListener("click", ({ target }) => copy(target, python(request, needsKey())));
  list.prepend(item);
  find("gallery").hidden = false;
  for (const old of [...list.querySelectorAll("li:not(.is-kept)")].slice(MAX_LOOSE)) {
    URL.revokeObjectURL(old.querySelector("img").src);
    old.remove();
  }
}

function fileName({ prompt, seed }) {
  const words = prompt.normalize("NFKD").replaceAll(/[^A-Za-z0-9]+/g, "-").replaceAll(/^-|-$/g, "").slice(0, 60);
  return `${words || "picture"}-${seed}.png`;
}

async function copy(button, text) {
  try {
    await navigator.clipboard.writeText(text);
    const words = button.textContent;
    button.textContent = "copied";
    setTimeout(() => (button.textContent = words), 1500);
  } catch {
    // Only pages of a secure origin may write the clipboard.
    const dialog = find("code");
    const area = dialog.querySelector("textarea");
    area.value = text;
    dialog.showModal();
    area.select();
  }
}

const address = () => new URL("v1/generate", location.href).href;
const body = (request) => JSON.stringify({ ...request, response_format: "binary" });
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curl(request, needsKey) {
  const lines = [`curl ${quoted(address())}`, "-H 'Content-Type: application/json'"];
  if (needsKey) lines.push('-H "Authorization: Bearer $FLASHU_API_KEY"');
  lines.push(`-d ${quoted(body(request))}`, `--output ${quoted(fileName(request))}`);
  return `${lines.join(" \\\n  ")}\n`;
}

function python(request, needsKey) {
  // A JSON text of strings and numbers is a Python expression too.
  const headers = needsKey ? ', headers={"Authorization": f"Bearer {os.environ[\'FLASHU_API_KEY\']}"}' : "";
  return [
    ...(needsKey ? ["import os", ""] : []),
    "import httpx",
    "",
    `response = httpx.post(${JSON.stringify(address())}, json=${body(request)}${headers}, timeout=300)`,
    "response.raise_for_status()",
    `with open(${JSON.stringify(fileName(request))}, "wb") as file:`,
    "    file.write(response.content)",
    "",
  ].join("\n");
}

/** Buttons that fill a field with an example. */
export function chips(form, examples, choose) {
  const buttons = examples.map((text) => {
    const button = make("button", { type: "button", className: "chip", textContent: text });
    button.addEventListener("click", () => choose(text));
    return button;
  });
  form.querySelector(".chips").replaceChildren(...buttons);
}
