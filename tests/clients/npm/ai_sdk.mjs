// What Vercel's AI SDK makes of the server's answers: `node ai_sdk.mjs BASE_URL MODEL DATA_URL`, one JSON object.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateImage, generateText, streamText } from "ai";

const [baseURL, model, picture] = process.argv.slice(2);
const openai = createOpenAI({ baseURL, apiKey: "none" });
const compatible = createOpenAICompatible({ name: "flashu", baseURL, includeUsage: true });
const looking = [{
  role: "user",
  content: [{ type: "text", text: "What colour is the square?" }, { type: "image", image: picture }],
}];

async function tried(chosen) {
  const told = await generateText({ model: chosen, messages: looking, maxRetries: 0 });
  const stream = streamText({ model: chosen, prompt: "what is red?", maxRetries: 0, onError: ({ error }) => { throw error; } });
  let streamed = "";
  for await (const piece of stream.textStream) streamed += piece;
  return { answer: told.text, streamed, usage: (await stream.usage).outputTokens, finish: await stream.finishReason };
}

const found = {
  responses: await tried(openai(model)), // its default
  chat: await tried(openai.chat(model)),
  completion: (await generateText({ model: openai.completion(model), prompt: "what is red?", maxRetries: 0 })).text,
  compatible: await tried(compatible(model)),
};

const drawn = await generateImage({ model: openai.image(model), prompt: "a red circle", maxRetries: 0 });
found.picture = drawn.image.base64;
const again = await generateImage({ model: compatible.imageModel(model), prompt: "a red circle", maxRetries: 0 });
found.compatiblePicture = again.image.base64;

const called = await generateText({
  model: openai(model), prompt: "a red circle", maxRetries: 0,
  tools: { image_generation: openai.tools.imageGeneration({ outputFormat: "png" }) },
});
found.called = called.staticToolResults.map((one) => one.output.result);
console.log(JSON.stringify(found));
