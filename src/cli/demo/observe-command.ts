import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { systemClock } from '../../clock.ts';
import { parseJson } from '../../control-api.ts';
import { exitCodes, messageOf } from '../../errors.ts';
import type { Host } from '../../host.ts';
import { captureLink } from '../../libc.ts';
import { readFrame } from './frames.ts';
import type { ObserverAnswer, ObserverQuestion } from './observer-api.ts';
import { observerQuestion, observerSettings, observing } from './observer-api.ts';
import type { PageReader } from './scrape.ts';
import { createPageReader } from './scrape.ts';
import type { WireTotals } from './wire-count.ts';
import { createWireCount } from './wire-count.ts';

/** How long frames may wait in the socket's buffer. */
const drainIntervalMs = 20;

/**
 * Runs inside the network namespace of the link: captures every frame on it, and reads pages of the pods. Speaks
 * observer-api.ts over standard input and output, and ends with its input.
 */
export async function observe(host: Host, settingsText: string): Promise<number> {
  const settings = parseJson(observerSettings, settingsText);
  const count = createWireCount(settings);
  const capture = captureLink(Number(readFileSync(`/sys/class/net/${settings.interfaceName}/ifindex`, 'utf8')));
  const drain = () => {
    for (const frame of capture.drain()) count.see(readFrame(frame));
  };
  const drainRegularly = () => {
    drain();
    systemClock.after(drainIntervalMs, drainRegularly);
  };
  const totals = () => {
    drain();
    return count.totals();
  };
  const pages = createPageReader();
  const reply = (answer: ObserverAnswer) => host.stdout.write(`${JSON.stringify(answer)}\n`);

  drainRegularly();
  host.stdout.write(`${observing}\n`);
  for await (const line of createInterface({ input: host.stdin })) {
    void answerTo(parseJson(observerQuestion, line), totals, pages).then(reply);
  }
  capture.close();
  await pages.close();
  return exitCodes.ok;
}

async function answerTo(
  question: ObserverQuestion,
  totals: () => WireTotals,
  pages: PageReader,
): Promise<ObserverAnswer> {
  const { id } = question;
  try {
    if (question.ask === 'wire') return { answer: 'wire', id, ...totals() };
    return { answer: 'page', id, ...(await pages.read(question.url)) };
  } catch (error) {
    return { answer: 'problem', id, why: messageOf(error) };
  }
}
