import { describe, expect, it } from 'vitest';
import { readFrame } from '../../../../src/cli/demo/frames.ts';
import { createWireCount, wireSince } from '../../../../src/cli/demo/wire-count.ts';
import type { Segment } from './frame-maker.ts';
import { tcpV4, tcpV6 } from './frame-maker.ts';

const mesh = 'the-text-of-the-mesh';
const legacy = 'what-is-legacys-text';

function counting(frames: readonly Buffer[]) {
  const count = createWireCount({ markers: { mesh, legacy }, tunnelPort: 15_008 });
  for (const frame of frames) count.see(readFrame(frame));
  return count.totals();
}

/** The segments of one connection, each beginning where the one before ends. */
function stream(parts: readonly string[], firstSequence = 1, segment: Segment = {}): Buffer[] {
  let sequence = firstSequence;
  return parts.map((payload) => {
    const frame = tcpV4({ ...segment, payload, sequence });
    sequence = (sequence + payload.length) % 2 ** 32;
    return frame;
  });
}

describe('counting what can be read on the wire', () => {
  it('counts the bytes of every occurrence, each marker for itself', () => {
    const totals = counting([tcpV4({ payload: `x${mesh}y${mesh}` }), tcpV6({ payload: `${legacy}` })]);
    expect(totals.clearBytes).toEqual({ mesh: 2 * mesh.length, legacy: legacy.length });
    expect(totals.frames).toBe(2);
  });

  it('finds a marker at every border between two segments, once', () => {
    for (let at = 1; at < mesh.length; at += 1) {
      const parts = [`before ${mesh.slice(0, at)}`, `${mesh.slice(at)} after`, 'and more'];
      expect(counting(stream(parts)).clearBytes.mesh, `cut at ${at}`).toBe(mesh.length);
    }
  });

  it('finds a marker that comes one byte a segment, also where the sequence number begins again', () => {
    expect(counting(stream([...mesh], 2 ** 32 - 5)).clearBytes.mesh).toBe(mesh.length);
  });

  it('does not count a marker again when the next segment follows', () => {
    expect(counting(stream([mesh, 'z', mesh])).clearBytes.mesh).toBe(2 * mesh.length);
  });

  it('does not join what does not belong together: another direction, a gap', () => {
    const [first, second] = [mesh.slice(0, 9), mesh.slice(9)];
    const other = tcpV4({ payload: second, sequence: 10, sourcePort: 80, destinationPort: 40_000 });
    expect(counting([tcpV4({ payload: first }), other]).clearBytes.mesh).toBe(0);
    expect(counting([tcpV4({ payload: first }), tcpV4({ payload: second, sequence: 11 })]).clearBytes.mesh).toBe(0);
  });

  it('searches frames that are not TCP as a whole', () => {
    const udp = tcpV4({ payload: mesh });
    udp.writeUInt8(17, 14 + 9);
    expect(counting([udp]).clearBytes.mesh).toBe(mesh.length);
  });

  it('counts as tunnel what carries bytes from or to its port', () => {
    const tunnel = { destinationPort: 15_008 };
    const back = { sourcePort: 15_008 };
    const frames = [tunnel, back].flatMap((ports) => [tcpV4({ ...ports, payload: 'x' }), tcpV4(ports)]);
    expect(counting([...frames, tcpV4({ payload: 'x' })])).toMatchObject({ frames: 5, tunnelFrames: 2 });
  });

  it('tells what came between two moments', () => {
    const before = { frames: 3, tunnelFrames: 1, clearBytes: { mesh: 0, legacy: 20 } };
    const after = { frames: 10, tunnelFrames: 1, clearBytes: { mesh: 40, legacy: 20 } };
    expect(wireSince(before, after)).toEqual({ frames: 7, tunnelFrames: 0, clearBytes: { mesh: 40, legacy: 0 } });
  });
});
