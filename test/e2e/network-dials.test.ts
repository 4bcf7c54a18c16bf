import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { LinkedMesh } from '../support/linked-mesh.ts';
import { apiService, linkedPods, startLinkedMesh } from '../support/linked-mesh.ts';
import { noPodsBecause } from '../support/pods.ts';

/*
 * Goal: a connection that cannot be made fails by its deadline and by name, takes nothing else with it, and can be made
 * when the cause is gone.
 * Method: two pods with the real program and rules, and further rules that swallow packets.
 */
const { outside } = linkedPods;

describe.skipIf(noPodsBecause !== undefined)(`connections that cannot be made ${noPodsBecause ?? ''}`, () => {
  let mesh: LinkedMesh;

  beforeAll(async () => {
    const hasty = ['--connect-timeout', '1s'];
    mesh = await startLinkedMesh({ web: hasty, api: hasty });
  });
  afterAll(() => mesh?.close());

  /** What the client has heard, or that it was reset, also when that was before it had heard of its connection. */
  const ask = async (host: string) => {
    const { text, ended, failed } = await mesh.client(['ask', host, 7001]);
    return failed ?? (ended === 'end' ? text : ended);
  };

  // Side by side, before there is any tunnel.
  it.concurrent.each([
    ['N2: another pod, through its sidecar', 'api', 'tcp dport 15008', apiService.v4],
    ['N2: an address outside of the mesh', 'outside', 'tcp dport 7001', outside.v4],
  ] as const)('%s, that swallows every SYN: upstream_timeout, and a reset', async (_name, pod, match, host) => {
    await mesh.dropping([pod], 'input', match, async () => {
      expect(await ask(host)).toBe('ECONNRESET');
      const line = await mesh.logged('web', '"outbound"', `"${host}:7001"`);
      expect(line).toMatchObject({ reason: 'upstream_timeout' });
      // By its own deadline of a second: the kernel would try for two minutes.
      expect(line.durationMs).toBeLessThan(8_000);
    });
    expect(await ask(host)).toBe('hello');
  });

  /** The same connection in both logs, refused for the same reason. */
  const refusedByBoth = async (host: string, reason: string) => {
    const outbound = await mesh.logged('web', '"outbound"', host, `"${reason}"`);
    expect(await mesh.logged('api', '"inbound"', `"${outbound.id}"`)).toMatchObject({ outcome: 'closed', reason });
  };

  it('N2: an application that swallows every SYN: upstream_timeout at both ends, and a reset', async () => {
    await mesh.dropping(['api'], 'input', 'iifname lo tcp dport 7001', async () => {
      expect(await ask(apiService.v6)).toBe('ECONNRESET');
    });
    await refusedByBoth(apiService.v6, 'upstream_timeout');
    expect(await ask(apiService.v6)).toBe('hello');
  });

  const setPorts = async (first: number, last: number) => {
    await mesh.pods.api.sh(`echo ${first} ${last} > /proc/sys/net/ipv4/ip_local_port_range`);
  };

  it('N17: a pod without free ports towards its application refuses what is new, counts it, and recovers', async () => {
    onTestFinished(() => setPorts(32_768, 60_999));
    await setPorts(40_000, 40_009);
    const idle = mesh.pods.web.start('test/support/pod-programs/client.ts', ['idle', apiService.v4, '7001', '10']);
    await idle.line((line) => line.includes('started'));
    expect(await ask(apiService.v4)).toBe('ECONNRESET');
    await refusedByBoth(apiService.v4, 'upstream_unreachable');
    expect(await mesh.metrics('api')).toMatch(
      /^remora_connections_closed_total{.*reason="upstream_unreachable".*} 1$/m,
    );
    idle.process.stdin?.end();
    expect(JSON.parse(await idle.line((line) => line.includes('open')))).toEqual({ open: 10 });
    // A port that was used a moment ago is free again after a second.
    while ((await ask(apiService.v4)) !== 'hello');
  });

  // The size of the table is the whole machine's and read-only in a namespace; what a full one does is to drop what is new.
  it('N19: with a full conntrack table what is open goes on, and what is new is refused by its deadline', async () => {
    const long = await mesh.long(apiService.v4);
    await mesh.dropping(['api'], 'output', 'ct state new', async () => {
      expect(await ask(apiService.v4)).toBe('ECONNRESET');
      long.process.stdin?.write('second\n');
      await long.line((line) => line.includes('second'));
    });
    expect(await ask(apiService.v4)).toBe('hello');
    long.process.stdin?.end();
    await long.line((line) => line.includes('"end"'));
  });
});
