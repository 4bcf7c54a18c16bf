import type { Duplex } from 'node:stream';

/** Frame types and flags of RFC 9113 §6. */
export const frameType = {
  data: 0,
  headers: 1,
  rstStream: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
} as const;
export const endStream = 0x1;
const ack = 0x1;
const endHeaders = 0x4;

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Buffer;
}

/** An HTTP/2 peer that sends exactly the frames it is told to, and lists those that it got; PING and SETTINGS are answered. */
export interface RawPeer {
  readonly received: readonly Frame[];
  send(type: number, flags: number, streamId: number, payload?: Buffer): void;
  /** Resolves with the first frame, past or future, that matches. */
  frame(matches: (frame: Frame) => boolean): Promise<Frame>;
  /** Answers a CONNECT with 200. */
  accept(streamId: number): void;
  /** Sends a CONNECT for `authority`. */
  connect(streamId: number, authority: string): void;
  reset(streamId: number, code: number): void;
}

export interface RawPeerOptions {
  /** Answers PINGs; default: yes. */
  readonly isAnswering?: boolean;
  /** Acknowledges SETTINGS; default: yes. */
  readonly isAgreeing?: boolean;
  /** The payload of its own SETTINGS. */
  readonly settings?: Buffer;
}

/** `client` sends the preface of RFC 9113 §3.4 first. */
export function createRawPeer(
  socket: Duplex,
  role: 'client' | 'server',
  { isAnswering = true, isAgreeing = true, settings = Buffer.alloc(0) }: RawPeerOptions = {},
): RawPeer {
  const received: Frame[] = [];
  const waiting = new Set<() => void>();
  let pending = Buffer.alloc(0);
  let isPrefaceExpected = role === 'server';

  const send: RawPeer['send'] = (type, flags, streamId, payload = Buffer.alloc(0)) => {
    const header = Buffer.alloc(9);
    header.writeUIntBE(payload.length, 0, 3);
    header[3] = type;
    header[4] = flags;
    header.writeUInt32BE(streamId, 5);
    socket.write(Buffer.concat([header, payload]));
  };

  const take = (frame: Frame) => {
    received.push(frame);
    if (isAgreeing && frame.type === frameType.settings && !(frame.flags & ack)) send(frameType.settings, ack, 0);
    if (isAnswering && frame.type === frameType.ping && !(frame.flags & ack))
      send(frameType.ping, ack, 0, frame.payload);
    for (const check of waiting) check();
  };

  socket.on('error', () => undefined);
  socket.on('data', (chunk: Buffer) => {
    pending = Buffer.concat([pending, chunk]);
    if (isPrefaceExpected && pending.length >= 24) {
      pending = pending.subarray(24);
      isPrefaceExpected = false;
    }
    while (!isPrefaceExpected && pending.length >= 9) {
      const length = pending.readUIntBE(0, 3);
      if (pending.length < 9 + length) break;
      const [type = 0, flags = 0] = [pending[3], pending[4]];
      take({ type, flags, streamId: pending.readUInt32BE(5), payload: pending.subarray(9, 9 + length) });
      pending = pending.subarray(9 + length);
    }
  });
  if (role === 'client') socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  send(frameType.settings, 0, 0, settings);

  return {
    received,
    send,
    frame: (matches) =>
      new Promise((resolve) => {
        const check = () => {
          const found = received.find(matches);
          if (found === undefined) return;
          waiting.delete(check);
          resolve(found);
        };
        waiting.add(check);
        check();
      }),
    // 0x88 is ":status: 200" in HPACK's static table, RFC 7541 appendix A.
    accept: (streamId) => send(frameType.headers, endHeaders, streamId, Buffer.from([0x88])),
    connect(streamId, authority) {
      const literal = (index: number, value: string) =>
        Buffer.concat([Buffer.from([index, value.length]), Buffer.from(value)]);
      // 1 and 2 are ":authority" and ":method" in the static table; literals without indexing.
      send(frameType.headers, endHeaders, streamId, Buffer.concat([literal(2, 'CONNECT'), literal(1, authority)]));
    },
    reset(streamId, code) {
      const payload = Buffer.alloc(4);
      payload.writeUInt32BE(code);
      send(frameType.rstStream, 0, streamId, payload);
    },
  };
}
