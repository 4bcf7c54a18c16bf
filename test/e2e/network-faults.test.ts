import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import type { Faults } from '../support/link.ts';
import { netem } from '../support/link.ts';
import type { LinkedMesh } from '../support/linked-mesh.ts';
import { apiService, startLinkedMesh, wholeTransfer } from '../support/linked-mesh.ts';
import { noPodsBecause } from '../support/pods.ts';

/*
 * Goal: whatever the network between two sidecars does, what arrives is what was sent, and an end is an end.
 * Method: two pods with the real program and rules, whose only way to each other is a link with faults; the kernels' own
 * counters say that the faults were there. `test/network/` has the extremes.
 */
const kib = 1024;

describe.skipIf(noPodsBecause !== undefined)(`the network between two sidecars ${noPodsBecause ?? ''}`, () => {
  let mesh: LinkedMesh;

  beforeAll(async () => {
    mesh = await startLinkedMesh({ api: ['--handshake-timeout', '60s'] });
  });
  afterAll(() => mesh?.close());
  beforeEach(() => mesh.link.set({}));

  it('gives faults in words that tc knows, whether or not the kernel does', async () => {
    const all = { delayMs: 1, jitterMs: 1, lossPercent: 1, reorderPercent: 1, duplicatePercent: 1, corruptPercent: 1 };
    const result = await mesh.pods.web.run(['sh', '-c', netem({ ...all, rateMbit: 10 })]);
    if (result.kind !== 'ended') throw new Error('there is no tc');
    expect(result.stderr).toMatch(/^(Error: Specified qdisc kind is unknown\.\s*)?$/);
  });

  const everything = {
    delayMs: 2,
    jitterMs: 1,
    lossPercent: 1,
    reorderPercent: 5,
    duplicatePercent: 2,
    corruptPercent: 1,
  };
  it.each<[string, Faults, number, readonly string[]]>([
    [
      'N9: 2 ms, and packets that are late, early, twice, damaged or lost',
      everything,
      1024 * kib,
      ['TcpRetransSegs', 'TcpExtTCPOFOQueue', 'TcpExtTCPDSACKRecv', 'TcpInCsumErrors'],
    ],
    ['N9: 20 ms and 5 % loss', { delayMs: 20, lossPercent: 5 }, 128 * kib, ['TcpRetransSegs']],
    ['N9: 100 ms', { delayMs: 100 }, 64 * kib, []],
  ])('%s: every byte arrives, both ways', async (_name, faults, bytes, counters) => {
    const before = await Promise.all(counters.map(mesh.kernelCount));
    await mesh.link.set(faults);
    expect(await mesh.bothWays(bytes)).toEqual(wholeTransfer(bytes));
    const after = await Promise.all(counters.map(mesh.kernelCount));
    for (const [index, name] of counters.entries()) expect(after[index], name).toBeGreaterThan(before[index] ?? 0);
  });

  it('N10: a source that is faster than 10 Mbit/s is paused, and the sidecars hold at most 512 KiB of it', async () => {
    const bytes = 4096 * kib;
    const before = await mesh.uploaded();
    await mesh.link.set({ rateMbit: 10 });
    const upload = mesh.client(['upload', apiService.v4, 7002, bytes]);
    while ((await mesh.uploaded()).api - before.api < 512 * kib);
    await mesh.link.set({ rateMbit: 10, lossPercent: 100 });
    const { web, api } = await settled(mesh);
    expect(web - before.web).toBeLessThan(bytes);
    expect(web - before.web - (api - before.api)).toBeLessThan(512 * kib);
    await mesh.link.set({});
    expect(await upload).toEqual({ isEqual: true, ended: 'end' });
  });

  it('N11: a transfer goes on in its tunnel after a partition that TCP has noticed', async () => {
    const bytes = 4096 * kib;
    const { api: before } = await mesh.uploaded();
    await mesh.link.set({ rateMbit: 20 });
    const upload = mesh.client(['upload', apiService.v4, 7002, bytes]);
    while ((await mesh.uploaded()).api - before < 512 * kib);
    const handshakes = await mesh.handshakes();
    await mesh.link.set({ lossPercent: 100 });
    const timeouts = await mesh.kernelCount('TcpExtTCPTimeouts');
    while ((await mesh.kernelCount('TcpExtTCPTimeouts')) < timeouts + 3);
    await mesh.link.set({});
    expect(await upload).toEqual({ isEqual: true, ended: 'end' });
    expect(await mesh.handshakes()).toBe(handshakes);
  });

  describe('on a way for 1,280 bytes', () => {
    const large = 'meta l4proto tcp iifname link0 meta length > 1280 counter';
    const both = async (script: string) => {
      for (const pod of [mesh.pods.web, mesh.pods.api]) await pod.sh(script);
    };

    it('N12: every byte arrives when the interfaces say so', async () => {
      onTestFinished(() => both('ip link set link0 mtu 1500'));
      await both('ip link set link0 mtu 1280');
      await mesh.startAnew();
      await mesh.dropping(['web', 'api'], 'input', large, async () => {
        expect(await mesh.bothWays(1024 * kib)).toEqual(wholeTransfer(1024 * kib));
      });
    });

    it('N12: every byte arrives when no ICMP says so, and TCP probes', async () => {
      // After one retransmission of each flight, not three, to take less than 3 s for each.
      const probe = (probing: number, retries: number) =>
        both(`cd /proc/sys/net/ipv4; echo ${probing} > tcp_mtu_probing; echo ${retries} > tcp_retries1`);
      onTestFinished(() => probe(0, 3));
      await probe(1, 1);
      await mesh.startAnew(['--handshake-timeout', '60s']);
      await mesh.dropping(['web', 'api'], 'input', large, async () => {
        expect(await mesh.bothWays(128 * kib)).toEqual(wholeTransfer(128 * kib));
      });
    });

    it('N12: a connection is refused by its deadline when nothing says so, and the next one not', async () => {
      await mesh.startAnew(['--handshake-timeout', '3s']);
      await mesh.dropping(['web', 'api'], 'input', large, async () => {
        const { ended, failed } = await mesh.client(['ask', apiService.v4, 7001]);
        expect(failed ?? ended).toBe('ECONNRESET');
      });
      expect(await mesh.logged('web', '"outbound"', '"reason"')).toMatchObject({
        outcome: 'handshake',
        reason: 'timeout',
      });
      expect(await mesh.client(['ask', apiService.v4, 7001])).toEqual({ text: 'hello', ended: 'end' });
    });
  });
});

/** What the sidecars have carried when nothing moves any more. */
async function settled(mesh: LinkedMesh): ReturnType<LinkedMesh['uploaded']> {
  let before = await mesh.uploaded();
  for (;;) {
    const now = await mesh.uploaded();
    if (now.web === before.web && now.api === before.api) return now;
    before = now;
  }
}
