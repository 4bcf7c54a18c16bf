import { expect, it } from 'vitest';
import { parseReply } from '../../../src/agent/reply.ts';
import { parseStreamLine } from '../../../src/agent/stream-message.ts';
import { certificateReply } from '../../../src/control-api.ts';

const line = (data: string) => `{"topic":"trust-bundles","epoch":"e","version":1,"data":${data}}`;
const reply = (bundles: string) => `{"certificateChain":"","trustBundles":${bundles},"serverTime":""}`;

it.each(['{"a.example":"PEM","a.example":"PEM"}', '{"a.example":"PEM","\\u0061.example":"other"}'])(
  'B12: bundles that name a trust domain twice are bad_json, in a line and in a reply: %s',
  (twice) => {
    expect(() => parseStreamLine(line(twice))).toThrow(expect.objectContaining({ reason: 'bad_json' }));
    expect(() => parseReply(certificateReply, reply(twice))).toThrow(expect.objectContaining({ reason: 'bad_json' }));
  },
);

it('B12: bundles of two trust domains are one set', () => {
  const two = '{"a.example":"PEM a","b.example":"PEM b"}';
  expect(parseStreamLine(line(two))).toMatchObject({ message: { data: JSON.parse(two) } });
  expect(parseReply(certificateReply, reply(two)).trustBundles).toEqual(JSON.parse(two));
});

it.each([
  { from: [] },
  { from: [{ principals: [] }] },
  { from: [{ notIpBlocks: [] }] },
  { to: [] },
  { to: [{ notPorts: [] }] },
  { when: [] },
  { when: [{ key: 'source.ip', values: [] }] },
])('a policy with a list that is empty is not understood, since it could mean everybody or nobody: %j', (rule) => {
  const policy = (one: object) => {
    const authorization = [{ name: 'shop/web', action: 'DENY', rules: [one] }];
    return JSON.stringify({ topic: 'policy', epoch: 'e', version: 1, data: { mode: 'STRICT', authorization } });
  };
  expect(parseStreamLine(policy(rule)).kind).toBe('unknown_policy');
  expect(parseStreamLine(policy({ from: [{}], to: [{}] })).kind).toBe('message');
});
