import type { Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import type { Pattern } from './pattern.ts';

/** How a connection went wrong, as an application sees it. */
export type Symptom =
  /** Nobody listens. */
  | 'refused'
  | 'reset'
  /** A clean end before everything that was to come. */
  | 'early-end'
  /** Another byte than the one that stands there, or one too many. */
  | 'wrong-byte'
  /** Nothing moved for a minute. */
  | 'stalled'
  | 'other';

export class SymptomError extends Error {
  readonly symptom: Symptom;
  constructor(symptom: Symptom, message: string) {
    super(message);
    this.symptom = symptom;
  }
}

const stallMs = 60_000;
const pieceBytes = 65_536;

/** One end of a connection whose every byte is known beforehand. Everything rejects with a `SymptomError`. */
export interface Channel {
  /** Bytes of both directions so far. */
  readonly moved: number;
  /** The next line, without its end. */
  readLine(): Promise<string>;
  receive(pattern: Pattern, bytes: number, pauseMs?: number): Promise<void>;
  /** The clean end, and nothing before it. */
  receiveEnd(): Promise<void>;
  send(pattern: Pattern, bytes: number): Promise<void>;
  /** Rejects at once when the connection is cut or ends meanwhile. */
  pause(ms: number): Promise<void>;
  /** Resolves when both directions have ended. */
  close(): Promise<void>;
}

/** `onMoved` is called as bytes move, and may reset the connection. */
export function createChannel(socket: Socket, onMoved: (bytes: number) => void = () => undefined): Channel {
  const state = { moved: 0, received: 0, sent: 0, lastMs: performance.now() };
  let failure: SymptomError | undefined;
  let [hasEnded, isClosed] = [false, false];
  const waiting = new Set<() => void>();
  const wake = () => {
    for (const check of waiting) check();
    waiting.clear();
  };
  const changed = () => new Promise<void>((resolve) => waiting.add(resolve));
  const fail = (error: SymptomError) => {
    failure ??= error;
    wake();
  };
  const watchdog = setInterval(() => {
    if (performance.now() - state.lastMs < stallMs) return;
    fail(new SymptomError('stalled', `Nothing moved for ${stallMs} ms`));
    socket.resetAndDestroy();
  }, 1000);
  socket.on('readable', wake).on('drain', wake);
  socket.once('end', () => {
    hasEnded = true;
    wake();
  });
  socket.once('error', (error) => fail(symptomOf(error)));
  socket.once('close', () => {
    isClosed = true;
    clearInterval(watchdog);
    wake();
  });
  const check = () => {
    if (failure !== undefined) throw failure;
  };
  const count = (bytes: number) => {
    state.moved += bytes;
    state.lastMs = performance.now();
    onMoved(state.moved);
  };
  /** At most `limit` bytes; undefined at the end. */
  const next = async (limit: number): Promise<Buffer | undefined> => {
    for (;;) {
      check();
      const available = Math.min(limit, socket.readableLength);
      const chunk: Buffer | null = available > 0 ? socket.read(available) : socket.read();
      if (chunk !== null) {
        if (chunk.length > limit) throw new SymptomError('wrong-byte', `${chunk.length - limit} bytes too many`);
        count(chunk.length);
        return chunk;
      }
      if (hasEnded) return undefined;
      if (isClosed) throw new SymptomError('reset', 'The connection closed without an end');
      await changed();
    }
  };
  const pause = async (ms: number) => {
    let isOver = false;
    const timer = setTimeout(() => {
      isOver = true;
      wake();
    }, ms);
    try {
      while (!isOver) {
        check();
        // Node.js tells of an end only whoever tries to read.
        if (socket.readableLength === 0) socket.read(0);
        if (hasEnded) throw new SymptomError('early-end', `The connection ended after ${state.received} bytes`);
        await changed();
      }
    } finally {
      clearTimeout(timer);
    }
    // A pause is no stall.
    state.lastMs = performance.now();
  };
  return {
    pause,
    get moved() {
      return state.moved;
    },
    async readLine() {
      let line = '';
      for (;;) {
        const byte = await next(1);
        if (byte === undefined) throw new SymptomError('early-end', `The connection ended in a line after '${line}'`);
        if (byte[0] === 10) return line;
        line += byte.toString('latin1');
        if (line.length > 2000) throw new SymptomError('wrong-byte', `No line: ${line.slice(0, 100)}`);
      }
    },
    async receive(pattern, bytes, pauseMs = 0) {
      const until = state.received + bytes;
      while (state.received < until) {
        if (pauseMs > 0 && socket.readableLength === 0) await pause(pauseMs);
        else if (pauseMs > 0) await wait(pauseMs);
        const chunk = await next(Math.min(pieceBytes, until - state.received));
        if (chunk === undefined) {
          throw new SymptomError('early-end', `The connection ended after ${state.received} bytes of ${until}`);
        }
        if (!pattern.matches(state.received, chunk)) {
          throw new SymptomError('wrong-byte', `Another byte than expected between ${state.received} and ${until}`);
        }
        state.received += chunk.length;
      }
    },
    async receiveEnd() {
      const chunk = await next(pieceBytes);
      if (chunk !== undefined) throw new SymptomError('wrong-byte', `${chunk.length} bytes after the last one`);
    },
    async send(pattern, bytes) {
      const until = state.sent + bytes;
      while (state.sent < until) {
        check();
        const piece = pattern.at(state.sent, Math.min(pieceBytes, until - state.sent));
        state.sent += piece.length;
        const isTaken = socket.write(piece);
        count(piece.length);
        while (!isTaken && socket.writableNeedDrain && !isClosed) {
          await changed();
          check();
        }
      }
    },
    async close() {
      while (!isClosed) {
        check();
        await changed();
      }
      check();
    },
  };
}

const resets = ['ECONNRESET', 'EPIPE', 'ERR_STREAM_DESTROYED', 'ERR_STREAM_WRITE_AFTER_END'];

export function symptomOf(error: unknown): SymptomError {
  if (error instanceof SymptomError) return error;
  const { code = '', message } = error as NodeJS.ErrnoException;
  if (code === 'ECONNREFUSED') return new SymptomError('refused', message);
  return new SymptomError(resets.includes(code) ? 'reset' : 'other', message);
}
