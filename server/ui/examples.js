// What a model is known to do well, by the name it has; other models get prompts that any of them can do.

const EXAMPLES = {
  "shapes-64": {
    draw: ["a large red circle left of a small blue square", "three green triangles", "a yellow star above a purple heart", "two blue circles and a red square"],
    ask: ["what is in the picture?", "how many things are there?", "what colour is it?", "is there a red circle?"],
  },
};
const ANY = {
  draw: ["a lighthouse on a cliff at dusk", "a bowl of oranges on a wooden table", "a red bicycle in front of a blue door", "a fox in the snow"],
  ask: ["what is in the picture?", "describe the picture in one sentence", "what colours do you see?", "how many things are there?"],
};

export function examplesOf(model) {
  return EXAMPLES[model] ?? ANY;
}

/** What each policy does, in a sentence. */
const POLICIES = {
  exact: "Every layer and every neuron at every step: the slowest, and what the others are compared with.",
  flashu: "The FlashU paper: pruned neurons, skipped layers and a reused head where the task does not need them.",
  "flashu-quality": "The same techniques, more gently: nearer to exact, and not quite as fast.",
  "flashu-fast": "The same techniques, harder: the fastest, and pictures may show it.",
  compare: "First exact, then flashu, with the same seed: the pictures and the times side by side.",
};

export function wordsOf(policy) {
  return POLICIES[policy] ?? "";
}
