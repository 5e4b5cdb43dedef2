// What the page opens with: one prompt drawn by two policies, recorded earlier and marked so.

import { addFrames, Card, components, count, milliseconds, showPicture, showSchedule } from "./cards.js";

/** Shows the recording; returns whether there is one. */
export async function show(results, comparison, choose) {
  const response = await fetch("showcase.json");
  if (!response.ok || results.childElementCount) return false;
  const recorded = await response.json();
  const cards = recorded.runs.map((run) => {
    const card = new Card(run.policy, results);
    const [frame] = addFrames(card, 1);
    showPicture(frame, { b64_json: run.image, seed: recorded.seed }, recorded.prompt, choose);
    showSchedule(card, run.evaluations);
    card.record(run.timings_ms);
    return card;
  });
  const most = Math.max(...cards.flatMap((card) => components(card.timings).map(([, value]) => value)));
  for (const card of cards) card.drawBars(most);
  comparison.textContent = sentence(recorded);
  return true;
}

function sentence({ prompt, model, processor, date, runs }) {
  const [slow, fast] = runs;
  const of = (kind) => fast.evaluations.filter((step) => step.backbone === kind).length;
  const times = (slow.timings_ms.total / fast.timings_ms.total).toFixed(1);
  return (
    `“${prompt}”, the same seed twice. ${slow.policy} ran the whole network ${count(slow.evaluations.length, "time")}; ` +
    `${fast.policy} needed ${count(of("full"), "whole run")} (blue), ${count(of("pruned"), "run")} without the neurons that ` +
    `pictures do not use (green), and reused earlier work ${count(of("not_needed"), "time")} (empty): ${times} times as fast, ` +
    `${milliseconds(fast.timings_ms.total)} instead of ${milliseconds(slow.timings_ms.total)}. ` +
    `Recorded with ${model} on ${processor}, ${date}.`
  );
}
