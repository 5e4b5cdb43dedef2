// Talking to the server: a request with its key, the events of a streamed answer, and the one error body. It knows
// nothing of the page.

/** An error of the server's: its one body, the status, and the seconds to wait where it names them. */
export class Refusal extends Error {
  constructor(error, status = null, wait = null) {
    super(error.message);
    Object.assign(this, { param: error.param, code: error.code, status, wait });
  }

  get detail() {
    const parts = [this.status, this.code, this.param && `param ${this.param}`, this.wait && `try again in ${this.wait} s`];
    return parts.filter(Boolean).join(" · ");
  }
}

/**
 * The response to a request with that key, if any; throws a `Refusal` where the server has said no. The window hears of a
 * server that cannot be reached, and of one that wants a key.
 */
export async function call(route, key, options = {}) {
  const headers = key ? { ...options.headers, Authorization: `Bearer ${key}` } : options.headers;
  let response;
  try {
    response = await fetch(route, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    dispatchEvent(new Event("server-lost"));
    throw new Error("the server cannot be reached");
  }
  if (response.ok) return response;
  if (response.status === 401) dispatchEvent(new CustomEvent("key-wanted", { detail: { refused: Boolean(key) } }));
  const body = await response.json().catch(() => null);
  const failure = body?.error ?? { message: `the server answered ${response.status} without saying why` };
  throw new Refusal(failure, response.status, response.headers.get("Retry-After"));
}

/** The events of a POST, as [name, data], up to `done`; EventSource can only GET. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    while (true) {
      const { value, done } = await read(reader);
      if (done) throw new Error("the connection ended before the work was done");
      text += value;
      for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
        const lines = text.slice(0, end).split("\n");
        text = text.slice(end + 2);
        const field = (name) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
        if (!field("data")) continue; // a comment that keeps the connection
        const [name, data] = [field("event"), JSON.parse(field("data"))];
        if (name === "error") throw new Refusal(data.error);
        yield [name, data];
        if (name === "done") return;
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // it may have failed already, which was reported
  }
}

async function read(reader) {
  try {
    return await reader.read();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    dispatchEvent(new Event("server-lost"));
    throw new Error("the server went away before the work was done");
  }
}
