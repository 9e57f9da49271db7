// The openai package of npm against a gateway: npm install openai; BASE_URL=… API_KEY=… node node_client.mjs
// The gateway has the scripted backend with the call of get_weather that run.py scripts.
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: process.env.API_KEY, maxRetries: 0 });
const messages = [{ role: "user", content: "The lighthouse belongs to Marta Veil.\n\nWho owns the lighthouse?" }];
const tools = [{ type: "function", function: { name: "get_weather", parameters: { type: "object" } } }];
const model = "any";

async function streamed() {
  const stream = await client.chat.completions.create({
    model, messages, stream: true, stream_options: { include_usage: true }, n: 2, logprobs: true,
  });
  const texts = ["", ""], reasons = [];
  let usage;
  for await (const chunk of stream) {
    for (const choice of chunk.choices) {
      texts[choice.index] += choice.delta.content ?? "";
      if (choice.finish_reason) reasons.push(choice.finish_reason);
    }
    usage = chunk.usage ?? usage;
  }
  assert.deepEqual(reasons, ["stop", "stop"]);
  assert.ok(texts.every((text) => text.includes("Marta Veil")));
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
}

async function helped() {
  const runner = client.chat.completions.stream({ model, messages });
  let seen = "";
  runner.on("content", (delta) => { seen += delta; });
  assert.equal(await runner.finalContent(), seen);
}

async function toolCalls() {
  const runner = client.chat.completions.stream({ model, messages, tools });
  const [call] = (await runner.finalMessage()).tool_calls;
  assert.deepEqual(JSON.parse(call.function.arguments), { location: "San Francisco, CA" });
}

async function parsed() {
  const schema = { type: "object", properties: { owner: { type: "string" } }, required: ["owner"] };
  const answer = await client.chat.completions.create({
    model, messages, response_format: { type: "json_schema", json_schema: { name: "owner", schema } },
  });
  assert.equal(typeof JSON.parse(answer.choices[0].message.content).owner, "string");
}

async function responses() {
  const stream = await client.responses.create({ model, input: messages, stream: true });
  let text = "", last;
  for await (const event of stream) {
    if (event.type === "response.output_text.delta") text += event.delta;
    last = event;
  }
  assert.equal(last.type, "response.completed");
  assert.ok(text.includes("Marta Veil"));
  const helper = client.responses.stream({ model, input: messages });
  assert.equal((await helper.finalResponse()).output_text, text);
}

async function completions() {
  let text = "";
  for await (const chunk of await client.completions.create({ model, prompt: "Hello.", stream: true })) {
    text += chunk.choices[0]?.text ?? "";
  }
  assert.ok(text);
}

async function embeddings() {
  const base64 = await client.embeddings.create({ model, input: ["one", "two"] });
  const floats = await client.embeddings.create({ model, input: "one", encoding_format: "float", dimensions: 8 });
  assert.equal(base64.data.length, 2);
  assert.equal(floats.data[0].embedding.length, 8);
}

async function models() {
  const [first] = (await client.models.list()).data;
  assert.equal((await client.models.retrieve(first.id)).id, first.id);
}

async function left() {
  const stream = await client.chat.completions.create({ model, messages, stream: true });
  for await (const _ of stream) break;
  assert.ok(stream.controller.signal.aborted);
}

async function refused() {
  const bad = client.chat.completions.create({ model, messages, n: 0 });
  await assert.rejects(bad, (error) => error instanceof OpenAI.BadRequestError && error.param === "n");
  const stranger = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: "wrong", maxRetries: 0 });
  await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
}

const tries = [
  streamed, helped, toolCalls, parsed, responses, completions, embeddings, models, left, refused,
];
for (const attempt of tries) {
  await attempt();
  console.log("ok", attempt.name);
}
