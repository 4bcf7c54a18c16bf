import { Client } from 'undici';
import * as v from 'valibot';
import { formatAddress } from '../../addresses.ts';
import { adminPaths } from '../../admin-api.ts';
import type { Clock } from '../../clock.ts';
import type { AdminListener } from '../../config/address-kinds.ts';
import { codeOf, FailureError, messageOf, PermissionError, UnavailableError, UsageError } from '../../errors.ts';
import { printable } from '../../printable.ts';

/** Deadline of one question and its whole answer; milliseconds. */
export const adminTimeoutMs = 5000;
/** A page with as many roots and peers as a sidecar keeps is smaller. */
export const maxPageBytes = 16 * 1024 * 1024;

export interface Answer<Page> {
  readonly page: Page;
  /** All that the agent said, also what this program knows nothing of. */
  readonly json: unknown;
}

/**
 * Asks an agent for one of its pages. Throws `UnavailableError` when no agent answers there, `PermissionError` for a
 * socket of somebody else, `FailureError` when the agent has no certificate yet, with what it says of that, and `UsageError`
 * with what it says of a question that it cannot understand.
 */
export async function askForPage<Schema extends v.GenericSchema>(
  clock: Clock,
  listener: AdminListener,
  path: string,
  schema: Schema,
  timeoutMs: number = adminTimeoutMs,
): Promise<Answer<v.InferOutput<Schema>>> {
  const where = listener.kind === 'tcp' ? formatAddress(listener.address) : listener.path;
  const { status, text } = await ask(clock, listener, where, path, timeoutMs);
  if (status === 400) throw new UsageError(printable(text));
  if (status === 503) {
    const ready = await ask(clock, listener, where, adminPaths.ready, timeoutMs);
    throw new FailureError(`The agent at ${where} has no certificate yet: ${whyNotYet(ready.text)}`);
  }
  if (status !== 200) throw new UnavailableError(`${where} answers ${status}, expected the admin page of an agent`);
  return parsePage(where, text, schema);
}

function parsePage<Schema extends v.GenericSchema>(
  where: string,
  text: string,
  schema: Schema,
): Answer<v.InferOutput<Schema>> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new UnavailableError(`What answers at ${where} is not the admin page of an agent: it is not JSON`);
  }
  const parsed = v.safeParse(schema, json);
  if (parsed.success) return { page: parsed.output, json };
  const at = v.getDotPath(parsed.issues[0]) ?? 'its beginning';
  throw new UnavailableError(
    `What answers at ${where} is not the admin page of an agent of this version: it differs at ${printable(at)}`,
  );
}

/** The line of the gate that waits for the first certificate. */
function whyNotYet(ready: string): string {
  const line = ready.split('\n').find((one) => one.startsWith('identity: '));
  return printable(line?.slice('identity: '.length) ?? 'it does not say why');
}

async function ask(clock: Clock, listener: AdminListener, where: string, path: string, timeoutMs: number) {
  const tooLate = new AbortController();
  const timer = clock.after(timeoutMs, () => tooLate.abort());
  const origin = listener.kind === 'tcp' ? `http://${where}` : 'http://localhost';
  const client = new Client(origin, listener.kind === 'tcp' ? {} : { connect: { socketPath: listener.path } });
  try {
    const { statusCode, body } = await client.request({ method: 'GET', path, signal: tooLate.signal });
    return { status: statusCode, text: await textOf(body, where) };
  } catch (error) {
    if (tooLate.signal.aborted)
      throw new UnavailableError(`The agent at ${where} did not answer within ${timeoutMs} ms`);
    throw failureOf(error, where);
  } finally {
    timer.cancel();
    await client.destroy();
  }
}

function failureOf(error: unknown, where: string): Error {
  if (error instanceof UnavailableError) return error;
  const code = codeOf(error);
  if (code === 'EACCES')
    return new PermissionError(`The socket ${where} is another user's, expected to run as the user of the agent`);
  const why = code === 'ECONNREFUSED' || code === 'ENOENT' ? 'nothing listens there' : code || messageOf(error);
  return new UnavailableError(`No agent answers at ${where}: ${why}`);
}

async function textOf(
  body: AsyncIterable<Uint8Array> & { on(event: 'error', listener: () => void): unknown },
  where: string,
) {
  // Leaving a body before its end is an error event to undici.
  body.on('error', () => undefined);
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body) {
    length += chunk.length;
    if (length > maxPageBytes)
      throw new UnavailableError(`What answers at ${where} is not the admin page of an agent: it is too large`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
