import { readdirSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Faults } from '../support/link.ts';
import type { LinkedMesh } from '../support/linked-mesh.ts';
import { apiService, startLinkedMesh, wholeTransfer } from '../support/linked-mesh.ts';
import { noPodsBecause } from '../support/pods.ts';

/*
 * Goal: the same as `test/e2e/network-faults.test.ts` where each packet takes seconds, or every third is lost; and what the
 * windows of a tunnel let through.
 * Method: the same. It waits for the deadlines of TCP and of the sidecars, so it takes minutes: `npm run test:network`.
 */
const kib = 1024;

describe.skipIf(noPodsBecause !== undefined)(`extreme networks between two sidecars ${noPodsBecause ?? ''}`, () => {
  let mesh: LinkedMesh;

  beforeAll(async () => {
    const patient = ['--handshake-timeout', '1m', '--connect-timeout', '30s'];
    mesh = await startLinkedMesh({ web: patient, api: patient });
  });
  afterAll(() => mesh?.close());
  beforeEach(async () => {
    await mesh.link.set({});
    await mesh.startAnew(['--tunnel-open-timeout', '1m']);
  });

  const ends = [
    { name: 'web', direction: 'outbound' },
    { name: 'api', direction: 'inbound' },
  ] as const;

  // First, while TCP has not learned of any loss.
  it.each<[string, number, number, number]>([
    ['16 streams at 2 ms get what the link gives', 16, 2, 2],
    // With HTTP/2's own window for all of them together they take four times as long as without sidecars.
    ['16 streams at 50 ms get what the link gives', 16, 50, 2],
    // With a window of 64 KiB it takes five times as long.
    ['one stream at 50 ms gets a third of what the link gives', 1, 50, 3],
  ])('N24: %s', async (_name, streams, roundTripMs, timesLonger) => {
    await mesh.link.set({ delayMs: roundTripMs / 2, rateMbit: 50 });
    const tookMs = async (way: 'meshed' | 'direct') => {
      const { whole, tookMs } = await mesh.downloads(way, (4096 * kib) / streams, streams);
      expect(whole).toBe(streams);
      return tookMs;
    };
    // In turns, because the machine may have other work for seconds at a time: the best of each way counts.
    const meshed: number[] = [];
    const direct: number[] = [];
    for (let round = 0; round < 3; round += 1) {
      meshed.push(await tookMs('meshed'));
      direct.push(await tookMs('direct'));
    }
    expect(Math.min(...meshed) / Math.min(...direct)).toBeLessThan(timesLonger);
  });

  it('N11: a partition that never heals resets what was carried, at both ends, and leaves nothing', async () => {
    const descriptors = () => ends.map(({ name }) => readdirSync(`/proc/${mesh.agents[name]?.process.pid}/fd`).length);
    const transfers = 4;
    const count = 2 * transfers + 2;
    const open = () =>
      Promise.all(
        ends.map(({ name, direction }) => mesh.metric(name, `remora_connections_open{direction="${direction}"}`)),
      );
    const baseline = descriptors();
    const ended = mesh.server.lines.length;
    await mesh.link.set({ rateMbit: 50 });
    const idle = [await mesh.long(apiService.v4), await mesh.long(apiService.v6)];
    const uploads = Array.from({ length: transfers }, () => mesh.client(['upload', apiService.v4, 7002, 16 << 20]));
    const downloads = Array.from({ length: transfers }, () => mesh.client(['download', apiService.v4, 7003, 16 << 20]));
    while ((await open()).some((number) => number < count));
    await mesh.link.set({ lossPercent: 100 });

    const cut = { ended: 'ECONNRESET' };
    expect(await Promise.all(uploads)).toEqual(Array(transfers).fill({ isEqual: false, ...cut }));
    expect(await Promise.all(downloads)).toEqual(Array(transfers).fill({ failed: 'ECONNRESET' }));
    for (const program of idle) {
      const last = await program.line((line) => line.includes('"ended"'));
      expect(JSON.parse(last)).toEqual({ text: 'first', ...cut });
    }
    while (mesh.server.lines.length < ended + count) await mesh.metrics('api');
    for (const line of mesh.server.lines.slice(ended)) expect(JSON.parse(line)).toMatchObject(cut);

    for (const { name, direction } of ends) {
      const lost = await mesh.metric(
        name,
        `remora_connections_closed_total{direction="${direction}",reason="tunnel_lost"}`,
      );
      expect(lost).toBe(count);
      const lines = mesh.agents[name]?.lines.filter((line) => line.includes('"reason":"tunnel_lost"'));
      expect(lines).toHaveLength(count);
      expect(await mesh.metric(name, `remora_tunnels_open{direction="${direction}"}`)).toBe(0);
    }
    expect(await open()).toEqual([0, 0]);
    while (descriptors().some((number, index) => number > (baseline[index] ?? 0))) await mesh.metrics('api');
    await mesh.link.set({});
    expect(await mesh.client(['ask', apiService.v4, 7001])).toEqual({ text: 'hello', ended: 'end' });
  });

  it.each<[string, Faults, number]>([
    ['N9: 2 s', { delayMs: 2_000 }, 32 * kib],
    ['N9: a second, with 1 % of the packets lost, damaged, twice and early each', extremes(1_000, 1), 32 * kib],
    ['N9: 10 ms and 10 % loss', { delayMs: 10, lossPercent: 10 }, 256 * kib],
    ['N9: 1 Mbit/s', { rateMbit: 1, delayMs: 10 }, 3_000 * kib],
  ])('%s: every byte arrives, both ways', async (_name, faults, bytes) => {
    await mesh.link.set(faults);
    expect(await mesh.bothWays(bytes)).toEqual(wholeTransfer(bytes));
  });

  it('N9: with 30 % loss a transfer is whole or cut, never short, and works again on a clean link', async () => {
    const bytes = 64 * kib;
    await mesh.link.set({ delayMs: 10, lossPercent: 30 });
    for (const { isEqual, ended, failed } of await mesh.bothWays(bytes))
      expect(isEqual === true || (failed ?? ended) === 'ECONNRESET').toBe(true);
    await mesh.link.set({});
    expect(await mesh.bothWays(bytes)).toEqual(wholeTransfer(bytes));
  });
});

function extremes(delayMs: number, percent: number): Faults {
  return { delayMs, lossPercent: percent, corruptPercent: percent, duplicatePercent: percent, reorderPercent: percent };
}
