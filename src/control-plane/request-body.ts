import type { IncomingMessage } from 'node:http';
import * as v from 'valibot';
import type { ShapeLimits } from './json-shape.ts';
import { isWithinShape } from './json-shape.ts';
import { Refusal } from './refusals.ts';

export interface BodyLimits {
  readonly bytes: number;
  /** For bodies that are large: what they may become. */
  readonly shape?: ShapeLimits;
}

/** The body of a request against a schema; throws `Refusal`. Reads at most so many bytes, never unpacks anything. */
export async function readBody<S extends v.GenericSchema>(
  request: IncomingMessage,
  schema: S,
  { bytes: maxBytes, shape }: BodyLimits,
): Promise<v.InferOutput<S>> {
  const { 'content-type': type = 'application/json', 'content-encoding': encoding = 'identity' } = request.headers;
  if (!/^application\/json(?:\s*;|$)/i.test(type))
    throw new Refusal('unsupported_media_type', 'Expected application/json');
  if (encoding !== 'identity') throw new Refusal('unsupported_media_type', 'Expected no content encoding');
  const body = await readAll(request, maxBytes);
  if (shape !== undefined && !isWithinShape(body, shape)) {
    const { levels, containers } = shape;
    throw new Refusal('bad_request', `Expected at most ${levels} levels and ${containers} lists and mappings`);
  }
  const parsed = v.safeParse(schema, parse(body), { abortEarly: true });
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  // The path and what was expected there; never what was sent.
  throw new Refusal('bad_request', `Expected ${issue.expected ?? issue.type} at '${v.getDotPath(issue) ?? ''}'`);
}

async function readAll(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const tooLarge = () =>
    new Refusal('too_large', `Expected at most ${maxBytes} bytes`, { headers: { connection: 'close' } });
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) throw tooLarge();
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length > maxBytes) throw tooLarge();
      chunks.push(chunk);
    }
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal('aborted', `Expected ${request.headers['content-length'] ?? 'more'} bytes`, { cause: error });
  }
  return Buffer.concat(chunks);
}

function parse(bytes: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    // The message of JSON.parse quotes the text.
    throw new Refusal('bad_json', 'Expected JSON in UTF-8', { cause: error });
  }
}
