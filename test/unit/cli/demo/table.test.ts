import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import type { Picture } from '../../../../src/cli/demo/picture.ts';
import { createScreen } from '../../../../src/cli/demo/screen.ts';
import { renderLine, renderTable } from '../../../../src/cli/demo/table.ts';

const identity = (name: string) => `spiffe://cluster.local/ns/demo/sa/${name}`;
const picture: Picture = {
  nowMs: 1_000_000,
  elapsedMs: 72_000,
  where: 'Five network namespaces on one link',
  now: 'PERMISSIVE: legacy is answered',
  pods: [
    {
      name: 'web',
      sidecar: {
        identity: identity('web'),
        facts: {
          handshakes: { begun: 3, accepted: 0, failed: 1 },
          connections: { total: 312, open: 1 },
          renewals: 2,
          certificateEndsMs: 1_008_400,
          refusals: {},
        },
      },
    },
    { name: 'api', sidecar: { identity: identity('api'), facts: undefined } },
    { name: 'legacy', sidecar: undefined },
  ],
  edges: [
    {
      from: identity('web'),
      to: identity('api'),
      destination: '10.96.0.10:80',
      service: 'api.demo',
      security: 'mutual_tls',
      connections: 80,
    },
  ],
  refusals: [{ sidecar: 'api', peer: 'legacy', reason: 'plaintext_in_strict', count: 14 }],
  clients: {
    web: { sent: 1338, ok: 1338, saw: {}, isDone: false },
    legacy: { sent: 28, ok: 0, saw: { ECONNRESET: 28 }, isDone: false },
  },
  wire: { frames: 5120, tunnelFrames: 2301, clearBytes: { mesh: 0 } },
  notes: [],
  hints: [{ title: 'metrics', command: 'ip netns exec remora-demo-7-web curl -s http://127.0.0.1:15020/metrics' }],
};

describe('the table', () => {
  const text = renderTable(picture, 200).join('\n');

  it('shows identities, certificates that run out, renewals and handshakes', () => {
    expect(text).toMatch(
      /web +spiffe:\/\/cluster\.local\/ns\/demo\/sa\/web +ends in 8 s +2× +3 begun, 1 failed +312 carried, 1 open/,
    );
    expect(text).toMatch(/api +spiffe:\/\/cluster\.local\/ns\/demo\/sa\/api +not yet/);
    expect(text).toMatch(/legacy +none/);
  });

  it('shows who talks to whom', () => {
    expect(text).toMatch(/web → api +10\.96\.0\.10:80 +api\.demo +mutual TLS +80/);
  });

  it('says in words why somebody was refused and what to do', () => {
    expect(text).toMatch(
      /legacy by api +14 +plaintext_in_strict +The peer spoke plaintext to a port that takes mutual TLS alone/,
    );
    expect(text).toMatch(/→ Inject a sidecar into the peer/);
  });

  it('tells of a refusal once, by the side that refused', () => {
    const told = { sidecar: 'batch', peer: 'batch', reason: 'peer_refused', count: 3 };
    const refusals = [...picture.refusals, told];
    expect(renderTable({ ...picture, refusals }, 200).join('\n')).toBe(text);
  });

  it('shows the applications, the wire, and what to try', () => {
    expect(text).toMatch(/web +1,338 requests, 1,338 answered/);
    expect(text).toMatch(/legacy +28 requests, 0 answered, saw ECONNRESET 28×/);
    expect(text).toMatch(/0 bytes between web and api in clear .5,120 frames seen, 2,301 of tunnels/);
    expect(text).toContain('curl -s http://127.0.0.1:15020/metrics');
    expect(text).toContain('01:12');
    expect(text).toContain('PERMISSIVE: legacy is answered');
  });

  it('fits the terminal', () => {
    for (const columns of [1, 20, 80]) {
      for (const line of renderTable(picture, columns)) expect(line.length).toBeLessThanOrEqual(columns);
    }
  });

  it('lets nobody steer the terminal', () => {
    const hostile = { ...picture, refusals: picture.refusals.map((row) => ({ ...row, peer: '\u001b[2Jx\u202e' })) };
    expect(renderTable(hostile, 200).join('')).not.toMatch(/\p{Cc}|\p{Cf}/u);
  });

  it('has a picture before anything has happened', () => {
    const empty = { ...picture, edges: [], refusals: [], clients: {} };
    expect(renderTable(empty, 200).join('\n')).toMatch(/nobody yet[\s\S]*nobody yet/);
    expect(renderLine(empty)).toContain('nothing refused');
  });
});

describe('the line', () => {
  it('says the same in one line', () => {
    expect(renderLine(picture)).toBe(
      '01:12 · PERMISSIVE: legacy is answered · 0 handshakes · 2 renewals · web: 1,338 requests, 1,338 answered · legacy: 28 requests, 0 answered, saw ECONNRESET 28× · refused: legacy plaintext_in_strict 14× · 0 bytes between web and api in clear (5,120 frames seen, 2,301 of tunnels)',
    );
  });
});

describe('the screen', () => {
  function recording(size: { rows?: number }) {
    let text = '';
    const output = Object.assign(
      new Writable({
        write(chunk, _encoding, done) {
          text += chunk;
          done();
        },
      }),
      size,
    );
    return { output, text: () => text };
  }

  it('redraws in place, and erases what is left of a longer drawing', () => {
    const { output, text } = recording({});
    const screen = createScreen(output);
    screen.draw(['one', 'two']);
    screen.draw(['three']);
    expect(text()).toBe('one\u001b[K\ntwo\u001b[K\n\u001b[J\u001b[2Fthree\u001b[K\n\u001b[J');
  });

  it('leaves out what does not fit the height', () => {
    const { output, text } = recording({ rows: 3 });
    createScreen(output).draw(['one', 'two', 'three', 'four']);
    expect(text()).toBe('one\u001b[K\ntwo\u001b[K\n\u001b[J');
  });
});
