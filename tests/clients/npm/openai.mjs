// What OpenAI's client for npm makes of the server's answers: `node openai.mjs BASE_URL MODEL DATA_URL`, one JSON object.
import OpenAI from "openai";

const [baseURL, model, picture] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
const found = {};

found.models = (await client.models.list()).data.map((one) => one.id);

const looking = (text) => ({
  role: "user",
  content: [{ type: "text", text }, { type: "image_url", image_url: { url: picture, detail: "auto" } }],
});
const asked = "What colour is the square?";
const said = await client.chat.completions.create({ model, messages: [looking(asked)], n: 1, tools: [], user: "u" });
found.answer = said.choices[0].message.content;

const chunks = await client.chat.completions.create({
  model, messages: [looking(asked)], stream: true, stream_options: { include_usage: true },
});
found.streamed = "";
for await (const chunk of chunks) {
  found.streamed += chunk.choices[0]?.delta?.content ?? "";
  found.usage = chunk.usage ?? found.usage;
}

const helper = client.chat.completions.stream({ model, messages: [{ role: "user", content: "what is red?" }] });
found.helper = await helper.finalContent();

const drawn = await client.images.generate({ model, prompt: "a red circle", n: 1, response_format: "b64_json" });
found.picture = drawn.data[0].b64_json;

const response = await client.responses.create({
  model,
  input: [{
    role: "user",
    content: [{ type: "input_text", text: asked }, { type: "input_image", image_url: picture, detail: "auto" }],
  }],
});
found.response = response.output_text;

const events = client.responses.stream({ model, input: "a red circle", tools: [{ type: "image_generation" }] });
found.events = [];
for await (const event of events) found.events.push(event.type);
found.called = (await events.finalResponse()).output.map((item) => item.type);

const completion = await client.completions.create({ model, prompt: "what is red?", max_tokens: 8 });
found.completion = completion.choices[0].text;

try {
  await client.chat.completions.create({
    model, messages: [{ role: "user", content: "what is red?" }], response_format: { type: "json_object" },
  });
} catch (error) {
  found.refused = { status: error.status, param: error.param, code: error.code };
}
console.log(JSON.stringify(found));
