import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createPolicyParts } from '../../../../src/agent/policy-parts.ts';
import { parseStreamLine } from '../../../../src/agent/stream-message.ts';
import type { AuthorizationPolicy, PolicyState } from '../../../../src/control-api.ts';
import { maxPolicyBytes, maxPolicyLineBytes } from '../../../../src/control-api.ts';
import { createPolicyPrinter } from '../../../../src/control-plane/policy/printed-policy.ts';

const head = '{"topic":"policy","epoch":"a","version":1';
const deny = (name: string, text: string): AuthorizationPolicy => ({
  name,
  action: 'DENY',
  rules: [{ from: [{ principals: [text] }] }],
});

function linesOf(policy: PolicyState, maxBytes?: number): readonly string[] {
  return [...createPolicyPrinter(maxBytes).print(policy).fields()].map((fields) => `${head}${fields}}`);
}

/** What a sidecar makes of them. */
function received(lines: readonly string[]): PolicyState | undefined {
  const parts = createPolicyParts();
  let policy: PolicyState | undefined;
  for (const text of lines) {
    expect(policy).toBeUndefined();
    const line = parseStreamLine(text);
    if (line.kind === 'message' && line.message.topic === 'policy') policy = line.message.data;
    if (line.kind !== 'policy_part') continue;
    const outcome = parts.add(line.part);
    expect(outcome.kind).not.toBe('refused');
    if (outcome.kind === 'complete') policy = outcome.policy;
  }
  return policy;
}

describe('a policy', () => {
  it('is told as it is, in lines that a sidecar reads, whatever is in it', () => {
    const text = fc
      .tuple(fc.string({ unit: 'binary', maxLength: 30 }), fc.integer({ min: 1, max: 9000 }))
      .map(([piece, times]) => piece.repeat(times));
    const policies = fc
      .array(text, { maxLength: 6 })
      .map((texts) => texts.map((one, index) => deny(`shop/${index}`, one)));
    fc.assert(
      fc.property(policies, (authorization) => {
        const policy: PolicyState = { mode: 'STRICT', ...(authorization.length > 0 && { authorization }) };
        const lines = linesOf(policy);
        expect(Math.max(...lines.map((line) => Buffer.byteLength(line)))).toBeLessThan(maxPolicyLineBytes);
        expect(received(lines)).toEqual(policy);
        expect(createPolicyPrinter().print(policy).lineCount).toBe(lines.length);
      }),
      { numRuns: 60 },
    );
  });

  it('is one line while it fits into one', () => {
    const policy: PolicyState = { mode: 'STRICT', authorization: [deny('shop/a', 'x'.repeat(190_000))] };
    expect(linesOf(policy)).toEqual([`${head},"data":${JSON.stringify(policy)}}`]);
    expect(linesOf({ mode: 'STRICT', authorization: [deny('shop/a', 'x'.repeat(maxPolicyLineBytes))] })).toHaveLength(
      4,
    );
  });

  it('has another digest when anything of it is another', () => {
    const [a, b] = [deny('shop/a', 'x'), deny('shop/b', 'y')];
    const states: PolicyState[] = [
      { mode: 'STRICT' },
      { mode: 'PERMISSIVE' },
      { mode: 'STRICT', authorization: [a] },
      { mode: 'STRICT', authorization: [a, b] },
      { mode: 'STRICT', authorization: [b, a] },
      { mode: 'STRICT', registered: [{ cidr: '10.0.0.0/8', ports: [] }] },
    ];
    const printer = createPolicyPrinter();
    const digests = states.map((state) => printer.print(state).digest);
    expect(new Set(digests).size).toBe(states.length);
    expect(createPolicyPrinter().print(structuredClone(states[3]!)).digest).toBe(digests[3]);
  });

  it('of more bytes than a sidecar takes denies everything instead, and says why; its modes stay', () => {
    const ports = [{ port: 80, mode: 'STRICT', setBy: 'shop/p' }] as const;
    const policy: PolicyState = {
      mode: 'DISABLE',
      ports: [...ports],
      authorization: [deny('shop/a', 'x'.repeat(1000))],
    };
    const bytes = Buffer.byteLength(JSON.stringify(policy));
    expect(received(linesOf(policy, bytes))).toEqual(policy);
    expect(received(linesOf(policy, 500))).toEqual({
      mode: 'DISABLE',
      ports,
      authorization: [
        {
          name: 'remora/policy-too-large',
          action: 'DENY',
          problem: expect.stringMatching(/^The policy of this workload has 1\d\d\d bytes and may have 500; /),
          rules: [],
        },
      ],
    });
  });

  it('is refused by a sidecar beyond that maximum, whatever a control plane says', () => {
    const parts = createPolicyParts(100);
    const part = { topic: 'policy', epoch: 'a', version: 1, of: 2 } as const;
    expect(parts.add({ ...part, part: 1, text: 'x'.repeat(60) }).kind).toBe('incomplete');
    expect(parts.add({ ...part, part: 2, text: 'x'.repeat(41) })).toEqual({
      kind: 'refused',
      why: 'it is longer than 100 bytes',
    });
    expect(maxPolicyBytes).toBeGreaterThan(1_000_000);
  });
});

describe('printing beforehand', () => {
  const policies = Array.from({ length: 40 }, (_, index) => deny(`shop/${index}`, 'x'.repeat(100_000)));

  it('lets other things go on meanwhile', async () => {
    const printer = createPolicyPrinter();
    let turns = 0;
    const counting = setInterval(() => {
      turns += 1;
    }, 0);
    const immediate = () => {
      turns += 1;
      if (!isDone) setImmediate(immediate);
    };
    let isDone = false;
    setImmediate(immediate);
    await new Promise<void>((resolve) =>
      printer.prepare(policies, () => {
        isDone = true;
        resolve();
      }),
    );
    clearInterval(counting);
    expect(turns).toBeGreaterThan(5);
  });

  it('is over at once where little or nothing is new', async () => {
    const printer = createPolicyPrinter();
    let done = 0;
    const count = () => {
      done += 1;
    };
    printer.prepare(policies.slice(0, 3), count);
    expect(done).toBe(1);
    await new Promise<void>((resolve) => printer.prepare(policies, resolve));
    printer.prepare(policies, count);
    expect(done).toBe(2);
  });
});
