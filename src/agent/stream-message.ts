import * as v from 'valibot';
import type { PolicyPart, StreamMessage } from '../control-api.ts';
import { policyPart, streamMessage } from '../control-api.ts';
import { RenewalError } from '../errors.ts';
import { repeatedKey } from '../repeated-key.ts';
import { differenceOf } from './schema-difference.ts';

/** What a line of the stream says. */
export type StreamLine =
  | { readonly kind: 'message'; readonly message: StreamMessage }
  | { readonly kind: 'policy_part'; readonly part: PolicyPart }
  /** A topic of a newer control plane. */
  | { readonly kind: 'unknown_topic'; readonly topic: string }
  /** A policy that this sidecar does not understand, so that it cannot be enforced either. */
  | { readonly kind: 'unknown_policy'; readonly why: string };

const anyTopic = v.object({ topic: v.pipe(v.string(), v.maxLength(64)), part: v.optional(v.unknown()) });
const knownTopics: readonly string[] = streamMessage.options.map(({ entries }) => entries.topic.literal);

/** Parses one line. Throws `RenewalError('bad_json')`, which tells where it is wrong and nothing of its content. */
export function parseStreamLine(line: string): StreamLine {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new RenewalError('bad_json', "A line of the control plane's stream is not JSON");
  }
  const named = v.safeParse(anyTopic, value);
  if (!named.success) throw new RenewalError('bad_json', "A line of the control plane's stream has no topic");
  const { topic, part } = named.output;
  if (!knownTopics.includes(topic)) return { kind: 'unknown_topic', topic };
  if (topic === 'trust-bundles' && repeatedKey(line, 'data') !== undefined)
    throw new RenewalError('bad_json', 'A line of the topic trust-bundles names a trust domain twice');
  if (topic === 'policy' && part !== undefined) return readPart(value);
  const result = v.safeParse(streamMessage, value);
  if (result.success) return { kind: 'message', message: result.output };
  const why = differenceOf(result.issues[0]);
  if (topic === 'policy') return { kind: 'unknown_policy', why };
  throw new RenewalError('bad_json', `A line of the topic ${topic} has a wrong form: ${why}`);
}

function readPart(value: unknown): StreamLine {
  const result = v.safeParse(policyPart, value);
  if (result.success) return { kind: 'policy_part', part: result.output };
  return { kind: 'unknown_policy', why: differenceOf(result.issues[0]) };
}
