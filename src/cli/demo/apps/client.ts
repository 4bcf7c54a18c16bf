/**
 * An ordinary client: asks each URL in turn, one every EVERY_MS milliseconds. It knows nothing of a mesh.
 *
 *   node client.ts TEXT EVERY_MS URL...
 *
 * `http:` and `https:` ask over new connections and over one that is kept; `h2:` speaks HTTP/2 over TLS; `tcp:` keeps one
 * connection to an echo server open from beginning to end. Everything that is sent carries TEXT, and an answer counts when
 * it does too. Prints what happened so far as a line of JSON, twice a second and once more when SIGTERM has ended it.
 */
import { createAsker } from './ask.ts';

interface Target {
  readonly url: string;
  sent: number;
  ok: number;
  /** What was seen instead of an answer. */
  readonly saw: Record<string, number>;
}

const reportEveryMs = 500;
const [text = '', everyMs, ...urls] = process.argv.slice(2);

const asked = urls.map((url) => {
  const target: Target = { url, sent: 0, ok: 0, saw: {} };
  const asker = createAsker(url, () => {
    target.sent += 1;
    notAnswered(target, 'CLOSED');
  });
  return { target, asker };
});
const pending = new Set<Promise<void>>();
let turn = 0;

function notAnswered({ saw }: Target, what: string): void {
  saw[what] = (saw[what] ?? 0) + 1;
}

async function askOnce({ target, asker }: (typeof asked)[number]): Promise<void> {
  target.sent += 1;
  try {
    const answer = await asker.ask(text);
    if (answer.includes(text)) target.ok += 1;
    else notAnswered(target, 'another answer');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    notAnswered(target, code ?? message);
  }
}

function report(isDone: boolean): string {
  return `${JSON.stringify({ targets: asked.map(({ target }) => target), isDone })}\n`;
}

const asking = setInterval(() => {
  const next = asked[turn++ % asked.length];
  if (next === undefined) return;
  const request = askOnce(next).finally(() => pending.delete(request));
  pending.add(request);
}, Number(everyMs));
const reporting = setInterval(() => process.stdout.write(report(false)), reportEveryMs);

process.once('SIGTERM', async () => {
  clearInterval(asking);
  clearInterval(reporting);
  await Promise.allSettled(pending);
  for (const { asker } of asked) asker.close();
  process.stdout.write(report(true), () => process.exit(0));
});
