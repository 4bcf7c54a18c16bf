import { describe, expect, it } from 'vitest';
import { readFrame } from '../../../../src/cli/demo/frames.ts';
import { tcpV4, tcpV6 } from './frame-maker.ts';

describe('a captured frame', () => {
  it('gives the payload of a TCP segment over IPv4, without the padding of short frames', () => {
    const frame = readFrame(Buffer.concat([tcpV4({ payload: 'hi', sequence: 7 }), Buffer.alloc(6)]));
    expect(frame).toMatchObject({ kind: 'tcp', sourcePort: 40_000, destinationPort: 80, sequence: 7, isLast: false });
    expect(frame.kind === 'tcp' && frame.payload.toString()).toBe('hi');
  });

  it('gives the payload of a TCP segment over IPv6', () => {
    const frame = readFrame(Buffer.concat([tcpV6({ payload: 'hi' }), Buffer.alloc(3)]));
    expect(frame.kind === 'tcp' && frame.payload.toString()).toBe('hi');
  });

  it('skips IP and TCP options', () => {
    const frame = readFrame(tcpV4({ payload: 'hi', ipOptionBytes: 8, tcpOptionBytes: 12 }));
    expect(frame.kind === 'tcp' && frame.payload.toString()).toBe('hi');
  });

  it('takes a length of 0 for a segment larger than the field can say', () => {
    const bytes = tcpV4({ payload: 'hi' });
    bytes.writeUInt16BE(0, 16);
    const frame = readFrame(bytes);
    expect(frame.kind === 'tcp' && frame.payload.toString()).toBe('hi');
  });

  it('tells both directions of one connection apart', () => {
    const flowOf = (bytes: Buffer) => {
      const frame = readFrame(bytes);
      return frame.kind === 'tcp' ? frame.flow : '';
    };
    const forth = flowOf(tcpV4({ sourcePort: 1, destinationPort: 2 }));
    expect(flowOf(tcpV4({ sourcePort: 1, destinationPort: 2, payload: 'more' }))).toBe(forth);
    expect(flowOf(tcpV4({ sourcePort: 2, destinationPort: 1 }))).not.toBe(forth);
    expect(flowOf(tcpV6({ sourcePort: 1, destinationPort: 2 }))).not.toBe(forth);
  });

  it.each([0x01, 0x04])('with the flags %i is the last of its flow', (flags) => {
    expect(readFrame(tcpV4({ flags }))).toMatchObject({ isLast: true });
  });

  it('that is not TCP over IP is kept whole', () => {
    const udp = tcpV4({ payload: 'hi' });
    udp.writeUInt8(17, 14 + 9);
    expect(readFrame(udp)).toEqual({ kind: 'other', bytes: udp });
    const arp = Buffer.alloc(42);
    arp.writeUInt16BE(0x0806, 12);
    expect(readFrame(arp)).toEqual({ kind: 'other', bytes: arp });
  });

  it('that is cut anywhere, or lies about its lengths, never throws', () => {
    for (const whole of [tcpV4({ payload: 'hi' }), tcpV6({ payload: 'hi' })]) {
      for (let length = 0; length < whole.length; length += 1) readFrame(whole.subarray(0, length));
    }
    const liar = tcpV4({ payload: 'hi' });
    liar.writeUInt8(0xf0, 14 + 20 + 12);
    expect(readFrame(liar).kind).toBe('other');
  });
});
