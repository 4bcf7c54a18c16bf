import { describe, expect, it } from 'vitest';
import { readClientReport } from '../../../../src/cli/demo/client-report.ts';
import type { RunFacts } from '../../../../src/cli/demo/report.ts';
import { brokenPromises, reportOf } from '../../../../src/cli/demo/report.ts';

const sidecar = {
  handshakes: { begun: 0, accepted: 2, failed: 3 },
  connections: { total: 10, open: 0 },
  renewals: 2,
  certificateEndsMs: 0,
  refusals: { plaintext_in_strict: 3, policy_deny: 5 },
};
const good: RunFacts = {
  sidecars: [sidecar, { ...sidecar, handshakes: { begun: 2, accepted: 0, failed: 0 }, renewals: 1, refusals: {} }],
  web: { sent: 100, ok: 100, saw: {}, isDone: true },
  legacy: { sent: 20, ok: 8, saw: { ECONNRESET: 12 }, isDone: true },
  wire: { frames: 900, tunnelFrames: 500, clearBytes: { mesh: 0, legacy: 64 } },
  wireWithoutSidecars: { frames: 90, tunnelFrames: 0, clearBytes: { mesh: 640, legacy: 0 } },
  story: {
    legacyOkPermissive: 8,
    legacyOkStrict: 0,
    preview: [{ port: 8080, caller: 'demo/legacy', connections: 8 }],
    batchOk: 30,
    policyClosed: 2,
  },
  leftovers: [],
};
const captured = { isCaptured: true, requiredRefusal: 'plaintext_in_strict' } as const;
const broken = (change: Partial<RunFacts>, surroundings: Parameters<typeof brokenPromises>[1] = captured) =>
  brokenPromises({ ...good, ...change }, surroundings);
const story = (change: Partial<RunFacts['story']>) => ({ story: { ...good.story, ...change } });

describe('the report of a run', () => {
  it('adds up what the sidecars and the wire said', () => {
    expect(reportOf(good)).toEqual({
      handshakes: { success: 2, failure: 3 },
      requests: { sent: 100, ok: 100 },
      renewals: 3,
      refusals: { plaintext_in_strict: 3, policy_deny: 5 },
      modes: { permissive: { legacyOk: 8 }, strict: { legacyRefused: 3 } },
      preview: [{ port: 8080, caller: 'demo/legacy', connections: 8 }],
      policyClosed: 2,
      bytesOnTheWireInClear: 0,
      bytesOnTheWireInClearWithoutSidecars: 640,
      leftovers: 0,
    });
  });

  it('has nothing to complain of when everything holds', () => {
    expect(broken({})).toEqual([]);
  });

  it.each<[string, Partial<RunFacts>, RegExp]>([
    ['no handshake', { sidecars: [{ ...sidecar, handshakes: { begun: 2, accepted: 0, failed: 3 } }] }, /No handshake/],
    [
      'an unanswered request',
      { web: { ...good.web, ok: 99, saw: { ECONNRESET: 1 } } },
      /99 were answered .ECONNRESET 1×/,
    ],
    ['no request', { web: { ...good.web, sent: 0, ok: 0 } }, /0 requests/],
    ['legacy without an answer', story({ legacyOkPermissive: 0 }), /legacy was answered 0 times under PERMISSIVE/],
    ['a preview that is silent', story({ preview: [] }), /did not name legacy/],
    ['legacy that gets an answer', story({ legacyOkStrict: 1 }), /legacy was answered 1 times under STRICT/],
    ['batch without an answer', story({ batchOk: 0 }), /batch was answered 0 times/],
    ['a connection that outlives its permission', story({ policyClosed: 0 }), /No connection was cut/],
    [
      'batch that is not refused',
      { sidecars: [{ ...sidecar, refusals: { plaintext_in_strict: 3 } }] },
      /refused as policy_deny/,
    ],
    ['no renewal', { sidecars: [{ ...sidecar, renewals: 0 }] }, /renewed/],
    ['no refusal', { sidecars: [{ ...sidecar, refusals: { alpn: 9, policy_deny: 1 } }] }, /plaintext_in_strict/],
    ['bytes in clear', { wire: { ...good.wire, clearBytes: { mesh: 64 } } }, /64 bytes .* could be read/],
    ['a wire without a tunnel', { wire: { ...good.wire, tunnelFrames: 0 } }, /carried no tunnel/],
    [
      'a capture that is blind',
      { wireWithoutSidecars: { ...good.wireWithoutSidecars, clearBytes: { mesh: 0 } } },
      /prove nothing/,
    ],
    ['something left behind', { leftovers: ['namespace remora-demo-1-web'] }, /namespace remora-demo-1-web/],
  ])('names %s', (_, change, sentence) => {
    expect(broken(change)).toEqual([expect.stringMatching(sentence)]);
  });
});

describe('where nothing is captured', () => {
  it('asks no mode of anybody', () => {
    const loopback = { isCaptured: false, requiredRefusal: 'no_client_cert' } as const;
    const refusals = { no_client_cert: 4, policy_deny: 5 };
    const nobody = { ...story({ legacyOkPermissive: 0, preview: [] }), sidecars: [{ ...sidecar, refusals }] };
    expect(broken(nobody, loopback)).toEqual([]);
  });
});

describe('the report of an application', () => {
  it('is added up over all that it asks', () => {
    const line = JSON.stringify({
      targets: [
        { url: 'http://10.96.0.10/', sent: 3, ok: 2, saw: { ECONNRESET: 1 } },
        { url: 'tcp://10.96.0.10:9000', sent: 5, ok: 4, saw: { ECONNRESET: 1 } },
      ],
      isDone: true,
    });
    expect(readClientReport(line)).toEqual({ sent: 8, ok: 6, saw: { ECONNRESET: 2 }, isDone: true });
  });

  it.each(['', '{}', 'Error: no', '{"targets":[{"url":"x","sent":-1,"ok":0,"saw":{}}]}'])('is none: %s', (line) => {
    expect(readClientReport(line)).toBeUndefined();
  });
});
