import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { healthRequest, healthStatus } from '../../../../src/agent/app-health/grpc-health.ts';

const framed = (...message: number[]) => Buffer.from([0, 0, 0, 0, message.length, ...message]);

describe('a HealthCheckRequest', () => {
  it('is empty for the whole server', () => {
    expect(healthRequest('')).toEqual(Buffer.from([0, 0, 0, 0, 0]));
  });

  it.each([
    [1, [0, 0, 0, 0, 3, 0x0a, 1]],
    [127, [0, 0, 0, 0, 129, 0x0a, 127]],
    [128, [0, 0, 0, 0, 131, 0x0a, 0x80, 1]],
    [1024, [0, 0, 0, 4, 3, 0x0a, 0x80, 8]],
  ])('carries a service of %i bytes', (length, head) => {
    const name = 'x'.repeat(length);
    expect(healthRequest(name)).toEqual(Buffer.concat([Buffer.from(head), Buffer.from(name)]));
  });
});

describe('a HealthCheckResponse', () => {
  it.each([
    ['SERVING', framed(0x08, 1), 'SERVING'],
    ['NOT_SERVING', framed(0x08, 2), 'NOT_SERVING'],
    ['the default', framed(), 'UNKNOWN'],
    ['the last of two', framed(0x08, 1, 0x08, 2), 'NOT_SERVING'],
    [
      'one behind unknown fields',
      framed(0x12, 1, 0xff, 0x19, 1, 2, 3, 4, 5, 6, 7, 8, 0x25, 1, 2, 3, 4, 0x08, 1),
      'SERVING',
    ],
    ['a status field of another kind', framed(0x0a, 1, 1), 'UNKNOWN'],
    ['another field with the value', framed(0x10, 1), 'UNKNOWN'],
    ['nothing', Buffer.alloc(0), undefined],
    ['half a prefix', Buffer.from([0, 0, 0]), undefined],
    ['a compressed message', Buffer.from([1, 0, 0, 0, 2, 8, 1]), undefined],
    ['a message that is cut', Buffer.from([0, 0, 0, 0, 3, 8, 1]), undefined],
    ['two messages', Buffer.concat([framed(8, 1), framed(8, 1)]), undefined],
    ['a field that is cut', framed(0x08), undefined],
    ['a string that is cut', framed(0x12, 9, 1), undefined],
    ['a group', framed(0x0b), undefined],
    ['a number without end', framed(0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 1), undefined],
  ])('with %s is %s', (_, bytes, status) => {
    expect(healthStatus(bytes)).toBe(status);
  });

  it('never throws, and never takes noise that is no SERVING for it', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        const message = Buffer.from(bytes);
        const isServing = healthStatus(framed(...message)) === 'SERVING';
        expect(isServing && !message.includes(Buffer.from([1]))).toBe(false);
      }),
    );
  });
});
